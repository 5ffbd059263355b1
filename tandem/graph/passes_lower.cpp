#include <algorithm>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/passes.h"
#include "tandem/ops/add.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sqrt.h"

namespace tandem::graph {
namespace {

/// Appends nodes to a list under construction.
class Builder {
 public:
  Builder(Graph& g, std::vector<Node>& nodes, std::string path)
      : g_(g), nodes_(nodes), path_(std::move(path)) {}

  template <class O>
  ValueId operator()(const O& op, std::vector<ValueId> in, const Shape& shape, ValueId out = -1) {
    if (out < 0) out = g_.add_value({shape, f32, {}});
    Node n;
    n.info = &op_info<O>();
    n.op = copy_record(*n.info, &op);
    n.inputs = std::move(in);
    n.outputs = {out};
    n.path = path_;
    nodes_.push_back(std::move(n));
    return out;
  }

 private:
  Graph& g_;
  std::vector<Node>& nodes_;
  std::string path_;
};

}  // namespace

void lower_batch_norm(Graph& g) {
  std::vector<int> readers(g.values().size(), 0), points(g.values().size(), 0);
  auto keep = [&](ValueId id) {
    if (id >= 0) ++readers[size_t(id)];
  };
  for (const Node& n : g.nodes())
    for (ValueId id : n.inputs)
      if (id >= 0) {
        ++readers[size_t(id)];
        points[size_t(id)] += n.info->broadcasts && n.info->outputs == 1;
      }
  for (ValueId id : g.outputs()) keep(id);
  for (const Assignment& a : g.assignments()) keep(a.value);
  for (const GradientWrite& w : g.gradients()) keep(w.value);

  std::vector<Node> nodes;
  for (Node& n : g.edit_nodes()) {
    auto lowered = [&] {
      if (n.info != &op_info<BatchNorm>() || n.inputs.size() != 5) return false;
      const auto& op = *static_cast<const BatchNorm*>(n.op.get());
      const ValueId x = n.inputs[0], weight = n.inputs[1], bias = n.inputs[2];
      const ValueId mean = n.inputs[3], var = n.inputs[4], y = n.outputs[0];
      if (op.training || mean < 0 || var < 0 || readers[size_t(n.outputs[1])] ||
          readers[size_t(n.outputs[2])] || !points[size_t(y)])
        return false;
      for (ValueId id : n.inputs)
        if (id >= 0 && (g.value(id).spec.dtype != f32 || g.value(id).spec.device != cpu_device))
          return false;
      const Shape c = g.value(mean).spec.shape, whole = g.value(x).spec.shape;
      Shape spread = c;
      for (int i = 2; i < whole.size(); ++i) spread.push_back(1);
      Builder make(g, nodes, n.path);
      const ValueId eps = g.add_constant(Tensor(op.eps));
      ValueId scale = make(Rsqrt{}, {make(Add{}, {var, eps}, c)}, c);
      if (weight >= 0) scale = make(Mul{}, {scale, weight}, c);
      ValueId shift = make(Mul{}, {mean, scale}, c);
      shift = bias >= 0 ? make(Sub{}, {bias, shift}, c) : make(Neg{}, {shift}, c);
      if (whole.size() > 2) {
        scale = make(Reshape{.shape = spread}, {scale}, spread);
        shift = make(Reshape{.shape = spread}, {shift}, spread);
      }
      make(Add{}, {make(Mul{}, {x, scale}, whole), shift}, whole, y);
      return true;
    };
    if (!lowered()) nodes.push_back(std::move(n));
  }
  g.edit_nodes() = std::move(nodes);
}

}  // namespace tandem::graph
