"""How PyTorch's calls look as ops of the table.

`MAPPING[name]` is a function with the parameters of PyTorch's call; it returns `(op, inputs,
attrs)` or raises Skip with a reason. Names are those of PyTorch's OpInfo list.
"""

import torch


class Skip(Exception):
    """Why this sample has no counterpart."""


MAPPING = {}


def maps(*names):
    def keep(function):
        for n in names:
            MAPPING[n] = function
        return function
    return keep


def same(*names, op=None):
    """Inputs only, no attributes."""
    for n in names:
        target = op or n.split(".")[-1]
        MAPPING[n] = lambda *inputs, target=target: (target, list(inputs), {})


def no_dtype(dtype):
    if dtype is not None:
        raise Skip("a dtype argument; cast the input instead")


def axes_of(dim, keep_none=True):
    if dim is None:
        return []
    return list(dim) if isinstance(dim, (tuple, list)) else [dim]


def pair(v, n=2):
    return list(v) if isinstance(v, (tuple, list, torch.Size)) else [v] * n


same("abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tanh",
     "sigmoid", "erf", "floor", "ceil", "neg", "reciprocal", "square", "isnan", "isinf",
     "isfinite", "logical_not", "mul", "remainder", "pow", "maximum", "minimum", "eq", "ne", "lt",
     "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "matmul", "bmm", "outer",
     "nn.functional.linear", "nn.functional.silu")
same("mm", "mv", "dot", "__rmatmul__", op="matmul")
MAPPING["__rmatmul__"] = lambda x, y: ("matmul", [y, x], {})
same("true_divide", op="div")


@maps("add", "sub")
def scaled_add(x, y, alpha=1, op="add"):
    if alpha != 1:
        raise Skip("alpha; multiply instead")
    return op, [x, y], {}


MAPPING["sub"] = lambda x, y, alpha=1: scaled_add(x, y, alpha, "sub")


@maps("nn.functional.relu")
def relu(x, inplace=False):
    return "relu", [x], {}


@maps("nn.functional.leaky_relu")
def leaky_relu(x, negative_slope=0.01, inplace=False):
    return "leaky_relu", [x], {"negative_slope": negative_slope}


@maps("nn.functional.elu")
def elu(x, alpha=1.0, inplace=False):
    return "elu", [x], {"alpha": alpha}


@maps("nn.functional.gelu")
def gelu(x, approximate="none"):
    return "gelu", [x], {"approximate": approximate}


MAPPING["nn.functional.silu"] = lambda x, inplace=False: ("silu", [x], {})


@maps("nn.functional.softplus")
def softplus(x, beta=1, threshold=20):
    return "softplus", [x], {"beta": beta, "threshold": threshold}


@maps("nn.functional.hardtanh")
def hardtanh(x, min_val=-1.0, max_val=1.0, inplace=False):
    return "hardtanh", [x], {"min_val": min_val, "max_val": max_val}


@maps("clamp")
def clamp(x, min=None, max=None):
    if torch.is_tensor(min) or torch.is_tensor(max):
        raise Skip("tensor bounds are maximum and minimum")
    return "clamp", [x], {"min": min, "max": max}


@maps("round")
def round_(x, decimals=0):
    return "round", [x], {"decimals": decimals}


@maps("div")
def div(x, y, rounding_mode=None):
    return "div", [x, y], {"rounding_mode": rounding_mode or "none"}


@maps("where")
def where(x, condition, y):
    return "where", [condition, x, y], {}


@maps("clone")
def clone(x, memory_format=None):
    return "clone", [x], {}


def reduction(op):
    def call(x, dim=None, keepdim=False, dtype=None):
        no_dtype(dtype)
        return op, [x], {"axes": axes_of(dim), "keepdim": keepdim}
    return call


for _name in ("sum", "mean", "amax", "amin", "any", "all"):
    MAPPING[_name] = reduction(_name)
MAPPING["amax"] = lambda x, dim=(), keepdim=False: reduction("amax")(x, dim, keepdim)
MAPPING["amin"] = lambda x, dim=(), keepdim=False: reduction("amin")(x, dim, keepdim)
MAPPING["logsumexp"] = lambda x, dim, keepdim=False: reduction("logsumexp")(x, dim, keepdim)
MAPPING["prod"] = reduction("prod")


def spread(op):
    def call(x, dim=None, unbiased=None, keepdim=False, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if correction is None:
            correction = 1 if unbiased in (None, True) else 0
        return op, [x], {"axes": axes_of(dim), "correction": correction, "keepdim": keepdim}
    return call


MAPPING["var"] = spread("var")
MAPPING["std"] = spread("std")


def extreme(op, binary, full):
    def call(x, dim=None, keepdim=False, other=None):
        if torch.is_tensor(dim):
            return binary, [x, dim], {}
        if dim is None:
            return full, [x], {"axes": [], "keepdim": False}
        return op, [x], {"axis": dim, "keepdim": keepdim}
    return call


MAPPING["max"] = extreme("max", "maximum", "amax")
MAPPING["min"] = extreme("min", "minimum", "amin")


def arg(op):
    def call(x, dim=None, keepdim=False):
        return op, [x], {"axis": dim, "keepdim": keepdim}
    return call


MAPPING["argmax"] = arg("argmax")
MAPPING["argmin"] = arg("argmin")


@maps("cumsum")
def cumsum(x, dim, dtype=None):
    no_dtype(dtype)
    return "cumsum", [x], {"axis": dim}


def check_no_ties(x, dim):
    """The order of equal elements is free in PyTorch."""
    if x.dim() and x.numel():
        if (x.sort(dim).values.diff(dim=dim) == 0).any() or x.dtype == torch.bool:
            raise Skip("equal elements: their order is free")


@maps("sort")
def sort(x, dim=-1, descending=False, stable=False):
    if not stable:
        check_no_ties(x, dim)
    return "sort", [x], {"axis": dim, "descending": descending, "stable": bool(stable)}


@maps("topk")
def topk(x, k, dim=-1, largest=True, sorted=True):
    if not sorted:
        raise Skip("the order of an unsorted topk is free")
    check_no_ties(x, dim)
    return "topk", [x], {"k": k, "axis": dim, "largest": largest, "sorted": sorted}


@maps("softmax", "log_softmax", "nn.functional.softmax", "nn.functional.log_softmax")
def softmax(x, dim, dtype=None, op="softmax"):
    no_dtype(dtype)
    return op, [x], {"axis": dim}


MAPPING["log_softmax"] = lambda x, dim, dtype=None: softmax(x, dim, dtype, "log_softmax")


@maps("addmm")
def addmm(x, a, b, beta=1, alpha=1):
    return "addmm", [x, a, b], {"beta": beta, "alpha": alpha}


@maps("cat", "concat")
def cat(tensors, dim=0):
    return "cat", list(tensors), {"axis": dim}


@maps("stack")
def stack(tensors, dim=0):
    return "stack", list(tensors), {"axis": dim}


def star(args):
    return list(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else list(args)


def by_dims(op, attribute="axes"):
    def call(x, *args, dims=None):
        return op, [x], {attribute: star(args) if dims is None else list(dims)}
    return call


MAPPING["flip"] = by_dims("flip")
MAPPING["repeat"] = lambda x, *n: ("repeat", [x], {"repeats": star(n)})
MAPPING["permute"] = by_dims("permute")
MAPPING["expand"] = lambda x, *shape: ("expand", [x], {"shape": star(shape)})
MAPPING["reshape"] = MAPPING["view"] = lambda x, *shape: ("reshape", [x], {"shape": star(shape)})
MAPPING["tril"] = lambda x, diagonal=0: ("tril", [x], {"diagonal": diagonal})
MAPPING["triu"] = lambda x, diagonal=0: ("triu", [x], {"diagonal": diagonal})
MAPPING["roll"] = lambda x, shifts, dims=(): ("roll", [x], {"shifts": pair(shifts, 1),
                                                            "axes": pair(dims, 1)})


@maps("transpose")
def transpose(x, a, b):
    order = list(range(x.dim()))
    if order:
        order[a], order[b] = order[b], order[a]
    return "permute", [x], {"axes": order}


@maps("diagonal")
def diagonal(x, offset=0, dim1=0, dim2=1):
    return "diagonal", [x], {"offset": offset, "axis1": dim1, "axis2": dim2}


MAPPING["unfold"] = lambda x, d, size, step: ("unfold", [x], {"axis": d, "size": size,
                                                              "step": step})
MAPPING["select"] = lambda x, dim, index: ("select", [x], {"axis": dim, "index": index})


@maps("slice")
def slice_(x, dim=0, start=None, end=None, step=1):
    return "slice", [x], {"axis": dim, "start": start, "stop": end, "step": step}


@maps("narrow")
def narrow(x, dim, start, length):
    start = int(start)
    if start < 0:
        start += x.shape[dim]
    return "slice", [x], {"axis": dim, "start": start, "stop": start + length, "step": 1}


@maps("nn.functional.pad")
def pad(x, pad, mode="constant", value=None):
    return "pad", [x], {"pad": list(pad), "mode": mode, "value": value or 0}


@maps("gather")
def gather(x, dim, index, sparse_grad=False):
    return "gather", [x, index], {"axis": dim}


@maps("scatter", "scatter_add")
def scatter(x, dim, index, src=None, value=None, reduce=None, op="scatter"):
    if reduce is not None:
        raise Skip("reduce; only plain and adding scatters exist")
    src = value if src is None else src
    if not torch.is_tensor(src):
        src = torch.tensor(src, dtype=x.dtype)
    if op == "scatter" and src.dim() > 0:
        flat = index.sort(dim if index.dim() else 0).values
        if index.dim() and flat.numel() and (flat.diff(dim=dim) == 0).any():
            raise Skip("repeated indices: which value stays is undefined")
    return op, [x, index, src], {"axis": dim}


MAPPING["scatter_add"] = lambda x, dim, index, src: scatter(x, dim, index, src, op="scatter_add")
MAPPING["index_select"] = lambda x, dim, index: ("index_select", [x, index], {"axis": dim})


@maps("index_add")
def index_add(x, dim, index, src, alpha=1):
    return "index_add", [x, index, src], {"axis": dim, "alpha": float(alpha)}


@maps("index_put")
def index_put(x, indices, values, accumulate=False):
    if any(i is not None and i.dtype == torch.bool for i in indices):
        raise Skip("masks become indices before the record")
    axes = [k for k, i in enumerate(indices) if i is not None]
    return ("index_put", [x, values, *[i for i in indices if i is not None]],
            {"axes": axes, "accumulate": accumulate})


@maps("masked_fill")
def masked_fill(x, mask, value):
    if not torch.is_tensor(value):
        value = torch.tensor(value, dtype=x.dtype)
    return "masked_fill", [x, mask, value], {}


@maps("nn.functional.one_hot")
def one_hot(x, num_classes=-1):
    if num_classes < 0:
        num_classes = int(x.max()) + 1
    return "one_hot", [x], {"num_classes": num_classes}


@maps("nn.functional.embedding")
def embedding(weight, index, padding_idx=None, max_norm=None, norm_type=2.0,
              scale_grad_by_freq=False, sparse=False):
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise Skip("max_norm, scale_grad_by_freq and sparse do not exist")
    return "embedding", [index, weight], {"padding_idx": padding_idx}


@maps("nn.functional.conv1d", "nn.functional.conv2d")
def conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    n = weight.dim() - 2
    if isinstance(padding, str):
        raise Skip("padding as a word belongs to nn")
    return f"conv{n}d", [x, weight, bias], {
        "stride": pair(stride, n), "padding": pair(padding, n), "dilation": pair(dilation, n),
        "groups": groups}


@maps("nn.functional.conv_transpose2d")
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
                     dilation=1):
    return "conv_transpose2d", [x, weight, bias], {
        "stride": pair(stride), "padding": pair(padding), "output_padding": pair(output_padding),
        "groups": groups, "dilation": pair(dilation)}


@maps("nn.functional.max_pool2d")
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
               return_indices=False):
    return "max_pool2d", [x], {
        "kernel_size": pair(kernel_size), "stride": pair(stride if stride else kernel_size),
        "padding": pair(padding), "dilation": pair(dilation), "ceil_mode": ceil_mode}


@maps("nn.functional.avg_pool2d")
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    return "avg_pool2d", [x], {
        "kernel_size": pair(kernel_size), "stride": pair(stride if stride else kernel_size),
        "padding": pair(padding), "ceil_mode": ceil_mode, "count_include_pad": count_include_pad,
        "divisor_override": divisor_override}


@maps("nn.functional.adaptive_avg_pool2d")
def adaptive_avg_pool2d(x, output_size):
    size = [s if s is not None else x.shape[k - 2] for k, s in enumerate(pair(output_size))]
    return "adaptive_avg_pool2d", [x], {"output_size": size}


@maps("nn.functional.layer_norm")
def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    return "layer_norm", [x, weight, bias], {"normalized_shape": list(normalized_shape),
                                             "eps": eps}


@maps("nn.functional.group_norm")
def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    return "group_norm", [x, weight, bias], {"num_groups": num_groups, "eps": eps}


@maps("nn.functional.batch_norm")
def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return "batch_norm", [x, weight, bias, mean, var], {
        "training": training or mean is None, "eps": eps}


@maps("nn.functional.scaled_dot_product_attention")
def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
              enable_gqa=False):
    if dropout_p or enable_gqa:
        raise Skip("random dropout, or grouped heads")
    return "scaled_dot_product_attention", [q, k, v, attn_mask], {"is_causal": is_causal,
                                                                  "scale": scale}


def loss(op):
    def call(x, target, size_average=None, reduce=None, reduction="mean", **attrs):
        return op, [x, target], {"reduction": reduction, **attrs}
    return call


for _name in ("mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"):
    MAPPING[f"nn.functional.{_name}"] = loss(_name)


@maps("nn.functional.binary_cross_entropy_with_logits")
def bce(x, target, weight=None, size_average=None, reduce=None, reduction="mean",
        pos_weight=None):
    return "binary_cross_entropy_with_logits", [x, target, weight, pos_weight], {
        "reduction": reduction}


@maps("nn.functional.nll_loss")
def nll_loss(x, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
             reduction="mean"):
    return "nll_loss", [x, target, weight], {"ignore_index": ignore_index, "reduction": reduction}


@maps("nn.functional.cross_entropy")
def cross_entropy(x, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
                  reduction="mean", label_smoothing=0.0):
    return "cross_entropy", [x, target, weight], {
        "ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
