"""Says what PyTorch and ONNX Runtime give for programs of five_ways.

Reads names of folders from its input, one a line; answers each with a line of JSON: "differences",
each {"way", "kind", "call", "what"}, and how many calls PyTorch and ONNX Runtime have compared. A
folder holds program.json and data.safetensors, and, where the program was saved, forward.onnx.
"""

import json
import math
import os
import pathlib
import sys
import warnings

import numpy
import torch
from safetensors.torch import load_file

from torch_program import Machine, Skip, loss_of, make_layers, make_optimizer, steps_of

SLACKS = 8
DIVERGED = 1e15  # training that goes beyond meets squares that f32 has not
DISTURBANCES = 16  # each leaves about half of the numbers as they are
# dtype: relative bound, bound relative to the largest value, absolute bound
BOUNDS = {torch.float64: (4e-11, 4e-12, 4e-14), torch.float32: (4e-5, 8e-6, 4e-6),
          torch.float16: (8e-3, 4e-3, 4e-4), torch.bfloat16: (6.4e-2, 3.2e-2, 4e-4)}


def wide(t):
    return t.detach().double() if t.is_floating_point() else t.detach()


def close(a, b, bound):
    """Element by element; NaN equals NaN, infinities equal themselves."""
    same = (a == b) | (a.isnan() & b.isnan()) if a.is_floating_point() else a == b
    if not a.is_floating_point():
        return same
    finite = a.isfinite() & b.isfinite()
    return same | (finite & ((a - b).abs() <= bound))


def difference(got, want, slack, nan_is_open=False):
    """Empty, or how `got` differs; `slack()` gives what each element may be off."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return "shape", (f"is {got.dtype}{list(got.shape)}, should be "
                         f"{want.dtype}{list(want.shape)}").replace("torch.", "")
    if want.numel() == 0:
        return None
    g, w = wide(got), wide(want)
    bound = torch.zeros(())
    if want.dtype in BOUNDS:
        relative, normwise, absolute = BOUNDS[want.dtype]
        finite = w[w.isfinite()].abs()
        largest = float(finite.max()) if finite.numel() else 0.0
        bound = relative * w.abs() + normwise * largest + absolute
    if close(g, w, bound).all():
        return None
    more = slack()
    wrong = ~close(g, w, bound + SLACKS * more) & more.isfinite()
    if nan_is_open:
        wrong &= ~(w.isnan() | g.isnan())
    if not wrong.any():
        return None
    i = int(wrong.flatten().nonzero()[0])
    place = [int(k) for k in numpy.unravel_index(i, want.shape)] if want.dim() else []
    return "value", (f"at {place} is {g.flatten()[i].item():.9g}, should be "
                     f"{w.flatten()[i].item():.9g}; {int(wrong.sum())} of {want.numel()} differ")


class Program:
    """One folder."""

    def __init__(self, folder):
        self.folder = folder
        self.json = json.loads((folder / "program.json").read_text())
        self.data = load_file(folder / "data.safetensors")
        self.inputs = self.json["inputs"]
        self.disturbed, self.truths = {}, {}
        self.nan_is_open, self.orders_nan = {}, {}  # of each call: see Machine
        self.gradient_nan_is_open = {}
        self.torch_calls = self.runtime_calls = 0  # that were compared
        self.runtime_open = False  # the file has unknown lengths

    def input(self, name, call, wants, change=None):
        t = self.data[name]
        strides = self.json["outcomes"][call]["strides"].get(name.split(".")[-1])
        t = change(t) if change and t.is_floating_point() else t.clone()
        if strides is not None and not (change and 0 in strides):
            room = 1 + sum((n - 1) * s for n, s in zip(t.shape, strides) if n)
            laid = torch.zeros(max(room, 1), dtype=t.dtype).as_strided(t.shape, strides)
            if 0 in strides and t.numel():
                self.copy_expanded(laid, t)
            else:
                laid.copy_(t)
            t = laid.detach()
        return t.requires_grad_() if wants else t

    def largest(self, call):
        """The magnitude of what the program starts from."""
        given = [t.abs().nan_to_num(0).max() for n, t in self.data.items()
                 if n.startswith(("state.", f"{call}.in.")) and t.is_floating_point() and t.numel()]
        return max([float(m) for m in given] + [1.0])

    @staticmethod
    def copy_expanded(laid, t):
        for axis, s in enumerate(laid.stride()):
            if s == 0:
                laid, t = laid.narrow(axis, 0, 1), t.narrow(axis, 0, 1)
        laid.copy_(t)

    def begin(self, noise, wide):
        """Layers, parameters, and how floating inputs are changed: disturbed, or made f64."""
        generator = torch.Generator().manual_seed(noise) if noise else None

        def disturb(t):
            factor = 1 + torch.finfo(t.dtype).eps / 2 * (
                2 * torch.rand(t.shape, generator=generator, dtype=torch.float64) - 1)
            return (t.double() * factor).to(t.dtype)

        change = disturb if noise else (lambda t: t.double()) if wide else None
        layers = make_layers(self.json, self.data)
        if wide:
            layers = {k: m.double() for k, m in layers.items()}
        fixed = {i["id"]: self.input(f"state.v{i['id']}", 0, i["gradient"], change)
                 for i in self.inputs if i["role"] == "parameter"}
        return layers, fixed, change

    def machine(self, call, begun, noise, wide):
        """For one call; and the leaves that it differentiates by, fed ones first."""
        layers, fixed, change = begun
        values, leaves = dict(fixed), []
        for i in self.inputs:
            if i["role"] == "fed":
                t = self.input(f"{call}.in.v{i['id']}", call, i["gradient"], change)
                values[i["id"]] = t
                leaves += [(f"v{i['id']}", t)] if i["gradient"] else []
        leaves += self.parameters(layers, fixed)
        return Machine(self.json, layers, values, noise, wide), leaves

    def inner(self):
        """Whether it calls records that exist for the gradients and updates of others."""
        return any(s["name"].endswith(("_grad", "_step")) for s in steps_of(self.json["steps"]))

    @staticmethod
    def parameters(layers, fixed):
        found = [(f"v{k}", t) for k, t in sorted(fixed.items()) if t.requires_grad]
        for k in sorted(layers):
            found += [(f"layer{k}.{n}", t) for n, t in layers[k].named_parameters()]
        return found

    def run(self, noise=None, wide=False):
        """[(results or error, gradients or error)] for each call."""
        begun, outcomes = self.begin(noise, wide), []
        for c in range(len(self.json["calls"])):
            machine, leaves = self.machine(c, begun, noise, wide)
            outcomes.append(self.one(machine, leaves))
            self.note(c, machine)
        return outcomes

    def note(self, call, machine):
        for of_call, now in ((self.nan_is_open, machine.nan_is_open),
                             (self.gradient_nan_is_open, machine.gradient_nan_is_open),
                             (self.orders_nan, machine.orders_nan)):
            of_call[call] = of_call.get(call, False) or now

    def train(self, noise=None, wide=False):
        """[(results or error,)] for each call, and one more: the state after all of them."""
        layers, fixed, _ = begun = self.begin(noise, wide)
        by = self.parameters(layers, fixed)
        optimizer = make_optimizer(self.json["optimizer"], [t for _, t in by])
        calls = []
        for c in range(len(self.json["calls"])):
            machine, _ = self.machine(c, begun, noise, wide)
            try:
                machine.run(self.json["steps"])
                self.note(c, machine)
                if machine.no_gradient:
                    raise Skip("Tandem differentiates otherwise")
                results = [machine.values[i] for i in self.json["results"]]
                calls.append(([(f"result v{i}", t.detach().clone())
                               for i, t in zip(self.json["results"], results) if t is not None],))
                optimizer.zero_grad()
                loss = loss_of(results)
                if loss is not None:
                    loss.backward()
                if self.inner() and any(t.grad is not None and not t.grad.any() for _, t in by):
                    raise Skip("a gradient of zeros may be left out, which optimizers see")
                if self.json["clips"]:
                    torch.nn.utils.clip_grad_norm_([t for _, t in by], 1)
                optimizer.step()
            except Skip:
                raise
            except Exception as e:  # of any type: PyTorch asserts, too
                calls.append((e,))
        end = [(f"v{k}", t) for k, t in sorted(fixed.items())]
        for k in sorted(layers):
            end += [(f"layer{k}.{n}", t) for n, t in layers[k].state_dict().items()]
        return calls + [(end,)]

    def one(self, machine, leaves):
        try:
            machine.run(self.json["steps"])
            results = [machine.values[i] for i in self.json["results"]]
        except Skip:
            raise
        except Exception as e:  # of any type: PyTorch asserts, too
            return e, None
        if machine.no_gradient:
            leaves = []
        kept = [(f"result v{i}", t.detach().clone())
                for i, t in zip(self.json["results"], results) if t is not None]
        try:
            loss = loss_of(results)
            found = [None] * len(leaves)
            if loss is not None and leaves:
                found = torch.autograd.grad(loss, [t for _, t in leaves], allow_unused=True)
        except Exception as e:
            return kept, e
        return kept, [(f"gradient of {n}", torch.zeros_like(t) if g is None else g)
                      for (n, t), g in zip(leaves, found)]

    def is_right(self, got, want, call, part, name, training=False):
        """Whether PyTorch's own f64 is as near to it as PyTorch's f32 is, or nearer."""
        if training not in self.truths:
            torch.set_default_dtype(torch.float64)  # what integers turn into
            try:
                self.truths[training] = (self.train if training else self.run)(wide=True)
            except Skip:
                self.truths[training] = None
            torch.set_default_dtype(torch.float32)
        calls = self.truths[training]
        there = calls[call][part] if calls and call < len(calls) else None
        t = dict(there).get(name) if isinstance(there, list) else None
        if t is None or not want.is_floating_point() or t.shape != want.shape:
            return False
        t = t.detach().to(want.dtype)
        off = (wide(want) - wide(t)).abs()
        off = off[off.isfinite()]
        own = 2 * off.max() / SLACKS if off.numel() else 0
        return difference(got, t,
                          lambda: self.slack(call, part, name, want, training) + own) is None

    def slack(self, call, part, name, want, training=False):
        """What small disturbances do to one result."""
        if training not in self.disturbed:
            run = self.train if training else self.run
            self.disturbed[training] = [run(noise=k + 1) for k in range(DISTURBANCES)]
        w, most = wide(want), torch.zeros(want.shape, dtype=torch.float64)
        for run in self.disturbed[training]:
            there = run[call][part]
            t = dict(there).get(name) if isinstance(there, list) else None
            if t is None or t.shape != want.shape:
                return torch.full(want.shape, math.inf, dtype=torch.float64)
            d = wide(t)
            zero, jump = torch.zeros_like(most), torch.full_like(most, math.inf)
            if w.is_floating_point():
                same = (d == w) | (d.isnan() & w.isnan())
                near = d.isfinite() & w.isfinite()
                moved = torch.where(near, (d - w).abs(), torch.where(same, zero, jump))
            else:
                moved = torch.where(d == w, zero, jump)
            most = torch.maximum(most, moved)
        return most


# Errors of PyTorch that Tandem must have too; others are rules of its own (dtypes, attributes).
MUST_REFUSE = ("more than one element of the written-to tensor", "out of range", "out of bounds",
               "must match", "size mismatch", "shape mismatch")


def compare_torch(p, found):
    try:
        theirs = p.run()
    except Skip:
        return
    for c, (outcome, (forward, gradient)) in enumerate(zip(p.json["outcomes"], theirs)):
        for part, mine, other in ((0, outcome["forward"], forward),
                                  (1, outcome["gradient"], gradient)):
            if not mine["ran"] or other is None:
                continue
            if isinstance(other, Exception):
                text = str(other).split("\n")[0]
                if "size 0" in text or "size [0]" in text or "setStorage" in text:
                    break  # rules about tensors without elements
                if not p.inner() and not mine["error"] and any(t in text for t in MUST_REFUSE):
                    found.append(("torch", "error", c, f"gives a value; PyTorch: {text}"))
                    return
                break
            if mine["error"] == "GradientError":
                break  # what each keeps for its gradients is its own affair
            if mine["error"]:
                found.append(("torch", "error", c,
                              f"gives {mine['error']}; PyTorch gives a value"))
                return
            want = dict(other)
            p.torch_calls += part == 0
            section = "gradient" if part else "forward"
            for name in mine["names"]:
                if name not in want or f"{c}.{section}.{name}" not in p.data:
                    continue
                got = p.data[f"{c}.{section}.{name}"]
                text = difference(got, want[name], lambda: p.slack(c, part, name, want[name]),
                                  p.nan_is_open[c] or part and p.gradient_nan_is_open[c])
                if text and not p.is_right(got, want[name], c, part, name):
                    found.append(("torch", text[0], c, f"{name} {text[1]}"))
                    return


def compare_training(p, found):
    """Whole steps with the optimizer of torch.optim: results, and the state at the end."""
    outcomes = p.json["outcomes"]
    if found or not p.json["optimizer"] or "training" not in outcomes[0]:
        return
    try:
        theirs = p.train()
    except Skip:
        return
    if any(isinstance(c[0], Exception) for c in theirs) or any(
            o["training"]["error"] for o in outcomes):
        return
    for c, (want,) in enumerate(theirs):
        if any(w.is_floating_point() and (w.detach().abs() > DIVERGED).any() for _, w in want):
            return
        for name, w in want:
            key = f"trained.{name}" if c == len(outcomes) else f"{c}.training.{name}"
            if key not in p.data:
                continue
            w = w.detach()
            text = difference(p.data[key], w, lambda: p.slack(c, 0, name, w, True),
                              any(p.nan_is_open.values()) or any(p.gradient_nan_is_open.values()))
            if text and not p.is_right(p.data[key], w, c, 0, name, True):
                found.append(("torch training", text[0], min(c, len(outcomes) - 1),
                              f"{name} {text[1]}"))
                return


def compare_wide(p, found):
    """Results of 16 bits with those of the same program in f64."""
    halves = (torch.float16, torch.bfloat16)
    if found or not any(t.dtype in halves for t in p.data.values()):
        return
    try:
        truth = p.run(wide=True)
    except Skip:
        return
    for c, (outcome, parts) in enumerate(zip(p.json["outcomes"], truth)):
        for part, section in enumerate(("forward", "gradient")):
            if outcome[section]["error"] or not isinstance(parts[part], list):
                continue
            for name, want in parts[part]:
                got = p.data.get(f"{c}.{section}.{name}")
                if got is None or got.dtype not in halves or got.shape != want.shape:
                    continue
                want = want.to(got.dtype)
                text = difference(got, want, lambda: p.slack(c, part, name, want))
                if text:
                    found.append(("f64", text[0], c, f"{name} {text[1]}"))
                    return


def own_noise(session, feeds, place, result):
    """How far a result moves in ONNX Runtime when its inputs move by a rounding: it adds up in f32
    where others keep more."""
    generator = numpy.random.default_rng(1)
    moved = torch.zeros(result.shape, dtype=torch.float64)
    for _ in range(DISTURBANCES):
        near = {k: v if v.dtype.kind != "f" else numpy.asarray(
            v * (1 + numpy.finfo(v.dtype).eps * generator.uniform(-1, 1, v.shape)), v.dtype)
            for k, v in feeds.items()}
        other = numpy.asarray(session.run(None, near)[place])
        if other.shape == result.shape:
            far = numpy.abs(other.astype("f8") - result.astype("f8"))
            far = torch.from_numpy(numpy.asarray(numpy.nan_to_num(far, nan=0)))
            moved = torch.maximum(moved, far)
    return moved


def compare_runtime(p, found):
    path = p.folder / "forward.onnx"
    if not path.exists():
        return
    import onnx
    import onnxruntime
    model = onnx.load(path)
    nodes = list(model.graph.node)
    functions = {f.name for f in model.functions}
    gates = any(n.op_type in ("GRU", "LSTM", "Sigmoid") for n in nodes)
    p.runtime_open = any(d.dim_param for i in model.graph.input
                         for d in i.type.tensor_type.shape.dim)
    while nodes:
        node = nodes.pop()
        if node.domain == "tandem" and node.op_type not in functions \
                or node.op_type == "TopK" and not all(
                    a.i for a in node.attribute if a.name == "sorted"):
            return
        for a in node.attribute:
            nodes += a.g.node
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as e:
        text = str(e)
        if "NOT_IMPLEMENTED" not in text and "modulo by zero" not in text:
            found.append(("onnxruntime", "error", 0, f"cannot be loaded: {text[:400]}"))
        return
    for c, outcome in enumerate(p.json["outcomes"]):
        mine = outcome["forward"]
        if mine["error"]:
            continue
        feeds = {}
        for i in session.get_inputs():
            t = p.data[f"{c}.in.{i.name}"]
            if t.dtype == torch.bfloat16:
                return
            feeds[i.name] = t.numpy()
        if any(0 in v.shape for v in feeds.values()):
            continue  # ONNX says little about tensors without elements, and some end the process
        try:
            out = session.run(None, feeds)
        except Exception as e:
            if not any(part in str(e) for part in ("NOT_IMPLEMENTED", "not support", "bfloat16",
                                                 "modulo by zero")):
                found.append(("onnxruntime", "error", c, f"cannot be run: {str(e)[:400]}"))
                return
            continue
        if p.orders_nan.get(c):
            continue  # about the order of NaN ONNX says nothing
        if gates and p.largest(c) > 100:
            continue  # its sigmoid is exact to a rounding of 1, which large states multiply
        p.runtime_calls += 1
        for place, (name, o) in enumerate(zip(mine["names"], out)):
            want = p.data.get(f"{c}.forward.{name}")
            if want is None or want.dtype == torch.bfloat16:
                continue

            def slack():
                try:
                    allowed = p.slack(c, 0, name, want)
                except Skip:
                    allowed = torch.zeros(want.shape, dtype=torch.float64)
                return torch.maximum(allowed, own_noise(session, feeds, place, numpy.asarray(o)))

            got = torch.from_numpy(numpy.array(o))
            # About NaN ONNX says nothing.
            text = difference(got, want, slack, nan_is_open=True)
            if text:
                found.append(("onnxruntime", text[0], c, f"{name} {text[1]}"))
                return


def judge(folder):
    found, p = [], None
    try:
        p = Program(folder)
        compare_torch(p, found)
        compare_training(p, found)
        compare_wide(p, found)
        compare_runtime(p, found)
    except Exception as e:  # a fault of the judge must be seen, and not end it
        found.append(("judge", "error", 0, f"{type(e).__name__}: {e}"))
    return {"differences": [dict(zip(("way", "kind", "call", "what"), f)) for f in found],
            "torch_calls": p.torch_calls if p else 0, "runtime_calls": p.runtime_calls if p else 0,
            "runtime_open": p is not None and p.runtime_open}


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        print(json.dumps(judge(pathlib.Path(line.strip()))), file=answers, flush=True)


if __name__ == "__main__":
    main()
