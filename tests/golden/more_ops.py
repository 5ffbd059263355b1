"""PyTorch's (or the onnx package's) word on the records that stand for operators of ONNX."""

import torch

NARROW = {"e4m3fn": "float8_e4m3fn", "e4m3fnuz": "float8_e4m3fnuz", "e5m2": "float8_e5m2",
          "e5m2fnuz": "float8_e5m2fnuz", "e2m1": "float4_e2m1fn", "e8m0": "float8_e8m0fnu"}

FLOATING_ONLY = {"dft", "linear_recurrence", "det", "inverse", "cholesky", "minifloat", "roi_align",
                 "weighted_select"}


def dft(x, axis, inverse, onesided):
    half = x.dtype in (torch.float16, torch.bfloat16)
    parts = (x.float() if half else x).unbind(-1)
    wide = torch.complex(parts[0].contiguous(), parts[1].contiguous())
    axis = axis % x.dim()
    y = torch.fft.ifft(wide, dim=axis) if inverse else torch.fft.fft(wide, dim=axis)
    y = torch.stack((y.real, y.imag), -1)
    if onesided:
        y = y.narrow(axis, 0, x.shape[axis] // 2 + 1)
    return y.to(x.dtype)


def linear_recurrence(a, b, axis):
    if a.dim() == 0 or a.shape[axis] == 0:
        return b.clone()
    rows = [b.select(axis, 0)]
    for i in range(1, a.shape[axis]):
        rows.append(a.select(axis, i) * rows[-1] + b.select(axis, i))
    return torch.stack(rows, axis)


def minifloat(x, format, saturate, rounding):
    import ml_dtypes
    import numpy

    kind = getattr(ml_dtypes, NARROW[format])
    wide = x.detach().float().numpy()
    with numpy.errstate(all="ignore"):
        y = wide.astype(kind).astype(numpy.float64)
    if saturate and format != "e2m1":
        largest = float(ml_dtypes.finfo(kind).max)
        beyond = numpy.isinf(y) | (numpy.isnan(y) & ~numpy.isnan(wide))
        if format == "e8m0":  # neither zero nor negative numbers
            beyond &= wide > 0
            y = numpy.where(wide == 0, 2.0 ** -127, y)
        y = numpy.where(beyond, numpy.copysign(largest, wide), y)
    return torch.from_numpy(y).to(x.dtype)


def roi_align(x, boxes, batch, height, width, sampling_ratio, spatial_scale, largest, half_pixel):
    from onnx.reference.ops.op_roi_align import RoiAlign

    shape = (boxes.shape[0], x.shape[1], height, width)
    y = torch.zeros(shape, dtype=torch.float64).numpy()
    RoiAlign.roi_align_forward(
        shape, x.detach().double().contiguous().numpy().ravel(), spatial_scale, x.shape[2],
        x.shape[3], sampling_ratio, boxes.detach().double().numpy().ravel(), 4, y.ravel(),
        "max" if largest else "avg", half_pixel, batch.numpy())
    return torch.from_numpy(y).to(x.dtype)


def weighted_select(x, place, weight, axis):
    axis = axis % x.dim()
    line = [-1 if i == axis else 1 for i in range(x.dim())]
    shape = list(x.shape)
    shape[axis] = place.shape[0]
    y = x.new_zeros(shape)
    for k in range(place.shape[1]):
        y = y + torch.index_select(x, axis, place[:, k]) * weight[:, k].reshape(line)
    return y + weight[:0].sum() + x.narrow(axis, 0, 0).sum()  # both take part, whatever they are


def centred(x, zero, shape):
    return x.long() if zero is None else x.long() - zero.long().reshape(
        shape if zero.numel() > 1 else ())


def int8_matmul(x, y, x_zero=None, y_zero=None):
    return (centred(x, x_zero, (-1, 1)) @ centred(y, y_zero, (1, -1))).int()


def int8_conv2d(x, weight, x_zero=None, w_zero=None, stride=(1,), padding=(0,), dilation=(1,),
                groups=1):
    sides = list(padding)
    top, left, bottom, right = (sides * 4)[:4] if len(sides) < 3 else sides
    wide = torch.nn.functional.pad(centred(x, x_zero, ()).double(), (left, right, top, bottom))
    w = centred(weight, w_zero, (-1, 1, 1, 1)).double()
    return torch.nn.functional.conv2d(wide, w, None, tuple(stride), 0, tuple(dilation),
                                      groups).round().int()


def requantize(x, scale, zero, bias=None, dtype="u8", axis=1):
    line = [-1 if i == axis % x.dim() else 1 for i in range(x.dim())]
    sums = x if bias is None else x + bias.reshape(line)
    steps = sums.float() * (scale.reshape(line) if scale.numel() > 1 else scale.reshape(()))
    low, high = (0, 255) if dtype == "u8" else (-128, 127)
    stored = (steps.round() + zero.reshape(()).float()).clamp(low, high)
    return stored.to(torch.uint8 if dtype == "u8" else torch.int8)


def in_f32(f, x):
    """Of what PyTorch does not compute in 16 bits."""
    return f(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).to(x.dtype)


def calls(dtypes):
    return {
        "dft": dft,
        "linear_recurrence": linear_recurrence,
        "det": lambda x: in_f32(torch.linalg.det, x),
        "inverse": lambda x: in_f32(torch.linalg.inv, x),
        "cholesky": lambda x: in_f32(torch.linalg.cholesky, x),
        "minifloat": minifloat,
        "bitcast": lambda x, dtype: x.view(dtypes[dtype]).clone(),
        "scatter_reduce": lambda x, index, src, axis, reduce: torch.scatter_reduce(
            x, axis, index, src, reduce),
        "roi_align": roi_align,
        "weighted_select": weighted_select,
        "int8_matmul": int8_matmul,
        "int8_conv2d": int8_conv2d,
        "requantize": requantize,
    }
