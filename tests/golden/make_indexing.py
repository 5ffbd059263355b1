"""Writes tests/golden/indexing.npz: what PyTorch reads and writes by index, with gradients. The
cases of tests/indexing.cpp by name, then random ones. usage: make_indexing.py [COUNT [FILE]]"""

import pathlib
import random
import sys

import numpy as np
import torch

torch.manual_seed(3)
x = torch.arange(24.0).reshape(2, 3, 4) * 0.5 - 3
rows = torch.tensor([1, 0, -1])
grid = torch.tensor([[0, 3], [-2, 1]])
mask = torch.tensor([[True, False, True], [False, False, True]])
out = {"x": x.numpy()}

READS = {
    "integer": lambda x: x[1],
    "negative": lambda x: x[-1, 2],
    "element": lambda x: x[1, 2, -3],
    "ranges": lambda x: x[:, 0:3:2],
    "open": lambda x: x[:, 1:, :-1],
    "ellipsis": lambda x: x[..., 2],
    "new_axis": lambda x: x[:, None, 1, ..., None],
    "rows": lambda x: x[:, rows],
    "grid": lambda x: x[:, :, grid],
    "pair": lambda x: x[torch.tensor([0, 1, 1]), rows],
    "apart": lambda x: x[torch.tensor([0, 1, 1]), :, rows],
    "broadcast": lambda x: x[torch.tensor([[0], [1]]), rows],
    "integer_and_rows": lambda x: x[0, :, rows],
    "range_and_rows": lambda x: x[:, 1:, rows],
    "mask": lambda x: x[mask],
    "mask_last": lambda x: x[:, mask[0]],
    "mask_and_range": lambda x: x[mask, 1:3],
    "mask_full": lambda x: x[x > 0],
    "true": lambda x: x[True],
    "false": lambda x: x[False],
}
for name, read in READS.items():
    v = x.clone().requires_grad_()
    y = read(v)
    (y * torch.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
    out["read_" + name], out["read_grad_" + name] = y.detach().numpy(), v.grad.numpy()


def w_integer(x, y): x[1] = 5
def w_row(x, y): x[0, 1] = y
def w_range(x, y): x[:, 0:3:2] = y
def w_add(x, y): x[:, 0:3:2] += y
def w_mul(x, y): x[..., 1] *= 2
def w_div(x, y): x[1] /= y
def w_mask(x, y): x[mask] = y
def w_mask_number(x, y): x[x < 0] = 0
def w_rows(x, y): x[:, torch.tensor([2, 0])] = y
def w_rows_add(x, y): x[:, torch.tensor([2, 0])] += y
def w_pair(x, y): x[torch.tensor([0, 1]), torch.tensor([2, 0])] = y
def w_leading(x, y): x[0] = y.reshape(1, 1, 4)
def w_view_mask(x, y): x[:, 1][x[:, 1] > 0] = -1


out["y"] = np.array([10.0, 20.0, 30.0, 40.0], np.float32)
for name, write in list(globals().items()):
    if not name.startswith("w_"):
        continue
    v = x.clone().requires_grad_()
    y = torch.tensor(out["y"], requires_grad=True)
    z = v * 1
    write(z, y)
    (z * torch.arange(1.0, 25).reshape(z.shape)).sum().backward()
    out["write_" + name[2:]] = z.detach().numpy()
    out["write_dx_" + name[2:]] = v.grad.numpy()
    out["write_dy_" + name[2:]] = (torch.zeros(4) if y.grad is None else y.grad).numpy()

# Random mixes. Each is a row of numbers: the shape of x, the index entries (codes below), the shape
# of the written value; and in "random_values": what is read, its gradient, and x after the write,
# with the gradients of x and the value, every tensor behind its number of axes and its shape.
INTEGER, RANGE, NEW_AXIS, ELLIPSIS, TENSOR, MASK, TRUTH = range(7)
OPEN = 99


def random_entries(rng, shape):
    entries, codes, axis = [], [], 0
    common = rng.choice([(), (2,), (3,), (2, 3), (2, 1)])
    ellipsis_at = rng.randrange(8)
    while axis < len(shape) and rng.random() < 0.9:
        n, kind = shape[axis], rng.choice([INTEGER, RANGE, TENSOR, TENSOR, TENSOR, TENSOR, MASK,
                                           TRUTH, NEW_AXIS, RANGE])
        if len(entries) == ellipsis_at:
            entries.append(Ellipsis)
            codes.append([ELLIPSIS])
            axis += rng.randrange(len(shape) - axis)
            ellipsis_at = -1
            continue
        if kind == INTEGER:
            i = rng.randrange(-n, n)
            entries.append(i)
            codes.append([INTEGER, i])
        elif kind == RANGE:
            a, b = rng.choice([None, 0, 1, -2]), rng.choice([None, n, -1, n - 1])
            step = rng.choice([1, 1, 2])
            entries.append(slice(a, b, step))
            codes.append([RANGE, OPEN if a is None else a, OPEN if b is None else b, step])
        elif kind == NEW_AXIS:
            entries.append(None)
            codes.append([NEW_AXIS])
            continue
        elif kind == TRUTH:
            if rng.random() < 0.7:
                continue
            entries.append(rng.random() < 0.8)
            codes.append([TRUTH, int(entries[-1])])
            continue
        elif kind == MASK:
            dims = rng.choice([1, 1, 2])
            if axis + dims > len(shape):
                continue
            size = shape[axis:axis + dims]
            mask = torch.tensor([rng.random() < 0.5 for _ in range(int(np.prod(size)))])
            entries.append(mask.reshape(size))
            codes.append([MASK, dims, *size, *mask.long().tolist()])
            axis += dims - 1
        else:
            size = rng.choice([(), (), common, common[-1:], tuple(1 for _ in common)])
            t = torch.tensor([rng.randrange(-n, n) for _ in range(int(np.prod(size)))],
                             dtype=torch.int64).reshape(size)
            entries.append(t)
            codes.append([TENSOR, len(size), *size, *t.flatten().tolist()])
        axis += 1
    return tuple(entries), codes


def random_case(rng):
    shape = [rng.randrange(2, 5) for _ in range(rng.randrange(1, 6))]
    entries, codes = random_entries(rng, shape)
    if len(shape) + sum(c[0] in (NEW_AXIS, TRUTH) for c in codes) > 8:
        return None
    x = torch.arange(1.0, np.prod(shape) + 1).reshape(shape).requires_grad_()
    try:
        read = x[entries]
    except (IndexError, RuntimeError):
        return None
    if not entries or read.numel() > 300 or read.dim() > 8:
        return None
    (read * torch.arange(1.0, read.numel() + 1).reshape(read.shape)).sum().backward()
    results = [read.detach(), x.grad]
    cut = list(read.shape)[rng.randrange(read.dim() + 1):]
    size = [1 if rng.random() < 0.3 else d for d in cut]
    value = (-torch.arange(1.0, np.prod(size) + 1)).reshape(size).requires_grad_()
    # Which of two values stays is nobody's promise.
    unique = read.detach().unique().numel() == read.numel()
    if unique:
        x.grad = None
        z = x * 1
        z[entries] = value
        (z * torch.arange(1.0, z.numel() + 1).reshape(z.shape)).sum().backward()
        results += [z.detach(), x.grad, value.grad]
    flat = [v for t in results for v in [t.dim(), *t.shape, *t.flatten().tolist()]]
    row = [len(shape), *shape, len(codes), *[c for code in codes for c in code],
           len(size) if unique else -1, *(size if unique else [])]
    return row, flat


rng = random.Random(11)
count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
rows, values, made = [], [], 0
while made < count:
    case = random_case(rng)
    if case:
        rows += case[0]
        values += case[1]
        made += 1
out["random"], out["random_values"] = np.array(rows, np.int64), np.array(values, np.int32)
name = sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).with_name("indexing.npz")
np.savez_compressed(name, **out)
