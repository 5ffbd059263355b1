// ONNX files that the onnx package wrote (golden/make_onnx.py), files with a second one beside
// them, and damage. tests/onnx_format compares thousands of files with the package itself.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/factory.h"
#include "tandem/io/onnx_file.h"
#include "tandem/op/copy.h"
#include "tests/support/errors.h"
#include "tests/support/folder.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;
using tandem::testing::read_text;
using tandem::testing::TemporaryFolder;
namespace fs = std::filesystem;
using onnx::Attribute;
using onnx::ElementType;
using onnx::Model;
using onnx::TensorData;

std::string corpus(const std::string& name) {
  return std::string(TANDEM_SOURCE_DIR "/tests/fuzz/corpus/onnx/") + name;
}

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

using Texts = std::vector<std::string>;

TEST(OnnxFile, ReadsASmallNet) {
  const Model m = onnx::read_model(corpus("mlp.onnx"));
  EXPECT_EQ(m.ir_version, 8);
  EXPECT_EQ(m.producer_name + " " + m.producer_version, "maker 1.2");
  EXPECT_EQ(m.domain, "org.example");
  EXPECT_EQ(m.model_version, 3);
  EXPECT_EQ(m.doc, "a model");
  ASSERT_EQ(m.operator_sets.size(), 1u);
  EXPECT_EQ(m.operator_sets[0].version, 17);
  EXPECT_EQ(m.metadata, (onnx::Metadata{{"author", "nobody"}, {"empty", ""}}));
  const onnx::Graph& g = m.graph;
  EXPECT_EQ(g.name, "mlp");
  ASSERT_EQ(g.nodes.size(), 3u);
  EXPECT_EQ(g.nodes[0].op_type, "Gemm");
  EXPECT_EQ(g.nodes[0].inputs, (Texts{"x", "w", "b"}));
  EXPECT_EQ(g.nodes[0].doc, "a node");
  EXPECT_EQ(g.nodes[2].inputs, (Texts{"y", "", "w0"}));
  const Attribute* alpha = g.nodes[0].find("alpha");
  ASSERT_TRUE(alpha && alpha->type == Attribute::Type::real);
  EXPECT_EQ(alpha->f, 0.5f);
  const Attribute* trans = g.nodes[0].find("transB");
  ASSERT_TRUE(trans && trans->type == Attribute::Type::integer);
  EXPECT_EQ(trans->i, 0);
  EXPECT_EQ(g.nodes[0].find("beta"), nullptr);
  ASSERT_EQ(g.initializers.size(), 3u);
  const Tensor w = g.initializers[0].tensor;
  EXPECT_EQ(w.spec(), (Spec{{3, 4}, f32, {}}));
  for (int i = 0; i < 12; ++i) EXPECT_EQ(w.span<float>()[size_t(i)], float(i - 3) / 2);
  EXPECT_EQ(g.initializers[2].tensor.item<float>(), 6);
  EXPECT_EQ(g.initializers[2].tensor.dim(), 0);
  ASSERT_EQ(g.inputs.size(), 1u);
  EXPECT_EQ(g.inputs[0].doc, "an input");
  ASSERT_TRUE(g.inputs[0].type.shape && g.inputs[0].type.shape->size() == 2);
  const std::vector<onnx::Dim>& dims = *g.inputs[0].type.shape;
  EXPECT_EQ(dims[0].param, "batch");
  EXPECT_EQ(dims[0].denotation, "DATA_BATCH");
  EXPECT_EQ(dims[1].value, 3);
  ASSERT_EQ(g.values.size(), 2u);
  EXPECT_EQ(g.values[0].type.shape->at(0).value, -1);
  EXPECT_EQ(g.values[0].type.shape->at(0).param, "");
  EXPECT_FALSE(g.values[1].type.shape);
  EXPECT_EQ(g.values[1].type.element, ElementType::float32);
}

/// What make_onnx.py's values() gives for the dtypes that Tandem has.
double expected(const std::string& kind, int64_t i) {
  if (kind == "BOOL") return i % 3 == 0;
  if (kind[0] == 'U') return double(i % 16);
  if (kind[0] == 'I') return double(i - 3);
  return double(i - 3) / 2;
}

/// And for narrow elements.
double narrow(const std::string& kind, int64_t i) {
  if (kind == "UINT2") return double(i % 4);
  if (kind == "INT2") return double(i % 4 - 2);
  if (kind == "INT4") return double(i % 16 - 8);
  if (kind == "FLOAT4E2M1" || kind == "FLOAT8E8M0") return std::exp2(double(i % 3));
  const double v = expected(kind, i);
  if (!kind.starts_with("FLOAT8E5M2")) return v;
  const double step = v == 0 ? 1 : std::exp2(std::floor(std::log2(std::abs(v))) - 2);
  return std::nearbyint(v / step) * step;  // three digits, to the nearest even one
}

TEST(OnnxFile, ReadsEveryElementTypeRawAndTyped) {
  const Model m = onnx::read_model(corpus("tensors.onnx"));
  std::map<std::string, const TensorData*> found;
  for (const TensorData& t : m.graph.initializers) found[t.name] = &t;
  int with_dtype = 0, held = 0, others = 0;
  for (const auto& [name, t] : found) {
    if (!name.ends_with("_raw")) continue;
    SCOPED_TRACE(name);
    const std::string kind = name.substr(0, name.size() - 4);
    ASSERT_TRUE(found.contains(kind + "_typed"));
    const TensorData& typed = *found[kind + "_typed"];
    EXPECT_EQ(onnx::name(t->type), kind);
    EXPECT_EQ(typed.type, t->type);
    EXPECT_EQ(t->dims, (std::vector<int64_t>{3, 5}));
    EXPECT_EQ(typed.dims, t->dims);
    EXPECT_EQ(t->tensor.defined(), onnx::to_dtype(t->type).has_value());
    if (!t->tensor.defined()) {
      EXPECT_FALSE(t->raw.empty());
      EXPECT_EQ(t->raw, typed.raw);
      if (kind.starts_with("COMPLEX")) {
        EXPECT_THROW(t->value(), DTypeError);
        ++others;
        continue;
      }
      EXPECT_EQ(t->value().dtype(), onnx::held_in(t->type));
      const std::vector<double> v = typed.value().to_vector<double>();
      for (size_t i = 0; i < v.size(); ++i) EXPECT_EQ(v[i], narrow(kind, int64_t(i))) << i;
      ++held;
      continue;
    }
    ++with_dtype;
    for (const Tensor& x : {t->value(), typed.value()}) {
      EXPECT_EQ(x.shape(), (Shape{3, 5}));
      EXPECT_EQ(onnx::to_element_type(x.dtype()), t->type);
      const std::vector<double> v = detail::as_contiguous(x, f64).to_vector<double>();
      for (size_t i = 0; i < v.size(); ++i) EXPECT_EQ(v[i], expected(kind, int64_t(i))) << i;
    }
  }
  EXPECT_EQ(with_dtype, dtype_count);
  EXPECT_EQ(held, 10);
  EXPECT_EQ(others, 2);
  EXPECT_EQ(found["INT4_raw"]->raw.size(), 8u);
  EXPECT_EQ(found["INT2_raw"]->raw.size(), 4u);
  EXPECT_EQ(found["strings"]->strings, (Texts{"a", "", std::string("\xFF\0\xFE", 3)}));
  EXPECT_EQ(found["empty"]->tensor.spec(), (Spec{{0, 3}, f32, {}}));
  EXPECT_EQ(found["empty_typed"]->tensor.spec(), (Spec{{2, 0}, i64, {}}));
  EXPECT_EQ(found["zero_d"]->tensor.item<double>(), 2.5);
  EXPECT_EQ(found["nine_dims"]->raw.size(), 4u);
  EXPECT_EQ(error_of<ShapeError>([&] { found["nine_dims"]->value(); }),
            "onnx tensor nine_dims: 9 dimensions, more than 8");
}

TEST(OnnxFile, ReadsBareTensors) {
  const TensorData half = onnx::read_tensor(corpus("float16.pb"));
  EXPECT_EQ(half.name, "FLOAT16_typed");
  EXPECT_EQ(half.tensor.spec(), (Spec{{3, 5}, f16, {}}));
  const std::string bytes = read_text(corpus("bool.pb"));
  EXPECT_EQ(onnx::parse_tensor(bytes_of(bytes)).tensor.dtype(), boolean);
}

TEST(OnnxFile, ReadsGraphsInsideGraphs) {
  const Model m = onnx::read_model(corpus("control_flow.onnx"));
  const Attribute* body = m.graph.nodes.at(0).find("body");
  ASSERT_TRUE(body && body->type == Attribute::Type::graph && body->graphs.size() == 1);
  const onnx::Node& branch = body->graphs[0].nodes.at(1);
  EXPECT_EQ(branch.op_type, "If");
  EXPECT_EQ(branch.find("else_branch")->graphs.at(0).nodes.at(0).op_type, "Mul");
  const onnx::Graph& then_branch = branch.find("then_branch")->graphs.at(0);
  EXPECT_EQ(then_branch.initializers.at(0).tensor.item<float>(), 1);
  EXPECT_TRUE(then_branch.outputs.at(0).type.shape->empty());  // a scalar, and not of any rank
}

TEST(OnnxFile, ReadsFunctionsAndTraining) {
  const Model m = onnx::read_model(corpus("functions.onnx"));
  const onnx::Function& f = m.functions.at(0);
  EXPECT_EQ(f.domain + "." + f.name, "test.MyElu");
  EXPECT_EQ(f.attributes, (Texts{"slope"}));
  EXPECT_EQ(f.defaults.at(0).i, 2);
  EXPECT_EQ(f.nodes.at(0).attributes.at(0).reference, "slope");
  EXPECT_EQ(f.nodes.at(0).attributes.at(0).type, Attribute::Type::real);
  const onnx::TrainingInfo& t = m.training.at(0);
  EXPECT_FALSE(t.initialization.has_value());
  EXPECT_EQ(t.algorithm.value().name, "step");
  EXPECT_EQ(t.update_binding, (onnx::Metadata{{"w", "w_new"}}));
}

TEST(OnnxFile, WritesTheSameBytesAsThePackage) {
  const TemporaryFolder folder;
  for (const char* name : {"mlp", "control_flow", "functions"}) {
    SCOPED_TRACE(name);
    const std::string original = corpus(cat(name, ".onnx")), copy = folder / "x.onnx";
    onnx::write_model(copy, onnx::read_model(original));
    EXPECT_EQ(read_text(copy), read_text(original));
    EXPECT_EQ(onnx::serialize(onnx::read_model(original)), read_text(original));
  }
  // Typed fields become raw data; that form then stays.
  for (const char* name : {"tensors", "attributes"}) {
    const std::string once = onnx::serialize(onnx::read_model(corpus(cat(name, ".onnx"))));
    EXPECT_EQ(onnx::serialize(onnx::parse_model(bytes_of(once))), once) << name;
  }
  EXPECT_EQ(folder.files(), (std::set<std::string>{"x.onnx"}));
}

Model small_model(float value, int64_t n = 1000) {
  Model m;
  m.operator_sets = {{"", 17}};
  m.graph.name = "g";
  onnx::Node node;
  node.op_type = "Add";
  node.inputs = {"w", "b"};
  node.outputs = {"y"};
  node.attributes = {Attribute::of("i", 3),
                     Attribute::of("f", 0.5f),
                     Attribute::of("s", std::string("text")),
                     Attribute::of("is", std::vector<int64_t>{1, -1}),
                     Attribute::of("fs", std::vector<float>{1, 2}),
                     Attribute::of("ss", Texts{"a", "b"}),
                     Attribute::of("t", full({2}, 7.0)),
                     Attribute::of("g", onnx::Graph{.name = "inner"})};
  m.graph.nodes = {node};
  m.graph.initializers = {TensorData::of("w", full({n}, value)),
                          TensorData::of("b", full({2, 3}, value).t()),
                          TensorData::of("e", empty({0}))};
  return m;
}

TEST(OnnxFile, KeepsLargeTensorsInASecondFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "m.onnx";
  const auto value = [&] {
    const Model m = onnx::read_model(path);
    EXPECT_EQ(m.graph.nodes.at(0).attributes.size(), 8u);
    EXPECT_EQ(m.graph.nodes[0].find("t")->tensors.at(0).tensor.sum().item<float>(), 14);
    EXPECT_EQ(m.graph.initializers.at(1).tensor.shape(), (Shape{3, 2}));
    EXPECT_EQ(m.graph.initializers.at(2).tensor.numel(), 0);
    EXPECT_EQ(m.graph.initializers[0].tensor.sum().item<float>() / 1000,
              m.graph.initializers[1].tensor.sum().item<float>() / 6);
    return m.graph.initializers[0].tensor.span<float>()[999];
  };
  onnx::write_model(path, small_model(1));
  EXPECT_EQ(folder.files(), (std::set<std::string>{"m.onnx"}));
  EXPECT_EQ(value(), 1);
  onnx::write_model(path, small_model(2), {.external_above = 100});
  EXPECT_EQ(folder.files(), (std::set<std::string>{"m.onnx", "m.onnx.data"}));
  EXPECT_EQ(fs::file_size(folder / "m.onnx.data"), 4000u);
  EXPECT_EQ(value(), 2);
  // Tensors in the old second file's memory outlive it: a model written over itself.
  Model mapped = onnx::read_model(path);
  mapped.graph.initializers[0].tensor.fill_(3);
  mapped.graph.initializers[1].tensor.fill_(3);
  EXPECT_EQ(value(), 2);  // writing to mapped tensors stays in this process
  onnx::write_model(path, mapped, {.external_above = 0});
  EXPECT_EQ(folder.files(), (std::set<std::string>{"m.onnx", "m.onnx.1.data"}));
  EXPECT_EQ(fs::file_size(folder / "m.onnx.1.data"), 4096u + 24);  // each on a page
  EXPECT_EQ(value(), 3);
  onnx::write_model(path, small_model(4), {.external_above = 0});
  EXPECT_EQ(folder.files(), (std::set<std::string>{"m.onnx", "m.onnx.data"}));
  EXPECT_EQ(value(), 4);
}

TEST(OnnxFile, AFailedSaveLeavesTheOldModelWhole) {
  const TemporaryFolder folder;
  const std::string path = folder / "m.onnx";
  onnx::write_model(path, small_model(1), {.external_above = 100});
  const auto before = folder.files();
  Model bad = small_model(2);
  bad.graph.nodes[0].name = "\xFF";
  EXPECT_EQ(error_of<ValueError>([&] { onnx::write_model(path, bad, {.external_above = 100}); }),
            cat("write_model(", path, "): field 3 of a message holds text that is not UTF-8"));
  EXPECT_EQ(folder.files(), before);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  for (rlim_t most : {3000, 8000}) {  // too few for the second file; enough for it alone
    Model m = small_model(2);
    m.doc.assign(9000, 'x');
    rlimit tight = limit;
    tight.rlim_cur = most;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const std::string error =
        error_of([&] { onnx::write_model(path, m, {.external_above = 100}); });
    setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_NE(error.find("File too large"), std::string::npos) << error;
    EXPECT_EQ(folder.files(), before);
    EXPECT_EQ(onnx::read_model(path).graph.initializers[0].tensor.span<float>()[5], 1);
  }
  signal(SIGXFSZ, handler);
}

TEST(OnnxFile, WhatCannotBeWritten) {
  const auto text = [](const Model& m) {
    return error_of<ValueError>([&] { onnx::serialize(m); });
  };
  Model m = small_model(1);
  m.graph.nodes[0].attributes[7].graphs.clear();
  EXPECT_EQ(text(m), "onnx::serialize(Model): attribute g: type 5 with other than one value");
  m = small_model(1);
  m.graph.initializers.push_back({.name = "u", .type = ElementType::uint16, .dims = {3}});
  EXPECT_EQ(text(m), "onnx::serialize(Model): tensor u: its dims and type need 6 bytes, it has 0");
  m.graph.initializers.back().type = ElementType::undefined;
  EXPECT_EQ(text(m), "onnx::serialize(Model): tensor u: element type UNDEFINED");
  m.graph.initializers.back() = TensorData::of("huge", full({1}, 1.0).expand({int64_t(1) << 30}));
  EXPECT_EQ(text(m).find("onnx::serialize(Model): a message of 4294967296 bytes, more than"), 0u);
  EXPECT_THROW(onnx::write_model("/nowhere/x.onnx", small_model(1)), IOError);
  EXPECT_THROW(onnx::write_model("x.onnx", small_model(1), {.external_above = -1}), ValueError);
}

// A field of a message: its number, and a length with bytes, a varint or a fixed number.
std::string varint(uint64_t v) {
  std::string out;
  for (; v > 127; v >>= 7) out += char((v & 127) | 128);
  return out + char(v);
}
std::string field(int n, const std::string& bytes) {
  return varint(uint64_t(n << 3 | 2)) + varint(bytes.size()) + bytes;
}
std::string field(int n, uint64_t v) { return varint(uint64_t(n << 3)) + varint(v); }
std::string in_graph(const std::string& tensor) { return field(1, 8) + field(7, field(5, tensor)); }
std::string text_of(const std::string& bytes) {
  return error_of([&] { onnx::parse_model(bytes_of(bytes), "m"); });
}

TEST(OnnxFile, EveryBrokenRuleHasItsText) {
  const std::string floats = field(2, 1), name = field(8, "t");
  const std::string place = field(1, "location") + field(2, "../x"),
                    number = field(1, "offset") + field(2, "1x");
  EXPECT_EQ(text_of(""), "m: byte 0: no ir_version: this is no ONNX model");
  EXPECT_EQ(text_of("\x08"), "m: byte 0: not a protobuf message: end of buffer exception");
  EXPECT_EQ(text_of("\x0B"), "m: byte 0: not a protobuf message: unknown pbf field type exception");
  EXPECT_EQ(text_of(field(0, 1)), "m: byte 0: not a protobuf message: invalid tag exception");
  EXPECT_EQ(text_of(field(1, 8) + "\x08" + std::string(11, '\xFF')),
            "m: byte 2: not a protobuf message: varint too long exception");
  EXPECT_EQ(text_of("\x3A\x05"), "m: byte 0: field 7 of 5 bytes passes the end of its message");
  EXPECT_EQ(text_of("\x3A" + varint((uint64_t(1) << 32) + 1) + "x"),
            "m: byte 0: field 7 of 4294967297 bytes passes the end of its message");
  EXPECT_EQ(text_of("\x3A" + varint(uint64_t(-1))),
            "m: byte 0: field 7 of over 2^63 bytes passes the end of its message");
  EXPECT_EQ(text_of(field(7, 1)), "m: byte 0: field 7 has wire type 0, not 2");
  EXPECT_EQ(text_of(field(1, "8")), "m: byte 0: field 1 has wire type 2, not 0");
  EXPECT_EQ(text_of(in_graph(name + floats + field(1, uint64_t(-1)))),
            "m: byte 6: tensor t: a size of -1");
  EXPECT_EQ(text_of(in_graph(name + floats + field(1, uint64_t(1) << 40) + field(1, 1 << 30))),
            "m: byte 6: tensor t: too many elements");
  EXPECT_EQ(text_of(in_graph(name + floats + field(1, 0) + field(1, uint64_t(1) << 62))),
            "m: byte 6: tensor t: too many elements");
  EXPECT_EQ(text_of(in_graph(name + floats + field(1, 2))),
            "m: byte 6: tensor t: 2 elements of FLOAT need 8 bytes, its data have 0");
  EXPECT_EQ(text_of(in_graph(name + floats + field(1, 2) + field(9, "1234567"))),
            "m: byte 6: tensor t: 2 elements of FLOAT need 8 bytes, its data have 7");
  EXPECT_EQ(text_of(in_graph(name + floats + field(4, "123"))),
            "m: byte 11: field 4 of 3 bytes does not hold whole numbers of 4 bytes");
  EXPECT_EQ(text_of(in_graph(name + field(2, 99))),
            "m: byte 6: tensor t: element type type 99 is none of ONNX");
  EXPECT_EQ(text_of(in_graph(name + field(2, 3) + field(5, varint(256)))),
            "m: byte 6: tensor t: the value 256 does not fit 8 bits");
  EXPECT_EQ(text_of(in_graph(name + field(2, 12) + field(11, varint(uint64_t(1) << 32)))),
            "m: byte 6: tensor t: the value 4294967296 does not fit 32 bits");
  EXPECT_EQ(text_of(in_graph(name + field(2, 8) + field(1, 2) + field(6, "a"))),
            "m: byte 6: tensor t: 2 elements, 1 strings");
  EXPECT_EQ(text_of(in_graph(name + field(2, 8) + field(9, "a"))),
            "m: byte 6: tensor t: strings must lie in string_data");
  EXPECT_EQ(text_of(in_graph(name + floats + field(3, ""))),
            "m: byte 6: tensor t: tensors in segments cannot be read");
  EXPECT_EQ(text_of(in_graph(name + floats + field(14, 1) + field(13, number))),
            "m: byte 6: tensor t: its offset is no number: 1x");
  EXPECT_EQ(text_of(in_graph(name + floats + field(14, 1) + field(13, place))),
            "m: byte 6: tensor t: its data lie in \"../x\", which is no path inside the model's "
            "folder");
  const auto attribute = [](const std::string& a) {
    return field(1, 8) + field(7, field(1, field(5, field(1, "a") + a)));
  };
  EXPECT_EQ(text_of(attribute("")), "m: byte 8: attribute a: type 0 is none of ONNX");
  EXPECT_EQ(text_of(attribute(field(20, 15))), "m: byte 8: attribute a: type 15 is none of ONNX");
  EXPECT_EQ(text_of(attribute(field(20, 4))),
            "m: byte 8: attribute a: its type says one value, it has 0");
  EXPECT_EQ(onnx::parse_model(bytes_of(attribute(field(3, 5)))).graph.nodes[0].attributes[0].type,
            Attribute::Type::integer);  // of IR version 1
}

TEST(OnnxFile, OtherFilesMustLieInTheModelsFolder) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "inner");
  {
    AtomicFile data(folder / "x.bin");
    data.write("123456789012");
    data.commit();
  }
  const auto read = [&](const std::string& place, const std::string& from,
                        const std::string& length = "8") {
    std::string tensor = field(8, "t") + field(2, 1) + field(1, 2) + field(14, 1);
    tensor += field(13, field(1, "location") + field(2, place));
    tensor += field(13, field(1, "offset") + field(2, from));
    tensor += field(13, field(1, "length") + field(2, length));
    const std::string bytes = in_graph(tensor);
    return onnx::parse_model(bytes_of(bytes), "m", folder.path).graph.initializers[0].tensor;
  };
  EXPECT_EQ(read("x.bin", "4").numel(), 2);
  EXPECT_EQ(read("./x.bin", "3").numel(), 2);  // not aligned: a copy
  const auto text = [&](auto... a) { return error_of([&] { read(a...); }); };
  for (const char* place :
       {"", "/etc/passwd", "..", "../x.bin", "inner/../x.bin", "inner\\..\\x", "inner/.."})
    EXPECT_EQ(text(place, "0"), cat("m: byte 6: tensor t: its data lie in \"", place,
                                    "\", which is no path inside the model's folder"));
  EXPECT_NE(text("..x", "0").find("cannot open for reading: No such file"), std::string::npos);
  EXPECT_NE(text("inner", "0").find("not a plain file"), std::string::npos);
  EXPECT_EQ(text("x.bin", "5"),
            "m: byte 6: tensor t: its data end at byte 13 of x.bin, which has 12");
  EXPECT_EQ(text("x.bin", "13", "0"),
            "m: byte 6: tensor t: its data end at byte 13 of x.bin, which has 12");
  EXPECT_EQ(text("x.bin", "0", "4"),
            "m: byte 6: tensor t: 2 elements of FLOAT need 8 bytes, its data have 4");
  EXPECT_EQ(text("x.bin", "99999999999999999999"),
            "m: byte 6: tensor t: its offset is no number: 99999999999999999999");
  EXPECT_EQ(text_of(in_graph(field(2, 1) + field(14, 1) +
                             field(13, field(1, "location") + field(2, "x.bin")))),
            "m: byte 6: tensor : its data lie in the file x.bin, and no folder was given");
}

TEST(OnnxFile, EveryShortenedFileIsAnErrorOrAModel) {
  int errors = 0;
  for (const char* name : {"mlp", "attributes", "control_flow", "functions", "tensors"}) {
    const std::string whole = read_text(corpus(cat(name, ".onnx")));
    for (size_t n = 0; n < whole.size(); ++n) {
      const std::string part = whole.substr(0, n);
      errors += text_of(part) != "no error";
    }
  }
  EXPECT_GT(errors, 5000);
}

TEST(OnnxFile, NestingAndNumbersHaveLimits) {
  const auto nested = [](int graphs) {  // each inside an attribute of a node of the one around it
    std::string g = field(2, "g");
    for (int i = 1; i < graphs; ++i)
      g = field(1, field(5, field(1, "a") + field(6, g) + field(20, 5)));
    return field(1, 8) + field(7, g);
  };
  EXPECT_EQ(text_of(nested(33)), "no error");
  EXPECT_NE(text_of(nested(34)).find("more than 100 messages inside one another"),
            std::string::npos);
  EXPECT_NE(text_of(nested(5000)).find("more than 100 messages"), std::string::npos);
  std::string nodes, names;
  for (int i = 0; i < (1 << 22) + 1; ++i) nodes += "\x0A", nodes += '\0';
  EXPECT_NE(text_of(field(7, nodes)).find("more than 4194304 messages and texts"),
            std::string::npos);
  EXPECT_NE(text_of(field(7, field(1, nodes))).find("more than 4194304 messages and texts"),
            std::string::npos);
}

}  // namespace
