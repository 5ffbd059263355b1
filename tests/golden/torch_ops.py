"""How each op of the table is called in PyTorch.

`call(name, inputs, attrs)` gives PyTorch's outputs. Most ops need no entry: a function of the same
name in torch or torch.nn.functional takes the inputs in order and the attributes by name, with
axis -> dim and axes -> dim.
"""

import more_ops
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
    "i16": torch.int16,
    "u16": torch.uint16,
    "u32": torch.uint32,
    "u64": torch.uint64,
}
NAMES = {v: k for k, v in DTYPES.items()}
# What PyTorch leaves to the compiler: a negative bound as an unsigned number.
UNDEFINED = {"hardtanh": {"u64"}}

# Ops that PyTorch has no counterpart of; tests/support/excuses.cpp repeats the reason.
NO_COUNTERPART = {
    "random_uniform", "random_normal", "random_int", "bernoulli", "randperm", "multinomial",
    "dropout",
}


# Inputs that PyTorch does not differentiate by.
CONSTANTS = {
    "binary_cross_entropy_with_logits": {2, 3},
    "batch_norm": {3, 4},
    "nll_loss": {2},
    "nll_loss_grad": {2},
    "cross_entropy": {2},
    "cross_entropy_grad": {3},
}

# Ours compute these in f32 for integers; PyTorch refuses or keeps integers that no user meets.
FLOATING_ONLY = {"l1_loss", "mse_loss", "smooth_l1_loss", "kl_div", *more_ops.FLOATING_ONLY}


def leaf_of(t):
    """A handle of its own: the same tensor may be another input as well."""
    return t.view_as(t) if t.requires_grad else t.detach().requires_grad_()


def gradient_of(function, inputs, dy, which):
    """The gradient of sum(function(*inputs) * dy) by inputs[which], itself differentiable."""
    with torch.enable_grad():
        given = list(inputs)
        given[which] = leaf_of(given[which])
        out = function(*given)
        return torch.autograd.grad(out, given[which], dy, create_graph=True)[0]


def point_gradient(function, dy, x):
    """As gradient_of, in the dtype in which the two meet."""
    dtype = torch.result_type(dy, x)
    return gradient_of(function, [x.to(dtype)], dy.to(dtype), 0)


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
    places = [None] * x.dim()
    for a, i in zip(axes or range(len(indices)), indices):
        places[a] = i
    return places


def index_put(x, values, *indices, axes, accumulate):
    return aten.index_put(x, selectors(x, indices, axes), values, accumulate)


def logsumexp(x, axes, keepdim):
    return torch.logsumexp(x, tuple(axes) if axes else tuple(range(x.dim())), keepdim)


def variance(function):
    return lambda x, axes, correction, keepdim: function(x, dim=dims(axes), correction=correction,
                                                         keepdim=keepdim)


def as_strided(x, shape, strides, offset):
    # PyTorch counts the offset from the begin of the memory.
    base = x.contiguous()
    y = base.as_strided(shape, strides, base.storage_offset() + offset)
    return y if x.is_contiguous() else y.contiguous()


def strided_scatter(x, src, strides, offset):
    # as_strided_scatter's own gradient by x is wrong (it keeps the region instead of the rest).
    places = torch.arange(x.numel()).as_strided(src.shape, strides, offset)
    return x.reshape(-1).index_put((places,), src).reshape(x.shape)


def div(x, y, rounding_mode):
    mode = None if rounding_mode == "none" else rounding_mode
    if mode == "trunc" and not (x.is_floating_point() or y.is_floating_point()):
        # The least integer by -1 ends the process; what the other modes give.
        return torch.where(y == -1, -x, torch.div(x, torch.where(y == -1, 1, y),
                                                  rounding_mode=mode))
    return torch.div(x, y, rounding_mode=mode)


def repeat(x, repeats):
    if min(repeats, default=0) < 0:  # PyTorch finds no fault when a length is 0
        raise RuntimeError("size 0 hides a negative repeat")
    return x.repeat(repeats)


def strided_sum(dy, shape, strides, offset):
    total = torch.zeros(shape, dtype=dy.dtype)
    places = torch.arange(total.numel()).as_strided(dy.shape, strides, offset)
    return total.reshape(-1).index_put((places,), dy, accumulate=True).reshape(shape)


def whole(v):
    return int(v) if v is not None and v == int(v) else v


def clamp(x, min, max):
    return torch.clamp(x, whole(min), whole(max))


def hardtanh(x, min_val, max_val):
    # PyTorch's vector loop gives NaN no gradient, its scalar loop gives dy: the latter.
    return torch.where(x.isnan(), x, F.hardtanh(x, min_val, max_val)) \
        if x.is_floating_point() else F.hardtanh(x, whole(min_val), whole(max_val))


def scatter_source(index, src):
    return src.expand(index.shape) if src.dim() == 0 else src[tuple(map(slice, index.shape))]


def linear(x, weight, bias=None):
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    return x @ weight if bias is None else x @ weight + bias


def embedding_grad(dy, index, rows, padding_idx):
    if index.numel() == 0:
        return torch.zeros(rows, dy.shape[-1], dtype=dy.dtype) + 0 * dy.sum()
    return aten.embedding_dense_backward(dy, index, rows,
                                         -1 if padding_idx is None else padding_idx % rows, False)


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


def smooth_l1_loss_grad(dy, x, target, scale, beta):
    # Girshick 2015; a chosen branch keeps NaN out of the other, where PyTorch multiplies by 0.
    d = x - target
    return dy * scale * torch.where(d.abs() >= beta, torch.sign(d), d / (beta or 1))


def bce_grad(dy, x, target, pos_weight, scale):
    return dy * scale * (torch.sigmoid(x) * (1 + (pos_weight - 1) * target) - pos_weight * target)


def optimizer_step(optimizer, step, p, g, state, **options):
    """p after one step of the torch.optim class from the given state, and that state."""
    parameter = torch.nn.Parameter(p.detach().clone())
    parameter.grad = g.detach().clone()
    o = optimizer([parameter], **options)
    held = {k: v.detach().clone() for k, v in state.items() if v is not None}
    o.state[parameter] = {"step": torch.tensor(float(step)), **held}
    o.step()
    after = o.state[parameter]
    return parameter.detach(), [after[k] if v is not None else None for k, v in state.items()]


def sgd_step(hyper, step, p, g, buf=None, nesterov=False, maximize=False):
    lr, momentum, dampening, decay = hyper.tolist()
    if buf is None:  # without a buffer there is no momentum
        momentum, dampening, nesterov = 0.0, 0.0, False
    first = buf is not None and float(step) == 0
    if nesterov and dampening:
        # torch.optim refuses this pair; its update, written out.
        d = (-g if maximize else g) + decay * p
        buf = d if first else momentum * buf + (1 - dampening) * d
        return p - lr * (d + momentum * buf), buf, step + 1
    optimizer = torch.optim.SGD
    if first:
        new, _ = optimizer_step(optimizer, step, p, g, {}, lr=lr, momentum=momentum,
                                dampening=dampening, weight_decay=decay, nesterov=nesterov,
                                maximize=maximize)
        return new, (-g if maximize else g) + decay * p, step + 1
    new, (buf,) = optimizer_step(optimizer, step, p, g, {"momentum_buffer": buf}, lr=lr,
                                 momentum=momentum, dampening=dampening, weight_decay=decay,
                                 nesterov=nesterov, maximize=maximize)
    return new, buf, step + 1


def adam_step(hyper, step, p, g, m, v, top=None, maximize=False, decoupled=False):
    lr, b1, b2, eps, decay = hyper.tolist()
    new, (m, v, top) = optimizer_step(
        torch.optim.AdamW if decoupled else torch.optim.Adam, step, p, g,
        {"exp_avg": m, "exp_avg_sq": v, "max_exp_avg_sq": top}, lr=lr, betas=(b1, b2), eps=eps,
        weight_decay=decay, amsgrad=top is not None, maximize=maximize)
    return new, m, v, top, step + 1


def rmsprop_step(hyper, step, p, g, a, s1=None, s2=None, centered=False, with_momentum=False,
                 maximize=False):
    lr, alpha, eps, decay, momentum = hyper.tolist()
    mean = s1 if centered else None
    buf = (s2 if centered else s1) if with_momentum else None
    new, (a, mean, buf) = optimizer_step(
        torch.optim.RMSprop, step, p, g,
        {"square_avg": a, "grad_avg": mean, "momentum_buffer": buf},
        lr=lr, alpha=alpha, eps=eps, weight_decay=decay, momentum=momentum if with_momentum else 0,
        centered=centered, maximize=maximize)
    states = [s for s in (mean, buf) if s is not None] + [None, None]
    return new, a, states[0], states[1], step + 1


def adagrad_step(hyper, step, p, g, total, maximize=False):
    lr, lr_decay, decay, eps = hyper.tolist()
    new, (total,) = optimizer_step(torch.optim.Adagrad, step, p, g, {"sum": total}, lr=lr,
                                   lr_decay=lr_decay, weight_decay=decay, eps=eps,
                                   maximize=maximize)
    return new, total, step + 1


def gradients_of(function, inputs, dy, which):
    """As gradient_of, by several inputs; None for those that were left out."""
    with torch.enable_grad():
        given = [t if t is None or i not in which else leaf_of(t) for i, t in enumerate(inputs)]
        out = function(*given)
        pairs = [(o, d) for o, d in zip(out, dy) if d is not None and o.requires_grad]
        asked = [i for i in which if given[i] is not None]
        found = torch.autograd.grad([o for o, _ in pairs], [given[i] for i in asked],
                                    [d for _, d in pairs], create_graph=True, allow_unused=True)
        found = {i: torch.zeros_like(given[i]) if g is None else g for i, g in zip(asked, found)}
    return [found.get(i) for i in which]


def both(v):
    return list(v) * 2 if len(v) == 1 else list(v)


def conv2d_input_grad(dy, weight, size, groups, **a):
    x = torch.zeros(*dy.shape[:-3], weight.shape[1] * groups, *both(size), dtype=dy.dtype)
    return gradient_of(lambda v: F.conv2d(v, weight, groups=groups, **a), [x], dy, 0)


def conv2d_weight_grad(x, dy, kernel, groups, **a):
    weight = torch.zeros(dy.shape[-3], x.shape[-3] // groups, *both(kernel), dtype=dy.dtype)
    return gradient_of(lambda v: F.conv2d(x, v, groups=groups, **a), [weight], dy, 0)


def max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode):
    return F.max_pool2d(x, kernel_size, stride or None, padding, dilation, ceil_mode,
                        return_indices=True)


def max_pool2d_grad(dy, indices, size):
    size = both(size)
    if 0 in size:
        raise RuntimeError("planes of size 0")
    flat = torch.zeros(*dy.shape[:-2], size[0] * size[1], dtype=dy.dtype)
    inside = torch.where(indices < 0, 0, dy)  # -1: the window lies in the padding alone
    return flat.scatter_add(-1, indices.clamp(min=0).flatten(-2),
                            inside.flatten(-2)).unflatten(-1, size)


def avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    return F.avg_pool2d(x, kernel_size, stride or None, padding, ceil_mode, count_include_pad,
                        divisor_override)


def planes_like(dy, size):
    return torch.zeros(*dy.shape[:-2], *both(size), dtype=dy.dtype)


def adaptive_avg_pool2d(x, output_size):
    if 0 in x.shape[-2:]:  # PyTorch refuses it for all results but 1 x 1
        raise RuntimeError("planes of size 0")
    return F.adaptive_avg_pool2d(x, [None if n < 0 else n for n in both(output_size)])


def other_axes(x):
    return [d for d in range(x.dim()) if d != 1]


def batch_norm(x, weight=None, bias=None, mean=None, var=None, training=False, eps=1e-5):
    # PyTorch's backward reads a strided weight as if it were contiguous.
    weight = None if weight is None else weight.contiguous()
    y = F.batch_norm(x, mean if not training else None, var if not training else None, weight, bias,
                     training, 0.0, eps)
    if training:
        return y, x.mean(other_axes(x)), x.var(other_axes(x), correction=0)
    return y, mean.detach(), var.detach()


def layer_norm(x, weight=None, bias=None, normalized_shape=(), eps=1e-5):
    return F.layer_norm(x, normalized_shape, weight, bias, eps)


def group_norm(x, weight=None, bias=None, num_groups=1, eps=1e-5):
    return F.group_norm(x, num_groups, weight, bias, eps)


def norm_grad(norm, parameter_shape):
    def call(x, dy, weight=None, **a):
        shape = parameter_shape(x, a)
        w = torch.ones(shape, dtype=x.dtype) if weight is None else weight
        bias = torch.zeros(shape, dtype=x.dtype)
        return gradients_of(lambda *i: [norm(*i, **a)], [x, w, bias], [dy], [0, 1, 2])
    return call


def batch_norm_grad(x, dy, mean, var, dmean, dvar, weight=None, training=True, eps=1e-5):
    # The formula of Ioffe and Szegedy, section 3, since mean and var are given. As PyTorch's norms,
    # it sums 16 bits in f32, which the parameters' gradients stay in.
    dtype, wide = x.dtype, torch.float64 if x.dtype == torch.float64 else torch.float32
    x, dy, mean, var, dmean, dvar = (t.to(wide) for t in (x, dy, mean, var, dmean, dvar))
    weight = weight if weight is None else weight.to(wide)
    shape = [1, -1] + [1] * (x.dim() - 2)
    axes, n = other_axes(x), x.numel() / max(x.shape[1], 1)
    rstd = (var + eps).rsqrt().reshape(shape)
    hat = (x - mean.reshape(shape)) * rstd
    scale = rstd if weight is None else rstd * weight.reshape(shape)
    dw, db = (dy * hat).sum(axes), dy.sum(axes)
    if not training:
        return (dy * scale).to(dtype), dw, db
    dx = scale * (dy - db.reshape(shape) / n - hat * dw.reshape(shape) / n)
    dx = dx + dmean.reshape(shape) / n + dvar.reshape(shape) * 2 * (x - mean.reshape(shape)) / n
    return dx.to(dtype), dw, db


def attention_scores(q, k, mask, is_causal, scale):
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.transpose(-1, -2) * factor
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~seen, float("-inf"))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool \
            else scores + mask
    return scores, factor


def attention(q, k, v, mask=None, is_causal=False, scale=None, nan_rows=False):
    scores, _ = attention_scores(q, k, mask, is_causal, scale)
    if nan_rows:
        y = torch.softmax(scores, -1) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale)
    return y, torch.logsumexp(scores, -1)


def attention_grad(q, k, v, dy, dlse, mask=None, is_causal=False, scale=None):
    # Dao et al. 2022, algorithm 4, with the gradient of the rows' logarithmic sums.
    scores, factor = attention_scores(q, k, mask, is_causal, scale)
    p = torch.softmax(scores, -1)
    dp = dy @ v.transpose(-1, -2)
    d = (p * dp).sum(-1, keepdim=True) - (0 if dlse is None else dlse[..., None])
    ds = p * (dp - d)
    return ds @ k * factor, ds.transpose(-1, -2) @ q * factor, p.transpose(-1, -2) @ dy


def linear_grad(x, dy):
    x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return dy.T @ x, dy.sum(0)


def recurrent(kind):
    """One layer and direction over a sequence [T, N, I]: outputs, last states."""
    def call(x, *rest, nonlinearity="tanh", reverse=False):
        states = 2 if kind == "lstm" else 1
        first = [t.unsqueeze(0) for t in rest[:states]]
        if x.shape[0] == 0:  # PyTorch refuses an empty sequence
            y = x.new_zeros(0, *rest[0].shape)
            if x.is_floating_point():  # all take part
                y = y + sum(t[:0].sum() for t in (x, *rest) if t is not None)
            return [y, *rest[:states]]
        params = [p for p in rest[states:] if p is not None]
        function = {"rnn": torch.rnn_relu if nonlinearity == "relu" else torch.rnn_tanh,
                    "lstm": torch.lstm, "gru": torch.gru}[kind]
        out = function(x.flip(0) if reverse else x, first if states == 2 else first[0], params,
                       len(params) == 4, 1, 0.0, False, False, False)
        y = out[0].flip(0) if reverse else out[0]
        return [y, *[s.squeeze(0) for s in out[1:]]]
    return call


def recurrent_grad(kind, kept):
    """Inputs of the layer, then y and what the layer kept, then the cotangents."""
    states = 2 if kind == "lstm" else 1

    def call(*inputs, **attrs):
        n = 1 + states + 4
        layer = list(inputs[:n])
        dy = list(inputs[n + 1 + kept:]) + [None] * (1 + states)
        return gradients_of(lambda *i: recurrent(kind)(*i, **attrs), layer, dy, list(range(n)))
    return call


CALLS = {
    "conv2d_input_grad": conv2d_input_grad,
    "conv2d_weight_grad": conv2d_weight_grad,
    "max_pool2d": max_pool2d,
    "max_pool2d_grad": max_pool2d_grad,
    "avg_pool2d": avg_pool2d,
    "avg_pool2d_grad": lambda dy, size, **a: gradient_of(
        lambda v: avg_pool2d(v, **a), [planes_like(dy, size)], dy, 0),
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "adaptive_avg_pool2d_grad": lambda dy, size: gradient_of(
        lambda v: F.adaptive_avg_pool2d(v, dy.shape[-2:]), [planes_like(dy, size)], dy, 0),
    "linear_grad": linear_grad,
    "batch_norm": batch_norm,
    "batch_norm_grad": batch_norm_grad,
    "layer_norm": layer_norm,
    "layer_norm_grad": norm_grad(layer_norm, lambda x, a: a["normalized_shape"]),
    "group_norm": group_norm,
    "group_norm_grad": norm_grad(group_norm, lambda x, a: [x.shape[1]]),
    "scaled_dot_product_attention": attention,
    "scaled_dot_product_attention_grad": attention_grad,
    "rnn": recurrent("rnn"),
    "lstm": recurrent("lstm"),
    "gru": recurrent("gru"),
    "rnn_grad": recurrent_grad("rnn", 1),
    "lstm_grad": recurrent_grad("lstm", 2),
    "gru_grad": recurrent_grad("gru", 1),
    "sgd_step": sgd_step,
    "adam_step": adam_step,
    "rmsprop_step": rmsprop_step,
    "adagrad_step": adagrad_step,
    "cast": lambda x, dtype: x.to(DTYPES[dtype]) if x.dtype != DTYPES[dtype] else x.clone(),
    "copy_into": lambda x, src: src.to(x.dtype).expand_as(x).clone(),
    "as_strided": as_strided,
    "strided_scatter": strided_scatter,
    "strided_sum": strided_sum,
    "linear": linear,
    "clamp": clamp,
    "hardtanh": hardtanh,
    "round": lambda x, decimals: torch.round(x, decimals=decimals) if x.is_floating_point()
        else x.clone(),
    "kl_div": F.kl_div,
    "scatter_region": lambda src, shape, strides, offset: torch.as_strided_scatter(
        torch.zeros(shape, dtype=src.dtype), src, src.shape, strides, offset),
    "prod_grad": lambda x, dy: gradient_of(lambda v: v.prod(-1, keepdim=True), [x], dy, 0),
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
    "repeat": repeat,
    "flip": lambda x, axes: torch.flip(x, axes),
    "roll": lambda x, shifts, axes: torch.roll(x, shifts, axes),
    "narrow": lambda x, axis, start, length: torch.narrow(x, axis, start, length),
    "sum_to": lambda x, shape: x.sum_to_size(shape).to(x.dtype),
    "number": lambda value, dtype: torch.tensor(value, dtype=DTYPES[dtype]),
    "arange": lambda start, end, step, dtype: torch.arange(start, end, step, dtype=DTYPES[dtype]),
    "linspace": lambda start, end, steps, dtype: torch.linspace(
        start, end, steps, dtype=DTYPES[dtype]),
    "eye": lambda n, m, dtype: torch.eye(n, m, dtype=DTYPES[dtype]),
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
    "index": lambda x, *i, axes: aten.index(x, selectors(x, i, axes)),
    "index_put": index_put,
    "scatter": lambda x, index, src, axis: torch.scatter(
        x, axis, index, scatter_source(index, src)),
    "scatter_add": lambda x, index, src, axis: torch.scatter_add(
        x, axis, index, scatter_source(index, src)),
    "gather": lambda x, index, axis: torch.gather(x, axis, index),
    "index_select": lambda x, index, axis: torch.index_select(x, axis, index),
    "index_add": lambda x, index, src, axis, alpha: torch.index_add(
        x, axis, index, src, alpha=alpha if x.is_floating_point() else int(alpha)),
    "one_hot": lambda x, num_classes: F.one_hot(x, num_classes),
    "embedding": lambda index, weight, padding_idx: F.embedding(index, weight, padding_idx),
    "embedding_grad": embedding_grad,
    "sort": lambda x, axis, descending, stable: torch.sort(x, dim=axis, descending=descending,
                                                           stable=stable),
    "topk": lambda x, k, axis, largest, sorted: torch.topk(x, k, axis, largest, sorted),
    "div": div,
    "relu_grad": lambda dy, y: aten.threshold_backward(dy, y, 0),
    "sigmoid_grad": aten.sigmoid_backward,
    "tanh_grad": aten.tanh_backward,
    "silu_grad": lambda dy, x: point_gradient(F.silu, dy, x),
    "gelu_grad": aten.gelu_backward,
    "leaky_relu_grad": lambda dy, x, negative_slope: aten.leaky_relu_backward(
        dy, x, negative_slope, False),
    "elu_grad": lambda dy, x, alpha: aten.elu_backward(dy, alpha, 1, 1, False, x),
    "softplus_grad": aten.softplus_backward,
    "hardtanh_grad": aten.hardtanh_backward,
    "clamp_grad": lambda dy, x, min, max: point_gradient(
        lambda v: torch.clamp(v, min, max), dy, x),
    "mse_loss_grad": lambda dy, x, target, scale: dy * (2 * scale) * (x - target),
    "l1_loss_grad": lambda dy, x, target, scale: dy * scale * torch.sign(x - target),
    "smooth_l1_loss_grad": smooth_l1_loss_grad,
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
    **more_ops.calls(DTYPES),
}


def find(name):
    for home in (torch, F, aten):
        function = getattr(home, name, None)
        if function is not None:
            return function
    raise KeyError(f"PyTorch has no '{name}'; add it to CALLS in tests/golden/torch_ops.py")


def call(name, inputs, attrs):
    """As `call_as_is`; where PyTorch has no integer kernel, of the inputs as f32."""
    try:
        return call_as_is(name, inputs, attrs)
    except NotImplementedError:
        if not any(t is not None and not t.is_floating_point() for t in inputs):
            raise
        return call_as_is(name, [t if t is None or t.is_floating_point() else t.float()
                                 for t in inputs], attrs)


def call_as_is(name, inputs, attrs):
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
