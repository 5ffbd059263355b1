#include "tandem/log/graph_def.h"

#include <protozero/pbf_writer.hpp>
#include <unordered_set>

namespace tandem {
namespace {

using graph::Assignment;
using graph::Graph;
using graph::Node;
using graph::Value;
using graph::ValueId;
using graph::ValueKind;
using protozero::pbf_writer;

// Field numbers of tensorflow/core/framework: graph, node_def, attr_value, tensor_shape, types.
namespace field {
enum : uint32_t { graph_node = 1, graph_versions = 4 };
enum : uint32_t { node_name = 1, node_op = 2, node_input = 3, node_device = 4, node_attr = 5 };
enum : uint32_t { entry_key = 1, entry_value = 2 };
enum : uint32_t {
  attr_list = 1,
  attr_s = 2,
  attr_i = 3,
  attr_f = 4,
  attr_b = 5,
  attr_type = 6,
  attr_shape = 7
};
enum : uint32_t { list_shape = 7 };
enum : uint32_t { shape_dim = 2, dim_size = 1, producer = 1 };
}  // namespace field

uint32_t tensorflow_type(DType d) {
  switch (d) {
    case f32: return 1;
    case f64: return 2;
    case i32: return 3;
    case u8: return 4;
    case i8: return 6;
    case i64: return 9;
    case boolean: return 10;
    case bf16: return 14;
    case f16: return 19;
    case i16: return 5;
    case u16: return 17;
    case u32: return 22;
    case u64: return 23;
  }
  return 0;
}

/// Names that TensorFlow accepts: [A-Za-z0-9.][A-Za-z0-9_./-]*, with / between modules.
std::string clean(std::string_view text) {
  std::string s;
  for (char c : text) {
    const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '/' || c == '-';
    if (c == '.') s += '/';
    else s += ok ? c : '_';
  }
  return s.empty() || s[0] == '_' || s[0] == '/' || s[0] == '-' ? cat("v", s) : s;
}

void shape_message(pbf_writer& at, uint32_t tag, const Shape& shape) {
  std::string bytes;
  pbf_writer message(bytes);
  for (int64_t d : shape) {
    std::string dim;
    pbf_writer(dim).add_int64(field::dim_size, d);
    message.add_message(field::shape_dim, dim);
  }
  at.add_message(tag, bytes);
}

template <class Fill>
void attribute(pbf_writer& node, std::string_view key, Fill fill) {
  std::string value, entry;
  pbf_writer v(value);
  fill(v);
  pbf_writer e(entry);
  e.add_string(field::entry_key, key.data(), key.size());
  e.add_message(field::entry_value, value);
  node.add_message(field::node_attr, entry);
}

class Attributes final : public FieldVisitor {
 public:
  explicit Attributes(pbf_writer& node) : node_(node) {}
  void visit(std::string_view n, bool& v) override {
    attribute(node_, n, [&](pbf_writer& w) { w.add_bool(field::attr_b, v); });
  }
  void visit(std::string_view n, int64_t& v) override {
    attribute(node_, n, [&](pbf_writer& w) { w.add_int64(field::attr_i, v); });
  }
  void visit(std::string_view n, double& v) override {
    attribute(node_, n, [&](pbf_writer& w) { w.add_float(field::attr_f, float(v)); });
  }
  void visit(std::string_view n, std::string& v) override {
    attribute(node_, n, [&](pbf_writer& w) { w.add_bytes(field::attr_s, v); });
  }
  void visit(std::string_view n, DType& v) override {
    attribute(node_, n,
              [&](pbf_writer& w) { w.add_enum(field::attr_type, int32_t(tensorflow_type(v))); });
  }
  void visit(std::string_view n, Shape& v) override {
    attribute(node_, n, [&](pbf_writer& w) { shape_message(w, field::attr_shape, v); });
  }
  void visit(std::string_view n, std::optional<int64_t>& v) override {
    if (v) visit(n, *v);
  }
  void visit(std::string_view n, std::optional<double>& v) override {
    if (v) visit(n, *v);
  }

 private:
  pbf_writer& node_;
};

class Writer {
 public:
  explicit Writer(const Graph& g) : g_(g), names_(g.values().size()) {}

  std::string write() {
    for (size_t i = 0; i < g_.values().size(); ++i)
      if (g_.values()[i].kind != ValueKind::result) source(ValueId(i));
    for (const Node& n : g_.nodes()) record(n);
    for (const Assignment& a : g_.assignments())
      add(unique(cat(names_[size_t(a.state)], "/assign")), "Assign",
          {names_[size_t(a.state)], names_[size_t(a.value)]}, {}, nullptr);
    for (size_t i = 0; i < g_.outputs().size(); ++i)
      add(unique(cat("output/", clean(g_.output_names()[i]))), "Identity",
          {names_[size_t(g_.outputs()[i])]}, {}, nullptr);
    std::string versions;
    pbf_writer(versions).add_int32(field::producer, 1087);
    pbf_writer(bytes_).add_message(field::graph_versions, versions);
    return std::move(bytes_);
  }

 private:
  std::string unique(std::string name) {
    std::string fresh = name;
    for (int k = 1; !used_.insert(fresh).second; ++k) fresh = cat(name, "_", k);
    return fresh;
  }

  void add(const std::string& name, std::string_view op, const std::vector<std::string>& inputs,
           const std::vector<ValueId>& outputs, const Node* n) {
    std::string bytes;
    pbf_writer node(bytes);
    node.add_string(field::node_name, name);
    node.add_string(field::node_op, op.data(), op.size());
    for (const std::string& in : inputs) node.add_string(field::node_input, in);
    if (!outputs.empty()) {
      attribute(node, "T", [&](pbf_writer& w) {
        w.add_enum(field::attr_type, int32_t(tensorflow_type(g_.value(outputs[0]).spec.dtype)));
      });
      attribute(node, "_output_shapes", [&](pbf_writer& w) {
        std::string list;
        pbf_writer shapes(list);
        for (ValueId id : outputs) {
          Shape shape = g_.value(id).spec.shape;
          for (Length& d : shape)
            if (!d.is_known()) d = -1;
          shape_message(shapes, field::list_shape, shape);
        }
        w.add_message(field::attr_list, list);
      });
    }
    if (n) {
      auto copy = graph::copy_record(*n->info, n->op.get());
      Attributes visitor(node);
      n->info->visit(copy.get(), visitor);
    }
    pbf_writer(bytes_).add_message(field::graph_node, bytes);
  }

  void source(ValueId id) {
    const Value& v = g_.value(id);
    const char* op = v.kind == ValueKind::input      ? "Placeholder"
                     : v.kind == ValueKind::constant ? "Const"
                     : v.kind == ValueKind::state    ? "VariableV2"
                     : v.kind == ValueKind::key      ? "RandomKey"
                                                     : "NoOp";
    const std::string base = v.name.empty()
                                 ? cat(v.kind == ValueKind::state ? "state" : "value", "/v", id)
                                 : clean(v.name);
    names_[size_t(id)] = unique(base);
    add(names_[size_t(id)], op, {}, {id}, nullptr);
  }

  void record(const Node& n) {
    const std::string path = n.path.empty() ? std::string() : cat(clean(n.path), "/");
    const std::string name = unique(cat(path, n.info->name));
    std::vector<std::string> inputs;
    for (ValueId id : n.inputs)
      if (id >= 0) inputs.push_back(names_[size_t(id)]);
    for (size_t i = 0; i < n.outputs.size(); ++i)
      names_[size_t(n.outputs[i])] = i ? cat(name, ":", i) : name;
    add(name, n.info->name, inputs, n.outputs, &n);
  }

  const Graph& g_;
  std::vector<std::string> names_;
  std::unordered_set<std::string> used_;
  std::string bytes_;
};

}  // namespace

std::string to_graph_def(const graph::Graph& graph) { return Writer(graph).write(); }

}  // namespace tandem
