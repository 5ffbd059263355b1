#include "tandem/graph/passes.h"

#include <algorithm>
#include <unordered_map>

#include "tandem/graph/rewrite.h"
#include "tandem/op/gate.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"

namespace tandem::graph {
namespace {

/// Follows replacements of values through everything that a graph refers to.
void replace_values(Graph& g, const std::vector<ValueId>& by) {
  auto follow = [&](ValueId& id) {
    while (id >= 0 && by[size_t(id)] != id) id = by[size_t(id)];
  };
  for (Node& n : g.edit_nodes())
    for (ValueId& id : n.inputs) follow(id);
  for (ValueId& id : g.edit_outputs()) follow(id);
  for (Assignment& a : g.edit_assignments()) follow(a.value);
  for (GradientWrite& w : g.edit_gradients()) follow(w.value);
}

std::vector<ValueId> identity(const Graph& g) {
  std::vector<ValueId> ids(g.values().size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = ValueId(i);
  return ids;
}

}  // namespace

void verify(const Graph& g) {
  std::vector<bool> defined(g.values().size(), false);
  for (size_t i = 0; i < g.values().size(); ++i)
    defined[i] = g.values()[i].kind != ValueKind::result;
  for (const Node& n : g.nodes()) {
    const auto ok = [&](bool good, const auto&... what) {
      if (!good) throw Error(cat("graph: ", n.info->print(n.op.get()), ": ", what...));
    };
    ok(int(n.inputs.size()) >= n.info->min_inputs && int(n.inputs.size()) <= n.info->max_inputs,
       "has ", n.inputs.size(), " inputs, the record takes (", n.info->inputs, ")");
    ok(int(n.outputs.size()) == n.info->outputs, "has ", n.outputs.size(), " outputs, not ",
       n.info->outputs);
    for (ValueId id : n.inputs)
      ok(id < ValueId(g.values().size()) && (id < 0 || defined[size_t(id)]), "input %", id,
         " is used before it is defined");
    const std::vector<Spec> specs = infer(g, n);
    for (size_t i = 0; i < specs.size(); ++i) {
      const ValueId id = n.outputs[i];
      ok(!defined[size_t(id)], "result %", id, " is defined twice");
      defined[size_t(id)] = true;
      ok(detail::may_equal(specs[i], g.value(id).spec), "result %", id, " is ", specs[i],
         ", the graph says ", g.value(id).spec);
    }
  }
  const auto known = [&](ValueId id) { return id < 0 || defined[size_t(id)]; };
  for (ValueId id : g.outputs()) require<Error>(known(id), "graph: output %", id, " is undefined");
  for (const Assignment& a : g.assignments())
    require<Error>(known(a.value), "graph: assigned value %", a.value, " is undefined");
  for (const GradientWrite& w : g.gradients())
    require<Error>(known(w.value), "graph: gradient %", w.value, " is undefined");
}

void eliminate_dead_code(Graph& g) {
  std::vector<bool> needed(g.values().size(), false);
  auto need = [&](ValueId id) {
    if (id >= 0) needed[size_t(id)] = true;
  };
  for_each_result(g, need);
  const auto& nodes = g.nodes();
  std::vector<bool> dead(nodes.size(), true);
  for (size_t k = nodes.size(); k-- > 0;) {
    for (ValueId id : nodes[k].outputs) dead[k] = dead[k] && !needed[size_t(id)];
    if (!dead[k])
      for (ValueId id : nodes[k].inputs) need(id);
  }
  drop_nodes(g, dead);
}

void eliminate_common_subexpressions(Graph& g) {
  std::vector<ValueId> by = identity(g);
  std::unordered_multimap<uint64_t, const Node*> seen;
  for (Node& n : g.edit_nodes()) {
    for (ValueId& id : n.inputs)
      while (id >= 0 && by[size_t(id)] != id) id = by[size_t(id)];
    uint64_t h = n.info->hash(n.op.get());
    for (ValueId id : n.inputs) h = h * 1099511628211u + uint64_t(id);
    const auto [first, last] = seen.equal_range(h);
    const auto same = std::find_if(first, last, [&](const auto& entry) {
      const Node& m = *entry.second;
      return m.info == n.info && m.inputs == n.inputs && n.info->equal(m.op.get(), n.op.get());
    });
    if (same == last) {
      seen.emplace(h, &n);
      continue;
    }
    for (size_t i = 0; i < n.outputs.size(); ++i)
      by[size_t(n.outputs[i])] = same->second->outputs[i];
  }
  replace_values(g, by);
  eliminate_dead_code(g);
}

void fold_constants(Graph& g) {
  std::vector<ValueId> by = identity(g);
  std::vector<Node> kept;
  for (Node& n : g.edit_nodes()) {
    bool constant = !n.inputs.empty();
    for (ValueId& id : n.inputs) {
      if (id >= 0) id = by[size_t(id)];
      constant = constant && (id < 0 || g.value(id).kind == ValueKind::constant);
    }
    if (!constant) {
      kept.push_back(std::move(n));
      continue;
    }
    const detail::Uncaptured now;
    const NoGrad guard;
    Tensors in;
    for (ValueId id : n.inputs) in.push_back(id < 0 ? Tensor() : g.value(id).tensor);
    const Tensors out = detail::apply_all(*n.info, n.op.get(), in.data(), int(in.size()));
    for (size_t i = 0; i < n.outputs.size(); ++i) {
      by.push_back(ValueId(by.size()));
      by[size_t(n.outputs[i])] = g.add_constant(out[i]);
    }
  }
  g.edit_nodes() = std::move(kept);
  replace_values(g, by);
}

void simplify(Graph& g) {
  const std::vector<int> made = makers(g);
  std::vector<ValueId> by = identity(g);
  auto number = [&](ValueId id, double v) {
    const Value& x = g.value(id);
    return x.kind == ValueKind::constant && x.tensor.numel() == 1 &&
           x.tensor.device() == cpu_device && x.tensor.item<double>() == v;
  };
  for (Node& n : g.edit_nodes()) {
    for (ValueId& id : n.inputs)
      if (id >= 0) id = by[size_t(id)];
    const Spec& spec = g.value(n.outputs[0]).spec;
    auto same = [&](ValueId id) { return g.value(id).spec == spec; };
    ValueId to = -1;
    if (n.info == &op_info<CopyInto>()) {
      // A whole value written over another; but a look at state must not outlive a write to it.
      const ValueId src = n.inputs[1];
      const int at = made[size_t(src)];
      if (same(src) && at >= 0 && !g.nodes()[size_t(at)].info->view) to = src;
    } else if (n.info == &op_info<Cast>() || n.info == &op_info<Reshape>()) {
      if (same(n.inputs[0])) to = n.inputs[0];
    } else if (n.info == &op_info<Mul>()) {
      if (same(n.inputs[0]) && number(n.inputs[1], 1)) to = n.inputs[0];
      else if (same(n.inputs[1]) && number(n.inputs[0], 1)) to = n.inputs[1];
    }
    if (to >= 0) by[size_t(n.outputs[0])] = to;
  }
  replace_values(g, by);
  eliminate_dead_code(g);
}

void optimize(Graph& g, bool deterministic) {
  g.set_same_kernels(deterministic);
  auto checked = [&](auto pass) {
    pass(g);
#ifndef NDEBUG
    verify(g);
#endif
  };
  checked(eliminate_dead_code);
  checked(fold_constants);
  checked(simplify);
  checked(eliminate_common_subexpressions);
  if (!deterministic) checked(block_convolutions);
  if (!deterministic) checked(fuse_patterns);
  if (!deterministic) checked(lower_batch_norm);
  if (!deterministic) checked(sink_relu);
  if (!deterministic) checked(sum_before_unpooling);
  if (!deterministic) checked(join_scattered);
  checked(fuse_batch_norm);
  checked(fuse_points);
  checked([&](Graph& graph) { fuse_products(graph, deterministic); });
  checked(fuse_rows);
}

void make_watchable(Graph& g) {
  g.set_same_kernels(true);
  auto& outputs = g.edit_outputs();
  const size_t own = outputs.size();
  for (const GradientOf& d : g.gradients_of())
    if (d.when >= 0) outputs.push_back(d.when);
  eliminate_dead_code(g);
  outputs.resize(own);
}

}  // namespace tandem::graph
