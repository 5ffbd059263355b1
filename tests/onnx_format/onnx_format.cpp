// Reads ONNX files, prints what was read, and writes it again:
//   onnx_format [--external BYTES] IN OUT [IN OUT]...
// The text is one line a field, `path = value`, as run.py makes it from the onnx package's
// messages. A tensor's data are printed as a checksum. IN that ends in .pb is a bare tensor.
#include <zlib.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tandem/core/error.h"
#include "tandem/io/file.h"
#include "tandem/io/onnx_file.h"

using namespace tandem;
using namespace tandem::onnx;

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    char code[5];
    if (c >= ' ' && c < 127 && c != '"' && c != '\\') {
      out += c;
    } else {
      std::snprintf(code, sizeof code, "\\x%02x", unsigned(uint8_t(c)));
      out += code;
    }
  }
  return out + "\"";
}

struct Printer {
  void line(const std::string& path, const std::string& value) {
    std::printf("%s = %s\n", path.c_str(), value.c_str());
  }
  void text(const std::string& path, const std::string& value) {
    if (!value.empty()) line(path, quoted(value));
  }
  void number(const std::string& path, int64_t v) { line(path, cat(v)); }
  void real(const std::string& path, float v) {
    char bits[16];
    std::snprintf(bits, sizeof bits, "%08x", std::bit_cast<uint32_t>(v));
    line(path, bits);
  }
  template <class List, class F>
  void each(const std::string& path, const List& list, const F& f) {
    for (size_t i = 0; i < list.size(); ++i) f(cat(path, "[", i, "]"), list[i]);
  }
  template <class List>
  void all(const std::string& path, const List& list) {
    each(path, list, [&](const std::string& p, const auto& item) { show(p, item); });
  }
  void texts(const std::string& path, const std::vector<std::string>& list) {
    each(path, list, [&](const std::string& p, const auto& item) { line(p, quoted(item)); });
  }
  void numbers(const std::string& path, const std::vector<int64_t>& list) {
    each(path, list, [&](const std::string& p, int64_t item) { number(p, item); });
  }

  void show(const std::string& p, const std::pair<std::string, std::string>& x) {
    line(p + ".key", quoted(x.first));
    line(p + ".value", quoted(x.second));
  }
  void show(const std::string& p, const TensorData& x) {
    text(p + ".name", x.name);
    text(p + ".doc_string", x.doc);
    number(p + ".data_type", int(x.type));
    numbers(p + ".dims", x.dims);
    all(p + ".metadata_props", x.metadata);
    texts(p + ".strings", x.strings);
    std::string_view bytes = x.raw;
    if (x.tensor.defined()) {
      if (x.tensor.shape() != Shape{std::span<const int64_t>(x.dims)} ||
          to_dtype(x.type) != x.tensor.dtype())
        line(p, "a tensor that is not as dims and type say");
      bytes = {static_cast<const char*>(x.tensor.raw_data()),
               size_t(x.tensor.numel() * itemsize(x.tensor.dtype()))};
    }
    if (x.type == ElementType::string) return;
    const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
    line(p + ".data", cat(crc32(0, data, uInt(bytes.size())), " of ", bytes.size()));
  }
  void show(const std::string& p, const SparseTensor& x) {
    show(p + ".values", x.values);
    show(p + ".indices", x.indices);
    numbers(p + ".dims", x.dims);
  }
  void show(const std::string& p, const Dim& x) {
    line(p, x.value >= 0 ? cat(x.value) : quoted(x.param));
    text(p + ".denotation", x.denotation);
  }
  void show(const std::string& p, const onnx::Type& x) {
    static constexpr const char* kinds[] = {"none",          "tensor_type",   "sparse_tensor_type",
                                            "sequence_type", "optional_type", "map_type"};
    line(p, kinds[int(x.kind)]);
    text(p + ".denotation", x.denotation);
    if (x.element != ElementType::undefined) number(p + ".elem_type", int(x.element));
    if (x.shape) number(p + ".rank", int64_t(x.shape->size()));
    if (x.shape) all(p + ".dim", *x.shape);
    all(p + ".inner", x.inner);
  }
  void show(const std::string& p, const ValueInfo& x) {
    text(p + ".name", x.name);
    show(p + ".type", x.type);
    text(p + ".doc_string", x.doc);
    all(p + ".metadata_props", x.metadata);
  }
  void show(const std::string& p, const Attribute& x) {
    using Kind = Attribute::Type;
    text(p + ".name", x.name);
    number(p + ".type", int(x.type));
    text(p + ".doc_string", x.doc);
    text(p + ".ref_attr_name", x.reference);
    if (x.type == Kind::real) real(p + ".f", x.f);
    if (x.type == Kind::integer) number(p + ".i", x.i);
    if (x.type == Kind::string) line(p + ".s", quoted(x.s));
    each(p + ".floats", x.floats, [&](const std::string& q, float v) { real(q, v); });
    numbers(p + ".ints", x.ints);
    texts(p + ".strings", x.strings);
    all(p + ".tensors", x.tensors);
    all(p + ".graphs", x.graphs);
    all(p + ".sparse_tensors", x.sparse_tensors);
    all(p + ".types", x.types);
  }
  void show(const std::string& p, const onnx::Node& x) {
    text(p + ".op_type", x.op_type);
    text(p + ".domain", x.domain);
    text(p + ".overload", x.overload);
    text(p + ".name", x.name);
    text(p + ".doc_string", x.doc);
    texts(p + ".input", x.inputs);
    texts(p + ".output", x.outputs);
    all(p + ".attribute", x.attributes);
    all(p + ".metadata_props", x.metadata);
  }
  void show(const std::string& p, const onnx::Graph& x) {
    text(p + ".name", x.name);
    text(p + ".doc_string", x.doc);
    all(p + ".node", x.nodes);
    all(p + ".initializer", x.initializers);
    all(p + ".sparse_initializer", x.sparse_initializers);
    all(p + ".input", x.inputs);
    all(p + ".output", x.outputs);
    all(p + ".value_info", x.values);
    all(p + ".metadata_props", x.metadata);
  }
  void show(const std::string& p, const OperatorSet& x) {
    line(p, cat(quoted(x.domain), " ", x.version));
  }
  void show(const std::string& p, const onnx::Function& x) {
    text(p + ".name", x.name);
    text(p + ".domain", x.domain);
    text(p + ".overload", x.overload);
    text(p + ".doc_string", x.doc);
    texts(p + ".input", x.inputs);
    texts(p + ".output", x.outputs);
    texts(p + ".attribute", x.attributes);
    all(p + ".attribute_proto", x.defaults);
    all(p + ".node", x.nodes);
    all(p + ".opset_import", x.operator_sets);
    all(p + ".value_info", x.values);
    all(p + ".metadata_props", x.metadata);
  }
  void show(const std::string& p, const TrainingInfo& x) {
    if (x.initialization) show(p + ".initialization", *x.initialization);
    if (x.algorithm) show(p + ".algorithm", *x.algorithm);
    all(p + ".initialization_binding", x.initialization_binding);
    all(p + ".update_binding", x.update_binding);
  }
  void show(const std::string& p, const Model& x) {
    number(p + ".ir_version", x.ir_version);
    text(p + ".producer_name", x.producer_name);
    text(p + ".producer_version", x.producer_version);
    text(p + ".domain", x.domain);
    number(p + ".model_version", x.model_version);
    text(p + ".doc_string", x.doc);
    all(p + ".opset_import", x.operator_sets);
    all(p + ".metadata_props", x.metadata);
    show(p + ".graph", x.graph);
    all(p + ".training_info", x.training);
    all(p + ".functions", x.functions);
  }
};

void convert(const std::string& in, const std::string& out, WriteOptions options) {
  std::printf("== %s\n", in.c_str());
  if (in.ends_with(".pb")) {
    const TensorData tensor = read_tensor(in);
    Printer().show("tensor", tensor);
    AtomicFile file(out);
    file.write(serialize(tensor));
    file.commit();
  } else {
    const Model model = read_model(in);
    Printer().show("model", model);
    write_model(out, model, options);
  }
}

}  // namespace

int main(int argc, char** argv) {
  WriteOptions options;
  int first = 1;
  if (argc > 2 && std::string_view(argv[1]) == "--external") {
    options.external_above = std::atoll(argv[2]);
    first = 3;
  }
  for (int i = first; i + 1 < argc; i += 2) {
    try {
      convert(argv[i], argv[i + 1], options);
    } catch (const Error& e) {
      std::printf("error: %s\n", e.what());
    }
  }
  return 0;
}
