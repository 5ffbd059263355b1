#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/graph/conv_records.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/add.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/hardtanh.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/silu.h"
#include "tandem/ops/sqrt.h"

namespace tandem::graph {
namespace {

/// A convolution and what becomes one record with it.
struct Group {
  int conv = -1, last = -1;  ///< nodes
  int norm = -1;             ///< a batch normalisation by fixed statistics; -1: none
  ValueId residual = -1;
  FusedConv2d op = {};
};

class Blocking {
 public:
  explicit Blocking(Graph& g) : g_(g), uses_(g), block_(cpu::channel_block()) {}

  void run() {
    if (block_ == 0) return;
    const size_t n = g_.nodes().size();
    find_fixed();
    group_of_.assign(n, -1);
    for (size_t k = 0; k < n; ++k) {
      const auto* conv = as<Conv2d>(g_.nodes()[k]);
      if (conv && eligible(int(k), *conv)) match(int(k), *conv);
    }
    if (groups_.empty()) return;
    blocked_.assign(g_.values().size(), -1);
    plain_.assign(g_.values().size(), true);
    std::vector<Node> before = std::move(g_.edit_nodes());
    g_.edit_nodes().clear();
    for (size_t k = 0; k < n; ++k) {
      const int group = group_of_[k];
      if (group < 0) emit(std::move(before[k]));
      else if (groups_[size_t(group)].last == int(k)) emit(groups_[size_t(group)], before);
    }
    for_each_result(g_, [&](ValueId id) { plain(id, ""); });
  }

 private:
  const Spec& spec(ValueId id) const { return g_.value(id).spec; }

  // --- What is fused ---------------------------------------------------------------------------

  /// Values that are the same at every run, as far as this graph is concerned.
  void find_fixed() {
    fixed_.resize(g_.values().size());
    for (size_t i = 0; i < fixed_.size(); ++i) {
      const ValueKind kind = g_.values()[i].kind;
      fixed_[i] = kind == ValueKind::constant || kind == ValueKind::state;
    }
    for (const Assignment& a : g_.assignments()) fixed_[size_t(a.state)] = false;
    for (const Node& n : g_.nodes()) {
      const bool all = std::all_of(n.inputs.begin(), n.inputs.end(),
                                   [&](ValueId id) { return id < 0 || fixed_[size_t(id)]; });
      for (ValueId id : n.outputs) fixed_[size_t(id)] = all;
    }
  }
  bool fixed(ValueId id) const { return fixed_[size_t(id)]; }
  bool usable(ValueId id) const {
    return spec(id).dtype == f32 && spec(id).device == cpu_device && spec(id).shape.numel() > 0;
  }
  bool fixed_or_absent(const Node& n, size_t i) const {
    return i >= n.inputs.size() || n.inputs[i] < 0 || (fixed(n.inputs[i]) && usable(n.inputs[i]));
  }

  bool eligible(int k, const Conv2d& conv) const {
    const Node& n = g_.nodes()[size_t(k)];
    const ValueId x = n.inputs[0], w = n.inputs[1];
    if (!usable(x) || spec(x).shape.size() != 4 || !fixed(w) || !usable(w)) return false;
    if (!fixed_or_absent(n, 2)) return false;
    const Shape &xs = spec(x).shape, &ws = spec(w).shape;
    if (ws[0] % block_ != 0) return false;
    if (conv.groups > 1) return conv.groups == xs[1] && ws[0] == xs[1] && xs[1] % block_ == 0;
    return xs[1] % block_ == 0 || xs[1] < block_;
  }

  static Shape both(const Shape& s) { return s.size() == 1 ? Shape{s[0], s[0]} : s; }

  void match(int k, const Conv2d& conv) {
    const auto& nodes = g_.nodes();
    const Node& first = nodes[size_t(k)];
    Group group{.conv = k, .last = k};
    FusedConv2d& op = group.op;
    op.x = spec(first.inputs[0]).shape;
    op.weight = spec(first.inputs[1]).shape;
    op.stride = both(conv.stride);
    op.padding = both(conv.padding);
    op.dilation = both(conv.dilation);
    op.groups = conv.groups;
    op.block = block_;
    op.bias = first.inputs.size() > 2 && first.inputs[2] >= 0;
    std::vector<int> members{k};
    for (bool more = true; more;) {
      more = false;
      const ValueId y = nodes[size_t(group.last)].outputs[0];
      const int next = uses_.only_reader(y);
      if (next < 0 || group_of_[size_t(next)] >= 0) break;
      const Node& n = nodes[size_t(next)];
      if (as<BatchNorm>(n)) {
        more = group.norm < 0 && group.residual < 0 && foldable(n);
        if (more) group.norm = next;
      } else if (as<Add>(n)) {
        more = group.residual < 0 && spec(n.outputs[0]) == spec(y);
        const ValueId other = n.inputs[0] == y ? n.inputs[1] : n.inputs[0];
        more = more && other != y && spec(other) == spec(y);
        if (more) group.residual = other;
      } else if (activation(n, op)) {
        group.last = next;
        members.push_back(next);
      }
      if (more) {
        group.last = next;
        members.push_back(next);
      }
    }
    op.bias = op.bias || group.norm >= 0;
    op.residual = group.residual >= 0;
    if (!choose(op)) return;
    for (int m : members) group_of_[size_t(m)] = int(groups_.size());
    groups_.push_back(std::move(group));
  }

  bool foldable(const Node& n) const {
    if (as<BatchNorm>(n)->training) return false;
    for (size_t i = 1; i < 5; ++i)
      if (!fixed_or_absent(n, i)) return false;
    return n.inputs.size() == 5 && n.inputs[3] >= 0 && n.inputs[4] >= 0 &&
           uses_.unread(n.outputs[1]) && uses_.unread(n.outputs[2]);
  }

  static bool activation(const Node& n, FusedConv2d& op) {
    constexpr double most = std::numeric_limits<float>::max();
    if (as<Relu>(n)) op.activation = "relu";
    else if (as<Silu>(n)) op.activation = "silu";
    else if (as<Sigmoid>(n)) op.activation = "sigmoid";
    if (const auto* leaky = as<LeakyRelu>(n)) {
      op.activation = "leaky_relu";
      op.low = leaky->negative_slope;
    } else if (const auto* clamp = as<Clamp>(n); clamp && clamp->min && clamp->max) {
      op.low = std::max(double(*clamp->min), -most);
      op.high = std::min(double(*clamp->max), most);
      if (op.low <= op.high) op.activation = "clamp";
    } else if (const auto* hard = as<Hardtanh>(n)) {
      op.activation = "clamp";
      op.low = hard->min_val;
      op.high = hard->max_val;
    }
    return op.activation != "none";
  }

  static bool choose(FusedConv2d& op) {
    op.kernel = cpu::BlockedConv::best(op.spec());
    if (op.kernel && op.kernel->spec().winograd) op.algorithm = "winograd";
    return op.kernel != nullptr;
  }

  // --- The new nodes ---------------------------------------------------------------------------

  template <class O>
  ValueId make(const O& op, std::vector<ValueId> in, const Shape& shape, const std::string& path,
               ValueId out = -1) {
    if (out < 0) out = add(shape);
    g_.edit_nodes().push_back(make_node(op, std::move(in), out, path));
    return out;
  }
  ValueId add(const Shape& shape) {
    const ValueId id = g_.add_value({shape, f32, cpu_device});
    blocked_.resize(g_.values().size(), -1);
    plain_.resize(g_.values().size(), true);
    return id;
  }
  void give_blocked(ValueId id, ValueId as_blocked) {
    blocked_[size_t(id)] = as_blocked;
    plain_[size_t(id)] = false;
  }
  bool has_blocked(ValueId id) const { return id >= 0 && blocked_[size_t(id)] >= 0; }
  ValueId blocked(ValueId id, const std::string& path) {
    ValueId& to = blocked_[size_t(id)];
    if (to >= 0) return to;
    const Shape s = spec(id).shape;
    const ValueId made =
        make(ToBlocked{block_}, {id}, {s[0], s[1] / block_, s[2], s[3], block_}, path);
    return blocked_[size_t(id)] = made;
  }
  /// The value as row-major code reads it.
  void plain(ValueId id, const std::string& path) {
    if (plain_[size_t(id)]) return;
    plain_[size_t(id)] = true;
    make(FromBlocked{}, {blocked_[size_t(id)]}, spec(id).shape, path, id);
  }

  void emit(const Group& group, const std::vector<Node>& nodes) {
    const Node& conv = nodes[size_t(group.conv)];
    const std::string& path = conv.path;
    const ValueId y = nodes[size_t(group.last)].outputs[0];
    ValueId w = conv.inputs[1], b = conv.inputs.size() > 2 ? conv.inputs[2] : -1;
    if (group.norm >= 0) fold(nodes[size_t(group.norm)], path, w, b);
    PackConv2d pack;
    static_cast<BlockedConvolution&>(pack) = group.op;
    w = make(pack, {w}, {group.op.kernel->packed_size()}, path);
    ValueId x = conv.inputs[0], residual = group.residual;
    if (group.op.x_plain()) plain(x, path);
    else x = blocked(x, path);
    if (residual >= 0) residual = blocked(residual, path);
    std::vector<ValueId> in{x, w, b, residual};
    give_blocked(y, make(group.op, std::move(in), group.op.blocked_y(), path));
  }

  /// conv(x, w) s + (b s + shift) for s conv(x, w) + ...
  void fold(const Node& norm, const std::string& path, ValueId& w, ValueId& b) {
    const Shape c = spec(norm.inputs[3]).shape, whole = spec(w).shape;
    const ValueId eps = g_.add_constant(Tensor(as<BatchNorm>(norm)->eps));
    blocked_.resize(g_.values().size(), -1);
    plain_.resize(g_.values().size(), true);
    const ValueId weight = norm.inputs[1], bias = norm.inputs[2];
    ValueId scale = make(Rsqrt{}, {make(Add{}, {norm.inputs[4], eps}, c, path)}, c, path);
    if (weight >= 0) scale = make(Mul{}, {scale, weight}, c, path);
    // (b - mean) scale + bias
    ValueId centre = norm.inputs[3];
    const bool had = b >= 0;
    if (had) centre = make(Sub{}, {b, centre}, c, path);
    ValueId shift = make(Mul{}, {centre, scale}, c, path);
    if (had && bias >= 0) shift = make(Add{}, {shift, bias}, c, path);
    else if (!had && bias >= 0) shift = make(Sub{}, {bias, shift}, c, path);
    else if (!had) shift = make(Neg{}, {shift}, c, path);
    b = shift;
    const Shape spread{c[0], 1, 1, 1};
    scale = make(Reshape{.shape = spread}, {scale}, spread, path);
    w = make(Mul{}, {w, scale}, whole, path);
  }

  /// Nodes that can stay in blocks do; the others see row-major values.
  void emit(Node n) {
    if (as<MaxPool2d>(n) && pooled(n)) return;
    if (as<AdaptiveAvgPool2d>(n) && averaged(n)) return;
    if (point(n)) return;
    for (ValueId id : n.inputs)
      if (id >= 0) plain(id, n.path);
    g_.edit_nodes().push_back(std::move(n));
  }

  bool pooled(const Node& n) {
    const auto& pool = *as<MaxPool2d>(n);
    const ValueId x = n.inputs[0];
    if (!has_blocked(x) || !uses_.unread(n.outputs[1])) return false;
    if (both(pool.dilation) != Shape{1, 1}) return false;
    const Shape s = spec(n.outputs[0]).shape, from = spec(blocked_[size_t(x)]).shape;
    BlockedMaxPool2d op;
    op.size = {s[2], s[3]};
    op.kernel_size = both(pool.kernel_size);
    op.stride = pool.stride.size() == 0 ? op.kernel_size : both(pool.stride);
    op.padding = both(pool.padding);
    give_blocked(n.outputs[0],
                 make(op, {blocked_[size_t(x)]}, {from[0], from[1], s[2], s[3], from[4]}, n.path));
    return true;
  }

  bool averaged(const Node& n) {
    const ValueId x = n.inputs[0];
    const Shape s = spec(n.outputs[0]).shape;
    if (!has_blocked(x) || s[2] != 1 || s[3] != 1) return false;
    const Shape from = spec(blocked_[size_t(x)]).shape;
    const ValueId mean = make(Mean{.axes = {2, 3}, .keepdim = false}, {blocked_[size_t(x)]},
                              {from[0], from[1], from[4]}, n.path);
    make(Reshape{.shape = s}, {mean}, s, n.path, n.outputs[0]);
    return true;
  }

  /// Elementwise records, and joints along channels, of values that all are in blocks.
  bool point(Node& n) {
    const bool joint = as<Cat>(n) && as<Cat>(n)->axis == 1;
    if (n.outputs.size() != 1 || !(joint || n.info->broadcasts)) return false;
    const Spec y = spec(n.outputs[0]);
    if (y.dtype != f32 || y.shape.size() != 4) return false;
    bool any = false;
    for (ValueId id : n.inputs) {
      if (id < 0) return false;
      const bool number = !joint && spec(id).shape.numel() == 1 && spec(id).shape.size() <= 5;
      const bool alike = has_blocked(id) && (joint || spec(id).shape == y.shape);
      if (!number && !alike) return false;
      any = any || alike;
    }
    if (!any || y.shape.numel() == 1) return false;
    for (ValueId& id : n.inputs)
      if (has_blocked(id)) id = blocked_[size_t(id)];
    Shape s = y.shape;
    const ValueId to = add({s[0], s[1] / block_, s[2], s[3], block_});
    give_blocked(n.outputs[0], to);
    n.outputs[0] = to;
    g_.edit_nodes().push_back(std::move(n));
    return true;
  }

  Graph& g_;
  Uses uses_;  // of the graph as it was given
  int64_t block_;
  std::vector<bool> fixed_;    // by value
  std::vector<int> group_of_;  // by node
  std::vector<Group> groups_;
  std::vector<ValueId> blocked_;  // the same value in blocks, or -1
  std::vector<bool> plain_;       // whether the value itself exists
};

}  // namespace

void block_convolutions(Graph& g) { Blocking(g).run(); }

}  // namespace tandem::graph
