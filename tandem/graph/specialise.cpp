#include "tandem/graph/specialise.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/graph/control_flow_node.h"
#include "tandem/graph/rewrite.h"
#include "tandem/op/tape.h"

namespace tandem::graph {
namespace {

using Lengths = std::span<const AxisLength>;

class Substituter final : public FieldVisitor {
 public:
  explicit Substituter(Lengths lengths) : lengths_(lengths) {}
  void visit(std::string_view, bool&) override {}
  void visit(std::string_view, int64_t& v) override { v = substitute(v, lengths_); }
  void visit(std::string_view, double& v) override { v = substitute(v, lengths_); }
  void visit(std::string_view, std::string&) override {}
  void visit(std::string_view, DType&) override {}
  void visit(std::string_view, Shape& v) override {
    for (int64_t& d : v) d = substitute(d, lengths_);
  }
  void visit(std::string_view, std::optional<int64_t>& v) override {
    if (v) v = substitute(*v, lengths_);
  }
  void visit(std::string_view, std::optional<double>& v) override {
    if (v) v = substitute(*v, lengths_);
  }

 private:
  Lengths lengths_;
};

bool has_axis(const Shape& shape, Lengths lengths) {
  for (int64_t d : shape)
    if (substitute(d, lengths) != d) return true;
  return false;
}

Tensor constant_for(const Tensor& t, Lengths lengths) {
  require<NotImplemented>(!has_axis(t.shape(), lengths), "graph: a constant of shape ", t.shape(),
                          " was made from an axis of unknown length; make it of tensors that "
                          "have that length, or give the axis its length");
  if (t.numel() != 1 || t.dtype() == boolean || t.device() != cpu_device) return t;
  const NoGrad guard;
  Tensor fresh = t;
  if (is_integral(t.dtype())) {
    const int64_t v = t.item<int64_t>(), w = substitute(v, lengths);
    if (w != v) fresh = full(t.shape(), w, t.dtype());
  } else {
    const double v = t.item<double>(), w = substitute(v, lengths);
    if (w != v) fresh = full(t.shape(), w, t.dtype());
  }
  if (!fresh.is_same(t)) fresh.impl()->flags |= t.impl()->flags & TensorImpl::wrapped_number;
  return fresh;
}

}  // namespace

std::vector<LengthTerm> length_terms(int64_t v, std::span<const int64_t> stand_ins) {
  constexpr int64_t most_left = 64;
  std::vector<std::pair<int64_t, std::vector<size_t>>> units;
  for (size_t i = 0; i < stand_ins.size(); ++i) {
    units.push_back({stand_ins[i], {i}});
    for (size_t k = i; k < stand_ins.size(); ++k)
      units.push_back({stand_ins[i] * stand_ins[k], {i, k}});
  }
  std::sort(units.rbegin(), units.rend());
  const int64_t size = v < 0 ? -v : v, sign = v < 0 ? -1 : 1;
  std::vector<LengthTerm> terms;
  auto finish = [&](int64_t rest) {
    if (rest > most_left || rest < -most_left) return false;
    if (rest) terms.push_back({sign * rest, {}});
    return true;
  };
  auto times = [](int64_t rest, int64_t unit) { return (rest + unit / 2) / unit; };
  // One product of axes, as nearly always; else products of two axes first, then single axes. What
  // is left is a small constant term, else the number was not made from lengths.
  for (const auto& [unit, axes] : units)
    if (const int64_t n = times(size, unit); n > 0) {
      terms = {{sign * n, axes}};
      if (finish(size - n * unit)) return terms;
    }
  terms.clear();
  int64_t rest = size;
  for (const auto& [unit, axes] : units) {
    if (rest < unit / 2) continue;
    const int64_t n = times(rest, unit);
    rest -= n * unit;
    terms.push_back({sign * n, axes});
  }
  if (terms.empty() || !finish(rest)) return {};
  return terms;
}

int64_t substitute(int64_t v, Lengths lengths) {
  std::vector<int64_t> stand_ins;
  for (const auto& [stand_in, length] : lengths) stand_ins.push_back(stand_in);
  const std::vector<LengthTerm> terms = length_terms(v, stand_ins);
  if (terms.empty()) return v;
  int64_t out = 0;
  for (const LengthTerm& t : terms) {
    int64_t product = t.factor;
    for (size_t axis : t.axes) product *= lengths[axis].second;
    out += product;
  }
  return out;
}

double substitute(double v, Lengths lengths) {
  const double size = std::abs(v);
  if (lengths.empty() || size == 0 || !std::isfinite(v)) return v;
  const double least = double(lengths[0].first) / 2;
  auto whole = [&](double x) {  // x as a length, or 0 when it is none
    const double r = std::nearbyint(x);
    if (r < least || r > 9e15 || std::abs(x - r) > 1e-9 * r) return 0.0;
    const double s = double(substitute(int64_t(r), lengths));
    return s == r ? 0.0 : s;
  };
  if (size >= least) {
    const double s = whole(size);
    return s != 0 ? std::copysign(s, v) : v;
  }
  if (const double s = whole(1 / size); s != 0) return std::copysign(1 / s, v);
  if (size > 1 && size < 1.001) {
    const double x = 1 / (size - 1), error = 2.3e-16 * x * x;
    double s = whole(x);
    // n/(n-1) of a product of lengths has too few digits behind its 1 to give n exactly.
    for (size_t i = 0; i < lengths.size() && s == 0 && error < 64; ++i) {
      const double unit = double(lengths[i].first), n = std::nearbyint(x / unit) * unit;
      if (n > 0 && std::abs(n - 1 - x) <= 1 + error)
        s = double(substitute(int64_t(n), lengths)) - 1;
    }
    if (s != 0) return std::copysign((s + 1) / s, v);
  }
  return v;
}

std::shared_ptr<Graph> specialise(const Graph& from, Lengths lengths) {
  auto g = from.clone();
  auto& values = g->edit_values();
  for (Value& v : values) {
    if (v.kind == ValueKind::constant) {
      v.tensor = constant_for(v.tensor, lengths);
      v.spec = v.tensor.spec();
    } else if (v.kind == ValueKind::input) {
      for (int64_t& d : v.spec.shape) d = substitute(d, lengths);
    }
  }
  for (Node& n : g->edit_nodes()) {
    if (has_regions(*n.info) || is_loop_gradient(*n.info)) {
      if (!lengths.empty()) n.op = specialise_regions(*n.info, n.op.get(), lengths, n.info);
    } else if (!lengths.empty()) {
      auto op = copy_record(*n.info, n.op.get());
      Substituter visitor(lengths);
      n.info->visit(op.get(), visitor);
      n.op = std::move(op);
    }
    const std::vector<Spec> specs = infer(*g, n);
    for (size_t i = 0; i < specs.size(); ++i) values[size_t(n.outputs[i])].spec = specs[i];
  }
  return g;
}

std::string to_string(const Spec& spec, std::span<const int64_t> stand_ins) {
  std::string s = cat(spec.dtype, "[");
  for (int i = 0; i < spec.shape.size(); ++i) {
    const int64_t d = spec.shape[i];
    const bool open = std::find(stand_ins.begin(), stand_ins.end(), d) != stand_ins.end();
    s += cat(i ? ", " : "", open ? std::string("?") : cat(d));
  }
  return s + "]";
}

bool same_structure(const Graph& a, const Graph& b) {
  if (a.values().size() != b.values().size() || a.nodes().size() != b.nodes().size()) return false;
  for (size_t i = 0; i < a.values().size(); ++i) {
    const Value &x = a.values()[i], &y = b.values()[i];
    if (x.kind != y.kind || !(x.spec == y.spec) || x.generator != y.generator) return false;
    if (x.kind == ValueKind::state && !x.tensor.is_same(y.tensor)) return false;
    if (x.kind == ValueKind::constant &&
        x.tensor.to_vector<double>() != y.tensor.to_vector<double>())
      return false;
  }
  for (size_t k = 0; k < a.nodes().size(); ++k) {
    const Node &m = a.nodes()[k], &n = b.nodes()[k];
    if (m.inputs != n.inputs || m.outputs != n.outputs) return false;
    if (m.info == n.info ? !m.info->equal(m.op.get(), n.op.get()) : !same_regions(m, n))
      return false;
  }
  auto assignments = [](const Graph& g) {
    std::vector<std::pair<ValueId, ValueId>> list;
    for (const Assignment& s : g.assignments()) list.emplace_back(s.state, s.value);
    for (const GradientWrite& w : g.gradients()) list.emplace_back(-1, w.value);
    return list;
  };
  return a.inputs() == b.inputs() && a.outputs() == b.outputs() && assignments(a) == assignments(b);
}

}  // namespace tandem::graph
