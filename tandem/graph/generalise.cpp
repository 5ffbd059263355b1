#include "tandem/graph/generalise.h"

#include <algorithm>
#include <map>

#include "tandem/graph/control_flow_node.h"
#include "tandem/graph/fit_lengths.h"
#include "tandem/graph/record_numbers.h"
#include "tandem/graph/rewrite.h"
#include "tandem/graph/specialise.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/number.h"
#include "tandem/ops/reshape.h"

namespace tandem::graph {
namespace {

/// Recordings beyond these are compared, but not kept.
constexpr size_t most_kept = 8;

/// A number of a recording: whole, or a double.
struct Seen {
  bool whole;
  int64_t i;
  double d;
};
std::vector<Seen> numbers_of(const Node& n) {
  std::vector<Seen> all;
  const auto op = copy_record(*n.info, n.op.get());
  each_number(*n.info, op.get(), [&](std::string_view, auto& v) {
    using T = std::remove_reference_t<decltype(v)>;
    if constexpr (std::is_same_v<T, double> || std::is_same_v<T, Number>)
      all.push_back({false, 0, double(v)});
    else all.push_back({true, int64_t(v), 0});
  });
  return all;
}

using Graphs = std::vector<const Graph*>;

/// Makes a copy of the first of some recordings the graph that explains all of them.
class Fitting {
 public:
  Fitting(Graph& wide, const Graphs& samples, const std::vector<LengthValues>& lengths,
          LengthFit& fit, std::string& why, std::string& gap)
      : g_(wide), samples_(samples), lengths_(lengths), fit_(fit), why_(why), gap_(gap) {}

  bool run() {
    for (size_t k = 0; k < g_.nodes().size(); ++k)
      if (!node(k)) return false;
    for (ValueId id : g_.outputs())
      if (!constant(id, g_.nodes().size())) return false;
    auto& all = g_.edit_nodes();
    all.insert(all.begin(), front_.begin(), front_.end());
    return true;
  }

 private:
  template <class... A>
  bool no(const A&... text) {
    why_ = cat(text...);
    return false;
  }

  bool node(size_t k) {
    Node& n = g_.edit_nodes()[k];
    for (ValueId id : n.inputs)
      if (id >= 0 && !constant(id, k)) return false;
    const size_t kept = fit_.size();
    add_lengths(n.inputs);
    const bool good = has_regions(*n.info)        ? regions(n, k)
                      : is_loop_gradient(*n.info) ? unchanged(n, k)
                                                  : attributes(n, k);
    fit_.keep(kept);
    if (!good) return false;
    infer_again(n);
    return check_specs(n, k);
  }

  /// A constant of one element that differs, which node `k` reads, becomes a number that is
  /// calculated. It may be made of any length that was there before.
  bool constant(ValueId id, size_t k) {
    if (g_.value(id).kind != ValueKind::constant) return true;
    const Tensor first = g_.value(id).tensor;
    if (first.numel() != 1) return true;
    std::vector<double> seen;
    for (const Graph* s : samples_) seen.push_back(s->value(id).tensor.item<double>());
    auto number = fit_.find(seen, first.dtype());
    if (!number) {
      const size_t kept = fit_.size();
      for (size_t i = 0; i < k; ++i) add_lengths(g_.nodes()[i].outputs);
      number = fit_.find(seen, first.dtype());
      fit_.keep(kept);
    }
    if (!number) return no("no expression of the lengths gives its number ", seen.back());
    if (!number->is_known()) calculate(id, first, *number);
    return true;
  }

  void calculate(ValueId id, const Tensor& was, Number number) {
    const bool wrapped = was.impl()->has(TensorImpl::wrapped_number);
    const DType kind = wrapped ? was.dtype() : is_floating(was.dtype()) ? f64 : i64;
    const ValueId at = wrapped ? id : g_.add_value({{}, kind, {}});
    front_.push_back(make_node(NumberOf{.value = number, .dtype = kind}, {}, at, {}));
    g_.edit_values()[size_t(at)].number = true;
    Value& v = g_.edit_values()[size_t(id)];
    v.kind = ValueKind::result;
    v.tensor = {};
    if (wrapped) return;
    const Shape shape = v.spec.shape;
    const ValueId cast_to = shape.empty() ? id : g_.add_value({{}, was.dtype(), {}});
    front_.push_back(make_node(Cast{.dtype = was.dtype()}, {at}, cast_to, {}));
    if (!shape.empty()) front_.push_back(make_node(Reshape{.shape = shape}, {cast_to}, id, {}));
  }

  /// Most attributes of a node are made of the lengths of what it reads.
  void add_lengths(const std::vector<ValueId>& ids) {
    for (ValueId id : ids) {
      if (id < 0) continue;
      for (Length d : g_.value(id).spec.shape)
        if (!d.is_known()) add(d);
      if (const Length all = g_.value(id).spec.shape.numel(); !all.is_known()) add(all);
    }
  }
  void add(Length d) {
    std::vector<int64_t> values;
    for (const LengthValues& at : lengths_) values.push_back(detail::evaluate(d, at));
    fit_.add(d, std::move(values));
  }

  bool attributes(Node& n, size_t k) {
    std::vector<std::vector<Seen>> seen;
    for (const Graph* s : samples_) seen.push_back(numbers_of(s->nodes()[k]));
    const auto op = copy_record(*n.info, n.op.get());
    bool good = true, changed = false;
    size_t i = 0;
    each_number(*n.info, op.get(), [&](std::string_view name, auto& v) {
      const size_t at = i++;
      if (!good) return;
      using T = std::remove_reference_t<decltype(v)>;
      constexpr bool real = std::is_same_v<T, double> || std::is_same_v<T, Number>;
      std::vector<std::conditional_t<real, double, int64_t>> values;
      for (const auto& list : seen) {
        if constexpr (real) values.push_back(list[at].d);
        else values.push_back(list[at].i);
      }
      const auto found = fit_.find(std::span<const typename decltype(values)::value_type>(values));
      if (!found) {
        good = no("no expression of the lengths gives ", name, "=", values.back(), " of ",
                  samples_.back()->nodes()[k].info->print(samples_.back()->nodes()[k].op.get()));
        return;
      }
      if (found->is_known()) return;
      if constexpr (std::is_same_v<T, Length> || std::is_same_v<T, Number>) {
        v = *found;
        changed = true;
      } else {
        set_gap(n, name);
      }
    });
    if (good && changed) n.op = op;
    return good;
  }

  void set_gap(const Node& n, std::string_view name) {
    if (gap_.empty())
      gap_ = cat(n.info->print(n.op.get()), " has another ", name,
                 " for other lengths; give the number as a tensor, or the axis its length");
  }

  bool unchanged(const Node& n, size_t k) {
    for (const Graph* s : samples_)
      if (!same_regions(n, s->nodes()[k]))
        if (gap_.empty()) gap_ = "the gradient of a loop has other numbers for other lengths";
    return true;
  }

  bool regions(Node& n, size_t k) {
    std::vector<Regions> parts;
    for (const Graph* s : samples_) parts.push_back(regions_of(s->nodes()[k].op.get()));
    const Regions& own = parts[0];
    auto wide = [&](auto member, std::vector<ValueId> given) -> std::shared_ptr<Graph> {
      Graphs graphs;
      for (const Regions& r : parts) graphs.push_back((r.*member).get());
      auto region = (own.*member)->clone();
      region->share_lengths(g_);
      for (size_t i = 0; i < given.size(); ++i)
        region->edit_values()[size_t(region->inputs()[i])].spec = g_.value(given[i]).spec;
      Fitting inside(*region, graphs, lengths_, fit_, why_, gap_);
      return inside.run() ? region : nullptr;
    };
    const size_t firsts = own.first->inputs().size(), seconds = own.second->inputs().size();
    const size_t shared = own.loop ? size_t(own.variables) : 0, from = own.loop ? 0 : 1;
    std::vector<ValueId> a(n.inputs.begin() + std::ptrdiff_t(from),
                           n.inputs.begin() + std::ptrdiff_t(from + firsts)),
        b(n.inputs.begin(), n.inputs.begin() + std::ptrdiff_t(shared));
    b.insert(b.end(), n.inputs.begin() + std::ptrdiff_t(from + firsts),
             n.inputs.begin() + std::ptrdiff_t(from + firsts + seconds - shared));
    const auto first = wide(&Regions::first, a), second = wide(&Regions::second, b);
    if (!first || !second) return false;
    const auto fresh = make_node(own.loop, first, second);
    fresh->variables = own.variables;
    fresh->maximum = own.maximum;
    const Held held{fresh};
    n.info = &fresh->info;
    n.op = copy_record(fresh->info, &held);
    return true;
  }

  void infer_again(const Node& n) {
    try {
      const std::vector<Spec> specs = infer(g_, n);
      for (size_t i = 0; i < specs.size(); ++i)
        g_.edit_values()[size_t(n.outputs[i])].spec = specs[i];
    } catch (const LengthError&) {
      // The rule needs a number: the lengths are found from what they were.
      for (ValueId id : n.outputs) g_.edit_values()[size_t(id)].spec.shape = fitted_shape(id);
    }
  }
  Shape fitted_shape(ValueId id) {
    Shape shape = samples_[0]->value(id).spec.shape;
    for (int a = 0; a < shape.size(); ++a) {
      std::vector<int64_t> seen;
      for (const Graph* s : samples_) seen.push_back(s->value(id).spec.shape[a]);
      if (const auto d = fit_.find(std::span<const int64_t>(seen))) shape[a] = *d;
    }
    return shape;
  }

  bool check_specs(const Node& n, size_t k) {
    for (ValueId id : n.outputs)
      for (size_t s = 0; s < samples_.size(); ++s) {
        const Shape &want = samples_[s]->value(id).spec.shape, &have = g_.value(id).spec.shape;
        for (int a = 0; a < want.size(); ++a)
          if (detail::evaluate(have[a], lengths_[s]) != want[a])
            return no("no expression of the lengths gives the shape ", want, " of ",
                      samples_[s]->nodes()[k].info->print(samples_[s]->nodes()[k].op.get()));
      }
    return true;
  }

  Graph& g_;
  const Graphs& samples_;
  const std::vector<LengthValues>& lengths_;
  LengthFit& fit_;
  std::string &why_, &gap_;
  std::vector<Node> front_;  ///< nodes that calculate numbers, ahead of the recording's
};

}  // namespace

Generalisation::Generalisation(std::shared_ptr<const Graph> first, std::vector<Shape> names)
    : recordings_{std::move(first)}, names_(std::move(names)) {}

bool Generalisation::add(const std::shared_ptr<const Graph>& recording, std::string& why) {
  if (!same_program(*recordings_[0], *recording, why)) return false;
  if (wide_ && predicts(*recording)) {
    if (recordings_.size() < most_kept) recordings_.push_back(recording);
    return true;
  }
  auto all = recordings_;
  all.push_back(recording);
  if (!fit(all, why)) return false;
  if (recordings_.size() < most_kept) recordings_ = std::move(all);
  return true;
}

bool Generalisation::fit(const std::vector<std::shared_ptr<const Graph>>& recordings,
                         std::string& why) {
  auto wide = recordings[0]->clone();
  LengthFit fit(recordings.size());
  std::vector<LengthValues> lengths(recordings.size());
  // Lengths that were equal in every recording are one length.
  std::map<std::vector<int64_t>, Length> known;
  for (size_t i = 0; i < wide->inputs().size(); ++i) {
    const ValueId id = wide->inputs()[i];
    Shape& shape = wide->edit_values()[size_t(id)].spec.shape;
    for (int a = 0; a < shape.size(); ++a) {
      std::vector<int64_t> seen;
      for (const auto& r : recordings) seen.push_back(r->value(id).spec.shape[a]);
      if (std::count(seen.begin(), seen.end(), seen[0]) == std::ptrdiff_t(seen.size())) continue;
      auto it = known.find(seen);
      if (it == known.end()) {
        const std::string* name =
            i < names_.size() ? detail::LengthTable::dim_name(names_[i][a]) : nullptr;
        it = known.emplace(seen, wide->unknown_length(name ? *name : std::string())).first;
        for (size_t s = 0; s < seen.size(); ++s) lengths[s].push_back(seen[s]);
        fit.add(it->second, seen);
      }
      shape[a] = it->second;
    }
  }
  Graphs samples;
  for (const auto& r : recordings) samples.push_back(r.get());
  std::string gap;
  if (!Fitting(*wide, samples, lengths, fit, why, gap).run()) return false;
  wide_ = std::move(wide);
  gap_ = std::move(gap);
  return true;
}

/// Whether the graph gives this recording for its lengths.
bool Generalisation::predicts(const Graph& recording) const {
  if (!gap_.empty()) return false;
  LengthBinder lengths(*wide_);
  std::string why;
  for (ValueId id : wide_->inputs())
    if (!lengths.bind(wide_->value(id).spec.shape, recording.value(id).spec.shape, why))
      return false;
  try {
    // Numbers become constants, in both, so that the nodes are those of the recording.
    const auto g = specialise(*wide_, lengths.values()), own = specialise(recording, {});
    if (g->nodes().size() < own->nodes().size()) return false;
    const size_t extra = g->nodes().size() - own->nodes().size();
    for (size_t k = 0; k < own->nodes().size(); ++k) {
      const Node &m = g->nodes()[k + extra], &n = own->nodes()[k];
      if (m.info == n.info ? !m.info->equal(m.op.get(), n.op.get()) : !same_regions(m, n))
        return false;
    }
    for (size_t i = 0; i < own->values().size(); ++i) {
      const Value &x = g->values()[i], &y = own->values()[i];
      if (!detail::identical(x.spec, y.spec)) return false;
      if (y.kind == ValueKind::constant && y.tensor.numel() == 1 && x.kind == ValueKind::constant &&
          x.tensor.item<double>() != y.tensor.item<double>())
        return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::shared_ptr<Graph> Generalisation::graph() const {
  require<LengthError>(gap_.empty(), gap_);
  return wide_ ? wide_ : recordings_[0]->clone();
}

std::shared_ptr<const Graph> Generalisation::graph_or_first() const {
  return wide_ && gap_.empty() ? wide_ : recordings_[0];
}

}  // namespace tandem::graph
