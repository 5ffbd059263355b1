"""Writes tests/golden/nn.npz: what PyTorch's layers compute, in f64.

For each case: `CASE.names`, the state_dict's names in order, one a line; `CASE.state.NAME`;
`CASE.inN`; `CASE.outN`; the cotangents `CASE.dyN`; the gradients `CASE.gradinN` and
`CASE.grad.NAME`; `CASE.after.NAME`, the buffers after the forward pass.
"""

import pathlib

import numpy as np
import torch
from torch import nn

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(11)
OUT = {}


def text(s):
    return np.frombuffer(s.encode(), np.uint8).copy()


def random(*shape):
    return torch.tensor(rng.standard_normal(shape))


def case(name, module, *inputs, call=None, training=True):
    module.train(training)
    with torch.no_grad():
        for t in list(module.parameters()) + [b for b in module.buffers() if b.is_floating_point()]:
            t.copy_(torch.tensor(rng.uniform(0.2, 1, t.shape) * rng.choice([-1, 1], t.shape)))
        for key, t in module.named_buffers():
            if "var" in key:
                t.abs_()
    OUT[f"{name}.names"] = text("\n".join(module.state_dict()))
    for key, t in module.state_dict().items():
        OUT[f"{name}.state.{key}"] = t.detach().numpy().copy()
    leaves = [i.clone().requires_grad_(i.is_floating_point()) for i in inputs]
    outputs = (call or (lambda m, *x: m(*x)))(module, *leaves)
    flat = []

    def walk(o):
        if isinstance(o, torch.Tensor):
            flat.append(o)
        elif isinstance(o, (tuple, list)):
            for part in o:
                walk(part)

    walk(outputs)
    cotangents = [random(*o.shape) for o in flat]
    used = [(o, d) for o, d in zip(flat, cotangents) if o.requires_grad]
    if used:
        torch.autograd.backward([o for o, _ in used], [d for _, d in used])
    for i, leaf in enumerate(leaves):
        OUT[f"{name}.in{i}"] = leaf.detach().numpy()
        if leaf.grad is not None:
            OUT[f"{name}.gradin{i}"] = leaf.grad.numpy()
    for i, (o, d) in enumerate(zip(flat, cotangents)):
        OUT[f"{name}.out{i}"] = o.detach().numpy()
        OUT[f"{name}.dy{i}"] = d.numpy()
    for key, p in module.named_parameters():
        if p.grad is not None:
            OUT[f"{name}.grad.{key}"] = p.grad.numpy()
    for key, b in module.named_buffers():
        OUT[f"{name}.after.{key}"] = b.numpy()


def linear():
    case("linear", nn.Linear(5, 3), random(4, 5))
    case("linear_nobias", nn.Linear(5, 3, bias=False), random(2, 3, 5))
    case("embedding", nn.Embedding(7, 4, padding_idx=2), torch.tensor([[0, 2, 6], [3, 3, 1]]))
    case("flatten", nn.Flatten(), random(2, 3, 4))
    case("flatten_dims", nn.Flatten(0, 1), random(2, 3, 4))
    case("identity", nn.Identity(), random(2, 3))
    case("dropout_eval", nn.Dropout(0.3), random(2, 3), training=False)
    case("sequential", nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), random(3, 4))


def activations():
    x = random(3, 5) * 3
    for name, module in {
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(0.2),
        "elu": nn.ELU(0.7),
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "silu": nn.SiLU(),
        "softplus": nn.Softplus(2, 3),
        "hardtanh": nn.Hardtanh(-0.5, 2),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
        "softmax": nn.Softmax(0),
        "log_softmax": nn.LogSoftmax(-1),
    }.items():
        case(name, module, x)


def losses():
    x, y = random(4, 5), random(4, 5)
    classes, weight = torch.tensor([1, 0, 4, 2]), torch.tensor([0.5, 2, 1, 0.1, 3])
    case("mse", nn.MSELoss(), x, y)
    case("mse_sum", nn.MSELoss(reduction="sum"), x, y)
    case("l1", nn.L1Loss(reduction="none"), x, y)
    case("smooth_l1", nn.SmoothL1Loss(beta=0.5), x, y)
    case("cross_entropy", nn.CrossEntropyLoss(), x, classes)

    def weighted(kind, **options):
        def call(_, *inputs):
            return kind(weight=weight, **options)(*inputs)

        return call

    empty = nn.Identity()
    options = dict(ignore_index=4, label_smoothing=0.1)
    case("cross_entropy_options", empty, x, classes, call=weighted(nn.CrossEntropyLoss, **options))
    case("nll", empty, x.log_softmax(1), classes, call=weighted(nn.NLLLoss, reduction="sum"))
    target = torch.tensor(rng.uniform(size=(4, 5)))
    case("bce", empty, x, target, call=lambda _, a, b: nn.BCEWithLogitsLoss()(a, b))
    call = lambda _, a, b: nn.BCEWithLogitsLoss(pos_weight=weight)(a, b)
    case("bce_pos_weight", empty, x, target, call=call)
    case("kl_div", nn.KLDivLoss(reduction="batchmean"), x.log_softmax(1), y.softmax(1))


def convolutions():
    case("conv1d", nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), random(2, 4, 9))
    case("conv1d_same", nn.Conv1d(2, 3, 4, padding="same", dilation=2), random(2, 2, 9))
    case("conv1d_circular", nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular"), random(2, 2, 7))
    case("conv2d", nn.Conv2d(3, 4, 3, padding=1), random(2, 3, 6, 5))
    module = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    case("conv2d_options", module, random(2, 4, 8, 7))
    case("conv2d_nobias", nn.Conv2d(3, 4, 1, bias=False), random(3, 5, 4))
    case("conv2d_same", nn.Conv2d(2, 3, (4, 3), padding="same"), random(2, 2, 6, 5))
    module = nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="reflect")
    case("conv2d_reflect", module, random(2, 2, 6, 5))
    case("conv_transpose2d", nn.ConvTranspose2d(3, 4, 3), random(2, 3, 4, 5))
    module = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
    case("conv_transpose2d_options", module, random(2, 4, 4, 3))


def pools():
    x = random(2, 3, 7, 6)
    case("max_pool2d", nn.MaxPool2d(2), x)
    case("max_pool2d_options", nn.MaxPool2d((3, 2), stride=2, padding=1, ceil_mode=True), x)
    case("avg_pool2d", nn.AvgPool2d(2), x)
    module = nn.AvgPool2d(3, stride=(2, 1), padding=1, count_include_pad=False)
    case("avg_pool2d_options", module, x)
    case("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d((3, 4)), x)


def norms():
    case("batch_norm1d", nn.BatchNorm1d(4), random(5, 4))
    case("batch_norm1d_3d", nn.BatchNorm1d(4, eps=1e-3, momentum=0.3), random(5, 4, 3))
    case("batch_norm2d", nn.BatchNorm2d(3), random(2, 3, 4, 5))
    case("batch_norm2d_eval", nn.BatchNorm2d(3), random(2, 3, 4, 5), training=False)
    case("batch_norm2d_plain", nn.BatchNorm2d(3, affine=False, momentum=None), random(2, 3, 4, 5))
    module = nn.BatchNorm2d(3, track_running_stats=False)
    case("batch_norm2d_untracked", module, random(2, 3, 4, 5), training=False)
    case("layer_norm", nn.LayerNorm(5), random(2, 3, 5))
    case("layer_norm_nobias", nn.LayerNorm((3, 5), eps=1e-3, bias=False), random(2, 3, 5))
    case("group_norm", nn.GroupNorm(2, 6), random(2, 6, 3, 4))


def recurrent():
    case("rnn", nn.RNN(3, 4), random(5, 2, 3))
    module = nn.RNN(3, 4, num_layers=2, nonlinearity="relu", bias=False, bidirectional=True)
    case("rnn_options", module, random(5, 2, 3), random(4, 2, 4))
    case("lstm", nn.LSTM(3, 4), random(5, 2, 3))
    module = nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)
    call = lambda m, x, h, c: m(x, (h, c))
    case("lstm_options", module, random(2, 5, 3), random(4, 2, 4), random(4, 2, 4), call=call)
    case("gru", nn.GRU(3, 4), random(5, 2, 3))
    case("gru_options", nn.GRU(3, 4, 2, bias=False, batch_first=True), random(2, 5, 3))


def attention():
    x = random(4, 2, 6)
    case("mha", nn.MultiheadAttention(6, 3), x, call=lambda m, x: m(x, x, x))
    padding = torch.tensor([[False, False, True], [False, True, False]])
    later = torch.ones(4, 4).triu(1).bool()

    def cross(m, q, k, v):
        return m(q, k, v, key_padding_mask=padding, average_attn_weights=False)

    module = nn.MultiheadAttention(6, 2, bias=False, batch_first=True)
    case("mha_cross", module, random(2, 4, 6), random(2, 3, 6), random(2, 3, 6), call=cross)
    call = lambda m, x: m(x, x, x, attn_mask=later, need_weights=False)[0]
    case("mha_causal", nn.MultiheadAttention(6, 2), x, call=call)
    case("mha_unbatched", nn.MultiheadAttention(6, 2), x[:, 0], call=lambda m, x: m(x, x, x))

    def layer(**options):
        return nn.TransformerEncoderLayer(6, 2, dim_feedforward=9, dropout=0.0, **options)

    case("encoder", layer(), x)
    module = layer(activation="gelu", norm_first=True, batch_first=True, layer_norm_eps=1e-3)
    pad = torch.tensor([[False, False, False, True], [False, False, False, False]])
    call = lambda m, x: m(x, src_mask=later, src_key_padding_mask=pad)
    case("encoder_options", module, random(2, 4, 6), call=call)
    case("layer_norm_plain", nn.LayerNorm(5, elementwise_affine=False), random(2, 3, 5))


def main():
    for part in linear, activations, losses, convolutions, pools, norms, recurrent, attention:
        part()
    np.savez_compressed(pathlib.Path(__file__).parent / "nn.npz", **OUT)


if __name__ == "__main__":
    main()
