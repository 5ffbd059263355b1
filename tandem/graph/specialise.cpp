#include "tandem/graph/specialise.h"

#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/graph/control_flow_node.h"
#include "tandem/graph/record_numbers.h"
#include "tandem/graph/rewrite.h"
#include "tandem/op/tape.h"

namespace tandem::graph {
namespace {

using detail::evaluate;

/// A number is known now: a constant, no longer a node.
void make_constant(Value& v, const Node& n) {
  const detail::Uncaptured now;
  Tensor t = empty({}, v.spec.dtype);
  n.info->cpu(n.op.get(), {}, {&t, 1});
  t.impl()->flags |= TensorImpl::wrapped_number;
  v.tensor = t;
  v.kind = ValueKind::constant;
}

}  // namespace

std::shared_ptr<Graph> specialise(const Graph& from, const LengthValues& lengths) {
  auto g = from.clone();
  auto& values = g->edit_values();
  if (!lengths.empty())
    for (ValueId id : g->inputs())
      for (Length& d : values[size_t(id)].spec.shape) d = evaluate(d, lengths);
  std::vector<bool> gone(g->nodes().size(), false);
  for (size_t k = 0; k < gone.size(); ++k) {
    Node& n = g->edit_nodes()[k];
    if (has_regions(*n.info) || is_loop_gradient(*n.info)) {
      if (!lengths.empty()) n.op = specialise_regions(*n.info, n.op.get(), lengths, n.info);
    } else if (!lengths.empty() && n.info->size > 0) {
      auto op = copy_record(*n.info, n.op.get());
      each_number(*n.info, op.get(), [&](std::string_view, auto& v) {
        using T = std::remove_reference_t<decltype(v)>;
        if constexpr (std::is_same_v<T, Length> || std::is_same_v<T, Number>)
          v = evaluate(v, lengths);
      });
      n.op = std::move(op);
    }
    const std::vector<Spec> specs = infer(*g, n);
    for (size_t i = 0; i < specs.size(); ++i) values[size_t(n.outputs[i])].spec = specs[i];
    if (!n.info->number || lengths.empty()) continue;
    make_constant(values[size_t(n.outputs[0])], n);
    gone[k] = true;
  }
  drop_nodes(*g, gone);
  return g;
}

// --- Lengths of a run ---------------------------------------------------------------------------

LengthBinder::LengthBinder(const Graph& graph) : table_(graph.lengths()) {
  if (table_) values_.assign(size_t(table_->symbols()), -1);
}

bool LengthBinder::bind(const Shape& want, const Shape& given, std::string& why) {
  if (want.size() != given.size()) return false;
  for (int a = 0; a < want.size(); ++a) {
    const int64_t have = given[a];
    if (want[a].is_known()) {
      if (want[a] != have) return false;
      continue;
    }
    const auto& e = table_->entry(want[a]);
    if (e.kind != detail::LengthTable::Kind::symbol) {
      later_.emplace_back(want[a], have);
      continue;
    }
    int64_t& known = values_[size_t(e.symbol)];
    if (known < 0) known = have;
    if (known == have) continue;
    why = cat("; ", e.name.empty() ? cat("axis ", a) : cat("\"", e.name, "\""), " is ", known,
              " in what was fed before it");
    return false;
  }
  return true;
}

void LengthBinder::check() const {
  for (const auto& [length, have] : later_) {
    int64_t want = have;
    try {
      want = evaluate(length, values_);
    } catch (const ValueError&) {
      continue;  // nothing says what it should be
    }
    require<ShapeError>(want == have, "a length of ", have, " is fed where ", length, " is ", want);
  }
}

// --- Comparison ---------------------------------------------------------------------------------

namespace {

/// Attributes as text, but for numbers, which may depend on lengths.
class NamesOnly final : public FieldVisitor {
 public:
  std::string text;
  void visit(std::string_view, bool& v) override { add(v); }
  void visit(std::string_view, int64_t&) override {}
  void visit(std::string_view, double&) override {}
  void visit(std::string_view, std::string& v) override { add(v); }
  void visit(std::string_view, DType& v) override { add(v); }
  void visit(std::string_view, Shape& v) override { add(v.size()); }
  void visit(std::string_view, std::optional<int64_t>& v) override { add(v.has_value()); }
  void visit(std::string_view, std::optional<double>& v) override { add(v.has_value()); }
  void visit(std::string_view, Length&) override {}
  void visit(std::string_view, Number&) override {}
  void visit(std::string_view, std::optional<Length>& v) override { add(v.has_value()); }
  void visit(std::string_view, std::optional<Number>& v) override { add(v.has_value()); }

 private:
  template <class T>
  void add(const T& v) {
    text += cat(v, ";");
  }
};
std::string names_of(const Node& n) {
  const auto op = copy_record(*n.info, n.op.get());
  NamesOnly names;
  n.info->visit(op.get(), names);
  return std::move(names.text);
}

std::vector<std::pair<ValueId, ValueId>> writes_of(const Graph& g) {
  std::vector<std::pair<ValueId, ValueId>> list;
  for (const Assignment& s : g.assignments()) list.emplace_back(s.state, s.value);
  for (const GradientWrite& w : g.gradients()) list.emplace_back(-1, w.value);
  return list;
}

bool same_elements(const Tensor& a, const Tensor& b) {
  return detail::identical(a.shape(), b.shape()) && a.to_vector<double>() == b.to_vector<double>();
}

/// Why two nodes in one place are not one; empty when they are.
std::string difference(const Node& m, const Node& n) {
  const bool regions = has_regions(*m.info) || is_loop_gradient(*m.info);
  if (regions ? same_regions(m, n) && m.inputs == n.inputs
              : m.info == n.info && m.inputs == n.inputs && m.outputs == n.outputs &&
                    names_of(m) == names_of(n))
    return {};
  return cat(n.info->print(n.op.get()), " comes where ", m.info->print(m.op.get()), " was");
}

}  // namespace

bool same_program(const Graph& a, const Graph& b, std::string& why) {
  auto no = [&](const auto&... text) {
    why = cat(text...);
    return false;
  };
  for (size_t k = 0; k < std::min(a.nodes().size(), b.nodes().size()); ++k)
    if (std::string d = difference(a.nodes()[k], b.nodes()[k]); !d.empty())
      return no(d, b.read_before(k));
  const size_t many = b.nodes().size(), were = a.nodes().size();
  if (many != were) return no(many, " ops instead of ", were, b.read_before(many));
  if (a.values().size() != b.values().size()) return no("it captures other tensors");
  for (size_t i = 0; i < a.values().size(); ++i) {
    const Value &x = a.values()[i], &y = b.values()[i];
    if (x.kind != y.kind || x.spec.dtype != y.spec.dtype || x.spec.device != y.spec.device ||
        x.spec.shape.size() != y.spec.shape.size() || x.generator != y.generator)
      return no("a ", y.spec, " comes where a ", x.spec, " was");
    if (x.kind == ValueKind::state && !x.tensor.is_same(y.tensor))
      return no("it reads another ", y.spec);
    // One number may be made of lengths; a table of them is the program's own.
    if (x.kind == ValueKind::constant && !(x.tensor.numel() == 1 && y.tensor.numel() == 1) &&
        !same_elements(x.tensor, y.tensor))
      return no("its constant ", y.spec, " has other elements than the ", x.spec, " before");
  }
  if (a.inputs() != b.inputs() || a.outputs() != b.outputs() || writes_of(a) != writes_of(b))
    return no("it gives or writes other values");
  return true;
}

bool same_structure(const Graph& a, const Graph& b) {
  if (a.values().size() != b.values().size() || a.nodes().size() != b.nodes().size()) return false;
  for (size_t i = 0; i < a.values().size(); ++i) {
    const Value &x = a.values()[i], &y = b.values()[i];
    if (x.kind != y.kind || x.spec.dtype != y.spec.dtype || x.generator != y.generator ||
        !detail::identical(x.spec.shape, y.spec.shape))
      return false;
    if (x.kind == ValueKind::state && !x.tensor.is_same(y.tensor)) return false;
    if (x.kind == ValueKind::constant && !same_elements(x.tensor, y.tensor)) return false;
  }
  for (size_t k = 0; k < a.nodes().size(); ++k) {
    const Node &m = a.nodes()[k], &n = b.nodes()[k];
    if (m.inputs != n.inputs || m.outputs != n.outputs) return false;
    if (m.info == n.info ? !m.info->equal(m.op.get(), n.op.get()) : !same_regions(m, n))
      return false;
  }
  return a.inputs() == b.inputs() && a.outputs() == b.outputs() && writes_of(a) == writes_of(b);
}

}  // namespace tandem::graph
