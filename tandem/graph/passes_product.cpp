#include <algorithm>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_product.h"
#include "tandem/graph/passes.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"

namespace tandem::graph {
namespace {

/// A node as a program: a fused_point as it is, an elementwise node as one instruction.
std::shared_ptr<void> as_program(const Graph& g, const Node& n, const std::vector<bool>& is_view) {
  if (is_fused_point(*n.info)) return n.op;
  if (n.outputs.size() != 1 || n.inputs.empty()) return nullptr;
  const Spec& out = g.value(n.outputs[0]).spec;
  FusedPoint p;
  p.shape = out.shape;
  Tensors in;
  FusedPoint::Instruction step{n.info, n.op, {}, out.dtype};
  for (ValueId id : n.inputs) {
    if (id < 0 || g.value(id).kind == ValueKind::effect || is_view[size_t(id)]) return nullptr;
    const Value& v = g.value(id);
    if (v.tensor.defined() && !v.tensor.is_contiguous()) return nullptr;
    Repeats how;
    if (v.spec.shape.numel() != 1 && !repeats_in(v.spec.shape, p.shape, how)) return nullptr;
    step.operands.push_back(int(p.inputs.size()));
    p.inputs.push_back(v.spec);
    in.push_back(detail::new_symbolic(v.spec));
  }
  if (!is_point(*n.info, Specs(in.data(), int(in.size())), out)) return nullptr;
  p.outputs = {int(p.inputs.size())};
  p.program.push_back(std::move(step));
  return make_fused_point(std::move(p));
}

}  // namespace

void fuse_products(Graph& g, bool deterministic) {
  auto& nodes = g.edit_nodes();
  const size_t n_values = g.values().size();
  std::vector<int> made(n_values, -1), first_reader(n_values, -1), readers(n_values, 0);
  std::vector<bool> is_view(n_values, false), kept(n_values, false);
  auto keep = [&](ValueId id) {
    if (id >= 0) kept[size_t(id)] = true;
  };
  for (size_t k = 0; k < nodes.size(); ++k) {
    for (ValueId id : nodes[k].inputs) {
      if (id < 0) continue;
      if (first_reader[size_t(id)] < 0) first_reader[size_t(id)] = int(k);
      ++readers[size_t(id)];
    }
    for (ValueId id : nodes[k].outputs) {
      made[size_t(id)] = int(k);
      is_view[size_t(id)] = nodes[k].info->view != nullptr;
    }
  }
  for (ValueId id : g.outputs()) keep(id);
  for (const Assignment& a : g.assignments()) keep(a.value);
  for (const GradientWrite& w : g.gradients()) keep(w.value);
  for (size_t i = 0; i < n_values; ++i)
    if (const Effect* e = g.find_effect(ValueId(i))) {
      keep(e->value);
      for (const Assignment& a : e->assignments) keep(a.value);
      for (ValueId id : e->also) keep(id);
    }

  std::vector<bool> gone(nodes.size(), false);
  for (size_t k = 0; k < nodes.size(); ++k) {
    Node& n = nodes[k];
    for (size_t at = 0; at < n.inputs.size(); ++at) {
      const ValueId x = n.inputs[at];
      const int from = x < 0 ? -1 : made[size_t(x)];
      // Nobody may read the product's result before this node does.
      if (from < 0 || gone[size_t(from)] || first_reader[size_t(x)] != int(k)) continue;
      const Node& product = nodes[size_t(from)];
      const Spec& spec = g.value(x).spec;
      if ((product.info != &op_info<Linear>() && product.info != &op_info<Matmul>()) ||
          (spec.dtype != f32 && spec.dtype != f64) || spec.shape.empty() ||
          spec.device.type != DeviceType::cpu ||
          std::count(n.inputs.begin(), n.inputs.end(), x) != 1)
        continue;
      const std::shared_ptr<void> points = as_program(g, n, is_view);
      if (!points || !(fused_point_of(points.get()).shape == spec.shape)) continue;
      FusedProduct p{product.info, product.op, int(product.inputs.size()),
                     points,       int(at),    readers[size_t(x)] > 1 || kept[size_t(x)],
                     deterministic};
      std::shared_ptr<void> op = make_fused_product(p);
      if (!op) {
        p.keeps = true;
        op = make_fused_product(p);
      }
      Node fused;
      fused.op = std::move(op);
      fused.inputs = product.inputs;
      for (size_t i = 0; i < n.inputs.size(); ++i)
        if (i != at) fused.inputs.push_back(n.inputs[i]);
      if (fused_product_of(fused.op.get()).keeps) fused.outputs = {x};
      fused.outputs.insert(fused.outputs.end(), n.outputs.begin(), n.outputs.end());
      fused.info = &fused_product_row(int(fused.outputs.size()));
      fused.path = product.path.empty() ? n.path : product.path;
      // In the product's place, so that what frees memory or updates a weight is not put off;
      // behind it when another operand is not there yet.
      const bool early = std::all_of(n.inputs.begin(), n.inputs.end(), [&](ValueId id) {
        return id < 0 || id == x || made[size_t(id)] < from;
      });
      for (ValueId id : fused.outputs) made[size_t(id)] = early ? from : int(k);
      gone[early ? k : size_t(from)] = true;
      nodes[early ? size_t(from) : k] = std::move(fused);
      break;
    }
  }
  size_t to = 0;
  for (size_t k = 0; k < nodes.size(); ++k) {
    if (gone[k]) continue;
    if (to != k) nodes[to] = std::move(nodes[k]);
    ++to;
  }
  nodes.resize(to);
}

}  // namespace tandem::graph
