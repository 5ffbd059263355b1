#include <algorithm>

#include "tandem/core/length_table.h"
#include "tandem/graph/ir.h"
#include "tandem/op/registry.h"

namespace tandem::graph {
namespace {

/// Unknown lengths by their names; "?0", "?1", ... those without.
struct Names final : detail::SymbolNames {
  std::string name(const detail::LengthTable& table, int symbol) const override {
    const std::string& own = table.name_of(symbol);
    return own.empty() ? cat("?", symbol) : own;
  }
};
std::string length_text(Length d) { return detail::to_text(d, Names()); }

/// "axis=0, index=n - 1": a record's attributes where unknown lengths need their names.
class AttributeText final : public FieldVisitor {
 public:
  std::string text;
  void visit(std::string_view n, bool& v) override { add(n, v); }
  void visit(std::string_view n, int64_t& v) override { add(n, v); }
  void visit(std::string_view n, double& v) override { add(n, v); }
  void visit(std::string_view n, std::string& v) override { add(n, v); }
  void visit(std::string_view n, DType& v) override { add(n, v); }
  void visit(std::string_view n, Shape& v) override {
    std::string list;
    for (Length d : v) list += (list.empty() ? "" : ", ") + length_text(d);
    add(n, cat("[", list, "]"));
  }
  void visit(std::string_view n, std::optional<int64_t>& v) override { add(n, v); }
  void visit(std::string_view n, std::optional<double>& v) override { add(n, v); }
  void visit(std::string_view n, Length& v) override { add(n, length_text(v)); }
  void visit(std::string_view n, Number& v) override { add(n, detail::to_text(v, Names())); }
  void visit(std::string_view n, std::optional<Length>& v) override {
    add(n, v ? length_text(*v) : std::string("none"));
  }
  void visit(std::string_view n, std::optional<Number>& v) override {
    add(n, v ? detail::to_text(*v, Names()) : std::string("none"));
  }

 private:
  template <class T>
  void add(std::string_view name, const T& v) {
    if (!text.empty()) text += ", ";
    text += name;
    text += '=';
    detail::append(text, v);
  }
};

class Printer {
 public:
  explicit Printer(const Graph& g) : g_(g), shown_(g.values().size()) {}

  std::string print() {
    text_ = cat("graph(", list(g_.inputs(), [&](ValueId id) { return typed(id); }), ")\n");
    for (const Node& n : g_.nodes()) {
      for (ValueId id : n.inputs) show_captured(id);
      // "name(attributes)" with the inputs in front of the attributes.
      const std::string call = call_text(n);
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
  /// "name(attributes)".
  std::string call_text(const Node& n) const {
    if (!g_.lengths() || !n.info->visit || !find_op(n.info->name)) return n.info->print(n.op.get());
    AttributeText attributes;
    const auto op = copy_record(*n.info, n.op.get());
    n.info->visit(op.get(), attributes);
    return cat(n.info->name, "(", attributes.text, ")");
  }
  std::string label(ValueId id) const {
    if (id < 0) return "none";
    const std::string& name = g_.value(id).name;
    return name.empty() ? cat('%', id) : cat('%', name);
  }
  std::string typed(ValueId id) const {
    const Spec& spec = g_.value(id).spec;
    std::string shape;
    for (Length d : spec.shape) shape += (shape.empty() ? "" : ", ") + length_text(d);
    return cat(label(id), ": ", spec.dtype, "[", shape, "]",
               spec.device == cpu_device ? "" : cat("@", spec.device));
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
