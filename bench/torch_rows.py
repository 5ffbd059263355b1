"""The rows of the benchmark in PyTorch, with its settings. The protocol of tandem_rows.cpp; a row's
name may end in `@variant`."""
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def filled(shape, seed, scale=1.0, shift=0.0):
    n = int(np.prod(shape, dtype=np.int64)) if shape else 1
    with np.errstate(over="ignore"):
        v = np.arange(n, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed * 40503 % 2**32)
        v ^= v >> np.uint32(16)
        v *= np.uint32(2246822519)
        v ^= v >> np.uint32(13)
    values = (v.astype(np.float64) / 4294967296.0 * 2 - 1) * scale + shift
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def fill_parameters(model):
    with torch.no_grad():
        for seed, (name, p) in enumerate(model.named_parameters(), 1):
            vector = p.dim() == 1
            fan = 1 if vector else p.numel() / p.shape[0]
            norm = vector and "bn" in name and name.endswith("weight")
            p.copy_(filled(tuple(p.shape), seed, 0.1 if vector else fan**-0.5, 1 if norm else 0))


class BasicBlock(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.downsample = nn.Sequential()
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(
                nn.Conv2d(i, o, 1, stride=stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x), inplace=True)


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        block = lambda i, o, s: nn.Sequential(BasicBlock(i, o, s), BasicBlock(o, o, 1))
        self.layer1, self.layer2 = block(64, 64, 1), block(64, 128, 2)
        self.layer3, self.layer4 = block(128, 256, 2), block(256, 512, 2)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def layout(variant):
    return torch.channels_last if "channels_last" in variant else torch.contiguous_format


def maybe_compile(f, variant):
    return torch.compile(f) if "compile" in variant else f


def train_step(model, shape, classes, variant):
    fill_parameters(model)
    model.to(memory_format=layout(variant))
    opt = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = filled(shape, 100).contiguous(memory_format=layout(variant))
    y = torch.tensor([i * 7 % classes for i in range(shape[0])])
    loss_of = maybe_compile(lambda a, b: F.cross_entropy(model(a), b), variant)

    return step(opt, loss_of, x, y, variant)


def step(opt, loss_of, x, y, variant):
    update = torch.compile(opt.step) if variant == "compile+update" else opt.step

    def run():
        loss = loss_of(x, y)
        opt.zero_grad()
        loss.backward()
        update()
        return loss.detach()
    return run


def mlp_step(widths, n, variant):
    layers = []
    for i in range(len(widths) - 1):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(widths[i], widths[i + 1]))
    model = nn.Sequential(*layers)
    fill_parameters(model)
    opt = torch.optim.SGD(model.parameters(), lr=1e-4, foreach="foreach" in variant)
    x, y = filled((n, widths[0]), 100), filled((n, widths[-1]), 101)
    loss_of = maybe_compile(lambda a, b: F.mse_loss(model(a), b, reduction="sum"), variant)
    return step(opt, loss_of, x, y, variant)


def gelu_chain(rows, variant):
    whole = (rows, 1024)
    x, w, b = filled(whole, 1), filled((1024,), 2), filled((1024,), 3)
    mask, res = (filled(whole, 4) > 0).float(), filled(whole, 5)
    f = maybe_compile(lambda x, w, b, mask, res: F.gelu(x * w + b) * mask + res, variant)

    def run():
        with torch.inference_mode():
            return f(x, w, b, mask, res)
    return run


def transformer_block(variant):
    model = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0, activation="gelu",
                                       batch_first=True, norm_first=True)
    fill_parameters(model)
    opt = torch.optim.SGD(model.parameters(), lr=1e-3, foreach="foreach" in variant)
    x, y = filled((8, 128, 256), 100), filled((8, 128, 256), 101)
    return step(opt, maybe_compile(lambda a, b: F.mse_loss(model(a), b), variant), x, y, variant)


def compile_latency():
    """The first call less the second one, without caches on disk; measured once."""
    torch._dynamo.reset()
    torch._inductor.config.force_disable_caches = True
    run = train_step(ResNet18(), (16, 3, 224, 224), 1000, "compile")
    times = []
    for i in range(2):
        start = time.perf_counter()
        loss = run()
        times.append(time.perf_counter() - start)
        first = loss if i == 0 else first

    def again():
        return first
    again.seconds = [times[0] - times[1]]
    return again


def inference(f, variant):
    f = maybe_compile(f, variant)

    def run():
        with torch.inference_mode():
            return f()
    return run


def adam(variant):
    params, seed = [], 1
    for p in ResNet18().parameters():
        s = tuple(min(d, 8) for d in p.shape)
        small = filled(s, seed, 0.1).requires_grad_()
        small.grad = filled(s, seed + 1, 0.1)
        seed += 2
        params.append(small)
    kind = {"foreach": {"foreach": True}, "fused": {"fused": True}}.get(variant, {"foreach": False})
    opt = torch.optim.Adam(params, lr=1e-3, **kind)

    def run():
        opt.step()
        return params[0].detach()
    return run


def convolution(channels, variant):
    m = layout(variant)
    x = filled((16, channels, 56, 56), 1).contiguous(memory_format=m).requires_grad_()
    w = filled((channels, channels, 3, 3), 2, 0.05).contiguous(memory_format=m).requires_grad_()
    dy = filled((16, channels, 56, 56), 3).contiguous(memory_format=m)

    def run():
        x.grad = w.grad = None
        F.conv2d(x, w, padding=1).backward(dy)
        return w.grad
    return run


def resnet_infer(variant):
    model = ResNet18()
    fill_parameters(model)
    model.eval().to(memory_format=layout(variant))
    x = filled((1, 3, 224, 224), 100).contiguous(memory_format=layout(variant))
    if variant == "onnxruntime":
        return onnx_runtime(model, x)
    return inference(lambda: model(x), variant)


def onnx_runtime(model, x):
    """The model in ONNX Runtime, with its own optimisations and as many threads as PyTorch."""
    import io
    import onnxruntime
    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options,
                                           providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: x.numpy()}
    return lambda: torch.from_numpy(session.run(None, feeds)[0])


def make(name, variant):
    wide = (16 << 10, 1024)
    if name == "mlp_tiny_step":
        return mlp_step([4, 8, 8, 4], 4, variant)
    if name == "two_layer_step":
        return mlp_step([1000, 100, 10], 64, variant)
    if name == "gelu_chain_16m":
        return gelu_chain(16 << 10, variant)
    if name == "gelu_chain_64k":
        return gelu_chain(64, variant)
    if name == "transformer_block_step":
        return transformer_block(variant)
    if name == "compile_latency_resnet18_step":
        return compile_latency()
    if name == "add_16m":
        x, y = filled((16 << 20,), 1), filled((16 << 20,), 2)
        return inference(lambda: x + y, variant)
    if name == "softmax_16m":
        x = filled(wide, 1)
        return inference(lambda: torch.softmax(x, -1), variant)
    if name == "layernorm_16m":
        x, w, b = filled(wide, 1), filled((1024,), 3, 1), filled((1024,), 4, 1)
        return inference(lambda: F.layer_norm(x, (1024,), w, b), variant)
    if name == "adam_62":
        return adam(variant)
    if name == "conv3x3_64_56_n16":
        return convolution(64, variant)
    if name == "conv3x3_256_56_n16":
        return convolution(256, variant)
    if name == "cnn28_step_n128":
        net = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))
        return train_step(net, (128, 1, 28, 28), 10, variant)
    if name == "resnet18_step_n16":
        return train_step(ResNet18(), (16, 3, 224, 224), 1000, variant)
    if name == "resnet18_infer_n1":
        return resnet_infer(variant)
    raise KeyError(name)


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    made = {}
    for line in sys.stdin:
        words = line.split()
        if words[0] == "drop":
            made.clear()
            continue
        row, samples, seconds = words[0], int(words[1]), float(words[2])
        name, _, variant = row.partition("@")
        try:
            check = 0.0
            if row not in made:
                made[row] = make(name, variant)
                check = made[row]().double().abs().mean().item()
                made[row]()  # a compiled function's second call still warms up
            run = made[row]
            if hasattr(run, "seconds"):
                print(json.dumps({"row": row, "check": check, "seconds": run.seconds}), flush=True)
                continue
            start = time.perf_counter()
            run()
            repeat = max(1, int(seconds / samples / max(time.perf_counter() - start, 1e-9)))
            out = []
            for _ in range(samples):
                start = time.perf_counter()
                for _ in range(repeat):
                    run()
                out.append((time.perf_counter() - start) / repeat)
            print(json.dumps({"row": row, "check": check, "seconds": out}), flush=True)
        except Exception as e:  # the runner reports it; the other rows go on
            print(json.dumps({"row": row, "error": f"{type(e).__name__}: {e}"[:300]}), flush=True)


if __name__ == "__main__":
    main()
