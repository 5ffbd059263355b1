"""Holds our reading and writing of ONNX files against the onnx package.

usage: run.py PROGRAM

PROGRAM is built from onnx_format.cpp: it prints what it read of a file and writes it again. Here
the same text is made from the onnx package's own messages, of the file and of the one written.
The files: tests/golden/make_onnx.py's, some made byte by byte, and all test models of the package.
"""

import collections
import copy
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
import make_onnx  # noqa: E402

DATA = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
COUNTS = collections.Counter()
MOST_SHOWN = 10


def check(what, ok, detail=""):
    COUNTS["passed" if ok else "failed"] += 1
    if not ok and COUNTS["failed"] <= MOST_SHOWN:
        print(f"FAILED: {what}: {detail}")


def quoted(text):
    text = text.encode() if isinstance(text, str) else text
    return '"' + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}"
                         for c in text) + '"'


def bits(x):
    return f"{struct.unpack('<I', struct.pack('<f', x))[0]:08x}"


class Text:
    """One line a field, as onnx_format.cpp prints them."""

    def __init__(self, folder):
        self.lines, self.folder = [], folder

    def line(self, path, value):
        self.lines.append(f"{path} = {value}")

    def text(self, path, value):
        if value:
            self.line(path, quoted(value))

    def each(self, path, items, show):
        for i, item in enumerate(items):
            show(f"{path}[{i}]", item)

    def texts(self, path, items):
        self.each(path, items, lambda p, x: self.line(p, quoted(x)))

    def numbers(self, path, items):
        self.each(path, items, self.line)

    def entry(self, p, x):
        self.line(p + ".key", quoted(x.key))
        self.line(p + ".value", quoted(x.value))

    def tensor(self, p, x):
        self.text(p + ".name", x.name)
        self.text(p + ".doc_string", x.doc_string)
        self.line(p + ".data_type", x.data_type)
        self.numbers(p + ".dims", x.dims)
        self.each(p + ".metadata_props", x.metadata_props, self.entry)
        self.texts(p + ".strings", x.string_data)
        if x.data_type == TensorProto.STRING:
            return
        array = numpy_helper.to_array(x, self.folder)
        data = numpy_helper.from_array(array).raw_data
        self.line(p + ".data", f"{zlib.crc32(data)} of {len(data)}")

    def sparse(self, p, x):
        self.tensor(p + ".values", x.values)
        self.tensor(p + ".indices", x.indices)
        self.numbers(p + ".dims", x.dims)

    def dim(self, p, x):
        known = x.HasField("dim_value") and x.dim_value >= 0
        self.line(p, x.dim_value if known else quoted(x.dim_param))
        self.text(p + ".denotation", x.denotation)

    def type(self, p, x):
        kind = x.WhichOneof("value") or "none"
        self.line(p, kind)
        self.text(p + ".denotation", x.denotation)
        if kind == "none":
            return
        part = getattr(x, kind)
        if kind in ("tensor_type", "sparse_tensor_type"):
            if part.elem_type:
                self.line(p + ".elem_type", part.elem_type)
            if part.HasField("shape"):
                self.line(p + ".rank", len(part.shape.dim))
                self.each(p + ".dim", part.shape.dim, self.dim)
        elif kind == "map_type":
            self.line(p + ".elem_type", part.key_type)
            self.type(p + ".inner[0]", part.value_type)
        else:
            self.type(p + ".inner[0]", part.elem_type)

    def value_info(self, p, x):
        self.text(p + ".name", x.name)
        self.type(p + ".type", x.type)
        self.text(p + ".doc_string", x.doc_string)
        self.each(p + ".metadata_props", x.metadata_props, self.entry)

    def attribute(self, p, x):
        self.text(p + ".name", x.name)
        self.line(p + ".type", x.type)
        self.text(p + ".doc_string", x.doc_string)
        self.text(p + ".ref_attr_name", x.ref_attr_name)
        if x.type == AttributeProto.FLOAT:
            self.line(p + ".f", bits(x.f))
        if x.type == AttributeProto.INT:
            self.line(p + ".i", x.i)
        if x.type == AttributeProto.STRING:
            self.line(p + ".s", quoted(x.s))
        self.each(p + ".floats", x.floats, lambda q, v: self.line(q, bits(v)))
        self.numbers(p + ".ints", x.ints)
        self.texts(p + ".strings", x.strings)
        one = [x.t] if x.HasField("t") else []
        self.each(p + ".tensors", one or x.tensors, self.tensor)
        one = [x.g] if x.HasField("g") else []
        self.each(p + ".graphs", one or x.graphs, self.graph)
        one = [x.sparse_tensor] if x.HasField("sparse_tensor") else []
        self.each(p + ".sparse_tensors", one or x.sparse_tensors, self.sparse)
        one = [x.tp] if x.HasField("tp") else []
        self.each(p + ".types", one or x.type_protos, self.type)

    def node(self, p, x):
        for field in ("op_type", "domain", "overload", "name", "doc_string"):
            self.text(f"{p}.{field}", getattr(x, field))
        self.texts(p + ".input", x.input)
        self.texts(p + ".output", x.output)
        self.each(p + ".attribute", x.attribute, self.attribute)
        self.each(p + ".metadata_props", x.metadata_props, self.entry)

    def graph(self, p, x):
        self.text(p + ".name", x.name)
        self.text(p + ".doc_string", x.doc_string)
        self.each(p + ".node", x.node, self.node)
        self.each(p + ".initializer", x.initializer, self.tensor)
        self.each(p + ".sparse_initializer", x.sparse_initializer, self.sparse)
        for field in ("input", "output", "value_info"):
            self.each(f"{p}.{field}", getattr(x, field), self.value_info)
        self.each(p + ".metadata_props", x.metadata_props, self.entry)

    def operator_set(self, p, x):
        self.line(p, f"{quoted(x.domain)} {x.version}")

    def function(self, p, x):
        for field in ("name", "domain", "overload", "doc_string"):
            self.text(f"{p}.{field}", getattr(x, field))
        for field in ("input", "output", "attribute"):
            self.texts(f"{p}.{field}", getattr(x, field))
        self.each(p + ".attribute_proto", x.attribute_proto, self.attribute)
        self.each(p + ".node", x.node, self.node)
        self.each(p + ".opset_import", x.opset_import, self.operator_set)
        self.each(p + ".value_info", x.value_info, self.value_info)
        self.each(p + ".metadata_props", x.metadata_props, self.entry)

    def training(self, p, x):
        for field in ("initialization", "algorithm"):
            if x.HasField(field):
                self.graph(f"{p}.{field}", getattr(x, field))
        for field in ("initialization_binding", "update_binding"):
            self.each(f"{p}.{field}", getattr(x, field), self.entry)

    def model(self, p, x):
        self.line(p + ".ir_version", x.ir_version)
        for field in ("producer_name", "producer_version", "domain"):
            self.text(f"{p}.{field}", getattr(x, field))
        self.line(p + ".model_version", x.model_version)
        self.text(p + ".doc_string", x.doc_string)
        self.each(p + ".opset_import", x.opset_import, self.operator_set)
        self.each(p + ".metadata_props", x.metadata_props, self.entry)
        self.graph(p + ".graph", x.graph)
        self.each(p + ".training_info", x.training_info, self.training)
        self.each(p + ".functions", x.functions, self.function)


def parse(path):
    message = TensorProto() if path.suffix == ".pb" else onnx.ModelProto()
    message.ParseFromString(path.read_bytes())
    return message


def text_of(path):
    out, message = Text(str(path.parent)), parse(path)
    if isinstance(message, TensorProto):
        out.tensor("tensor", message)
    else:
        out.model("model", message)
    return out.lines


def valid(path):
    try:
        onnx.checker.check_model(str(path))
        return ""
    except Exception as e:  # the checker throws of several kinds
        return str(e).split("\n")[0]


def run(program, pairs, *options):
    """{file: lines that the program printed of it}"""
    found = {}
    for at in range(0, len(pairs), 300):
        names = [str(p) for pair in pairs[at:at + 300] for p in pair]
        said = subprocess.run([program, *options, *names], check=True, capture_output=True)
        for part in re.split(r"^== ", said.stdout.decode(), flags=re.M)[1:]:
            name, *lines = part.splitlines()
            found[pathlib.Path(name)] = lines
    return found


def first_difference(ours, theirs):
    for a, b in zip(ours, theirs):
        if a != b:
            return f"{a[:200]} | {b[:200]}"
    rest = (ours[len(theirs):] + theirs[len(ours):])[:2]
    return f"{len(ours)} lines, {len(theirs)} lines: {rest}"


def compare(program, paths, folder, what):
    pairs = [(p, folder / f"{i}{p.suffix}") for i, p in enumerate(paths)]
    printed = run(program, pairs)
    same_bytes = checked = 0
    for path, out in pairs:
        theirs, ours = text_of(path), printed[path]
        check(f"{path} read", ours == theirs, first_difference(ours, theirs))
        if not out.exists():
            continue
        again = text_of(out)
        check(f"{path} written", again == theirs, first_difference(again, theirs))
        same_bytes += out.read_bytes() == path.read_bytes()
        if path.suffix == ".onnx" and not valid(path):
            checked += 1
            check(f"{path} written for the checker", not valid(out), valid(out))
    print(f"{what}: {len(paths)} files read as onnx reads them, {same_bytes} written byte for byte "
          f"as it wrote them, {checked} given to onnx.checker")


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, kind, content):
    if kind == 0:
        return varint(number << 3) + varint(content)
    head = varint(number << 3 | kind)
    return head + (varint(len(content)) + content if kind == 2 else content)


def by_hand(folder):
    """What the package's own writer never writes, but protobuf allows."""
    one, two = struct.pack("<f", 1.5), struct.pack("<f", -2)
    unknown = (field(900, 0, 1 << 63) + field(901, 1, b"12345678") + field(902, 2, b"xyz")
               + field(903, 5, b"1234"))
    head = field(2, 0, TensorProto.FLOAT)
    cases = {
        "unpacked_floats": field(1, 0, 2) + head + field(4, 5, one) + field(4, 5, two),
        "packed_dims": field(1, 2, varint(1) + varint(2)) + head + field(4, 2, one + two),
        "both_kinds": field(1, 2, varint(1)) + field(1, 0, 2) + head + field(4, 5, one)
        + field(4, 2, two),
        "unpacked_ints": field(1, 0, 2) + field(2, 0, TensorProto.INT32) + field(5, 0, 7)
        + field(5, 0, (1 << 64) - 1),
        "unpacked_int64": field(1, 0, 1) + field(2, 0, TensorProto.INT64)
        + field(7, 0, (1 << 64) - 5),
        "any_order": field(9, 2, one + two) + unknown + head + field(8, 2, b"late")
        + field(1, 0, 2),
        "last_wins": field(8, 2, b"first") + field(1, 0, 1) + field(2, 0, TensorProto.DOUBLE) + head
        + field(9, 2, two) + field(9, 2, one) + field(8, 2, b"second"),
    }
    for name, data in cases.items():
        (folder / f"{name}.pb").write_bytes(data)
    node = field(4, 2, b"Relu") + unknown
    floats = field(1, 2, b"floats") + field(7, 2, one + two) + field(20, 0, AttributeProto.FLOATS)
    ints = field(1, 2, b"ints") + field(8, 2, varint(5) + varint((1 << 64) - 1)) + field(20, 0, 7)
    merged = (field(1, 0, 8) + field(7, 2, field(1, 2, node + field(5, 2, floats))
                                     + field(2, 2, b"g")) + unknown
              + field(7, 2, field(1, 2, field(4, 2, b"Add") + field(5, 2, ints))))
    (folder / "merged.onnx").write_bytes(merged)
    return sorted(folder.iterdir())


def external(program, folder):
    """Data in other files: written by onnx and read by us, and the other way about."""
    rng = np.random.default_rng(0)
    graph = make_onnx.mlp()
    for name, shape in (("big", (300, 70)), ("odd", (13,)), ("half", (5, 7))):
        kind = np.float16 if name == "half" else np.float32
        graph.graph.initializer.append(
            numpy_helper.from_array(rng.normal(size=shape).astype(kind), name))
    inside = folder / "inside.onnx"
    onnx.save(graph, inside)
    theirs = []
    for name, options in (("one", {"location": "one.bin"}), ("most", {"size_threshold": 100}),
                          ("each", {"all_tensors_to_one_file": False})):
        (folder / name).mkdir()
        path = folder / name / "model.onnx"
        onnx.save(copy.deepcopy(graph), path, save_as_external_data=True,
                  **{"size_threshold": 0, **options})
        theirs.append(path)
    printed = run(program, [(p, p.parent / "out.onnx") for p in theirs])
    want = text_of(inside)
    for path in theirs:
        check(f"external data of {path.parent.name}", printed[path] == want,
              first_difference(printed[path], want))
    for above in (0, 100, 10**6):
        out = folder / f"above{above}.onnx"
        for _ in range(2):  # the second takes the place of the first
            run(program, [(inside, out)], "--external", str(above))
            check(f"external data above {above} bytes", text_of(out) == want)
            check(f"external data above {above} bytes for the checker", not valid(out), valid(out))
            stored = [t for t in parse(out).graph.initializer if t.data_location == 1]
            sizes = [len(t.raw_data) for t in parse(inside).graph.initializer]
            check("what is outside", len(stored) == sum(s > above for s in sizes), len(stored))
            others = [p.name for p in folder.iterdir() if p.name.startswith(out.name + ".")]
            check("one second file", len(others) == (len(stored) > 0), others)


def holds_tensor(path):
    """Whether a file of test data holds a tensor, and no sequence or optional."""
    graph = parse(path.parent.parent / "model.onnx").graph
    kind, number = path.stem.split("_")
    return getattr(graph, kind)[int(number)].type.WhichOneof("value") == "tensor_type"


def main(program):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in ("made", "hand", "out", "out2", "out3", "external"):
            (folder / part).mkdir()
        for model, make in make_onnx.MODELS.items():
            (folder / "made" / f"{model}.onnx").write_bytes(
                make().SerializeToString(deterministic=True))
        compare(program, sorted((folder / "made").iterdir()), folder / "out", "our own models")
        compare(program, by_hand(folder / "hand"), folder / "out2", "made byte by byte")
        models = sorted(DATA.rglob("*.onnx"))
        tensors = [p for p in sorted(DATA.rglob("test_data_set_*/*put_*.pb")) if holds_tensor(p)]
        if not models:
            print("the onnx package holds no test models: only our own were tried")
            COUNTS["skipped"] += 1
        compare(program, models, folder / "out3", "the onnx package's models")
        compare(program, tensors, folder / "out3", "its tensors")
        external(program, folder / "external")
    print(f"{COUNTS['passed']} passed, {COUNTS['failed']} failed, {COUNTS['skipped']} skipped")
    return 1 if COUNTS["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
