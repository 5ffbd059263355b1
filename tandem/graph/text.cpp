#include <algorithm>

#include "tandem/graph/ir.h"

namespace tandem::graph {
namespace {

class Printer {
 public:
  explicit Printer(const Graph& g) : g_(g), shown_(g.values().size()) {}

  std::string print() {
    text_ = cat("graph(", list(g_.inputs(), [&](ValueId id) { return typed(id); }), ")\n");
    for (const Node& n : g_.nodes()) {
      for (ValueId id : n.inputs) show_captured(id);
      // "name(attributes)" with the inputs in front of the attributes.
      const std::string call = n.info->print(n.op.get());
      const size_t open = call.find('(') + 1;
      const std::string inputs = list(n.inputs, [&](ValueId id) { return label(id); });
      const bool attributes = call.size() > open + 1;
      text_ += cat("  ", list(n.outputs, [&](ValueId id) { return typed(id); }), " = ",
                   call.substr(0, open), inputs, attributes && !inputs.empty() ? ", " : "",
                   call.substr(open), "\n");
    }
    for (const Assignment& a : g_.assignments()) {
      show_captured(a.state);
      show_captured(a.value);
      text_ += cat("  ", label(a.state), " <- ", label(a.value), "\n");
    }
    for (ValueId id : g_.outputs()) show_captured(id);
    return text_ +
           cat("  return ", list(g_.outputs(), [&](ValueId id) { return label(id); }), "\n");
  }

 private:
  std::string label(ValueId id) const {
    if (id < 0) return "none";
    const std::string& name = g_.value(id).name;
    return name.empty() ? cat('%', id) : cat('%', name);
  }
  std::string typed(ValueId id) const {
    const Spec& spec = g_.value(id).spec;
    std::string shape;
    for (int64_t d : spec.shape) shape += cat(shape.empty() ? "" : ", ", length(d));
    return cat(label(id), ": ", spec.dtype, "[", shape, "]",
               spec.device == cpu_device ? "" : cat("@", spec.device));
  }
  /// "?" for what depends on an axis of unknown length.
  std::string length(int64_t d) const {
    for (int64_t axis : g_.axes())
      if (d >= axis / 2) return "?";
    return cat(d);
  }
  template <class F>
  static std::string list(const std::vector<ValueId>& ids, F text) {
    std::string s;
    for (ValueId id : ids) s += (s.empty() ? "" : ", ") + text(id);
    return s;
  }
  /// A captured value stands in front of its first use.
  void show_captured(ValueId id) {
    if (id < 0 || shown_[size_t(id)]) return;
    shown_[size_t(id)] = true;
    const Value& v = g_.value(id);
    switch (v.kind) {
      case ValueKind::constant:
        text_ += cat("  ", typed(id), " = constant(");
        if (v.tensor.numel() == 1 && v.tensor.device() == cpu_device)
          detail::append(text_, v.tensor.item<double>());
        text_ += ")\n";
        break;
      case ValueKind::state: text_ += cat("  ", typed(id), " = state()\n"); break;
      case ValueKind::key: text_ += cat("  ", typed(id), " = random_key()\n"); break;
      default: break;
    }
  }

  const Graph& g_;
  std::vector<bool> shown_;
  std::string text_;
};

}  // namespace

std::string to_string(const Graph& graph) { return Printer(graph).print(); }

}  // namespace tandem::graph
