"""Replays PyTorch's own OpInfo sample inputs through Tandem, forward and gradient.

usage: run.py OP_REPLAY [--op NAME]... [--dtype NAME]... [--most N] [--verbose]

Prints a table with the numbers of passed, failed and skipped samples and the reasons, and ends with
`N passed, N failed, N skipped`. Exit code 1 when a sample failed.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))
from mapping import MAPPING, Skip  # noqa: E402
from torch_ops import DTYPES, NAMES  # noqa: E402

# dtype: relative bound, bound relative to the largest value, absolute bound
BOUNDS = {
    torch.float64: (1e-9, 1e-10, 1e-12),
    torch.float32: (1e-5, 5e-6, 1e-6),
    torch.float16: (4e-3, 2e-3, 1e-3),
    torch.bfloat16: (3.2e-2, 1.6e-2, 1e-2),
}
# Differences that are PyTorch's or ours by design: (op, what) with the reason.
EXCUSED = json.loads((pathlib.Path(__file__).parent / "excused.json").read_text())


class Archive:
    """Arrays and requests of one run of op_replay."""

    def __init__(self):
        self.arrays, self.requests = {}, []

    def add(self, tensor):
        if tensor is None:
            return None
        if isinstance(tensor, (bool, int, float)):
            special = {float("inf"): "inf", float("-inf"): "-inf"}
            v = "nan" if tensor != tensor else special.get(tensor, tensor)
            return {"number": v}
        if not torch.is_tensor(tensor) or tensor.dtype not in NAMES:
            raise Skip(f"an input that is {getattr(tensor, 'dtype', type(tensor).__name__)}")
        tensor = tensor.detach()
        name = f"a{len(self.arrays)}"
        where = {}
        if not tensor.is_contiguous() and tensor.numel():
            last = tensor.storage_offset() + sum((n - 1) * s for n, s in
                                                 zip(tensor.shape, tensor.stride()))
            where = {"shape": list(tensor.shape), "strides": list(tensor.stride()),
                     "offset": tensor.storage_offset()}
            tensor = torch.as_strided(tensor, (last + 1,), (1,), 0)
        tensor = tensor.contiguous().clone()  # later samples may write into shared inputs
        if tensor.dtype == torch.bfloat16:
            self.arrays[name] = tensor.view(torch.int16).numpy().view(np.uint16)
            return {"array": name, "dtype": "bf16", **where}
        self.arrays[name] = tensor.numpy()
        return {"array": name, **where} if where else name


def from_file(described, arrays):
    if described is None:
        return None
    a = np.array(arrays[described["array"]])
    if described["dtype"] == "bf16":
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16).reshape(described["shape"])
    return torch.from_numpy(a).reshape(described["shape"])


def difference(got, want):
    """Empty, or how `got` differs."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"is {got.dtype}{list(got.shape)}, should be {want.dtype}{list(want.shape)}"
    if got.numel() == 0:
        return ""
    if not want.is_floating_point():
        wrong = got != want
        return f"{int(wrong.sum())} of {want.numel()} values differ" if wrong.any() else ""
    g, w = got.double(), want.double()
    rel, norm, absolute = BOUNDS[want.dtype]
    finite = w[torch.isfinite(w)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    bound = rel * w.abs() + norm * largest + absolute
    special = ~torch.isfinite(w) | ~torch.isfinite(g)
    same = torch.where(special, (g == w) | (torch.isnan(g) & torch.isnan(w)),
                       (g - w).abs() <= bound)
    if same.all():
        return ""
    i = int((~same).flatten().nonzero()[0])
    return (f"{int((~same).sum())} of {want.numel()} values differ, the first is "
            f"{g.flatten()[i]:.9g}, should be {w.flatten()[i]:.9g}")


def farthest(values, truth):
    """The largest error of any value; infinite when shapes, or places of NaN, differ."""
    if values.shape != truth.shape or not torch.isfinite(values).all():
        return float("inf")
    return float((values.double() - truth.double()).abs().max())


def flatten(out):
    return list(out) if isinstance(out, (tuple, list)) else [out]


def moved(value, change):
    """`value` with every tensor in it changed."""
    if torch.is_tensor(value):
        return change(value)
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return type(value)(moved(v, change) for v in value) if not hasattr(value, "_fields") \
            else type(value)(*(moved(v, change) for v in value))
    if isinstance(value, dict):
        return {k: moved(v, change) for k, v in value.items()}
    return value


class Case:
    """One sample with what PyTorch gives for it."""

    def __init__(self, op, dtype, sample, number):
        self.op, self.dtype, self.number = op, dtype, number
        self.title = op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")
        self.args = (sample.input, sample.args, sample.kwargs)

    def evaluate(self, dtype, cotangents=None):
        """PyTorch's outputs, cotangents, and gradients by the id of the input."""
        leaves = {}

        def leaf(t):
            if not t.is_floating_point():
                return t
            made = t.detach().to(dtype) if t.dtype == self.dtype else t.detach()
            if t.requires_grad:
                leaves[id(t)] = made.requires_grad_()
            return made

        x, args, kwargs = moved(self.args, leaf)
        out = flatten(self.op(x, *args, **kwargs))
        roots = [o for o in out if torch.is_tensor(o) and o.requires_grad]
        if cotangents is None:
            generator = torch.Generator().manual_seed(self.number)
            cotangents = [torch.randn(o.shape, generator=generator, dtype=torch.float64)
                          .to(o.dtype) for o in roots]
        grads = {}
        if roots:
            found = torch.autograd.grad(roots, list(leaves.values()),
                                        [c.to(o.dtype) for c, o in zip(cotangents, roots)],
                                        allow_unused=True)
            grads = {k: torch.zeros_like(v) if g is None else g
                     for (k, v), g in zip(leaves.items(), found)}
        return out, cotangents, grads

    def request(self, archive, ops):
        self.args = moved(self.args, lambda t: t.detach().clone().requires_grad_(t.requires_grad)
                          if t.is_contiguous() else t)
        x, args, kwargs = self.args
        try:
            name, inputs, attrs = MAPPING[self.op.name](x, *args, **kwargs)
        except TypeError as e:
            raise Skip(f"arguments: {e}") from None
        if name not in ops:
            raise Skip(f"the table has no {name}")
        known = {a["name"] for a in ops[name]["attributes"]}
        unknown = set(attrs) - known
        if unknown:
            raise Skip(f"{name} has no attribute {', '.join(sorted(unknown))}")
        self.name, self.inputs = name, inputs
        self.out, self.cotangents, self.grads = self.evaluate(self.dtype)
        if any(torch.is_tensor(o) and o.dtype not in NAMES for o in self.out):
            raise Skip("a result of a dtype that the library lacks")
        wants = bool(self.grads) and ops[name]["differentiable"]
        request = {"op": name, "inputs": [archive.add(i) for i in inputs], "attrs": {
            k: ("nan" if v != v else "inf" if v == float("inf") else "-inf"
                if v == float("-inf") else v) if isinstance(v, float) else v
            for k, v in attrs.items()}}
        if wants:
            given = iter(self.cotangents)
            request["cotangents"] = [archive.add(next(given)) if o.requires_grad else None
                                     for o in self.out]
            request["grad_inputs"] = [torch.is_tensor(i) and id(i) in self.grads for i in inputs]
        archive.requests.append(request)
        self.wants = wants

    def judge(self, answer, arrays):
        """Empty, or what is wrong."""
        if not answer["ok"]:
            return f"{answer['error']}: {answer['message']}"
        got = [from_file(d, arrays) for d in answer["outputs"]]
        wrong = []
        exact = None

        def compare(what, mine, pick):
            nonlocal exact
            text = difference(mine, pick((self.out, None, self.grads)))
            if text and self.dtype in (torch.float32, torch.float16, torch.bfloat16):
                # PyTorch rounds too: being right to the truth is as good, or nearer to it than
                # PyTorch is, where cancellation leaves nothing but rounding.
                exact = exact or self.evaluate(torch.float64, self.cotangents)
                truth = pick(exact)
                if truth.is_floating_point() and (
                        not difference(mine, truth.to(mine.dtype))
                        or farthest(mine, truth) <= farthest(pick((self.out, None, self.grads)),
                                                             truth)):
                    text = ""
            if text:
                wrong.append(f"{what} {text}")

        for k, mine in enumerate(got[:len(self.out)]):
            compare(f"output {k}", mine, lambda r, k=k: r[0][k])
        if len(got) < len(self.out):
            wrong.append(f"{len(got)} outputs, should be {len(self.out)}")
        if self.wants:
            for i, tensor in enumerate(self.inputs):
                if not torch.is_tensor(tensor) or id(tensor) not in self.grads:
                    continue
                mine = from_file(answer["gradients"][i], arrays)
                if mine is None:
                    mine = torch.zeros_like(tensor)
                compare(f"gradient of input {i}", mine, lambda r, t=tensor: r[2][id(t)])
        return "; ".join(wrong)


def excuse(case, text):
    for e in EXCUSED:
        if e["op"] == case.title and e.get("dtype", NAMES[case.dtype]) == NAMES[case.dtype] \
                and e["contains"] in text:
            return e["reason"]
    return None


def replay(tool, archive, folder):
    source, target = folder / "in.npz", folder / "out.npz"
    text = json.dumps(archive.requests).encode()
    np.savez(source, **archive.arrays, **{"request.json": np.frombuffer(text, np.uint8)})
    code = subprocess.run([tool, str(source), str(target)]).returncode
    if code not in (0, 1):
        raise SystemExit(f"op_replay ended with exit code {code}")
    arrays = np.load(target)
    return json.loads(bytes(arrays["response.json"]).decode()), arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("op_replay")
    parser.add_argument("--op", action="append", help="OpInfo names, all when left out")
    parser.add_argument("--dtype", action="append", choices=list(DTYPES))
    parser.add_argument("--most", type=int, default=60, help="samples an op and dtype")
    parser.add_argument("--verbose", action="store_true", help="print every failure")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    from torch.testing._internal.common_methods_invocations import op_db

    listed = subprocess.run([options.op_replay, "--list"], check=True, capture_output=True)
    ops = {o["name"]: o for o in json.loads(listed.stdout)}
    dtypes = [DTYPES[d] for d in options.dtype or ["f32", "f64", "f16", "bf16", "i64", "u8",
                                                   "bool"]]
    total = collections.Counter()
    covered, failures = set(), []
    print(f"{'op':44} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for op in op_db:
        if op.name not in MAPPING or (options.op and op.name not in options.op):
            continue
        counts, reasons, first = collections.Counter(), collections.Counter(), []
        for dtype in dtypes:
            if not op.supports_dtype(dtype, "cpu"):
                continue
            archive, cases = Archive(), []
            torch.manual_seed(0)
            for number, sample in enumerate(op.sample_inputs(
                    "cpu", dtype, requires_grad=op.supports_autograd and (
                        dtype.is_floating_point and dtype in op.supported_backward_dtypes("cpu")))):
                if number >= options.most:
                    break
                case = Case(op, dtype, sample, number)
                try:
                    case.request(archive, ops)
                except Skip as e:
                    counts["skipped"] += 1
                    reasons[str(e)] += 1
                    continue
                except (RuntimeError, NotImplementedError) as e:
                    counts["skipped"] += 1
                    reasons[f"PyTorch refuses: {str(e).splitlines()[0][:60]}"] += 1
                    continue
                cases.append(case)
            if not cases:
                continue
            with tempfile.TemporaryDirectory() as folder:
                answers, arrays = replay(options.op_replay, archive, pathlib.Path(folder))
                for case, answer in zip(cases, answers):
                    covered.add(case.name)
                    text = case.judge(answer, arrays)
                    why = excuse(case, text) if text else None
                    if why:
                        counts["skipped"] += 1
                        reasons[why] += 1
                    elif text:
                        counts["failed"] += 1
                        first.append(f"    {case.title} {NAMES[dtype]} sample {case.number} "
                                     f"({json.dumps(archive.requests[cases.index(case)])[:300]})"
                                     f": {text}")
                    else:
                        counts["passed"] += 1
        title = op.name + (f".{op.variant_test_name}" if op.variant_test_name else "")
        print(f"{title:44} {counts['passed']:7} {counts['failed']:7} {counts['skipped']:8}",
              flush=True)
        for reason, n in reasons.most_common():
            print(f"    {n} skipped: {reason}")
        for text in first if options.verbose else first[:3]:
            print(text)
        if len(first) > 3 and not options.verbose:
            print(f"    ... and {len(first) - 3} more failures")
        failures += first
        total += counts
    missing = sorted(set(ops) - covered)
    print(f"ops of the table without an OpInfo counterpart here: {', '.join(missing)}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
