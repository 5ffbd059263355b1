#include <algorithm>

#include "tandem/core/storage.h"
#include "tandem/graph/conv_records.h"
#include "tandem/graph/plan.h"

// Packed weights are made once and kept in the arena. What they are made from is watched by the
// versions of its memory, so a write to a parameter from outside counts at the next run.

namespace tandem::graph {

/// Steps that make prepared inputs from state alone move to the front.
void Plan::put_prepared_first() {
  const auto& values = graph_->values();
  std::vector<int> made(values.size(), -1);  // the step, through views
  for (size_t k = 0; k < steps_.size(); ++k)
    if (steps_[k].update < 0)
      for (ValueId id : steps_[k].node->outputs) made[size_t(id)] = int(k);
  std::vector<bool> fixed(values.size(), false);
  for (size_t i = 0; i < values.size(); ++i)
    fixed[i] = values[i].kind == ValueKind::constant || values[i].kind == ValueKind::state;
  for (const Assignment& a : graph_->assignments()) fixed[size_t(a.state)] = false;
  std::vector<bool> leaves(values.size(), false);  // in memory that each run chooses
  for (ValueId id : graph_->outputs()) leaves[size_t(id)] = true;
  for (const GradientWrite& w : graph_->gradients())
    if (w.value >= 0) leaves[size_t(w.value)] = true;
  const auto root = [&](ValueId id) { return shells_[size_t(id)].root; };
  std::vector<bool> wanted(steps_.size(), false), possible(steps_.size(), false);
  for (size_t k = 0; k < steps_.size(); ++k) {
    if (steps_[k].update >= 0) continue;
    const Node& n = *steps_[k].node;
    possible[k] = std::all_of(n.inputs.begin(), n.inputs.end(),
                              [&](ValueId id) { return id < 0 || fixed[size_t(root(id))]; });
    for (ValueId id : n.outputs) possible[k] = possible[k] && !leaves[size_t(id)];
    if (possible[k])
      for (ValueId id : n.outputs) fixed[size_t(id)] = true;
  }
  const auto want = [&](ValueId id) {
    if (id < 0) return;
    const int k = made[size_t(root(id))];
    if (k >= 0 && possible[size_t(k)]) wanted[size_t(k)] = true;
  };
  for (size_t k = steps_.size(); k-- > 0;) {
    if (steps_[k].update >= 0) continue;
    const Node& n = *steps_[k].node;
    const IndexSet inputs = prepared_inputs(*n.info);
    for (size_t i = 0; i < n.inputs.size(); ++i)
      if (wanted[k] || inputs.has(int(i))) want(n.inputs[i]);
  }
  std::vector<Step> first, rest;
  std::vector<bool> seen(values.size(), false);
  for (size_t k = 0; k < steps_.size(); ++k) {
    (wanted[k] ? first : rest).push_back(steps_[k]);
    if (!wanted[k]) continue;
    for (ValueId id : steps_[k].node->inputs) {
      if (id < 0) continue;
      const ValueId from = root(id);
      if (values[size_t(from)].kind != ValueKind::state || seen[size_t(from)]) continue;
      seen[size_t(from)] = true;
      watched_.push_back({from, nullptr, nullptr, 0});
    }
  }
  prepared_ = int(first.size());
  first.insert(first.end(), rest.begin(), rest.end());
  steps_ = std::move(first);
}

/// Whether the steps in front have to run.
bool Plan::prepare() {
  bool changed = !is_prepared_;
  for (Watched& w : watched_) {
    const TensorImpl& now = *graph_->value(w.state).tensor.impl();
    const uint32_t version = now.storage ? now.storage->version : 0;
    changed = changed || w.storage != now.storage || w.data != now.data || w.version != version;
    w = {w.state, now.storage, now.data, version};
  }
  is_prepared_ = false;  // until the run has come through
  return changed;
}

}  // namespace tandem::graph
