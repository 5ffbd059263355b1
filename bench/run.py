"""Runs the benchmark: Tandem and its peers in long-lived processes, interleaved, medians."""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

# name: (required ratio over PyTorch eager, variants in torch_rows.py, in torch/torch_rows.cpp,
# unit)
LAYOUTS = ["contiguous", "channels_last"]
ROWS = {
    "add_tiny_nograd": (20, [], ["inference_mode", "plain"], "ns"),
    "add_tiny_grad": (20, [], ["plain"], "ns"),
    "add_tiny_fwdbwd": (20, [], ["plain"], "ns"),
    "mlp_tiny_step": (20, ["default", "foreach"], ["cpp"], "us"),
    "two_layer_step": (2, ["default", "foreach"], ["cpp"], "us"),
    "add_16m": (5, ["inference_mode"], [], "ms"),
    "softmax_16m": (4, ["inference_mode"], [], "ms"),
    "layernorm_16m": (4, ["inference_mode"], [], "ms"),
    "adam_62": (30, ["single", "foreach", "fused"], [], "us"),
    "conv3x3_64_56_n16": (1.4, LAYOUTS, [], "ms"),
    "conv3x3_256_56_n16": (2, LAYOUTS, [], "ms"),
    "cnn28_step_n128": (2.2, LAYOUTS, [], "ms"),
    "resnet18_step_n16": (1.5, LAYOUTS, [], "ms"),
    "resnet18_infer_n1": (1.3, LAYOUTS, [], "ms"),
}
# Rows of the static graph: the row of torch_rows.py, the required ratios over eager and over
# torch.compile, the eager variants, unit. The peers run eagerly, in C++ where the row above does,
# and through torch.compile. What the eager row of a run has found of a peer counts here as well.
STATIC = {
    "two_layer_step_static": ("two_layer_step", 2.8, 1.5, ["default", "foreach"], "us"),
    "mlp_tiny_step_static": ("mlp_tiny_step", 60, 10, ["default", "foreach"], "us"),
    "gelu_chain_16m_static": ("gelu_chain_16m", 12, 1.2, ["eager"], "ms"),
    "gelu_chain_64k_static": ("gelu_chain_64k", 12, 2, ["eager"], "us"),
    "cnn28_step_n128_static": ("cnn28_step_n128", 3, 1.5, LAYOUTS, "ms"),
    "resnet18_step_n16_static": ("resnet18_step_n16", 1.9, 1.3, LAYOUTS, "ms"),
    "resnet18_infer_n1_static": ("resnet18_infer_n1", 1.8, 1.2, LAYOUTS, "ms"),
    "transformer_block_step_static": ("transformer_block_step", 1.8, 1.2, ["default", "foreach"],
                                      "ms"),
    "compile_latency_resnet18_step": ("compile_latency_resnet18_step", None, 50, [], "ms"),
}
UPDATES = ["two_layer_step", "mlp_tiny_step", "cnn28_step_n128", "transformer_block_step"]
COMPILED = ["mlp_tiny_step", "two_layer_step", "cnn28_step_n128", "resnet18_step_n16",
            "resnet18_infer_n1"]
# Required ratio over ONNX Runtime.
ONNX_RUNTIME = {"resnet18_infer_n1_static": 1.1}
FRESH_MEMORY = ["add_16m", "softmax_16m", "layernorm_16m"]
SCALE = {"ns": 1e9, "us": 1e6, "ms": 1e3}


class Worker:
    def __init__(self, command, env):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=env, text=True)

    def ask(self, row, samples, seconds):
        self.process.stdin.write(f"{row} {samples} {seconds}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            return {"row": row, "error": f"the process ended with {self.process.wait()}"}
        return json.loads(line)

    def drop(self):
        self.process.stdin.write("drop\n")
        self.process.stdin.flush()

    def peak(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(l.split()[1]) for l in text.splitlines() if l.startswith("VmHWM")) / 1024

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def environment(threads, **more):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_PROC_BIND="true")
    env.pop("TANDEM_NUM_THREADS", None)
    return env | more


def machine():
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if "model name" in l), "?")
    wide = "avx512f" in open("/proc/cpuinfo").read()
    return f"{cpu}{' (AVX-512)' if wide else ''}, {os.cpu_count()} cores"


def measure(row, players, rounds, seconds):
    """players: label -> (worker, name). The medians of interleaved rounds, and checked values."""
    times, checks, errors = {k: [] for k in players}, {}, {}
    for r in range(rounds):
        for label, (worker, name) in players.items():
            if label in errors:
                continue
            answer = worker.ask(name, 3, seconds)
            if "error" in answer:
                errors[label] = answer["error"]
                continue
            if r == 0:
                checks[label] = answer["check"]
            times[label].append(statistics.median(answer["seconds"]))
    for worker in {w for w, _ in players.values()}:
        worker.drop()
    return {k: statistics.median(v) for k, v in times.items() if v}, checks, errors


def start_up(command, env, tries=7):
    import time
    best = []
    for _ in range(tries):
        begin = time.perf_counter()
        subprocess.run(command, env=env, input="", text=True, stdout=subprocess.DEVNULL, check=True)
        best.append(time.perf_counter() - begin)
    return statistics.median(best) * 1e3


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tandem", required=True)
    p.add_argument("--torch-cpp", required=True)
    p.add_argument("--library", required=True)
    p.add_argument("--json")
    p.add_argument("--markdown")
    p.add_argument("--rows")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=float, default=0.3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--no-compile", action="store_true")
    a = p.parse_args()
    import torch
    env = environment(a.threads)
    python = [sys.executable, str(HERE / "torch_rows.py"), str(a.threads)]
    tandem = Worker([a.tandem], env)
    peer = Worker(python, env)
    tuned = Worker(python, environment(a.threads, MALLOC_MMAP_THRESHOLD_="1073741824",
                                       MALLOC_TRIM_THRESHOLD_="2147483648"))
    cpp = Worker([a.torch_cpp, str(a.threads)], env)
    # Importing PyTorch takes seconds: nobody is timed before everybody is there.
    for worker, row in ((tandem, "adam_62"), (peer, "adam_62@single"), (tuned, "adam_62@single"),
                        (cpp, "add_tiny_nograd@plain")):
        worker.ask(row, 1, 0.01)
        worker.drop()
    load = os.getloadavg()[0]
    head = [f"PyTorch {torch.__version__}, {machine()}, {a.threads} threads, "
            f"{datetime.date.today()}; medians of {a.rounds} interleaved rounds."]
    if load > 0.5:
        head.append(f"The machine was not idle: load {load:.1f} at the start.")
    print("\n".join(head))
    table = ["| row | Tandem | PyTorch, best eager | which | ratio | required | torch.compile "
             "| eager, tuned malloc |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    print("\n".join(table), flush=True)
    rows, short, failed, eager_times, more = [], [], [], {}, []
    wanted = a.rows.split(",") if a.rows else list(ROWS) + list(STATIC)
    for row in wanted:
        if row in STATIC:
            base, required, required_compile, variants, unit = STATIC[row]
            cpp_variants = ROWS[base][2] if base in ROWS else []
        else:
            required, variants, cpp_variants, unit = ROWS[row]
            base, required_compile = row, None
        players = {"tandem": (tandem, row)}
        players |= {v: (peer, f"{base}@{v}") for v in variants}
        players |= {f"C++ {v}": (cpp, f"{base}@{v}") for v in cpp_variants}
        eager = list(players)[1:]
        if (row in COMPILED or row in STATIC) and not a.no_compile:
            players["torch.compile"] = (peer, f"{base}@compile")
            if row in STATIC and base in UPDATES:
                players["torch.compile, update too"] = (peer, f"{base}@compile+update")
        if row in ONNX_RUNTIME:
            players["ONNX Runtime"] = (peer, f"{base}@onnxruntime")
        if row in FRESH_MEMORY:
            players["tuned malloc"] = (tuned, f"{row}@inference_mode")
        found, checks, errors = measure(row, players, a.rounds, a.seconds)
        for label, error in errors.items():
            print(f"  {row}, {label}: {error}", flush=True)
        if "tandem" not in found:
            failed.append(row)
            continue
        for k in eager:
            if k in found:
                found[k] = min(found[k], eager_times.get((base, k), found[k]))
                eager_times[base, k] = found[k]
        graphs = [k for k in found if k.startswith("torch.compile")]
        compiled = min(graphs, key=found.get) if graphs else None
        best = min((k for k in eager if k in found), key=found.get, default=compiled)
        if best is None:
            failed.append(row)
            continue
        for label, value in checks.items():
            if abs(value - checks["tandem"]) > 1e-3 * abs(value) + 1e-7:
                print(f"  {row}: Tandem gives {checks['tandem']}, {label} gives {value}",
                      flush=True)
                failed.append(row)
                break
        s = SCALE[unit]
        ratio = found[best] / found["tandem"]
        compile_ratio = found[compiled] / found["tandem"] if compiled else None
        show = lambda k: f"{found[k] * s:.4g} {unit}" if k in found else ""
        over = f" ({compile_ratio:.2f}" + (
            f" of {required_compile})" if required_compile else ")") if compiled else ""
        line = (f"| `{row}` | {show('tandem')} | {show(best)} | {best} | {ratio:.2f} "
                f"| {required or required_compile} | {show(compiled)}{over} "
                f"| {show('tuned malloc')} |")
        table.append(line)
        print(line, flush=True)
        rows.append({"name": row, "tandem": found["tandem"] * s, "peer": found[best] * s,
                     "peer_name": f"PyTorch {torch.__version__} {best}", "unit": unit,
                     "ratio": ratio})
        if compiled:
            rows[-1] |= {"torch_compile": found[compiled] * s, "ratio_torch_compile": compile_ratio}
        if "ONNX Runtime" in found:
            over_runtime = found["ONNX Runtime"] / found["tandem"]
            rows[-1] |= {"onnx_runtime": found["ONNX Runtime"] * s,
                         "ratio_onnx_runtime": over_runtime}
            more.append(f"- `{row}`: ONNX Runtime takes {show('ONNX Runtime')}, a ratio of "
                        f"{over_runtime:.2f} (required {ONNX_RUNTIME[row]}).")
            if over_runtime < ONNX_RUNTIME[row]:
                short.append(f"{row} {over_runtime:.2f} of {ONNX_RUNTIME[row]} over ONNX Runtime")
        if required and ratio < required:
            short.append(f"{row} {ratio:.2f} of {required}")
        if required_compile and compiled and compile_ratio < required_compile:
            short.append(f"{row} {compile_ratio:.2f} of {required_compile} over torch.compile")
    for w in (tandem, peer, tuned, cpp):
        w.close()
    for row in ("cnn28_step_n128", "resnet18_step_n16", "resnet18_step_n16_static"):
        if row not in wanted:
            continue
        peaks = []
        base = STATIC[row][0] if row in STATIC else row
        for command, name in (([a.tandem], row), (python, f"{base}@contiguous")):
            w = Worker(command, env)
            w.ask(name, 1, 0.01)
            peaks.append(w.peak())
            w.close()
        more.append(f"- Peak memory of `{row}`: {peaks[0]:.0f} MiB, PyTorch {peaks[1]:.0f} MiB.")
    size = os.path.getsize(os.path.realpath(a.library)) / 2**20
    lib = pathlib.Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    peer_size = os.path.getsize(lib) / 2**20
    more.append(f"- Library: {size:.1f} MiB; libtorch_cpu.so {peer_size:.0f} MiB.")
    more.append(f"- Start of a program until its end: {start_up([a.tandem], env):.0f} ms, with "
                f"PyTorch's C++ library {start_up([a.torch_cpp], env):.0f} ms.")
    print("\n".join(more))
    print("below the requirement: " + (", ".join(short) or "none"))
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(rows, indent=1) + "\n")
    if a.markdown:
        path = pathlib.Path(a.markdown)
        begin, end = "<!-- measured -->\n", "<!-- end -->"
        text = path.read_text()
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        body = "\n".join(head + [""] + table + [""] + more) + "\n"
        path.write_text(before + begin + body + end + after)
    if failed:
        sys.exit("no trustworthy result for: " + ", ".join(failed))


if __name__ == "__main__":
    main()
