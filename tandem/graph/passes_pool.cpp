#include <algorithm>

#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/sum.h"

namespace tandem::graph {
namespace {

/// Whether every window holds an element: with dilation one may lie in the padding alone.
bool has_full_windows(const MaxPool2d& op) {
  return std::all_of(op.dilation.begin(), op.dilation.end(), [](int64_t d) { return d == 1; });
}

}  // namespace

void sink_relu(Graph& g) {
  const Uses uses(g);
  std::vector<Node>& nodes = g.edit_nodes();
  std::vector<bool> gone(nodes.size(), false);
  std::vector<std::vector<Node>> in_front(nodes.size()), behind(nodes.size());
  bool any = false;
  for (size_t k = 0; k < nodes.size(); ++k) {
    if (!as<Relu>(nodes[k])) continue;
    const ValueId y = nodes[k].outputs[0];
    int pool = -1;
    std::vector<int> masks;  // relu_grad nodes
    bool good = !uses.kept[size_t(y)];
    for (int r : uses.readers[size_t(y)]) {
      const MaxPool2d* p = as<MaxPool2d>(nodes[size_t(r)]);
      if (p && has_full_windows(*p) && pool < 0) pool = r;
      else if (as<ReluGrad>(nodes[size_t(r)])) masks.push_back(r);
      else good = false;
    }
    if (!good || pool < 0 || masks.empty()) continue;
    const ValueId value = nodes[size_t(pool)].outputs[0], indices = nodes[size_t(pool)].outputs[1];
    // Only such gradients may know of the places: where all are negative, they differ now.
    good = !uses.kept[size_t(indices)] && uses.readers[size_t(indices)].size() == masks.size();
    for (int m : masks) {
      const ValueId d = nodes[size_t(m)].inputs[0];
      const int from = uses.made[size_t(d)];
      good = good && nodes[size_t(m)].inputs[1] == y && from >= 0 && d != y &&
             as<MaxPool2dGrad>(nodes[size_t(from)]) && !uses.kept[size_t(d)] &&
             uses.readers[size_t(d)].size() == 1 && nodes[size_t(from)].inputs[1] == indices &&
             g.value(nodes[size_t(from)].inputs[0]).spec == g.value(value).spec;
    }
    if (!good) continue;
    any = true;
    gone[k] = true;
    Node& p = nodes[size_t(pool)];
    p.inputs[0] = nodes[k].inputs[0];
    p.outputs[0] = g.add_value(g.value(value).spec);
    behind[size_t(pool)].push_back(make_node(Relu{}, {p.outputs[0]}, value, nodes[k].path));
    for (int m : masks) {
      const size_t from = size_t(uses.made[size_t(nodes[size_t(m)].inputs[0])]);
      Node& grad = nodes[from];
      const ValueId masked = g.add_value(g.value(value).spec);
      in_front[from].push_back(
          make_node(ReluGrad{}, {grad.inputs[0], value}, masked, nodes[size_t(m)].path));
      grad.inputs[0] = masked;
      grad.outputs[0] = nodes[size_t(m)].outputs[0];
      gone[size_t(m)] = true;
    }
  }
  if (!any) return;
  std::vector<Node> all;
  for (size_t k = 0; k < nodes.size(); ++k) {
    std::move(in_front[k].begin(), in_front[k].end(), std::back_inserter(all));
    if (!gone[k]) all.push_back(std::move(nodes[k]));
    std::move(behind[k].begin(), behind[k].end(), std::back_inserter(all));
  }
  nodes = std::move(all);
}

void sum_before_unpooling(Graph& g) {
  const std::vector<int> made = makers(g);
  std::vector<Node>& nodes = g.edit_nodes();
  for (Node& n : nodes) {
    const Sum* s = as<Sum>(n);
    const int from = s ? made[size_t(n.inputs[0])] : -1;
    if (from < 0 || !as<MaxPool2dGrad>(nodes[size_t(from)])) continue;
    const int by = made[size_t(nodes[size_t(from)].inputs[1])];
    const MaxPool2d* pool = by < 0 ? nullptr : as<MaxPool2d>(nodes[size_t(by)]);
    if (!pool || !has_full_windows(*pool)) continue;
    const int axes = g.value(n.inputs[0]).spec.shape.size();
    auto sums_over = [&](int64_t axis) {
      return s->axes.empty() || std::any_of(s->axes.begin(), s->axes.end(),
                                            [&](int64_t a) { return (a + axes) % axes == axis; });
    };
    if (sums_over(axes - 1) && sums_over(axes - 2)) n.inputs[0] = nodes[size_t(from)].inputs[0];
  }
}

}  // namespace tandem::graph
