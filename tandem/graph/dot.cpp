#include "tandem/graph/ir.h"

namespace tandem::graph {
namespace {

std::string quoted(std::string_view text) {
  std::string s = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') s += '\\';
    s += c;
  }
  return s + "\"";
}

}  // namespace

std::string to_dot(const Graph& g) {
  std::string s = "digraph {\n  node [shape=box, fontname=\"sans-serif\"]\n";
  std::vector<bool> shown(g.values().size(), false);
  auto label = [&](ValueId id) {
    const Value& v = g.value(id);
    return cat(v.name.empty() ? cat('%', id) : v.name, "\\n", v.spec);
  };
  // Values that no node makes stand for themselves.
  auto source = [&](ValueId id) {
    const ValueKind kind = g.value(id).kind;
    if (shown[size_t(id)] || kind == ValueKind::result) return;
    shown[size_t(id)] = true;
    const std::string_view style = kind == ValueKind::input    ? "shape=oval"
                                   : kind == ValueKind::state  ? "shape=cylinder"
                                   : kind == ValueKind::effect ? "shape=octagon"
                                                               : "shape=plaintext";
    s += cat("  v", id, " [", style, ", label=\"", label(id), "\"]\n");
  };
  std::vector<size_t> maker(g.values().size());
  for (size_t k = 0; k < g.nodes().size(); ++k)
    for (ValueId id : g.nodes()[k].outputs) maker[size_t(id)] = k;
  auto name = [&](ValueId id) {
    return g.value(id).kind == ValueKind::result ? cat("n", maker[size_t(id)]) : cat("v", id);
  };
  for (ValueId id : g.inputs()) source(id);
  for (size_t k = 0; k < g.nodes().size(); ++k) {
    const Node& n = g.nodes()[k];
    s += cat("  n", k, " [label=", quoted(n.info->print(n.op.get())),
             n.path.empty() ? std::string() : cat(", tooltip=", quoted(n.path)), "]\n");
    for (ValueId id : n.inputs) {
      if (id < 0) continue;
      source(id);
      s += cat("  ", name(id), " -> n", k, " [label=\"", g.value(id).spec, "\"]\n");
    }
  }
  for (size_t i = 0; i < g.outputs().size(); ++i) {
    source(g.outputs()[i]);
    s += cat("  out", i, " [shape=oval, label=", quoted(g.output_names()[i]), "]\n  ",
             name(g.outputs()[i]), " -> out", i, "\n");
  }
  for (const Assignment& a : g.assignments()) {
    source(a.state);
    source(a.value);
    s += cat("  ", name(a.value), " -> ", name(a.state), " [style=dashed]\n");
  }
  return s + "}\n";
}

std::string Graph::to_dot() const { return graph::to_dot(*this); }

}  // namespace tandem::graph
