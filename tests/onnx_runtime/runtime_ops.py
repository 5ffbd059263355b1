"""Models of operators that ONNX Runtime alone defines, and of products of 8-bit integers: what it
computes is what is wanted."""
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

F32, I32, U8, I8 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8
MICROSOFT = "com.microsoft"


class Writer:
    def __init__(self, folder):
        self.folder, self.count = folder, 0
        self.random = numpy.random.default_rng(7)

    def real(self, *shape):
        return self.random.standard_normal(shape).astype("f4")

    def byte(self, *shape):
        return self.random.integers(0, 256, shape).astype("u1")

    def signed(self, *shape):
        return self.random.integers(-128, 128, shape).astype("i1")

    def write(self, op, inputs, outputs, domain=MICROSOFT, **attributes):
        """One node. Inputs of a list are the graph's, None is left out, others are constants; an
        output of type 0 is left out."""
        names, given, constants = [], {}, []
        for i, x in enumerate(inputs):
            names.append("" if x is None else f"x{i}")
            if isinstance(x, list):
                given[f"x{i}"] = numpy.asarray(x[0])
            elif x is not None:
                constants.append(numpy_helper.from_array(numpy.asarray(x), f"x{i}"))
        node = helper.make_node(op, names, [f"y{i}" if t else "" for i, t in enumerate(outputs)],
                                domain=domain, **attributes)
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [node], "one",
            [value(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
             for k, v in given.items()],
            [value(f"y{i}", t, None) for i, t in enumerate(outputs) if t], constants)
        model = helper.make_model(graph, ir_version=8, opset_imports=[
            helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)])
        path = self.folder / f"runtime_{self.count}_{op}.onnx"
        self.count += 1
        onnx.save(model, path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        want = session.run(None, given)
        numpy.savez(path.with_suffix(".npz"), **given,
                    **{f"out.{i}": o for i, o in enumerate(want)})


def stored(w):
    """Functions of stored integers."""
    f = numpy.float32
    for make, zero, t in ((w.byte, numpy.uint8(120), U8), (w.signed, numpy.int8(-5), I8)):
        for op in ("QLinearAdd", "QLinearMul"):
            w.write(op, [[make(3, 4, 5)], f(.02), zero, [make(1, 4, 1)], f(.03), zero, f(.05),
                         zero], [t])
        w.write("QLinearSigmoid", [[make(30, 4)], f(.02), zero, f(1 / 256), zero], [t])
        w.write("QLinearLeakyRelu", [[make(30, 4)], f(.02), zero, f(.02), zero], [t], alpha=.2)
        w.write("QLinearGlobalAveragePool", [[make(2, 3, 7, 7)], f(.02), zero, f(.02), zero], [t])
        w.write("QLinearGlobalAveragePool", [[make(2, 7, 7, 3)], f(.02), zero, f(.02), zero], [t],
                channels_last=1)
        w.write("QLinearAveragePool", [[make(2, 3, 7, 7)], f(.02), zero, f(.02), zero], [t],
                kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
        w.write("QLinearConcat", [f(.02), zero, [make(2, 3)], f(.02), zero, [make(2, 4)], f(.04),
                                  zero], [t], axis=1)
        w.write("QLinearWhere", [[w.random.random((3, 4)) > .5], [make(3, 4)], f(.02), zero,
                                 [make(1, 4)], f(.04), zero, f(.03), zero], [t])
        w.write("QuantizeLinear", [[w.real(3, 4)], f(.02), zero], [t])
        w.write("DequantizeLinear", [[make(3, 4)], f(.02), zero], [F32])


def products(w):
    f, u1, i1 = numpy.float32, numpy.uint8, numpy.int8
    bias = w.random.integers(-100, 100, 5).astype("i4")
    w.write("QGemm", [[w.byte(4, 6)], f(.02), u1(120), w.signed(6, 5), f(.01), i1(0), bias, f(.05),
                      u1(100)], [U8])
    w.write("QGemm", [[w.byte(4, 6)], f(.02), u1(120), w.signed(5, 6), w.real(5) ** 2 + f(.1),
                      numpy.zeros(5, "i1"), bias, f(.5), u1(100)], [U8], transB=1, alpha=1.5)
    w.write("QGemm", [[w.byte(6, 4)], f(.02), u1(120), w.signed(5, 6), f(.01), i1(0), None], [F32],
            transA=1, transB=1)
    w.write("MatMulIntegerToFloat", [[w.byte(2, 4, 6)], w.signed(6, 5), f(.02), w.real(5) ** 2,
                                     u1(120), w.signed(5) // 8, w.real(5)], [F32])
    w.write("DynamicQuantizeMatMul", [[w.real(2, 4, 6)], w.signed(6, 5), f(.01), i1(3),
                                      w.real(5)], [F32])
    w.write("DynamicQuantizeMatMul", [[w.real(2, 4, 6)], w.signed(6, 5), w.real(5) ** 2], [F32])
    for bits in (2, 4, 8):
        blocks, rows = 5, 7
        weight, scale = w.byte(rows, blocks, 2 * bits), w.real(rows * blocks) * f(.1)
        zeros = w.byte(rows * -(-blocks * bits // 8))
        for z in (None, zeros):
            w.write("MatMulNBits", [[w.real(2, 3, 76)], weight, scale, z], [F32], K=76, N=rows,
                    bits=bits, block_size=16)
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        w.write("FusedMatMul", [[w.real(2, 6, 4) if a else w.real(2, 4, 6)],
                                [w.real(2, 5, 6) if b else w.real(2, 6, 5)]], [F32], transA=a,
                transB=b, alpha=.5)
    for m, k, n in ((1, 300, 70), (70, 33, 1), (130, 200, 260)):
        w.write("MatMulInteger", [[w.byte(m, k)], w.signed(k, n), u1(7)], [I32], "")
        w.write("QLinearMatMul", [[w.byte(m, k)], f(.02), u1(128), w.signed(k, n), f(.01), i1(0),
                                  f(.5), u1(120)], [U8], "")
    for c, out, size, kernel, stride, pad, dilation, group in (
            (3, 8, 30, 7, 2, 3, 1, 1), (16, 12, 40, 3, 1, 1, 1, 1), (8, 8, 13, 3, 1, 2, 2, 2),
            (6, 6, 20, 3, 1, 1, 1, 6), (5, 10, 21, 5, 2, 0, 1, 5), (32, 40, 9, 1, 1, 0, 1, 1)):
        window = dict(strides=[stride] * 2, pads=[pad] * 4, dilations=[dilation] * 2, group=group)
        x, weight = [w.byte(2, c, size, size)], w.signed(out, c // group, kernel, kernel)
        w.write("ConvInteger", [x, weight, u1(9)], [I32], "", **window)
        w.write("QLinearConv", [x, f(.02), u1(128), weight, w.real(out) ** 2 + f(.001),
                                numpy.zeros(out, "i1"), f(9), u1(120),
                                w.random.integers(-1000, 1000, out).astype("i4")], [U8], "",
                **window)


def layers(w):
    for op, inputs in (("Gelu", 1), ("BiasGelu", 2), ("FastGelu", 2), ("FastGelu", 1),
                       ("QuickGelu", 1)):
        w.write(op, [[w.real(3, 4)], w.real(4)][:inputs], [F32])
    x = [w.real(2, 3, 8)]
    w.write("SkipLayerNormalization", [x, x, w.real(8), w.real(8), w.real(8)], [F32, 0, 0, F32],
            epsilon=1e-5)
    w.write("SkipLayerNormalization", [x, [w.real(2, 3, 8)], w.real(8)], [F32])
    w.write("SkipSimplifiedLayerNormalization", [x, x, w.real(8), w.real(8)], [F32, 0, 0, F32],
            epsilon=1e-5)
    w.write("SimplifiedLayerNormalization", [x, w.real(8)], [F32], "", axis=-1, epsilon=1e-5)
    ids = [w.random.integers(0, 9, (2, 5)).astype("i4")]
    segments = [w.random.integers(0, 2, (2, 5)).astype("i4")]
    mask = numpy.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "i4")
    tables = [w.real(10, 8), w.real(9, 8), w.real(2, 8), w.real(8), w.real(8)]
    w.write("EmbedLayerNormalization", [ids, segments, *tables, [mask]], [F32, I32])
    tables[2] = None
    w.write("EmbedLayerNormalization", [ids, None, *tables, None, ids], [F32, I32, F32])

    x, weights = [w.real(2, 5, 8)], [w.real(8, 24), w.real(24)]
    lengths, ranges = numpy.array([3, 5], "i4"), numpy.array([3, 5, 1, 0], "i4")
    square = (w.random.random((2, 5, 5)) > .3).astype("i4")
    for m in (None, lengths, ranges, mask, square):
        w.write("Attention", [x, *weights, None if m is None else [m]], [F32], num_heads=2)
    w.write("Attention", [x, *weights, [mask]], [F32], num_heads=2, unidirectional=1)
    w.write("Attention", [x, *weights, None, [w.real(2, 2, 2, 3, 4)]], [F32, F32], num_heads=2,
            unidirectional=1)
    w.write("Attention", [x, *weights, [mask], None, [w.real(1, 2, 5, 5)]], [F32], num_heads=2)
    w.write("Attention", [x, w.real(8, 28), w.real(28)], [F32], num_heads=2,
            qkv_hidden_sizes=[8, 8, 12], scale=.3)
    k, past = [w.real(2, 6, 8)], [w.real(2, 2, 3, 4)]
    keys = numpy.array([[1, 1, 1, 1, 0, 0], [1] * 6], "i4")
    w.write("MultiHeadAttention", [x, k, k, w.real(24)], [F32], num_heads=2)
    w.write("MultiHeadAttention", [x, k, k, None, [keys], [w.real(1, 2, 5, 6)]], [F32] * 3,
            num_heads=2)
    w.write("MultiHeadAttention", [x, x, x, None, None, None, past, past], [F32] * 3, num_heads=2,
            unidirectional=1)
    w.write("MultiHeadAttention", [x, past, past], [F32], num_heads=2)
    cache = [w.real(20, 4), w.real(20, 4)]
    w.write("RotaryEmbedding", [[w.real(2, 5, 16)], numpy.array([3]), *cache], [F32])
    w.write("RotaryEmbedding", [[w.real(2, 2, 5, 8)], w.random.integers(0, 20, (2, 5)), *cache],
            [F32], interleaved=1)

    # With one sequence ONNX Runtime stores states by their range as they are, with several by
    # parts of the batch.
    for directions, name in ((1, "forward"), (1, "reverse"), (2, "bidirectional")):
        for shape in ((directions,), (directions, 24)):
            scale = (w.random.random(shape) * .01 + .005).astype("f4")
            zero = numpy.zeros(shape, "i1")
            w.write("DynamicQuantizeLSTM", [
                [w.real(7, 1, 5)], w.signed(directions, 5, 24), w.signed(directions, 6, 24),
                w.real(directions, 48), numpy.array([5], "i4"), w.real(directions, 1, 6),
                w.real(directions, 1, 6), w.real(directions, 18), scale, zero, scale, zero],
                [F32] * 3, hidden_size=6, direction=name)


def write(folder):
    w = Writer(folder)
    stored(w)
    products(w)
    layers(w)
