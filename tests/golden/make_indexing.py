"""Writes tests/golden/indexing.npz: what PyTorch reads and writes by index, with gradients. The
cases of tests/indexing.cpp by name. usage: make_indexing.py"""

import pathlib

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
np.savez_compressed(pathlib.Path(__file__).with_name("indexing.npz"), **out)
