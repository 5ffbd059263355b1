#include <algorithm>
#include <cmath>

#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/add.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/div.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/nll_loss.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/where.h"

namespace tandem::graph {
namespace {

/// Nodes by the record that makes a value.
class Makers {
 public:
  explicit Makers(const Graph& g) : g_(g), uses_(g) {}

  /// The node of record O that makes the value; null when another does.
  template <class O>
  const Node* maker(ValueId id) const {
    const int k = uses_.maker(id);
    const Node* n = k < 0 ? nullptr : &g_.nodes()[size_t(k)];
    return n && as<O>(*n) ? n : nullptr;
  }
  /// The same for a value that one node reads and nobody else.
  template <class O>
  const Node* only(ValueId id) const {
    const Node* n = maker<O>(id);
    return n && uses_.only_reader(id) >= 0 ? n : nullptr;
  }
  bool read_by_two(ValueId id) const {
    return uses_.readers[size_t(id)].size() == 2 && !uses_.kept[size_t(id)];
  }
  const Uses& uses() const { return uses_; }

 private:
  const Graph& g_;
  const Uses uses_;
};

template <class O>
void turn_into(Node& n, const O& op, std::vector<ValueId> inputs) {
  set_record(n, op);
  n.inputs = std::move(inputs);
}

bool last_axis(const Graph& g, ValueId id, int64_t axis) {
  return axis == -1 || axis == g.value(id).spec.shape.size() - 1;
}

/// The number that a value is, or NaN.
double number(const Graph& g, ValueId id) {
  const Value& v = g.value(id);
  return v.kind == ValueKind::constant && v.tensor.numel() == 1 && v.tensor.device() == cpu_device
             ? v.tensor.item<double>()
             : NAN;
}

/// The softmax whose rows become zero where all scores are -infinity; null when the value is none.
const Node* guarded_softmax(const Graph& g, const Makers& makers, ValueId id) {
  const Node* guard = makers.only<Where>(id);
  const Node* weights = guard ? makers.only<Softmax>(guard->inputs[2]) : nullptr;
  const Node* none = weights ? makers.only<Eq>(guard->inputs[0]) : nullptr;
  const Node* most = none ? makers.only<Amax>(none->inputs[0]) : nullptr;
  if (!most || number(g, guard->inputs[1]) != 0 || number(g, none->inputs[1]) != -HUGE_VAL ||
      most->inputs[0] != weights->inputs[0])
    return nullptr;
  const Amax& m = *as<Amax>(*most);
  return m.keepdim && m.axes.size() == 1 && last_axis(g, weights->inputs[0], m.axes[0]) ? weights
                                                                                        : nullptr;
}

/// softmax(q k^T scale + mask) v whose inner values nobody else reads. Rows whose keys are all
/// hidden stay NaN, which softmax makes them, unless they are made zero.
bool match_attention(Graph& g, const Makers& makers, Node& n) {
  if (!as<Matmul>(n) || n.inputs.size() != 2) return false;
  const Node* weights = guarded_softmax(g, makers, n.inputs[0]);
  const bool nan_rows = !weights;
  if (!weights) weights = makers.only<Softmax>(n.inputs[0]);
  const ValueId v = n.inputs[1];
  if (!weights || !last_axis(g, n.inputs[0], as<Softmax>(*weights)->axis)) return false;
  const Shape scores_shape = g.value(n.inputs[0]).spec.shape;
  const DType dtype = g.value(n.outputs[0]).spec.dtype;
  if (dtype != f32 || scores_shape.size() < 2 || g.value(v).spec.shape.size() < 2) return false;
  ValueId scores = weights->inputs[0], mask = -1;
  double scale = 1;
  // Guarded scores have two readers.
  const Node* sum = makers.only<Add>(scores);
  if (!nan_rows && !makers.read_by_two(scores)) return false;
  if (!nan_rows) sum = makers.maker<Add>(scores);
  if (!nan_rows && !sum) return false;
  if (sum) {
    const bool first = makers.only<Matmul>(sum->inputs[0]) || makers.only<Mul>(sum->inputs[0]) ||
                       makers.only<Div>(sum->inputs[0]);
    scores = sum->inputs[first ? 0 : 1];
    mask = sum->inputs[first ? 1 : 0];
    if (g.value(mask).spec.dtype != f32 || !(g.value(scores).spec.shape == scores_shape))
      return false;
  }
  if (const Node* scaled = makers.only<Mul>(scores)) {
    const bool right = !std::isnan(number(g, scaled->inputs[1]));
    scale = number(g, scaled->inputs[right ? 1 : 0]);
    scores = scaled->inputs[right ? 0 : 1];
  } else if (const Node* divided = makers.only<Div>(scores)) {
    scale = 1 / number(g, divided->inputs[1]);
    scores = divided->inputs[0];
  }
  const Node* product = makers.only<Matmul>(scores);
  if (!std::isfinite(scale) || !product) return false;
  const ValueId q = product->inputs[0];
  const Node* turned = makers.maker<Permute>(product->inputs[1]);
  const int axes = g.value(product->inputs[1]).spec.shape.size();
  if (!turned || axes < 2 || g.value(q).spec.shape.size() < 2) return false;
  const Shape& order = as<Permute>(*turned)->axes;
  for (int i = 0; i < axes; ++i) {
    const int64_t want = i < axes - 2 ? i : i == axes - 2 ? axes - 1 : axes - 2;
    if ((order[i] < 0 ? order[i] + axes : order[i]) != want) return false;
  }
  const ValueId k = turned->inputs[0];
  const Node before = n;
  const ValueId lse = g.add_value({});
  turn_into(n, ScaledDotProductAttention{.scale = scale, .nan_rows = nan_rows}, {q, k, v, mask});
  n.outputs.push_back(lse);
  try {
    const std::vector<Spec> specs = infer(g, n);
    if (specs[0] == g.value(n.outputs[0]).spec) {
      g.edit_values()[size_t(lse)].spec = specs[1];
      return true;
    }
  } catch (const Error&) {  // an arrangement of leading axes that the record does not take
  }
  n = before;
  return false;
}

/// nll_loss(log_softmax(x)), and in front of it in the gradient log_softmax_grad of nll_loss_grad.
void match_cross_entropy(Graph& g, const Makers& makers, size_t at) {
  Node& loss = g.edit_nodes()[at];
  if (!as<NllLoss>(loss)) return;
  const ValueId y = loss.inputs[0];
  const Node* log = makers.maker<LogSoftmax>(y);
  if (!log) return;
  const ValueId x = log->inputs[0];
  const Spec& spec = g.value(x).spec;
  const int64_t axis = as<LogSoftmax>(*log)->axis, axes = spec.shape.size();
  const int64_t classes = axes == 1 ? 0 : 1;
  if ((axis < 0 ? axis + axes : axis) != classes || spec.dtype != f32 ||
      is_floating(g.value(loss.inputs[1]).spec.dtype))
    return;
  const auto& nll = *as<NllLoss>(loss);
  auto labels_of = [](const Node& n) {
    std::vector<ValueId> ids(n.inputs.begin() + 1, n.inputs.end());
    while (ids.back() < 0) ids.pop_back();
    return ids;
  };
  const std::vector<ValueId> labels = labels_of(loss);
  std::vector<int> gradients;
  if (makers.uses().kept[size_t(y)]) return;
  for (int k : makers.uses().readers[size_t(y)]) {
    if (k == int(at)) continue;
    const Node& n = g.nodes()[size_t(k)];
    if (!as<LogSoftmaxGrad>(n) || n.inputs[0] != y || n.inputs[1] == y) return;
    const Node* from = makers.only<NllLossGrad>(n.inputs[1]);
    if (!from || labels_of(*from) != labels) return;
    const auto& grad = *as<NllLossGrad>(*from);
    if (grad.ignore_index != nll.ignore_index || grad.reduction != nll.reduction) return;
    gradients.push_back(k);
  }
  const CrossEntropyGrad grad{.ignore_index = nll.ignore_index, .reduction = nll.reduction};
  for (int k : gradients) {
    Node& n = g.edit_nodes()[size_t(k)];
    std::vector<ValueId> in{x, labels[0], makers.only<NllLossGrad>(n.inputs[1])->inputs[0]};
    in.insert(in.end(), labels.begin() + 1, labels.end());
    turn_into(n, grad, std::move(in));
  }
  std::vector<ValueId> in{x};
  in.insert(in.end(), labels.begin(), labels.end());
  const CrossEntropy whole{.ignore_index = nll.ignore_index, .reduction = nll.reduction};
  turn_into(loss, whole, std::move(in));
}

}  // namespace

void fuse_patterns(Graph& g) {
  const Makers makers(g);
  for (size_t k = 0; k < g.nodes().size(); ++k) {
    match_attention(g, makers, g.edit_nodes()[k]);
    match_cross_entropy(g, makers, k);
  }
  eliminate_dead_code(g);
}

}  // namespace tandem::graph
