"""Writes tests/golden/ops/OP.npz: what PyTorch gives for every good sample of every op.

usage: make_goldens.py OP_REPLAY [OP...]

OP_REPLAY is the built tool; it dumps the samples (`--dump-samples`). tests/support/golden.h says
what the files hold. An op whose samples have not changed keeps its file.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import torch_ops  # noqa: E402

HERE = pathlib.Path(__file__).parent
ORDER = ["f32", "f64", "f16", "bf16", "i8", "u8", "i32", "i64", "bool"]
INTEGERS = {"i8", "u8", "i32", "i64", "bool"}


def to_torch(array):
    if array.dtype.kind == "V":  # bf16 travels as two raw bytes
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def to_numpy(tensor):
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view("V2")
    return tensor.numpy()


def read_inputs(described, arrays):
    return [None if d is None else to_torch(arrays[d["array"]]) for d in described]


def attributes(request):
    special = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
    return {k: special.get(v, v) if isinstance(v, str) else v
            for k, v in request["attrs"].items()}


def stand_ins(request, arrays, golden):
    """Which dtypes PyTorch takes in the place of f64, what they give, and integer results."""
    codes = np.full(len(ORDER), -1, np.int8)
    name = request["id"]
    for dtype, described in request["stand_ins"].items():
        try:
            out = torch_ops.call(request["op"], read_inputs(described, arrays),
                                 attributes(request))
        except (RuntimeError, TypeError, NotImplementedError, IndexError, ValueError):
            continue
        given = torch_ops.NAMES.get(out[0].dtype)
        codes[ORDER.index(dtype)] = ORDER.index(given) if given else -2
        if dtype in INTEGERS and given:
            for k, o in enumerate(out):
                if o.numel() <= 4096:
                    golden[f"{name}.{dtype}.out{k}"] = to_numpy(o)
    if request["stand_ins"]:
        golden[f"{name}.dtypes"] = codes


def sample(request, arrays, golden):
    inputs = read_inputs(request["inputs"], arrays)
    leaves = [i for i, t in enumerate(inputs) if t is not None and t.is_floating_point()]
    for i in leaves:
        inputs[i].requires_grad_()
    out = torch_ops.call(request["op"], inputs, attributes(request))
    name = request["id"]
    for k, o in enumerate(out):
        golden[f"{name}.out{k}"] = to_numpy(o)
    roots, seeds = [], []
    for o, d in zip(out, request["cotangents"]):
        if o.requires_grad and d is not None:
            roots.append(o)
            seeds.append(to_torch(arrays[d["array"]]).reshape(o.shape).to(o.dtype))
    if roots and request["differentiable"]:
        grads = torch.autograd.grad(roots, [inputs[i] for i in leaves], seeds, allow_unused=True)
        for i, g in zip(leaves, grads):
            golden[f"{name}.grad{i}"] = to_numpy(torch.zeros_like(inputs[i]) if g is None else g)


def make(path):
    """True when the op's golden is complete."""
    arrays = dict(np.load(path))
    requests = json.loads(bytes(arrays["request.json"]).decode())
    op = path.stem
    target = HERE / "ops" / f"{op}.npz"
    count = max((r["id"] for r in requests), default=-1) + 1
    checks = np.zeros(count, np.int64)
    for r in requests:
        checks[r["id"]] = r["check"]
    if target.exists():
        old = np.load(target)
        if "checks" in old and np.array_equal(old["checks"], checks):
            return True
    golden = {"checks": checks}
    complete = True
    for r in requests:
        try:
            sample(r, arrays, golden)
            stand_ins(r, arrays, golden)
        except Exception as e:  # what PyTorch refuses is told, and fails in the op suite
            print(f"{r['text']} sample {r['id']}: {type(e).__name__}: {str(e).splitlines()[0]}")
            complete = False
            checks[r["id"]] = 0
    target.parent.mkdir(exist_ok=True)
    np.savez_compressed(target, **golden)
    print(f"{op}: {len(requests)} samples, {target.stat().st_size} bytes")
    return complete


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        only = ["--op", sys.argv[2]] if len(sys.argv) == 3 else []
        subprocess.run([sys.argv[1], "--dump-samples", folder, *only], check=True)
        ok = True
        for path in sorted(pathlib.Path(folder).glob("*.npz")):
            if path.stem in torch_ops.NO_COUNTERPART:
                continue
            if len(sys.argv) > 2 and path.stem not in sys.argv[2:]:
                continue
            ok = make(path) and ok
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
