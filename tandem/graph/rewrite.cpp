#include "tandem/graph/rewrite.h"

#include "tandem/op/gate.h"

namespace tandem::graph {

std::vector<int> makers(const Graph& g) {
  std::vector<int> made(g.values().size(), -1);
  for (size_t k = 0; k < g.nodes().size(); ++k)
    for (ValueId id : g.nodes()[k].outputs) made[size_t(id)] = int(k);
  return made;
}

Uses::Uses(const Graph& g) : made(makers(g)), readers(made.size()), kept(made.size(), false) {
  for (size_t k = 0; k < g.nodes().size(); ++k)
    for (ValueId id : g.nodes()[k].inputs)
      if (id >= 0) readers[size_t(id)].push_back(int(k));
  for_each_result(g, [&](ValueId id) { kept[size_t(id)] = true; });
}

void drop_nodes(Graph& g, const std::vector<bool>& gone) {
  auto& nodes = g.edit_nodes();
  size_t kept = 0;
  for (size_t k = 0; k < nodes.size(); ++k) {
    if (gone[k]) continue;
    if (kept != k) nodes[kept] = std::move(nodes[k]);
    ++kept;
  }
  nodes.resize(kept);
}

std::vector<Spec> infer(const Graph& g, const Node& n) {
  Tensors in;
  for (ValueId id : n.inputs) {
    in.push_back(id < 0 ? Tensor() : detail::new_symbolic(g.value(id).spec));
    if (id < 0) continue;
    const Value& v = g.value(id);
    if (v.tensor.defined())
      in.back().impl()->flags |= v.tensor.impl()->flags & TensorImpl::wrapped_number;
    if (v.number) in.back().impl()->flags |= TensorImpl::wrapped_number;
  }
  std::vector<Spec> specs(n.outputs.size());
  try {
    n.info->infer(n.op.get(), Specs(in.data(), int(in.size())), specs.data());
  } catch (const std::exception&) {
    detail::rethrow_for_op(*n.info, n.op.get());
  }
  return specs;
}

}  // namespace tandem::graph
