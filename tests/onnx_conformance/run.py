"""Runs the conformance cases of the onnx package (onnx.backend.test) through load_graph.

usage: run.py PROGRAM [--all] [NAME...]

PROGRAM is built from onnx_conformance.cpp. A case passes when shapes, dtypes and numbers are those
of its files; what cannot be imported must be a typed error. Printed are the wrong ones, the typed
errors by operator (--all: each of them) and a last line `N passed, N failed, N skipped`.
"""

import collections
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnx.backend.test.loader
from onnx import TensorProto, numpy_helper

# Fewer passes than this are a failure.
FLOOR = 1262
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
RANDOM = {"test_bernoulli_double_expanded", "test_bernoulli_expanded",
          "test_bernoulli_seed_expanded"}
# Numbers agree with the files to this much of 1 + |wanted|; the cases of COARSE only to what the
# package's own runner asks for.
TOLERANCE = {"float64": 1e-6, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
COARSE = {}


def cases(names):
    for kind in KINDS:
        for case in onnx.backend.test.loader.load_model_tests(kind=kind):
            if not names or case.name in names:
                yield case


def read(path, port):
    with open(path, "rb") as f:
        return numpy_helper.to_array(TensorProto.FromString(f.read()))


def difference(got, want, case):
    """Empty when they agree."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    if want.dtype.kind in "biuOSU":
        return "" if (got == want).all() else f"{(got != want).sum()} numbers differ"
    a, b = got.astype(numpy.complex128), want.astype(numpy.complex128)
    with numpy.errstate(invalid="ignore"):
        same = (a == b) | (numpy.isnan(a) & numpy.isnan(b))
        if case.name in COARSE:
            far = numpy.abs(a - b) > case.atol + case.rtol * numpy.abs(b)
        else:
            far = numpy.abs(a - b) > TOLERANCE.get(str(want.dtype), 0) * (1 + numpy.abs(b))
        wrong = ~same & (far | ~numpy.isfinite(b) | ~numpy.isfinite(a))
        if not wrong.any():
            return ""
        return f"{wrong.sum()} of {want.size} numbers differ, by up to {numpy.abs(a - b).max():.3g}"


def run(program, todo):
    """Gives the program the cases; one that kills it is named, and the rest go on."""
    died = {}
    while todo:
        lines = "".join(f"{case.model_dir} {out}\n" for case, out in todo)
        done = subprocess.run([program], input=lines, capture_output=True, text=True)
        if done.returncode == 0:
            break
        begun = [line[6:] for line in done.stdout.splitlines() if line.startswith("begin ")]
        at = next(i for i, (_, out) in enumerate(todo) if str(out) == begun[-1])
        died[todo[at][0].name] = f"killed the program: {done.returncode} {done.stderr[-300:]}"
        todo = todo[at + 1:]
    return died


def judge(case, out):
    """("pass" | "wrong" | kind of error, text)"""
    error = out / "error"
    if error.exists():
        kind, text = error.read_text(errors="replace").split("\n", 1)
        return kind, text
    model = onnx.load(f"{case.model_dir}/model.onnx", load_external_data=False)
    for i, port in enumerate(model.graph.output):
        want = read(f"{case.model_dir}/test_data_set_0/output_{i}.pb", port)
        path = out / f"output_{i}.pb"
        if not path.exists():
            return "wrong", f"no output {i}"
        wrong = difference(read(path, port), want, case)
        if wrong:
            return "wrong", f"output {i}: {wrong}"
    return "pass", ""


def operators(case):
    model = onnx.load(f"{case.model_dir}/model.onnx", load_external_data=False)
    return sorted({n.op_type for n in model.graph.node})


def main():
    arguments = [a for a in sys.argv[1:] if a != "--all"]
    program, names = arguments[0], set(arguments[1:])
    count, errors = collections.Counter(), collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        todo = [(case, pathlib.Path(folder) / f"{i}_{case.name}")
                for i, case in enumerate(cases(names))]
        died = run(program, list(todo))
        for case, out in todo:
            kind, text = judge(case, out)
            if case.name in died:
                kind, text = "wrong", died[case.name]
            elif case.name in RANDOM and kind == "wrong":
                kind = "random"
            elif kind == "untyped":
                kind = "wrong"
            if kind in ("pass", "wrong", "random"):
                count[kind] += 1
                if kind == "wrong":
                    print(f"FAILED {case.name}: {text}")
            else:
                count["error"] += 1
                errors[kind, " ".join(operators(case)[:4])].append((case.name, text))
    for (kind, where), found in sorted(errors.items(), key=lambda e: -len(e[1])):
        print(f"{len(found)} {kind} in {where}: {found[0][1].splitlines()[0][:150]}")
        if "--all" in sys.argv:
            for name, text in found:
                print(f"    {name}: {text.splitlines()[0][:200]}")
    print(f"{sum(count.values())} conformance cases: {count['pass']} give the same numbers, "
          f"{count['random']} are random, {count['error']} are typed errors, "
          f"{count['wrong']} are wrong")
    failed = count["wrong"]
    if not names and count["pass"] < FLOOR:
        print(f"FAILED: fewer than {FLOOR} give the same numbers")
        failed += 1
    print(f"{count['pass']} passed, {failed} failed, {count['error'] + count['random']} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
