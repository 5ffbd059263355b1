"""Writes the ONNX files that tests/onnx_file.cpp reads and its fuzz target starts from.

Needs numpy and onnx (tools/judges.sh makes an environment that has both). tests/onnx_format uses
the same models. Values are simple formulas, which the test computes again in C++.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CORPUS = pathlib.Path(__file__).resolve().parent.parent / "fuzz" / "corpus" / "onnx"
# The dtypes that Tandem has, and how ONNX's typed fields take them.
TANDEM_TYPES = ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT32", "INT64", "BOOL",
                "INT16", "UINT16", "UINT32", "UINT64"]
OTHER_TYPES = ["COMPLEX64", "COMPLEX128", "FLOAT8E4M3FN",
               "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "UINT4", "INT4",
               "FLOAT4E2M1", "UINT2", "INT2"]


def values(kind, shape=(3, 5)):
    """0, 1, 2, ... minus 3 where there are signs, and halved for real numbers."""
    n = np.arange(int(np.prod(shape)))
    if kind == "BOOL":
        return (n % 3 == 0).reshape(shape)
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    if kind.startswith("U"):
        return (n % (4 if kind == "UINT2" else 16)).astype(dtype).reshape(shape)
    if kind.startswith("INT"):
        span = {"INT2": 4, "INT4": 16}.get(kind, 64)
        return (n % span - span // 2 if span < 64 else n - 3).astype(dtype).reshape(shape)
    if kind.startswith("COMPLEX"):
        return ((n - 3) / 2 + 1j * n).astype(dtype).reshape(shape)
    if kind.startswith("FLOAT4") or kind == "FLOAT8E8M0":
        return np.exp2(n % 3).astype(dtype).reshape(shape)
    return ((n - 3) / 2).astype(dtype).reshape(shape)


def tensor(kind, raw, shape=(3, 5)):
    array = values(kind, shape)
    name = f"{kind}_{'raw' if raw else 'typed'}"
    if raw:
        return numpy_helper.from_array(array, name)
    return helper.make_tensor(name, getattr(TensorProto, kind), shape, array.flatten())


def model(graph, opset=17, ir=8, **more):
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir,
                             **more)


def info(name, shape=(2, 3), kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def mlp():
    """A small net with everything that an exporter fills in."""
    weights = [numpy_helper.from_array(values("FLOAT", (3, 4)), "w"),
               numpy_helper.from_array(values("FLOAT", (4,)), "b")]
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="fc", alpha=0.5, transB=0,
                              doc_string="a node"),
             helper.make_node("Relu", ["h"], ["y"], name="act"),
             helper.make_node("Clip", ["y", "", "w0"], ["z"])]
    graph = helper.make_graph(nodes, "mlp", [info("x", ("batch", 3))], [info("z", ("batch", 4))],
                              weights + [numpy_helper.from_array(np.float32(6), "w0")],
                              doc_string="a graph",
                              value_info=[info("h", (None, 4)), info("y", None)])
    graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    graph.input[0].doc_string = "an input"
    made = model(graph, producer_name="maker", producer_version="1.2", domain="org.example",
                 model_version=3, doc_string="a model")
    helper.set_model_props(made, {"author": "nobody", "empty": ""})
    return made


def tensors():
    """Every element type, raw and in typed fields; strings; empty and 0-d ones."""
    made = [tensor(kind, raw) for kind in TANDEM_TYPES + OTHER_TYPES for raw in (True, False)]
    texts = [b"a", b"", b"\xff\x00\xfe"]
    made.append(helper.make_tensor("strings", TensorProto.STRING, [3], texts))
    made.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty"))
    made.append(helper.make_tensor("empty_typed", TensorProto.INT64, [2, 0], []))
    made.append(numpy_helper.from_array(np.float64(2.5), "zero_d"))
    made.append(numpy_helper.from_array(np.ones((1,) * 9, np.float32), "nine_dims"))
    nodes = [helper.make_node("Identity", ["FLOAT_raw"], ["y"])]
    return model(helper.make_graph(nodes, "tensors", [], [info("y", (3, 5))], made), 25, 13)


def attributes():
    """Every kind of attribute, metadata, sparse tensors and types."""
    node = helper.make_node("Everything", [], ["y"], domain="test", real=0.1, zero=0.0, integer=-7,
                            null=0, text="text", nothing="", reals=[0.5, -1.5], integers=[1, -2, 0],
                            strings=["a", ""], value=values("INT32", (2,)).tolist())
    add = node.attribute.append
    add(helper.make_attribute("tensor", tensor("DOUBLE", True)))
    add(helper.make_attribute("tensors", [tensor("INT8", True), tensor("INT8", False)]))
    add(helper.make_attribute("bytes", b"\xff\x00\xfe"))
    add(helper.make_attribute("none", [], attr_type=onnx.AttributeProto.INTS))
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.float32([1, 2]), "s"),
                                       numpy_helper.from_array(np.int64([1, 4]), "i"), [2, 3])
    add(helper.make_attribute("sparse", sparse))
    add(helper.make_attribute("sparses", [sparse, sparse]))
    types = [helper.make_tensor_type_proto(TensorProto.FLOAT, None),
             helper.make_tensor_type_proto(TensorProto.FLOAT, []),
             helper.make_sparse_tensor_type_proto(TensorProto.INT32, ["n", 2, None]),
             helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.INT64, [1])),
             helper.make_optional_type_proto(helper.make_sequence_type_proto(
                 helper.make_tensor_type_proto(TensorProto.BOOL, []))),
             helper.make_map_type_proto(TensorProto.STRING,
                                        helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))]
    types[1].denotation = "TENSOR"
    add(helper.make_attribute("type", types[2]))
    add(helper.make_attribute("types", types))
    entry = node.metadata_props.add()
    entry.key, entry.value = "key", "välue"
    inputs = [helper.make_value_info(f"x{i}", t) for i, t in enumerate(types)]
    graph = helper.make_graph([node], "attributes", inputs, [info("y")])
    graph.sparse_initializer.append(sparse)
    made = model(graph, 21, 10)
    made.opset_import.append(helper.make_opsetid("test", 1))
    return made


def control_flow():
    """If and Loop, one inside the other, with an initializer inside."""
    then_branch = helper.make_graph(
        [helper.make_node("Add", ["carried", "one"], ["t"])], "then", [], [info("t", ())],
        [numpy_helper.from_array(np.float32(1), "one")])
    else_branch = helper.make_graph(
        [helper.make_node("Mul", ["carried", "carried"], ["e"])], "else", [], [info("e", ())])
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["going_out"]),
         helper.make_node("If", ["flag"], ["next"], then_branch=then_branch,
                          else_branch=else_branch)],
        "body", [info("i", (), TensorProto.INT64), info("going", (), TensorProto.BOOL),
                 info("carried", ())],
        [info("going_out", (), TensorProto.BOOL), info("next", ())])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], "control",
        [info("n", (), TensorProto.INT64), info("flag", (), TensorProto.BOOL), info("x", ())],
        [info("y", ())])
    return model(graph)


def functions():
    """A function with attributes that refer to its own, and training information."""
    inner = helper.make_node("Elu", ["a"], ["b"])
    reference = inner.attribute.add()
    reference.name, reference.ref_attr_name = "alpha", "slope"
    reference.type = onnx.AttributeProto.FLOAT
    function = helper.make_function("test", "MyElu", ["a"], ["b"], [inner],
                                    [helper.make_opsetid("", 17)], ["slope"],
                                    [helper.make_attribute("other", 2)], doc_string="a function")
    graph = helper.make_graph([helper.make_node("MyElu", ["x"], ["y"], domain="test", slope=0.5)],
                              "functions", [info("x")], [info("y")])
    made = model(graph, functions=[function])
    made.opset_import.append(helper.make_opsetid("test", 1))
    step = helper.make_graph([helper.make_node("Identity", ["x"], ["w_new"])], "step", [],
                             [info("w_new")])
    made.training_info.append(helper.make_training_info(step, [("w", "w_new")], None, None))
    return made


MODELS = {"mlp": mlp, "tensors": tensors, "attributes": attributes, "control_flow": control_flow,
          "functions": functions}


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        (CORPUS / f"{name}.onnx").write_bytes(make().SerializeToString(deterministic=True))
    for kind in ("FLOAT16", "INT4", "BOOL"):
        (CORPUS / f"{kind.lower()}.pb").write_bytes(tensor(kind, False).SerializeToString())


if __name__ == "__main__":
    main()
