#include <algorithm>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/fused_product.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"

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
  Uses uses(g);
  std::vector<bool> is_view(g.values().size(), false);
  for (const Node& n : nodes)
    for (ValueId id : n.outputs) is_view[size_t(id)] = n.info->view != nullptr;

  std::vector<bool> gone(nodes.size(), false);
  for (size_t k = 0; k < nodes.size(); ++k) {
    Node& n = nodes[k];
    for (size_t at = 0; at < n.inputs.size(); ++at) {
      const ValueId x = n.inputs[at];
      const int from = uses.maker(x);
      // Nobody may read the product's result before this node does.
      if (from < 0 || gone[size_t(from)] || uses.readers[size_t(x)][0] != int(k)) continue;
      const Node& product = nodes[size_t(from)];
      const Spec& spec = g.value(x).spec;
      if (!is_product(*product.info) || (spec.dtype != f32 && spec.dtype != f64) ||
          spec.shape.empty() || spec.device.type != DeviceType::cpu ||
          std::count(n.inputs.begin(), n.inputs.end(), x) != 1)
        continue;
      const std::shared_ptr<void> points = as_program(g, n, is_view);
      if (!points || !(fused_point_of(points.get()).shape == spec.shape)) continue;
      FusedProduct p{product.info, product.op, int(product.inputs.size()),
                     points,       int(at),    uses.only_reader(x) < 0,
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
      fused.info = &fused_product_info(int(fused.outputs.size()));
      fused.path = product.path.empty() ? n.path : product.path;
      // In the product's place, so that what frees memory or updates a weight is not put off;
      // behind it when another operand is not there yet.
      const bool early = std::all_of(n.inputs.begin(), n.inputs.end(),
                                     [&](ValueId id) { return id == x || uses.maker(id) < from; });
      for (ValueId id : fused.outputs) uses.made[size_t(id)] = early ? from : int(k);
      gone[early ? k : size_t(from)] = true;
      nodes[early ? size_t(from) : k] = std::move(fused);
      break;
    }
  }
  drop_nodes(g, gone);
}

}  // namespace tandem::graph
