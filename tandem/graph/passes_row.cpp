#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_row.h"
#include "tandem/graph/geometry.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/norm.h"
#include "tandem/ops/reshape.h"

namespace tandem::graph {
namespace {

using Form = FusedRow::Form;

// Below, a node more costs less than what the rows of a fused one need.
constexpr int64_t min_elements = 65536;
// Reductions of fewer elements take another kernel, which shares work between rows.
constexpr int64_t min_length = 33;

/// A node as instructions of a row program.
struct Unit {
  std::vector<ValueId> operands;  ///< -1: left out; elementwise nodes look through reshapes
  std::vector<Form> forms, results;
};

class RowFusion {
 public:
  explicit RowFusion(Graph& g) : g_(g) {}

  void run() {
    std::unordered_set<ValueId> tried;
    bool fresh = false;
    for (size_t k = 0; k < g_.nodes().size(); ++k) {
      const Node& n = g_.nodes()[k];
      if (n.outputs.empty() || !is_seed(n) || !tried.insert(n.outputs[0]).second) continue;
      if (!fresh) {
        uses_.emplace(g_);
        geometry_.emplace(g_);
      }
      fresh = true;
      if (!grow(k)) continue;
      fresh = false;
      k = size_t(-1);
    }
  }

 private:
  const Spec& spec(ValueId id) const { return g_.value(id).spec; }

  /// A record that works on rows, and sets how long they are.
  bool is_seed(const Node& n) {
    if (n.inputs.empty() || n.inputs[0] < 0) return false;
    const Spec& x = spec(n.inputs[0]);
    const int axes = row_axes(*n.info, n.op.get(), x.shape);
    if (axes == 0 || x.device.type != DeviceType::cpu || (x.dtype != f32 && x.dtype != f64))
      return false;
    length_ = rows_ = 1;
    const int lead = x.shape.size() - axes;
    for (int i = 0; i < x.shape.size(); ++i) (i < lead ? rows_ : length_) *= x.shape[i];
    dtype_ = x.dtype;
    return rows_ >= 2 && length_ >= min_length && length_ <= FusedRow::max_length &&
           rows_ * length_ >= min_elements;
  }

  /// Its attributes speak of axes.
  bool is_row_record(const Node& n) const {
    return row_axes(*n.info, n.op.get(), spec(n.inputs[0]).shape) > 0;
  }
  /// What a reshape without a copy looks at.
  ValueId origin(ValueId id) {
    for (;;) {
      const int k = uses_->made[size_t(id)];
      if (k < 0 || g_.nodes()[size_t(k)].info != &op_info<Reshape>()) return id;
      const ValueId from = g_.nodes()[size_t(k)].inputs[0];
      if (!(*geometry_)[from].is_contiguous()) return id;
      id = from;
    }
  }

  /// Whether axes of the shape multiply to the number of rows, with `length` elements behind them.
  bool has_rows(const Shape& s, int64_t length) const {
    int64_t n = 1;
    for (int i = 0; i < s.size(); ++i)
      if ((n *= s[i]) == rows_) return s.numel() == rows_ * length;
    return false;
  }

  /// What an operand of `shape` is to an elementwise node over `all`, whose form is `form`.
  std::optional<Form> form_of(const Shape& shape, const Shape& all, Form form) const {
    if (shape.numel() == 1) return Form::whole;
    if (shape.numel() == all.numel() && has_rows(shape, form == Form::rows ? length_ : 1))
      return form;
    Repeats how;
    if (form != Form::rows || !repeats_in(shape, all, how)) return {};
    if (how.inner == 1 && how.period == length_) return Form::whole;
    if (how.inner == length_ && how.period == rows_ && has_rows(shape, 1)) return Form::column;
    return {};
  }

  std::optional<Unit> unit_of(size_t k) {
    const Node& n = g_.nodes()[k];
    if (n.inputs.empty() || n.inputs[0] < 0 || n.outputs.empty()) return {};
    Unit u;
    const bool by_rows = is_row_record(n);
    for (ValueId id : n.inputs) {
      if (id >= 0 && (g_.value(id).kind == ValueKind::effect || !(*geometry_)[id].is_contiguous()))
        return {};
      u.operands.push_back(id < 0 || by_rows ? id : origin(id));
    }
    for (ValueId id : n.outputs)
      if (spec(id).device.type != DeviceType::cpu) return {};
    const Spec& x = spec(n.inputs[0]);
    if (n.info == &op_info<Dropout>()) {
      if (x.dtype != dtype_ || !has_rows(x.shape, length_) || length_ % 64 != 0) return {};
      u.forms = {Form::rows, Form::whole};
      u.results = {Form::rows};
      return u;
    }
    if (row_axes(*n.info, n.op.get(), x.shape) > 0) return row_unit(n, std::move(u));
    return point_unit(n, std::move(u));
  }

  std::optional<Unit> row_unit(const Node& n, Unit u) const {
    const Spec& x = spec(n.inputs[0]);
    const int lead = x.shape.size() - row_axes(*n.info, n.op.get(), x.shape);
    int64_t rows = 1;
    for (int i = 0; i < lead; ++i) rows *= x.shape[i];
    if (rows != rows_ || x.shape.numel() != rows_ * length_) return {};
    for (ValueId id : n.inputs) {
      if (id >= 0 && spec(id).dtype != dtype_) return {};
      const bool full = id >= 0 && spec(id).shape == x.shape;
      if (id >= 0 && !full && spec(id).shape.numel() != length_) return {};
      u.forms.push_back(full ? Form::rows : Form::whole);
    }
    if (n.info == &op_info<LayerNormGrad>()) {
      u.results = {Form::rows, Form::sum, Form::sum};
      return u;
    }
    if (n.outputs.size() != 1) return {};
    const Shape& y = spec(n.outputs[0]).shape;
    if (!has_rows(y, length_) && !has_rows(y, 1)) return {};
    u.results = {has_rows(y, length_) ? Form::rows : Form::column};
    return u;
  }

  std::optional<Unit> point_unit(const Node& n, Unit u) const {
    const bool program = is_fused_point(*n.info);
    const Shape& all = spec(n.outputs[0]).shape;
    const Form form = has_rows(all, length_) ? Form::rows : Form::column;
    if (form == Form::column && !has_rows(all, 1)) return {};
    Tensors in;
    for (ValueId id : n.inputs) {
      if (id < 0) return {};
      const auto f = form_of(spec(id).shape, all, form);
      if (!f) return {};
      u.forms.push_back(*f);
      if (!program) in.push_back(detail::new_symbolic(spec(id)));
    }
    if (!program && (n.outputs.size() != 1 ||
                     !is_point(*n.info, Specs(in.data(), int(in.size())), spec(n.outputs[0]))))
      return {};
    u.results.assign(n.outputs.size(), form);
    return u;
  }

  // --- One group ---------------------------------------------------------------------------------

  bool grow(size_t seed) {
    members_.clear();
    auto first = unit_of(seed);
    if (!first) return false;
    members_.emplace(int(seed), std::move(*first));
    for (bool more = true; more;) {
      more = false;
      for (int k : neighbours()) {
        auto unit = unit_of(size_t(k));
        if (!unit) continue;
        members_.emplace(k, std::move(*unit));
        if (fits() && independent()) {
          more = true;
          break;
        }
        members_.erase(k);
      }
    }
    return gains() && replace();
  }

  /// Long runs through memory are fast where they overlap with arithmetic, and those of some rows
  /// overlap less: it pays when two values are never written, or one and no other is in its stead.
  bool gains() {
    int saved = 0, written = 0;
    for (const auto& [k, u] : members_) {
      const auto& outputs = g_.nodes()[size_t(k)].outputs;
      for (size_t i = 0; i < outputs.size(); ++i)
        if (u.results[i] == Form::rows) ++(needed_outside(outputs[i]) ? written : saved);
    }
    return saved >= 2 || (saved == 1 && written == 0);
  }

  /// Nodes that make or read values that would stay in a cache.
  std::vector<int> neighbours() {
    std::vector<int> all;
    auto add = [&](int k) {
      if (k >= 0 && !members_.contains(k) && std::find(all.begin(), all.end(), k) == all.end())
        all.push_back(k);
    };
    for (const auto& [k, u] : members_) {
      for (size_t i = 0; i < u.operands.size(); ++i)
        if (u.operands[i] >= 0 && u.forms[i] != Form::whole)
          add(uses_->made[size_t(u.operands[i])]);
      const Node& n = g_.nodes()[size_t(k)];
      for (size_t i = 0; i < n.outputs.size(); ++i)
        if (u.results[i] != Form::sum) each_reader(n.outputs[i], add);
    }
    return all;
  }
  template <class F>
  void each_reader(ValueId id, const F& f) {
    for (int k : uses_->readers[size_t(id)]) {
      const Node& n = g_.nodes()[size_t(k)];
      if (n.info == &op_info<Reshape>() && origin(n.outputs[0]) != n.outputs[0])
        each_reader(n.outputs[0], f);
      else f(k);
    }
  }

  /// Whether no path leaves the members and comes back.
  bool independent() {
    const int begin = members_.begin()->first, end = members_.rbegin()->first;
    std::vector<bool> behind(g_.values().size(), false);
    for (int k = begin; k <= end; ++k) {
      const Node& n = g_.nodes()[size_t(k)];
      const auto it = members_.find(k);
      if (it != members_.end()) {
        for (ValueId id : it->second.operands)
          if (id >= 0 && behind[size_t(id)]) return false;
        continue;
      }
      bool reached = false;
      for (ValueId id : n.inputs) {
        if (id < 0) continue;
        const int from = uses_->made[size_t(id)];
        reached = reached || behind[size_t(id)] || (from >= 0 && members_.contains(from));
      }
      if (reached)
        for (ValueId id : n.outputs) behind[size_t(id)] = true;
    }
    return true;
  }

  bool inside(ValueId id) const {
    return uses_->made[size_t(id)] >= 0 && members_.contains(uses_->made[size_t(id)]);
  }

  /// Whether anything but members reads the value; members look through reshapes.
  bool needed_outside(ValueId id) {
    if (uses_->kept[size_t(id)]) return true;
    for (int k : uses_->readers[size_t(id)]) {
      if (members_.contains(k)) continue;
      const Node& n = g_.nodes()[size_t(k)];
      if (n.info != &op_info<Reshape>() || origin(n.outputs[0]) == n.outputs[0] ||
          needed_outside(n.outputs[0]))
        return true;
    }
    return false;
  }

  /// The form in which a member gives the value.
  Form form_inside(ValueId id) const {
    const int k = uses_->made[size_t(id)];
    const auto& outputs = g_.nodes()[size_t(k)].outputs;
    const auto at = std::find(outputs.begin(), outputs.end(), id) - outputs.begin();
    return members_.at(k).results[size_t(at)];
  }

  bool fits() {
    std::unordered_map<ValueId, Form> in;
    size_t out = 0, instructions = 0;
    int sums = 0;
    for (const auto& [k, u] : members_) {
      const Node& n = g_.nodes()[size_t(k)];
      for (size_t i = 0; i < u.operands.size(); ++i) {
        const ValueId id = u.operands[i];
        if (id < 0) continue;
        // Seen in two forms a value would need a place for each.
        if (inside(id) ? form_inside(id) != u.forms[i]
                       : in.emplace(id, u.forms[i]).first->second != u.forms[i])
          return false;
        // Reshaped, its rows may lie across axes.
        if ((u.forms[i] == Form::rows && !has_rows(spec(id).shape, length_)) ||
            (u.forms[i] == Form::column && !has_rows(spec(id).shape, 1)))
          return false;
      }
      for (size_t i = 0; i < n.outputs.size(); ++i) {
        out += needed_outside(n.outputs[i]);
        // A sum over rows is there when all rows have run.
        if (u.results[i] == Form::sum)
          for (int reader : uses_->readers[size_t(n.outputs[i])])
            if (members_.contains(reader)) return false;
      }
      instructions += is_fused_point(*n.info) ? fused_point_of(n.op.get()).program.size() : 1;
      sums += n.info == &op_info<LayerNormGrad>();
    }
    return in.size() <= size_t(FusedRow::max_inputs) && out <= FusedRow::max_outputs &&
           instructions <= FusedRow::max_instructions && sums <= 1;
  }

  bool replace() {
    Node node;
    FusedRow p;
    p.rows = rows_;
    p.length = length_;
    std::unordered_map<ValueId, int> number;
    for (const auto& [k, u] : members_)
      for (size_t i = 0; i < u.operands.size(); ++i) {
        const ValueId id = u.operands[i];
        if (id < 0 || inside(id) || !number.emplace(id, int(p.inputs.size())).second) continue;
        node.inputs.push_back(id);
        p.inputs.push_back({spec(id), u.forms[i]});
      }
    int next = int(p.inputs.size());
    for (const auto& [k, u] : members_) {
      const Node& n = g_.nodes()[size_t(k)];
      if (!is_fused_point(*n.info)) {
        FusedRow::Instruction step{n.info, n.op, {}, {}};
        for (ValueId id : u.operands) step.operands.push_back(id < 0 ? -1 : number.at(id));
        for (size_t i = 0; i < n.outputs.size(); ++i) {
          step.results.push_back({spec(n.outputs[i]), u.results[i]});
          number[n.outputs[i]] = next++;
        }
        p.program.push_back(std::move(step));
      } else {
        const FusedPoint& points = fused_point_of(n.op.get());
        std::vector<int> at;
        for (ValueId id : u.operands) at.push_back(number.at(id));
        for (const auto& from : points.program) {
          FusedRow::Instruction step{from.info, from.op, {}, {}};
          for (int id : from.operands) step.operands.push_back(at[size_t(id)]);
          step.results.push_back({Spec{points.shape, from.dtype, {}}, u.results[0]});
          at.push_back(next++);
          p.program.push_back(std::move(step));
        }
        for (size_t i = 0; i < n.outputs.size(); ++i)
          number[n.outputs[i]] = at[size_t(points.outputs[i])];
      }
      for (ValueId id : n.outputs)
        if (needed_outside(id)) {
          node.outputs.push_back(id);
          p.outputs.push_back(number.at(id));
        }
      if (node.path.empty()) node.path = n.path;
    }
    const size_t outputs = p.outputs.size();
    node.op = make_fused_row(std::move(p));
    if (!node.op) return false;
    node.info = &fused_row_info(int(outputs));
    put(std::move(node));
    return true;
  }

  /// The node in its members' place: behind what it needs, in front of what needs it.
  void put(Node node) {
    auto& nodes = g_.edit_nodes();
    const int begin = members_.begin()->first, end = members_.rbegin()->first;
    std::vector<bool> behind(g_.values().size(), false);
    std::vector<Node> before, after;
    for (int k = begin; k <= end; ++k) {
      if (members_.contains(k)) continue;
      Node& n = nodes[size_t(k)];
      bool reached = false;
      for (ValueId id : n.inputs)
        reached = reached || (id >= 0 && (inside(id) || behind[size_t(id)]));
      if (reached)
        for (ValueId id : n.outputs) behind[size_t(id)] = true;
      (reached ? after : before).push_back(std::move(n));
    }
    std::vector<Node> all(std::make_move_iterator(nodes.begin()),
                          std::make_move_iterator(nodes.begin() + begin));
    auto append = [&](auto first, auto last) {
      all.insert(all.end(), std::make_move_iterator(first), std::make_move_iterator(last));
    };
    append(before.begin(), before.end());
    all.push_back(std::move(node));
    append(after.begin(), after.end());
    append(nodes.begin() + end + 1, nodes.end());
    nodes = std::move(all);
  }

  Graph& g_;
  int64_t rows_ = 0, length_ = 0;
  DType dtype_ = f32;
  std::optional<Uses> uses_;
  std::optional<Geometry> geometry_;
  std::map<int, Unit> members_;  // by node
};

}  // namespace

void fuse_rows(Graph& g) {
  RowFusion(g).run();
  eliminate_dead_code(g);  // views that a fused node looks through
}

}  // namespace tandem::graph
