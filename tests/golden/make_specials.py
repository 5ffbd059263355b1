"""Writes tests/golden/specials/OP.npz: what PyTorch gives where numbers end.

usage: make_specials.py OP_REPLAY [--check] [OP...]

OP_REPLAY is the built tool; it dumps the calls (`--dump-specials`). tests/specials.cpp says what
the files hold. With --check nothing is written: every op is computed anew and compared with its
file.
"""

import json
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import torch_ops  # noqa: E402
from make_goldens import (INTEGERS, attributes, name_of_gradient, read_inputs,  # noqa: E402
                          run, to_numpy, to_torch)

HERE = pathlib.Path(__file__).parent


def leaves_of(request):
    """Floating inputs that PyTorch differentiates by."""
    constants = torch_ops.CONSTANTS.get(request["op"], ())
    return [i for i, d in enumerate(request["inputs"])
            if d is not None and d["dtype"] in ("f32", "f64") and i not in constants]


def results(request, arrays):
    """Outputs, gradients and gradients of the gradients; None where there is none."""
    inputs = read_inputs(request["inputs"], arrays)
    leaves = leaves_of(request)
    for i in leaves:
        inputs[i].requires_grad_()
    integers = not any(t is not None and t.is_floating_point() for t in inputs)
    call = torch_ops.call_as_is if integers else torch_ops.call
    out = call(request["op"], inputs, attributes(request))
    out += [None] * (len(request["cotangents"]) - len(out))
    first, second = [None] * len(inputs), [None] * len(inputs)
    roots = [(o, to_torch(arrays[d["array"]]).reshape(o.shape).to(o.dtype))
             for o, d in zip(out, request["cotangents"])
             if o is not None and o.requires_grad and d is not None]
    if roots and request["differentiable"]:
        wanted = [inputs[i] for i in leaves]
        found = torch.autograd.grad([o for o, _ in roots], wanted, [d for _, d in roots],
                                    create_graph=True, allow_unused=True)
        for i, g in zip(leaves, found):
            first[i] = torch.zeros_like(inputs[i]) if g is None else g
        again = [(g, to_torch(arrays[request["weights"][i]["array"]]).reshape(g.shape))
                 for i, g in zip(leaves, found) if g is not None and g.requires_grad]
        try:
            if again:
                twice = torch.autograd.grad([g for g, _ in again], wanted, [w for _, w in again],
                                            allow_unused=True)
                for i, g in zip(leaves, twice):
                    second[i] = torch.zeros_like(inputs[i]) if g is None else g
            else:
                for i in leaves:
                    second[i] = torch.zeros_like(inputs[i])
        except (RuntimeError, NotImplementedError):  # it has no second derivative
            pass
    return [*out, *first, *second]


def make(path, check):
    arrays = dict(np.load(path))
    requests = json.loads(bytes(arrays["request.json"]).decode())
    checks, lengths, leaves = [], [], []
    values = {"f32": [], "f64": [], "i64": []}
    for r in requests:
        leaves.append(sum(1 << i for i in leaves_of(r)))
        integers = all(t is None or t["dtype"] in INTEGERS for t in r["inputs"])
        if integers and (name_of_gradient(r["op"]) or r["op"] in torch_ops.FLOATING_ONLY):
            checks.append(0)
            lengths.append(0)
            continue
        try:
            all_results = results(r, arrays)
        except Exception as e:  # noqa: BLE001  what PyTorch refuses is left out
            print(f"{r['text']}: {type(e).__name__}: {str(e).splitlines()[0][:100]}")
            checks.append(0)
            lengths.append(0)
            continue
        checks.append(r["check"])
        lengths.append(len(all_results))
        for t in all_results:
            lengths.append(-1 if t is None else t.numel())
            if t is None:
                continue
            kind = {torch.float32: "f32", torch.float64: "f64"}.get(t.dtype, "i64")
            flat = to_numpy(t.reshape(-1).clone())
            values[kind].append(flat if kind != "i64" else flat.astype(np.int64))
    golden = {"checks": np.array(checks, np.int64), "lengths": np.array(lengths, np.int64),
              "leaves": np.array(leaves, np.int64)}
    for kind, parts in values.items():
        if parts:
            golden[kind] = np.concatenate(parts)
    target = HERE / "specials" / path.name
    if check:
        return agrees(target, golden)
    target.parent.mkdir(exist_ok=True)
    np.savez_compressed(target, **golden)
    return True


def agrees(target, golden):
    if not target.exists():
        print(f"{target.name}: is missing")
        return False
    old = np.load(target)
    same = set(old) == set(golden) and all(
        old[k].shape == golden[k].shape
        and (np.allclose(old[k], golden[k], rtol=1e-5, atol=1e-30, equal_nan=True)
             if k.startswith("f") else np.array_equal(old[k], golden[k])) for k in golden)
    if not same:
        print(f"{target.name}: is not what PyTorch gives")
    return same


if __name__ == "__main__":
    run(__doc__, "--dump-specials", make, "specials")
