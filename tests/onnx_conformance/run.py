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
from onnx import OptionalProto, SequenceProto, TensorProto, numpy_helper

# Fewer passes than this are a failure.
FLOOR = 1879
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
# Draws: the files hold those of another generator.
RANDOM = {f"test_{name}{tail}" for tail in ("", "_expanded")
          for name in ("bernoulli", "bernoulli_double", "bernoulli_seed")} | {
    "test_training_dropout", "test_training_dropout_default", "test_training_dropout_mask",
    "test_training_dropout_default_mask"}
# Numbers agree with the files to this much of 1 + |wanted|.
TOLERANCE = {"float64": 1e-6, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
# Their files hold numbers of four digits; the package's own runner is content with as much.
COARSE = {"test_roialign_aligned_false", "test_roialign_aligned_true", "test_gridsample_bicubic",
          "test_averagepool_2d_ceil_last_window_starts_on_pad"}


def cases(names):
    for kind in KINDS:
        for case in onnx.backend.test.loader.load_model_tests(kind=kind):
            if not names or case.name in names:
                yield case


def parse(path, kind):
    """A file of the package: (tensor message) or [items] or None."""
    message = {"tensor_type": TensorProto, "sequence_type": SequenceProto,
               "optional_type": OptionalProto}[kind]()
    message.ParseFromString(path.read_bytes())
    return plain(message)


def plain(message):
    if isinstance(message, TensorProto):
        return message
    if isinstance(message, SequenceProto):
        kind = SequenceProto.DataType.Name(message.elem_type).lower()
        fields = {"tensor": "tensor_values", "sequence": "sequence_values",
                  "optional": "optional_values"}
        return [plain(m) for m in getattr(message, fields[kind])] if kind in fields else []
    fields = {"TENSOR": "tensor_value", "SEQUENCE": "sequence_value"}
    kind = OptionalProto.DataType.Name(message.elem_type)
    field = fields.get(kind)
    return plain(getattr(message, field)) if field and message.HasField(field) else None


def write_value(name, value):
    if value is None:
        name.with_name(name.name + ".nothing").touch()
    elif isinstance(value, list):
        name.with_name(name.name + ".items").write_text(str(len(value)))
        for i, item in enumerate(value):
            write_value(name.with_name(f"{name.name}.{i}"), item)
    else:
        name.with_name(name.name + ".pb").write_bytes(value.SerializeToString())


def read_value(name):
    """As `parse` gives it; an error's text where there is no such value."""
    if name.with_name(name.name + ".nothing").exists():
        return None
    items = name.with_name(name.name + ".items")
    if items.exists():
        return [read_value(name.with_name(f"{name.name}.{i}"))
                for i in range(int(items.read_text()))]
    path = name.with_name(name.name + ".pb")
    return TensorProto.FromString(path.read_bytes()) if path.exists() else "no such output"


def prepare(case, folder):
    """Writes the inputs of a case; gives its model."""
    folder.mkdir()
    model = onnx.load(f"{case.model_dir}/model.onnx", load_external_data=False)
    data = pathlib.Path(case.model_dir) / "test_data_set_0"
    for i, port in enumerate(model.graph.input):
        path = data / f"input_{i}.pb"
        if path.exists():
            write_value(folder / f"input_{i}", parse(path, port.type.WhichOneof("value")))
    return model


def compare(got, want, case):
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return "another sequence"
        return "; ".join(t for t in (compare(g, w, case) for g, w in zip(got, want)) if t)
    if want is None or not isinstance(got, TensorProto):
        return "" if got is None and want is None else f"{got} instead of {type(want)}"
    return difference(numpy_helper.to_array(got), numpy_helper.to_array(want), case)


def difference(got, want, case):
    """Empty when they agree."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    if want.dtype.kind in "biuOSU":
        return "" if (got == want).all() else f"{(got != want).sum()} values differ"
    if want.dtype.kind not in "fc":  # narrow ones: exactly
        got, want = got.astype(numpy.float32), want.astype(numpy.float32)
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
        lines = "".join(f"{case.model_dir}/model.onnx {out}\n" for case, out in todo)
        done = subprocess.run([program], input=lines, capture_output=True, text=True)
        if done.returncode == 0:
            break
        begun = [line[6:] for line in done.stdout.splitlines() if line.startswith("begin ")]
        at = next(i for i, (_, out) in enumerate(todo) if str(out) == begun[-1])
        died[todo[at][0].name] = f"killed the program: {done.returncode} {done.stderr[-300:]}"
        todo = todo[at + 1:]
    return died


def judge(case, model, out):
    """("pass" | "wrong" | kind of error, text)"""
    error = out / "error"
    if error.exists():
        kind, text = error.read_text(errors="replace").split("\n", 1)
        return kind, text
    for i, port in enumerate(model.graph.output):
        path = pathlib.Path(case.model_dir) / "test_data_set_0" / f"output_{i}.pb"
        want = parse(path, port.type.WhichOneof("value"))
        wrong = compare(read_value(out / f"output_{i}"), want, case)
        if wrong:
            return "wrong", f"output {i}: {wrong}"
    return "pass", ""


def main():
    arguments = [a for a in sys.argv[1:] if a != "--all"]
    program, names = arguments[0], set(arguments[1:])
    count, errors = collections.Counter(), collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        todo = [(case, pathlib.Path(folder) / f"{i}_{case.name}")
                for i, case in enumerate(cases(names))]
        models = [prepare(*pair) for pair in todo]
        died = run(program, list(todo))
        for (case, out), model in zip(todo, models):
            kind, text = judge(case, model, out)
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
                ops = " ".join(sorted({n.op_type for n in model.graph.node})[:4])
                errors[kind, ops].append((case.name, text))
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
