"""Models that PyTorch's exporter and onnx.helper make."""
import contextlib
import io
import warnings

import numpy
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper


def torch_models():
    """name -> (module, arguments, axes of unknown length by input)"""
    torch.manual_seed(5)
    n = torch.nn

    class Recurrent(n.Module):
        def __init__(self):
            super().__init__()
            self.embedding = n.Embedding(9, 6)
            self.lstm = n.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
            self.gru = n.GRU(10, 4)

        def forward(self, x):
            y, (h, c) = self.lstm(self.embedding(x))
            z, g = self.gru(y.transpose(0, 1))
            return z, h, c, g

    class Residual(n.Module):
        def __init__(self):
            super().__init__()
            self.stem = n.Sequential(n.Conv2d(3, 8, 3, padding=1), n.BatchNorm2d(8), n.ReLU())
            self.branch = n.Sequential(
                n.Conv2d(8, 8, 3, padding=1, groups=4), n.BatchNorm2d(8), n.Hardswish(),
                n.Conv2d(8, 8, 1))
            self.head = n.Sequential(
                n.AdaptiveAvgPool2d(1), n.Flatten(), n.Dropout(), n.Linear(8, 4))

        def forward(self, x):
            x = torch.nn.functional.max_pool2d(self.stem(x), 3, 2, 1)
            return self.head(torch.relu(x + self.branch(x)))

    class Shapes(n.Module):
        def forward(self, x):
            b, c = x.shape[0], x.shape[1]
            y = x.reshape(b, c // 2, 2, -1).permute(0, 2, 1, 3).flatten(1)
            z = torch.cat([y[:, ::2], y[:, 1::2].clamp(-1, 1)], 1).unsqueeze(1)
            first, second = z.split([3, z.shape[2] - 3], 2)
            mask = torch.arange(second.shape[2]) > 2
            filled = second.masked_fill(mask, 0.5)
            wide = first.expand(b, 4, 3)
            return wide.sum(-1), filled.mean(2, keepdim=True), z.std(2), z.topk(2)[0]

    class Attention(n.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = n.Linear(8, 8), n.Linear(8, 16)

        def forward(self, x):
            k, v = self.kv(x).chunk(2, -1)
            seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            y = n.functional.scaled_dot_product_attention(self.q(x), k, v, seen)
            products = torch.einsum("bij,bkj->bik", y, k)
            return n.functional.gelu(y), n.functional.layer_norm(y, (8,)), products

    mlp = n.Sequential(
        n.Linear(4, 8), n.ReLU(), n.Linear(8, 8), n.Tanh(), n.Linear(8, 2), n.Softmax(-1))
    up = n.Sequential(
        n.ConvTranspose2d(2, 3, 3, 2, 1, 1), n.ELU(), n.InstanceNorm2d(3), n.PReLU(),
        n.GroupNorm(3, 3))
    return {
        "torch_mlp": (mlp, (torch.randn(3, 4),), {0: "batch"}),
        "torch_recurrent": (Recurrent(), (torch.randint(0, 9, (3, 7)),), {}),
        "torch_residual": (Residual(), (torch.randn(2, 3, 12, 12),), {0: "batch"}),
        "torch_shapes": (Shapes(), (torch.randn(2, 4, 6),), {0: "batch"}),
        "torch_attention": (Attention(), (torch.randn(2, 5, 8),), {0: "batch", 1: "length"}),
        "torch_up": (up, (torch.randn(2, 2, 5, 5),), {}),
    }


def write_torch(folder):
    for name, (module, arguments, axes) in torch_models().items():
        module.eval()
        with torch.no_grad():
            out = module(*arguments)
        flat = []
        for o in out if isinstance(out, tuple) else (out,):
            flat.append(o.numpy())
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(module, arguments, folder / f"{name}.onnx", dynamo=False,
                              opset_version=17, input_names=["x"],
                              dynamic_axes={"x": axes} if axes else None)
        numpy.savez(folder / f"{name}.npz", x=arguments[0].numpy(),
                    **{f"out.{i}": o for i, o in enumerate(flat)})


def write_helper(folder):
    """A function, an If whose condition is known, and a Loop that is counted."""
    f32, value = TensorProto.FLOAT, helper.make_tensor_value_info
    twice = helper.make_function(
        "own", "Scaled", ["x"], ["y"],
        [helper.make_node("Mul", ["x", "f"], ["y"])], [helper.make_opsetid("", 17)], ["factor"])
    constant = helper.make_node("Constant", [], ["f"])
    constant.attribute.append(
        onnx.AttributeProto(name="value_float", type=1, ref_attr_name="factor"))
    twice.node.insert(0, constant)
    branch = [helper.make_graph([helper.make_node(op, ["s", "one"], ["r"])], op, [],
                                [value("r", f32, ["n", 2])]) for op in ("Add", "Sub")]
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "one"], ["v2"]),
         helper.make_node("Identity", ["c"], ["c2"]),
         helper.make_node("Mul", ["v2", "v2"], ["w"])], "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []),
         value("v", f32, ["n", 2])],
        [value("c2", TensorProto.BOOL, []), value("v2", f32, ["n", 2]),
         value("w", f32, ["n", 2])])
    graph = helper.make_graph(
        [helper.make_node("Scaled", ["x"], ["s"], domain="own", factor=3.0),
         helper.make_node("If", ["yes"], ["t"], then_branch=branch[0], else_branch=branch[1]),
         helper.make_node("Loop", ["steps", "", "t"], ["last", "all"], body=body)],
        "helper", [value("x", f32, ["n", 2])],
        [value("last", f32, ["n", 2]), value("all", f32, ["steps", "n", 2])],
        [numpy_helper.from_array(numpy.array(True), "yes"),
         numpy_helper.from_array(numpy.float32(1), "one"),
         numpy_helper.from_array(numpy.array(3), "steps")])
    model = helper.make_model(graph, functions=[twice], ir_version=8, opset_imports=[
        helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
    onnx.checker.check_model(model)
    onnx.save(model, folder / "helper.onnx")
    x = numpy.array([[1, 2], [3, 4], [5, 6]], numpy.float32)
    steps = numpy.stack([(3 * x + 1 + k) ** 2 for k in (1, 2, 3)])
    numpy.savez(folder / "helper.npz", x=x, **{"out.0": 3 * x + 4, "out.1": steps})


def write_scaled(folder):
    """Numbers that say how a node computes may be initializers like weights are."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest",
                          nearest_mode="floor", coordinate_transformation_mode="asymmetric")],
        "scaled", [value("x", TensorProto.FLOAT, ["n", 1, 2, 3])],
        [value("y", TensorProto.FLOAT, ["n", 1, 4, 9])],
        [numpy_helper.from_array(numpy.array([1, 1, 2, 3], numpy.float32), "scales")])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    onnx.save(model, folder / "scaled.onnx")
    x = numpy.arange(12, dtype=numpy.float32).reshape(2, 1, 2, 3)
    numpy.savez(folder / "scaled.npz", x=x, **{"out.0": x.repeat(2, 2).repeat(3, 3)})


def write(folder):
    write_torch(folder)
    write_helper(folder)
    write_scaled(folder)
