#include <algorithm>

#include "tandem/graph/passes.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/relu.h"

namespace tandem::graph {
namespace {

template <class O>
bool is(const Node& n) {
  return n.info == &op_info<O>();
}

template <class O>
Node node_of(const O& op, std::vector<ValueId> in, ValueId out, const std::string& path) {
  Node n;
  n.info = &op_info<O>();
  n.op = copy_record(*n.info, &op);
  n.inputs = std::move(in);
  n.outputs = {out};
  n.path = path;
  return n;
}

/// Who reads what, and what else needs it.
struct Uses {
  std::vector<std::vector<int>> readers;  // nodes, by value
  std::vector<bool> kept;                 // by value: read by more than nodes
  std::vector<int> made;                  // the node of a value

  explicit Uses(const Graph& g)
      : readers(g.values().size()), kept(g.values().size(), false), made(g.values().size(), -1) {
    const auto keep = [&](ValueId id) {
      if (id >= 0) kept[size_t(id)] = true;
    };
    for (size_t k = 0; k < g.nodes().size(); ++k) {
      for (ValueId id : g.nodes()[k].inputs)
        if (id >= 0) readers[size_t(id)].push_back(int(k));
      for (ValueId id : g.nodes()[k].outputs) made[size_t(id)] = int(k);
    }
    for (ValueId id : g.outputs()) keep(id);
    for (const Assignment& a : g.assignments()) keep(a.value);
    for (const GradientWrite& w : g.gradients()) keep(w.value);
    for (size_t i = 0; i < g.values().size(); ++i)
      if (const Effect* e = g.find_effect(ValueId(i))) {
        keep(e->value);
        for (const Assignment& a : e->assignments) keep(a.value);
        for (ValueId id : e->also) keep(id);
      }
  }
};

}  // namespace

void sink_relu(Graph& g) {
  const Uses uses(g);
  std::vector<Node>& nodes = g.edit_nodes();
  std::vector<bool> gone(nodes.size(), false);
  std::vector<std::vector<Node>> in_front(nodes.size()), behind(nodes.size());
  bool any = false;
  for (size_t k = 0; k < nodes.size(); ++k) {
    if (!is<Relu>(nodes[k])) continue;
    const ValueId y = nodes[k].outputs[0];
    int pool = -1;
    std::vector<int> masks;  // relu_grad nodes
    bool good = !uses.kept[size_t(y)];
    for (int r : uses.readers[size_t(y)]) {
      if (is<MaxPool2d>(nodes[size_t(r)]) && pool < 0) pool = r;
      else if (is<ReluGrad>(nodes[size_t(r)])) masks.push_back(r);
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
             is<MaxPool2dGrad>(nodes[size_t(from)]) && !uses.kept[size_t(d)] &&
             uses.readers[size_t(d)].size() == 1 && nodes[size_t(from)].inputs[1] == indices &&
             g.value(nodes[size_t(from)].inputs[0]).spec == g.value(value).spec;
    }
    if (!good) continue;
    any = true;
    gone[k] = true;
    Node& p = nodes[size_t(pool)];
    p.inputs[0] = nodes[k].inputs[0];
    p.outputs[0] = g.add_value(g.value(value).spec);
    behind[size_t(pool)].push_back(node_of(Relu{}, {p.outputs[0]}, value, nodes[k].path));
    for (int m : masks) {
      const size_t from = size_t(uses.made[size_t(nodes[size_t(m)].inputs[0])]);
      Node& grad = nodes[from];
      const ValueId masked = g.add_value(g.value(value).spec);
      in_front[from].push_back(
          node_of(ReluGrad{}, {grad.inputs[0], value}, masked, nodes[size_t(m)].path));
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

}  // namespace tandem::graph
