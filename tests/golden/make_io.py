"""Writes the files that tests/io.cpp reads and the fuzz targets start from: tests/fuzz/corpus.

Needs numpy and safetensors (tools/judges.sh makes an environment that has both). All arrays hold
simple formulas of the element's number, which the test computes again in C++.
"""

import gzip
import pathlib
import struct
import zipfile

import numpy as np
from safetensors.numpy import save as save_safetensors

CORPUS = pathlib.Path(__file__).resolve().parent.parent / "fuzz" / "corpus"


def values(shape, dtype):
    """0, 1, 2, ... minus 3, halved; wrapped or cut by the dtype."""
    n = int(np.prod(shape, dtype=np.int64))
    numbers = (np.arange(n) - 3) / 2
    if np.dtype(dtype).kind == "b":
        return (np.arange(n) % 3 == 0).reshape(shape)
    if np.dtype(dtype).kind in "iu":
        numbers = np.arange(n) - (3 if np.dtype(dtype).kind == "i" else 0)
    return numbers.astype(dtype).reshape(shape)


def put(kind, name, data):
    folder = CORPUS / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def npy(array, version=None):
    import io

    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def make_npy():
    for code in "f2 f4 f8 i1 u1 i2 u2 i4 u4 i8 u8 b1".split():
        put("npy", f"{code}_3x4.npy", npy(values((3, 4), code)))
    for code in ">f4 >f8 >f2 >i2 >u4 >i8 >u8".split():
        put("npy", f"big_{code[1:]}_3x4.npy", npy(values((3, 4), code)))
    put("npy", "fortran_f4_2x3x4.npy", npy(np.asfortranarray(values((2, 3, 4), "f4"))))
    put("npy", "zero_d_f8.npy", npy(np.array(2.5)))
    put("npy", "empty_f4_0x3.npy", npy(values((0, 3), "f4")))
    put("npy", "one_i8_5.npy", npy(values((5,), "i8")))
    put("npy", "v2_f4_3x4.npy", npy(values((3, 4), "f4"), (2, 0)))
    put("npy", "v3_f4_3x4.npy", npy(values((3, 4), "f4"), (3, 0)))
    bits = (values((3, 4), "f4").view(np.uint32) >> 16).astype(np.uint16)
    put("npy", "bf16_3x4.npy", npy(bits.view("V2")))
    # Refused, each for its own reason.
    put("npy", "bad_object.npy", npy(np.array([1, "a"], dtype=object)))
    put("npy", "bad_struct.npy", npy(np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])))
    put("npy", "bad_complex.npy", npy(np.zeros(2, dtype="c8")))
    put("npy", "bad_string.npy", npy(np.array(["ab", "c"])))


def make_npz():
    import io

    arrays = {"a": values((3, 4), "f4"), "b/c": values((2, 5), "i8"), "d": np.array(2.5)}
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        out = io.BytesIO()
        save(out, **arrays)
        put("npz", f"{name}.npz", out.getvalue())
    out = io.BytesIO()  # zip64 fields, a comment and a member that is no array
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open("a.npy", "w", force_zip64=True) as member:
            member.write(npy(arrays["a"]))
        archive.writestr("note.txt", b"hello")
        archive.comment = b"made for a test"
    put("npz", "zip64_comment.npz", out.getvalue())


def make_safetensors():
    codes = "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 b1".split()
    arrays = {f"x.{code}": values((3, 4), code) for code in codes}
    arrays["empty"] = values((0, 3), "f4")
    arrays["zero_d"] = np.array(2.5)
    put("safetensors", "all.safetensors", save_safetensors(arrays, {"made": "by numpy"}))
    put("safetensors", "none.safetensors", save_safetensors({}))


def idx(array):
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    head = struct.pack(">BBBB", 0, 0, code, array.ndim)
    head += b"".join(struct.pack(">I", d) for d in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def make_idx():
    for code in "u1 i1 i2 i4 f4 f8".split():
        put("idx", f"{code}_3x4.idx", idx(values((3, 4), code)))
    put("idx", "u1_2x3x2.idx", idx(values((2, 3, 2), "u1")))
    plain = idx(values((3, 4), "u1"))
    put("gz", "one.gz", gzip.compress(plain, mtime=0))
    halves = [gzip.compress(half, mtime=0) for half in (plain[:9], plain[9:])]
    put("gz", "two_members.gz", b"".join(halves))
    put("gz", "stored.gz", gzip.compress(plain, compresslevel=0, mtime=0))


if __name__ == "__main__":
    make_npy()
    make_npz()
    make_safetensors()
    make_idx()
