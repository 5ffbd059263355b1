#include <algorithm>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
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
    nodes_.push_back(make_node(op, std::move(in), out, path_));
    return out;
  }

 private:
  Graph& g_;
  std::vector<Node>& nodes_;
  std::string path_;
};

}  // namespace

void lower_batch_norm(Graph& g) {
  const Uses uses(g);
  std::vector<bool> points(g.values().size(), false);  // whether an elementwise node reads it
  for (const Node& n : g.nodes())
    for (ValueId id : n.inputs)
      if (id >= 0 && n.info->broadcasts && n.info->outputs == 1) points[size_t(id)] = true;

  std::vector<Node> nodes;
  for (Node& n : g.edit_nodes()) {
    auto lowered = [&] {
      const auto* norm = as<BatchNorm>(n);
      if (!norm || norm->training || n.inputs.size() != 5) return false;
      const ValueId x = n.inputs[0], weight = n.inputs[1], bias = n.inputs[2];
      const ValueId mean = n.inputs[3], var = n.inputs[4], y = n.outputs[0];
      if (mean < 0 || var < 0 || !uses.unread(n.outputs[1]) || !uses.unread(n.outputs[2]) ||
          !points[size_t(y)])
        return false;
      for (ValueId id : n.inputs)
        if (id >= 0 && (g.value(id).spec.dtype != f32 || g.value(id).spec.device != cpu_device))
          return false;
      const Shape c = g.value(mean).spec.shape, whole = g.value(x).spec.shape;
      Shape spread = c;
      for (int i = 2; i < whole.size(); ++i) spread.push_back(1);
      Builder make(g, nodes, n.path);
      const ValueId eps = g.add_constant(Tensor(norm->eps));
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
