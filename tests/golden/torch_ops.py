"""How each op of the table is called in PyTorch.

`call(name, inputs, attrs)` gives PyTorch's outputs. Most ops need no entry: a function of the same
name in torch or torch.nn.functional takes the inputs in order and the attributes by name, with
axis -> dim and axes -> dim.
"""

import torch
import torch.nn.functional as F

aten = torch.ops.aten

DTYPES = {
    "f32": torch.float32,
    "f64": torch.float64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "i32": torch.int32,
    "i64": torch.int64,
    "bool": torch.bool,
}
NAMES = {v: k for k, v in DTYPES.items()}

# Ops that PyTorch has no counterpart of; tests/support/excuses.cpp repeats the reason.
NO_COUNTERPART = {
    "random_uniform", "random_normal", "random_int", "bernoulli", "randperm", "multinomial",
    "dropout", "sgd_step", "adam_step", "rmsprop_step", "adagrad_step",
}


def gradient_of(function, inputs, dy, which):
    """The gradient of sum(function(*inputs) * dy) by inputs[which], itself differentiable."""
    with torch.enable_grad():
        given = list(inputs)
        if not given[which].requires_grad:
            given[which] = given[which].detach().requires_grad_()
        out = function(*given)
        return torch.autograd.grad(out, given[which], dy, create_graph=True)[0]


def dims(axes):
    return tuple(axes) if axes else None


def reduce_dims(function):
    return lambda x, axes, keepdim: (
        function(x, dim=tuple(axes) if axes else tuple(range(x.dim())), keepdim=keepdim))


def product(x, axes, keepdim):
    for d in sorted({a % max(x.dim(), 1) for a in (axes or range(x.dim()))}, reverse=True):
        x = torch.prod(x, d, keepdim=keepdim)
    return torch.prod(x) if x.dim() == 0 else x


def any_all(function):
    def call(x, axes, keepdim):
        return function(x, dim=tuple(axes), keepdim=keepdim) if axes else (
            function(x, dim=tuple(range(x.dim())), keepdim=keepdim) if x.dim() else function(x))
    return call


def selectors(x, indices, axes):
    places = [slice(None)] * x.dim()
    for a, i in zip(axes, indices):
        places[a] = i
    return tuple(places)


def index_put(x, values, *indices, axes, accumulate):
    full = [None] * x.dim()
    for a, i in zip(axes, indices):
        full[a] = i
    return aten.index_put(x, full, values, accumulate)


def logsumexp(x, axes, keepdim):
    return torch.logsumexp(x, tuple(axes) if axes else tuple(range(x.dim())), keepdim)


def variance(function):
    return lambda x, axes, correction, keepdim: function(x, dim=dims(axes), correction=correction,
                                                         keepdim=keepdim)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean",
                  label_smoothing=0.0):
    return F.cross_entropy(x, target, weight, ignore_index=ignore_index, reduction=reduction,
                           label_smoothing=label_smoothing)


def nll_loss_grad(dy, target, weight=None, classes=0, ignore_index=-100, reduction="mean"):
    shape = list(target.shape)
    shape.insert(1 if target.dim() else 0, classes)
    x = torch.zeros(shape, dtype=dy.dtype)
    return gradient_of(
        lambda v: F.nll_loss(v, target, weight, ignore_index=ignore_index, reduction=reduction),
        [x], dy, 0)


def bce_grad(dy, x, target, pos_weight, scale):
    return dy * scale * (torch.sigmoid(x) * (1 + (pos_weight - 1) * target) - pos_weight * target)


def conv_attrs(a):
    return {k: tuple(v) if isinstance(v, list) else v for k, v in a.items()}


CALLS = {
    "cast": lambda x, dtype: x.to(DTYPES[dtype]) if x.dtype != DTYPES[dtype] else x.clone(),
    "copy_into": lambda x, src: src.to(x.dtype).expand_as(x),
    "as_strided": lambda x, shape, strides, offset: x.contiguous().as_strided(
        shape, strides, offset),
    "strided_scatter": lambda x, src, strides, offset: torch.as_strided_scatter(
        x.contiguous(), src, src.shape, strides, offset),
    "scatter_region": lambda src, shape, strides, offset: torch.as_strided_scatter(
        torch.zeros(shape, dtype=src.dtype), src, src.shape, strides, offset),
    "sum": lambda x, axes, keepdim: torch.sum(x, dim=dims(axes), keepdim=keepdim),
    "mean": lambda x, axes, keepdim: torch.mean(x, dim=dims(axes), keepdim=keepdim),
    "prod": product,
    "any": any_all(torch.any),
    "all": any_all(torch.all),
    "amax": reduce_dims(torch.amax),
    "amin": reduce_dims(torch.amin),
    "logsumexp": logsumexp,
    "var": variance(torch.var),
    "std": variance(torch.std),
    "expand": lambda x, shape: x.expand(shape),
    "permute": lambda x, axes: x.permute(axes),
    "repeat": lambda x, repeats: x.repeat(repeats),
    "flip": lambda x, axes: torch.flip(x, axes),
    "roll": lambda x, shifts, axes: torch.roll(x, shifts, axes),
    "slice": lambda x, axis, start, stop, step: aten.slice(x, axis, start, stop, step),
    "diagonal": lambda x, offset, axis1, axis2: torch.diagonal(x, offset, axis1, axis2),
    "unfold": lambda x, axis, size, step: x.unfold(axis, size, step),
    "unfold_grad": lambda dy, shape, axis, size, step: gradient_of(
        lambda v: v.unfold(axis, size, step), [torch.zeros(shape, dtype=dy.dtype)], dy, 0),
    "pad_grad": lambda dy, shape, pad, mode: gradient_of(
        lambda v: F.pad(v, pad, mode=mode), [torch.zeros(shape, dtype=dy.dtype)], dy, 0),
    "pad": lambda x, pad, mode, value: F.pad(x, pad, mode, value if mode == "constant" else None),
    "cat": lambda *t, axis: torch.cat(t, axis),
    "stack": lambda *t, axis: torch.stack(t, axis),
    "index": lambda x, *i, axes: x[selectors(x, i, axes)],
    "index_put": index_put,
    "scatter": lambda x, index, src, axis: torch.scatter(
        x, axis, index, src.expand(index.shape) if src.dim() == 0 else src),
    "scatter_add": lambda x, index, src, axis: torch.scatter_add(
        x, axis, index, src.expand(index.shape) if src.dim() == 0 else src),
    "gather": lambda x, index, axis: torch.gather(x, axis, index),
    "index_select": lambda x, index, axis: torch.index_select(x, axis, index),
    "index_add": lambda x, index, src, axis, alpha: torch.index_add(
        x, axis, index, src, alpha=alpha if x.is_floating_point() else int(alpha)),
    "one_hot": lambda x, num_classes: F.one_hot(x, num_classes),
    "embedding": lambda index, weight, padding_idx: F.embedding(index, weight, padding_idx),
    "embedding_grad": lambda dy, index, rows, padding_idx: aten.embedding_dense_backward(
        dy, index, rows, -1 if padding_idx is None else padding_idx % rows, False),
    "sort": lambda x, axis, descending, stable: torch.sort(x, dim=axis, descending=descending,
                                                           stable=stable),
    "topk": lambda x, k, axis, largest, sorted: torch.topk(x, k, axis, largest, sorted),
    "div": lambda x, y, rounding_mode: torch.div(
        x, y, rounding_mode=None if rounding_mode == "none" else rounding_mode),
    "relu_grad": lambda dy, y: aten.threshold_backward(dy, y, 0),
    "sigmoid_grad": aten.sigmoid_backward,
    "tanh_grad": aten.tanh_backward,
    "silu_grad": aten.silu_backward,
    "gelu_grad": aten.gelu_backward,
    "leaky_relu_grad": lambda dy, x, negative_slope: aten.leaky_relu_backward(
        dy, x, negative_slope, False),
    "elu_grad": lambda dy, x, alpha: aten.elu_backward(dy, alpha, 1, 1, False, x),
    "softplus_grad": aten.softplus_backward,
    "hardtanh_grad": aten.hardtanh_backward,
    "clamp_grad": lambda dy, x, min, max: gradient_of(
        lambda v: torch.clamp(v, min, max), [x], dy, 0),
    "mse_loss_grad": lambda dy, x, target, scale: dy * (2 * scale) * (x - target),
    "l1_loss_grad": lambda dy, x, target, scale: dy * scale * torch.sign(x - target),
    "smooth_l1_loss_grad": lambda dy, x, target, scale, beta: scale * gradient_of(
        lambda v: F.smooth_l1_loss(*torch.broadcast_tensors(v, target), reduction="none",
                                   beta=beta), [x], dy, 0),
    "binary_cross_entropy_with_logits": lambda x, t, w=None, p=None, reduction="mean":
        F.binary_cross_entropy_with_logits(x, t, w, reduction=reduction, pos_weight=p),
    "binary_cross_entropy_with_logits_grad": bce_grad,
    "softmax_grad": lambda y, dy, axis: aten._softmax_backward_data(dy, y, axis, y.dtype),
    "log_softmax_grad": lambda y, dy, axis: aten._log_softmax_backward_data(dy, y, axis, y.dtype),
    "nll_loss": lambda x, t, w=None, ignore_index=-100, reduction="mean": F.nll_loss(
        x, t, w, ignore_index=ignore_index, reduction=reduction),
    "nll_loss_grad": nll_loss_grad,
    "cross_entropy": cross_entropy,
    "cross_entropy_grad": lambda x, t, dy, w=None, **a: gradient_of(
        lambda v: cross_entropy(v, t, w, **a), [x], dy, 0),
}


def find(name):
    for home in (torch, F, aten):
        function = getattr(home, name, None)
        if function is not None:
            return function
    raise KeyError(f"PyTorch has no '{name}'; add it to CALLS in tests/golden/torch_ops.py")


def call(name, inputs, attrs):
    """PyTorch's outputs as a list. Trailing inputs that were left out are dropped."""
    inputs = list(inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    if name in CALLS:
        out = CALLS[name](*inputs, **attrs)
    else:
        renamed = {"axis": "dim", "axes": "dim"}
        out = find(name)(*inputs, **{renamed.get(k, k): v for k, v in attrs.items()})
    return list(out) if isinstance(out, (tuple, list)) else [out]
