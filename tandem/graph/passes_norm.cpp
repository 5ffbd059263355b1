#include <algorithm>
#include <numeric>

#include "tandem/graph/norm_records.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/rewrite.h"
#include "tandem/ops/add.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/relu.h"

namespace tandem::graph {
namespace {

class NormFusion {
 public:
  explicit NormFusion(Graph& g) : g_(g), nodes_(g.edit_nodes()), uses_(g) {}

  void run() {
    gone_.assign(nodes_.size(), false);
    last_.resize(nodes_.size());
    std::iota(last_.begin(), last_.end(), 0);
    bool any = false;
    for (size_t k = 0; k < nodes_.size(); ++k) {
      if (as<BatchNorm>(nodes_[k])) any = forward(int(k)) || any;
      else if (as<BatchNormGrad>(nodes_[k])) any = backward(int(k)) || any;
    }
    if (any) put_in_order();
  }

 private:
  const Spec& spec(ValueId id) const { return g_.value(id).spec; }
  bool usable(ValueId id) const {
    return spec(id).dtype == f32 && spec(id).device == cpu_device && spec(id).shape.numel() > 0;
  }

  /// Whether the value is computed from a result of node k.
  bool depends(ValueId id, int k) const {
    std::vector<int> pending;
    std::vector<bool> seen(nodes_.size(), false);
    const auto visit = [&](ValueId v) {
      const int from = uses_.maker(v);
      if (from < 0 || last_[size_t(from)] < k || seen[size_t(from)]) return;
      seen[size_t(from)] = true;
      pending.push_back(from);
    };
    visit(id);
    while (!pending.empty()) {
      const int from = pending.back();
      pending.pop_back();
      if (from == k) return true;
      for (ValueId v : nodes_[size_t(from)].inputs) visit(v);
    }
    return false;
  }

  /// batch_norm, add, relu, as many of them as there are.
  bool forward(int k) {
    Node& norm = nodes_[size_t(k)];
    const auto& op = *as<BatchNorm>(norm);
    if (!op.training || !usable(norm.inputs[0])) return false;
    FusedBatchNorm fused{.training = op.training, .relu = false, .eps = op.eps};
    ValueId y = norm.outputs[0], residual = -1;
    std::vector<int> members;
    for (int next = uses_.only_reader(y); next >= 0;
         next = fused.relu ? -1 : uses_.only_reader(y)) {
      const Node& n = nodes_[size_t(next)];
      if (gone_[size_t(next)]) break;
      if (as<Add>(n) && residual < 0) {
        const ValueId other = n.inputs[0] == y ? n.inputs[1] : n.inputs[0];
        if (other == y || !(spec(other) == spec(y)) || depends(other, k)) break;
        residual = other;
      } else if (as<Relu>(n)) {
        fused.relu = true;
      } else {
        break;
      }
      members.push_back(next);
      y = n.outputs[0];
    }
    if (members.empty()) return false;
    for (int m : members) gone_[size_t(m)] = true;
    norm.inputs.resize(5, -1);
    if (residual >= 0) norm.inputs.push_back(residual);
    norm.outputs[0] = y;
    set_record(norm, fused);
    uses_.made[size_t(y)] = k;
    last_[size_t(k)] = members.back();
    return true;
  }

  /// relu_grad and the batch_norm_grad that alone reads it.
  bool backward(int k) {
    Node& grad = nodes_[size_t(k)];
    const auto& op = *as<BatchNormGrad>(grad);
    if (!usable(grad.inputs[0]) || grad.inputs.size() < 7 || grad.inputs[6] < 0) return false;
    const ValueId d = grad.inputs[1];
    const int from = uses_.maker(d);
    if (from < 0 || uses_.only_reader(d) != k || !as<ReluGrad>(nodes_[size_t(from)])) return false;
    const Node& relu = nodes_[size_t(from)];
    for (ValueId id : relu.inputs)
      if (!(spec(id) == spec(grad.inputs[0]))) return false;
    const FusedBatchNormGrad fused{.training = op.training, .eps = op.eps};
    gone_[size_t(from)] = true;
    grad.inputs[1] = relu.inputs[0];
    grad.inputs.push_back(relu.inputs[1]);
    set_record(grad, fused);
    return true;
  }

  /// A fused node stands where its first member stood, and may read what was made later.
  void put_in_order() {
    std::vector<Node> ordered;
    std::vector<int> pending;
    std::vector<bool> done(gone_);
    for (size_t k = 0; k < nodes_.size(); ++k) {
      pending.push_back(int(k));
      while (!pending.empty()) {
        const int at = pending.back();
        if (done[size_t(at)]) {
          pending.pop_back();
          continue;
        }
        bool ready = true;
        for (ValueId id : nodes_[size_t(at)].inputs) {
          const int from = uses_.maker(id);
          if (from < 0 || done[size_t(from)]) continue;
          pending.push_back(from);
          ready = false;
        }
        if (!ready) continue;
        done[size_t(at)] = true;
        ordered.push_back(std::move(nodes_[size_t(at)]));
        pending.pop_back();
      }
    }
    nodes_ = std::move(ordered);
  }

  Graph& g_;
  std::vector<Node>& nodes_;
  Uses uses_;
  std::vector<int> last_;   // by node: where its last member stood
  std::vector<bool> gone_;  // inside another node now
};

}  // namespace

void fuse_batch_norm(Graph& g) { NormFusion(g).run(); }

}  // namespace tandem::graph
