"""Writes tests/golden/ops/OP.npz: what PyTorch gives for every good sample of every op.

usage: make_goldens.py OP_REPLAY [--check] [OP...]

OP_REPLAY is the built tool; it dumps the samples (`--dump-samples`). tests/support/golden.h says
what the files hold. An op whose samples have not changed keeps its file. With --check nothing is
written: every op is computed anew and compared with its file.
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
ORDER = list(torch_ops.DTYPES)  # as the library counts them
INTEGERS = set(ORDER[4:])


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


def name_of_gradient(op):
    """Records that exist for gradients only see floating inputs."""
    return op.endswith("_grad")


def stand_ins(request, arrays, golden):
    """Which dtypes PyTorch takes in the place of f64, what they give, and integer results."""
    codes = np.full(len(ORDER), -1, np.int8)
    name = request["id"]
    floating_only = name_of_gradient(request["op"]) or request["op"] in torch_ops.FLOATING_ONLY
    for dtype, described in request["stand_ins"].items():
        if dtype in INTEGERS and floating_only:
            continue
        if dtype in torch_ops.UNDEFINED.get(request["op"], ()):
            continue
        try:
            out = torch_ops.call_as_is(request["op"], read_inputs(described, arrays),
                                 attributes(request))
        except (RuntimeError, TypeError, NotImplementedError, IndexError, ValueError):
            continue
        given = torch_ops.NAMES.get(out[0].dtype)
        codes[ORDER.index(dtype)] = ORDER.index(given) if given else -2
        if dtype in INTEGERS and given:
            for k, o in enumerate(out):
                if o is not None and o.numel() <= 4096:
                    golden[f"{name}.{dtype}.out{k}"] = to_numpy(o)
    if request["stand_ins"]:
        golden[f"{name}.dtypes"] = codes


def sample(request, arrays, golden):
    inputs = read_inputs(request["inputs"], arrays)
    leaves = [i for i, t in enumerate(inputs) if t is not None and t.is_floating_point()
              and i not in torch_ops.CONSTANTS.get(request["op"], ())]
    for i in leaves:
        inputs[i].requires_grad_()
    out = torch_ops.call(request["op"], inputs, attributes(request))
    name = request["id"]
    for k, o in enumerate(out):
        if o is not None:
            golden[f"{name}.out{k}"] = to_numpy(o)
    roots, seeds = [], []
    for o, d in zip(out, request["cotangents"]):
        if o is not None and o.requires_grad and d is not None:
            roots.append(o)
            seeds.append(to_torch(arrays[d["array"]]).reshape(o.shape).to(o.dtype))
    if roots and request["differentiable"]:
        grads = torch.autograd.grad(roots, [inputs[i] for i in leaves], seeds, allow_unused=True)
        for i, g in zip(leaves, grads):
            golden[f"{name}.grad{i}"] = to_numpy(torch.zeros_like(inputs[i]) if g is None else g)


def same_values(a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind == "f":
        return np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True)
    return a.tobytes() == b.tobytes()


def agrees(target, golden):
    """True when the committed file holds these values."""
    if not target.exists():
        print(f"{target.name}: is missing")
        return False
    old = np.load(target)
    wrong = sorted(set(old) ^ set(golden)) + [
        k for k in old if k in golden and not same_values(old[k], golden[k])]
    for k in wrong[:5]:
        print(f"{target.name}: {k} is not what PyTorch gives")
    return not wrong


def make(path, check):
    """True when the op's golden is complete."""
    arrays = dict(np.load(path))
    requests = json.loads(bytes(arrays["request.json"]).decode())
    op = path.stem
    target = HERE / "ops" / f"{op}.npz"
    count = max((r["id"] for r in requests), default=-1) + 1
    checks = np.zeros(count, np.int64)
    for r in requests:
        checks[r["id"]] = r["check"]
    if target.exists() and not check:
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
    if check:
        return agrees(target, golden) and complete
    target.parent.mkdir(exist_ok=True)
    np.savez_compressed(target, **golden)
    print(f"{op}: {len(requests)} samples, {target.stat().st_size} bytes")
    return complete


def run(usage, dump, make, what):
    """The command line of this script and of make_specials.py."""
    check = "--check" in sys.argv
    names = [a for a in sys.argv[1:] if a != "--check"]
    if not names:
        sys.exit(usage)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        only = ["--op", names[1]] if len(names) == 2 else []
        subprocess.run([names[0], dump, folder, *only], check=True)
        ok = True
        for path in sorted(pathlib.Path(folder).glob("*.npz")):
            if path.stem in torch_ops.NO_COUNTERPART:
                continue
            if len(names) > 1 and path.stem not in names[1:]:
                continue
            ok = make(path, check) and ok
    if check:
        print(f"{what}: all as PyTorch gives them" if ok else f"{what}: some differ")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    run(__doc__, "--dump-samples", make, "goldens")
