// What can be said of an ONNX model before it is run.
#include <unordered_set>

#include "tandem/io/detail/onnx_import.h"
#include "tandem/op/registry.h"

namespace tandem::detail {

using onnx::Attribute;

namespace {

std::string function_key(std::string_view domain, std::string_view name,
                         std::string_view overload) {
  return cat(domain, '\n', name, '\n', overload);
}

/// The names that a node and the graphs inside it take; some may be defined inside as well.
void collect_uses(const onnx::Node& n, std::vector<std::string>& names) {
  for (const std::string& in : n.inputs)
    if (!in.empty()) names.push_back(in);
  for (const Attribute& a : n.attributes)
    for (const onnx::Graph& g : a.graphs) {
      for (const onnx::Node& inner : g.nodes) collect_uses(inner, names);
      for (const onnx::ValueInfo& v : g.outputs) names.push_back(v.name);
    }
}

int64_t count_nodes(const std::vector<onnx::Node>& nodes) {
  int64_t count = int64_t(nodes.size());
  for (const onnx::Node& n : nodes)
    for (const Attribute& a : n.attributes)
      for (const onnx::Graph& g : a.graphs) count += count_nodes(g.nodes);
  return count;
}

/// Names that are defined, and those of the graphs around.
struct Known {
  const Known* outer = nullptr;
  std::unordered_set<std::string_view> names = {};
  bool contains(std::string_view name) const {
    for (const Known* k = this; k; k = k->outer)
      if (k->names.contains(name)) return true;
    return false;
  }
};

void check_nodes(const OnnxModel& model, const std::vector<onnx::Node>& nodes, Known& known,
                 int64_t opset, int depth);

void check_graph(const OnnxModel& model, const onnx::Graph& g, const Known* outer, int64_t opset,
                 int depth) {
  require(depth < 50, "load_graph(): graphs lie more than 50 deep in one another");
  Known known{outer};
  for (const onnx::TensorData& t : g.initializers) known.names.insert(t.name);
  for (const onnx::ValueInfo& v : g.inputs) known.names.insert(v.name);
  require<NotImplemented>(g.sparse_initializers.empty(), "load_graph(): sparse initializers");
  check_nodes(model, g.nodes, known, opset, depth);
  for (const onnx::ValueInfo& v : g.outputs)
    if (!known.contains(v.name))
      throw ValueError(cat("load_graph(): no node gives the output \"", v.name, "\""));
}

std::string text_of(const onnx::Node& n) {
  const bool named = !n.name.empty() || n.outputs.empty();
  return cat("load_graph(): ", n.domain, n.domain.empty() ? "" : ".", n.op_type,
             named ? " \"" : " of \"", named ? n.name : n.outputs[0], "\"");
}

void check_nodes(const OnnxModel& model, const std::vector<onnx::Node>& nodes, Known& known,
                 int64_t opset, int depth) {
  std::unordered_set<std::string_view> own;
  for (const onnx::Node& n : nodes) {
    for (const std::string& in : n.inputs)
      if (!in.empty() && !known.contains(in))
        throw ValueError(cat(text_of(n), " takes \"", in, "\", which nothing before it gives"));
    if (!model.function(n)) {
      if (n.domain == "tandem") {
        if (n.op_type != "random_key" && n.op_type != "while_loop_grad" && !find_op(n.op_type))
          throw NotImplemented(cat(text_of(n), ": this version of Tandem has no such record"));
      } else if (!find_import(n)) {
        throw NotImplemented(cat(text_of(n), " of domain \"",
                                 n.domain.empty() ? "ai.onnx" : n.domain, "\", operator set ",
                                 opset,
                                 ", cannot be imported; docs/graphs.md lists those that can"));
      }
    }
    for (const Attribute& a : n.attributes)
      for (const onnx::Graph& g : a.graphs) check_graph(model, g, &known, opset, depth + 1);
    for (const std::string& out : n.outputs) {
      if (out.empty()) continue;
      if (!own.insert(out).second)
        throw ValueError(cat(text_of(n), ": \"", out, "\" is given twice"));
      known.names.insert(out);
    }
  }
}

}  // namespace

OnnxModel::OnnxModel(onnx::Model m) : model_(std::move(m)) {
  opset_ = onnx_opset(model_.operator_sets);
  int64_t nodes = count_nodes(model_.graph.nodes);
  for (const onnx::Function& f : model_.functions) {
    functions_.emplace(function_key(f.domain, f.name, f.overload), &f);
    nodes += count_nodes(f.nodes);
  }
  // A file of a few nodes that doubles or loops them for ever must come to an end.
  most_nodes_ = 300'000 + 1'000 * nodes;
  uses_.resize(model_.graph.nodes.size());
  for (size_t i = 0; i < uses_.size(); ++i) collect_uses(model_.graph.nodes[i], uses_[i]);
}

const onnx::Function* OnnxModel::function(const onnx::Node& node) const {
  if (functions_.empty()) return nullptr;
  const auto it = functions_.find(function_key(node.domain, node.op_type, node.overload));
  return it == functions_.end() ? nullptr : it->second;
}

void check_onnx_model(const OnnxModel& model) {
  const onnx::Model& m = model.model();
  for (const onnx::Function& f : m.functions) {
    Known known{nullptr, {f.inputs.begin(), f.inputs.end()}};
    check_nodes(model, f.nodes, known, onnx_opset(f.operator_sets), 1);
    for (const std::string& name : f.outputs)
      require(known.contains(name), "load_graph(): function ", f.name, ": no node gives \"", name,
              "\"");
  }
  check_graph(model, m.graph, nullptr, model.opset(), 0);
}

}  // namespace tandem::detail
