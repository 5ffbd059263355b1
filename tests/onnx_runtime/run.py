"""Compares saved graphs with ONNX Runtime, and other programs' models with our own runs of them.

Usage: run.py PROGRAM [TANDEM_RUN]. Prints what failed and a last line
`N passed, N failed, N skipped`.
"""
import collections
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

import others
import runtime_ops

TOLERANCE = 1e-5
# Samples with NaN, about which ONNX says nothing: our records carry it on, as PyTorch does.
NAN_IS_OPEN = {
    "op_amax_6", "op_amin_6", "op_argmax_6", "op_argmin_6", "op_max_pool2d_7"}


def difference(got, want):
    """The largest difference relative to 1 + |want|; text where they cannot be compared."""
    got, want = numpy.asarray(got), numpy.asarray(want)
    if want.dtype.kind == "V":  # bfloat16 has no dtype in NumPy
        return ""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    if got.size == 0:
        return ""
    a, b = got.astype(numpy.float64), want.astype(numpy.float64)
    with numpy.errstate(invalid="ignore"):
        far = numpy.abs(a - b) / (1 + numpy.abs(b))
    far = numpy.where((a == b) | (numpy.isnan(a) & numpy.isnan(b)), 0, far)
    worst = numpy.nanmax(far) if not numpy.isnan(far).all() else numpy.inf
    if numpy.isnan(far).any():
        worst = numpy.inf
    return f"differs by {worst:.3g}" if worst > TOLERANCE else ""


class Score:
    def __init__(self):
        self.passed, self.failed = 0, 0
        self.skipped = collections.Counter()

    def take(self, name, wrong):
        if wrong:
            self.failed += 1
            print(f"FAILED {name}: {wrong}")
        else:
            self.passed += 1


def outputs_of(arrays):
    found = []
    while f"out.{len(found)}" in arrays:
        found.append(arrays[f"out.{len(found)}"])
    return found


def judge_saved(folder, score):
    """Files of ours: the checker accepts them, and ONNX Runtime computes the same."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    for path in sorted(folder.glob("*.onnx")):
        name = path.stem
        model = onnx.load(path)
        try:
            onnx.checker.check_model(model, full_check=True)
        except Exception as e:
            score.take(name, f"onnx.checker: {e}")
            continue
        functions = {f.name for f in model.functions}
        if any(n.domain == "tandem" and n.op_type not in functions for n in model.graph.node):
            if path.with_suffix(".1.npz").exists():  # a file for all lengths is here to be judged
                score.take(name, "has records that ONNX has no operator for")
            score.skipped["a record that ONNX has no operator for"] += 1
            continue
        if name in NAN_IS_OPEN:
            score.skipped["NaN, about which ONNX says nothing"] += 1
            continue
        arrays = numpy.load(path.with_suffix(".npz"))
        if any(0 in arrays[k].shape for k in arrays):
            score.skipped["tensors without elements, which ONNX Runtime may not take"] += 1
            continue
        try:
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        except Exception as e:
            if "NOT_IMPLEMENTED" in str(e):
                score.skipped["ONNX Runtime has no kernel for it"] += 1
            else:
                score.take(name, f"ONNX Runtime: {e}")
            continue
        # NAME.1.npz and so on are further calls, at other lengths.
        for call in [path.with_suffix(".npz"), *sorted(folder.glob(f"{name}.[0-9].npz"))]:
            judge_call(session, call, score)


def judge_call(session, call, score):
    arrays = numpy.load(call)
    feeds = {i.name: arrays[i.name] for i in session.get_inputs()}
    try:
        got = session.run(None, feeds)
    except Exception as e:
        score.take(call.stem, f"ONNX Runtime: {e}")
        return
    wrong = [difference(g, w) for g, w in zip(got, outputs_of(arrays))]
    score.take(call.stem, "; ".join(w for w in wrong if w))


def judge_runs(folder, score, program):
    """Every model of the folder in our own run: what the file's maker says."""
    subprocess.run([program, "run", folder], check=True)
    for path in sorted(folder.glob("*.onnx")):
        error, out = path.with_suffix(".error"), path.with_suffix(".out.npz")
        if not out.exists():
            score.take(f"load {path.stem}", error.read_text() if error.exists() else "no answer")
            continue
        want, got = outputs_of(numpy.load(path.with_suffix(".npz"))), outputs_of(numpy.load(out))
        wrong = [difference(g, w) for g, w in zip(got, want)]
        if len(got) != len(want):
            wrong.append(f"{len(got)} outputs instead of {len(want)}")
        score.take(f"load {path.stem}", "; ".join(w for w in wrong if w))


def judge_command_line(folder, score, tool):
    """tandem-run on the MLP."""
    if not pathlib.Path(tool).exists():
        score.skipped["tandem-run is not built"] += 1
        return
    arrays = numpy.load(folder / "mlp.npz")
    x, y = folder / "x.npy", folder / "y.npy"
    numpy.save(x, arrays["input"])
    model = str(folder / "mlp.onnx")
    for given in (str(x), f"input={x}"):
        y.unlink(missing_ok=True)
        subprocess.run([tool, model, "--input", given, "--output", y], check=True)
        score.take("tandem-run", difference(numpy.load(y), arrays["out.0"]))
    text = subprocess.run([tool, "--describe", model], check=True, capture_output=True, text=True)
    parts = ("input: f32[batch, 4]", "output0: f32[batch, 3]", "0.weight: f32[16, 4]", "3 Gemm")
    for part in parts:
        score.take("tandem-run --describe", "" if part in text.stdout else f"no {part}")
    judge_refusals(folder, score, tool)


def judge_refusals(folder, score, tool):
    """What tandem-run refuses: one line that says why, and an exit code that is not 0."""
    arrays = {
        "x": numpy.zeros((6, 4), "f4"), "wide": numpy.zeros((6, 5), "f4"),
        "words": numpy.array(["a", "b"]), "complex": numpy.zeros((6, 4), "c8"),
        "tokens": numpy.zeros((3, 7), "i8"), "halves": numpy.full((3, 7), 0.5),
        "whole": numpy.full((3, 7), 2.0)}
    for name, array in arrays.items():
        numpy.save(folder / f"{name}.npy", array)
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:150])
    cases = [
        (1, "missing input: f32[batch, 4]", ["mlp.onnx"]),
        (1, "got shape [6, 5]", ["mlp.onnx", "-i", "wide.npy"]),
        (1, "unknown y", ["mlp.onnx", "-i", "input=x.npy", "-i", "y=x.npy"]),
        (1, "inputs are all given, it takes 1", ["mlp.onnx", "-i", "x.npy", "-i", "x.npy"]),
        (1, "given twice", ["mlp.onnx", "-i", "input=x.npy", "-i", "input=x.npy"]),
        (1, "missing input1: bool[5, 5]", ["attention.onnx", "-i", "x.npy"]),
        (1, "strings have no Tandem dtype", ["mlp.onnx", "-i", "words.npy"]),
        (1, "complex numbers have no", ["mlp.onnx", "-i", "complex.npy"]),
        (1, "not all numbers of i64", ["lstm.onnx", "-i", "halves.npy"]),
        (1, "needs 96 bytes of data", ["mlp.onnx", "-i", "cut.npy"]),
        (1, "none.npy", ["mlp.onnx", "-i", "none.npy"]),
        (1, "none.onnx", ["none.onnx"]),
        (1, "x.npy", ["x.npy"]),
        (1, "has 5 outputs", ["lstm.onnx", "-i", "tokens.npy", "-o", "y.npy"]),
        (1, "to a .npy or a .npz", ["mlp.onnx", "-i", "x.npy", "-o", "y.txt"]),
        (1, "cannot create", ["mlp.onnx", "-i", "x.npy", "-o", "no/such/folder/y.npy"]),
        (2, "MODEL is required", []),
        (2, "--bogus", ["mlp.onnx", "--bogus"]),
        (2, "--repeat", ["mlp.onnx", "-n", "0"]),
    ]
    for code, part, arguments in cases:
        bad = subprocess.run([tool, *arguments], capture_output=True, text=True, cwd=folder)
        good = bad.returncode == code and part in bad.stderr and bad.stderr.count("\n") == 1
        score.take(f"tandem-run {' '.join(arguments)}",
                   "" if good and not bad.stdout else f"exit code {bad.returncode}: {bad.stderr}")
    # Numbers of another type that are the same numbers; several outputs; a training step.
    subprocess.run([tool, "lstm.onnx", "-i", "whole.npy", "-o", "out.npz"], check=True, cwd=folder)
    score.take("tandem-run lstm", "" if len(numpy.load(folder / "out.npz")) == 5 else "outputs")
    step = numpy.load(folder / "training_with_loops.npz")
    numpy.savez(folder / "step.npz", in0=step["in0"], in1=step["in1"])
    subprocess.run([tool, "training_with_loops.onnx", "-i", "step.npz", "-o", "out.npy",
                    "--save-state", "state.npz"], check=True, cwd=folder)
    score.take("tandem-run a training step",
               difference(numpy.load(folder / "out.npy"), step["out.0"]))
    text = subprocess.run([tool, "--describe", "training_with_loops.onnx"], check=True,
                          capture_output=True, text=True, cwd=folder).stdout
    for part in ("8 of them written by a run", "2 tandem.while_loop_grad", "out0: f32[]"):
        score.take("tandem-run --describe a training step", "" if part in text else f"no {part}")


def main():
    program = sys.argv[1]
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        ours, theirs = folder / "ours", folder / "theirs"
        ours.mkdir()
        theirs.mkdir()
        subprocess.run([program, "save", ours], check=True)
        judge_saved(ours, score)
        judge_runs(ours, score, program)
        if len(sys.argv) > 2:
            judge_command_line(ours, score, pathlib.Path(sys.argv[2]).resolve())
        others.write(theirs)
        runtime_ops.write(theirs)
        judge_runs(theirs, score, program)
    for reason, count in score.skipped.items():
        print(f"skipped {count}: {reason}")
    print(f"{score.passed} passed, {score.failed} failed, {sum(score.skipped.values())} skipped")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
