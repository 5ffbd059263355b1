"""Writes small stand-ins for the CUDA libraries that PyPI's torch names but a CPU never calls.

PyPI's Linux wheel of torch is linked with cuBLAS, cuDNN, NCCL and others: 3 GB that a machine
without a GPU loads only to satisfy the linker. A stand-in has the right name, the right symbol
versions, and functions that trap. The CUDA runtime itself stays the real one, because torch
asks it whether there is a GPU.

Run it with the python of the virtual environment that holds torch.
"""

import argparse
import pathlib
import re
import subprocess
import sysconfig
import tempfile

REAL = {"libcudart", "libcupti", "libcuda"}  # from wheels; the last is the driver, opened by name
UNVERSIONED = {"libnccl": "nccl", "libcufile": "cuFile", "libcusparseLt": "cusparseLt"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols_for(soname, stem, undefined):
    """{version: names} of the undefined symbols that the library `soname` should have."""
    found = {}
    for symbol in undefined:
        name, _, version = symbol.replace("@@", "@").partition("@")
        if stem in UNVERSIONED:
            wanted = not version and name.startswith(UNVERSIONED[stem])
        elif stem == "libnvshmem_host":
            wanted = version == "NVSHMEM"
        else:
            wanted = version == soname
        if wanted:
            found.setdefault(version, set()).add(name)
    return found


def write_library(path, symbols):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "standin.c")
        names = sorted(set().union(*symbols.values()))
        source.write_text("".join(f"void {n}(void) {{ __builtin_trap(); }}\n" for n in names))
        script = pathlib.Path(folder, "standin.map")
        script.write_text("".join(
            f"{version} {{ global: {' '.join(n + ';' for n in sorted(group))} }};\n"
            for version, group in symbols.items() if version))
        options = [f"-Wl,--version-script={script}"] if script.stat().st_size else []
        run("gcc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", *options, "-o", path, source)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    site = pathlib.Path(sysconfig.get_paths()["purelib"])
    libraries = sorted((site / "torch/lib").glob("*.so"))
    folders = sorted((site / "nvidia").glob("cu[0-9]*/lib"))
    if not libraries or not folders:
        raise SystemExit(f"error: no torch, or no nvidia-cuda-runtime, in {site}")
    needed, undefined = set(), set()
    for library in libraries:
        needed |= set(re.findall(r"NEEDED.*\[(lib(?:cu|nccl|nv).*?)\]",
                                 run("readelf", "-dW", library)))
        listing = run("nm", "-D", "--undefined-only", "--with-symbol-versions", library)
        undefined |= set(re.findall(r"^ +U (\S+)$", listing, re.M))
    written = []
    for soname in sorted(needed):
        stem = soname.split(".so")[0]
        if stem in REAL or list((site / "nvidia").glob(f"[!c]*/lib/{soname}")):
            continue
        symbols = symbols_for(soname, stem, undefined)
        if symbols:
            write_library(folders[-1] / soname, symbols)
            written.append(stem)
    print("stand-ins:", " ".join(written))


if __name__ == "__main__":
    main()
