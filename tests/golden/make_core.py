"""Writes tests/golden/core.npz: PyTorch's and NumPy's word on promotion, half conversions, and on
gradients through views and in-place writes. usage: make_core.py"""

import pathlib

import numpy as np
import torch

ORDER = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8,
         torch.int32, torch.int64, torch.bool, torch.int16, torch.uint16, torch.uint32,
         torch.uint64]
out = {}

# --- promotion: code of the result, -1 where PyTorch has none ----------------------------------
SIZE = len(ORDER)
table = np.full((SIZE, SIZE), -1, np.int8)
scalar = np.full((SIZE, SIZE), -1, np.int8)  # the second has no axes
number = np.full((SIZE, 3), -1, np.int8)


def promoted(a, b):
    try:
        return ORDER.index(torch.result_type(a, b))
    except RuntimeError:  # unsigned integers of more than 8 bits with other integers
        return -1


for i, a in enumerate(ORDER):
    for j, b in enumerate(ORDER):
        table[i, j] = promoted(torch.ones(2, dtype=a), torch.ones(2, dtype=b))
        scalar[i, j] = promoted(torch.ones(2, dtype=a), torch.tensor(1, dtype=b))
    for j, v in enumerate((2.5, 2, True)):
        number[i, j] = ORDER.index(torch.result_type(torch.ones(2, dtype=a), v))
out["promotion"], out["promotion_0d"], out["promotion_number"] = table, scalar, number

# --- half conversions --------------------------------------------------------------------------
halves = np.arange(65536, dtype=np.uint16)
out["half_to_float"] = halves.view(np.float16).astype(np.float32).view(np.int32)
# every midpoint between neighbouring halves, and one ulp of f32 on either side of it
finite = np.sort(halves.view(np.float16)[np.isfinite(halves.view(np.float16))].astype(np.float32))
middle = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
probe = np.concatenate([middle, np.nextafter(middle, np.float32(np.inf)),
                        np.nextafter(middle, np.float32(-np.inf)),
                        np.float32([65504, 65519.996, 65520, 1e30, -65520, np.inf, -np.inf, 0, -0.0,
                                    1e-45, 2.9e-8, 2.98023224e-8, 3.0e-8])]).astype(np.float32)
probe = probe[:: 7]
out["float_probe"] = probe
with np.errstate(over="ignore"):
    out["float_to_half"] = probe.astype(np.float16).view(np.uint16).astype(np.int32)
bf16_bits = torch.from_numpy(probe).bfloat16().view(torch.int16).numpy()
out["float_to_bf16"] = bf16_bits.astype(np.int32) & 0xFFFF


# --- views and in-place writes with gradients --------------------------------------------------
def case(name, function):
    x = torch.arange(1.0, 13.0, dtype=torch.float64).reshape(3, 4) / 4
    x.requires_grad_()
    y = function(x)
    weights = torch.arange(1.0, y.numel() + 1, dtype=torch.float64).reshape(y.shape) / 3
    (g,) = torch.autograd.grad((y * weights).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), x, allow_unused=True) if g.requires_grad else (None,)
    out[f"{name}.y"], out[f"{name}.g"] = y.detach().numpy(), g.detach().numpy()
    out[f"{name}.h"] = np.zeros((3, 4)) if h is None else h.numpy()


def write_to_row(x):
    y = x * x
    row = y.select(0, 1)
    row *= x.select(0, 2)
    return y


def write_to_column_of_transpose(x):
    y = x * 2.0
    y.transpose(0, 1).select(0, 2).copy_(x.select(1, 0))
    return y


def read_a_view_after_a_write_to_its_base(x):
    y = x * 2.0
    view = y.reshape(12)
    y *= x
    return view * view


def write_twice_through_nested_views(x):
    y = x * x * x
    part = y.narrow(0, 1, 2)
    part += 1.0
    part.narrow(1, 0, 2).mul_(x.narrow(0, 0, 2).narrow(1, 2, 2))
    return y * x


def add_in_place_to_a_result(x):
    y = x.exp()
    z = y + 1.0
    z += x
    z *= 2.0
    return z * x


def write_into_fresh_zeros(x):
    y = torch.zeros(3, 4, dtype=torch.float64)
    y.select(0, 0).copy_(x.select(0, 1))
    y.select(0, 2).add_(x.select(0, 2) * x.select(0, 0))
    return y


for f in (write_to_row, write_to_column_of_transpose, read_a_view_after_a_write_to_its_base,
          write_twice_through_nested_views, add_in_place_to_a_result, write_into_fresh_zeros):
    case(f.__name__, f)

# --- third order -------------------------------------------------------------------------------
x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
value = (torch.exp(x * x) * x).sum()
for order in (1, 2, 3):
    (value,) = torch.autograd.grad(value, x, create_graph=True)
    out[f"third_order.{order}"] = value.detach().numpy()
    value = value.sum()

target = pathlib.Path(__file__).parent / "core.npz"
np.savez_compressed(target, **out)
print(target.name, target.stat().st_size, "bytes")
