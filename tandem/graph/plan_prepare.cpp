#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "tandem/core/allocator.h"
#include "tandem/core/storage.h"
#include "tandem/graph/conv_records.h"
#include "tandem/graph/plan.h"
#include "tandem/graph/prepared.h"

// Packed weights are made once and kept beside the arena. What they are made from is watched by the
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
      watched_.push_back(from);
    }
  }
  prepared_ = int(first.size());
  first.insert(first.end(), rest.begin(), rest.end());
  steps_ = std::move(first);
}

namespace {

/// All that there is, by text.
struct Registry {
  std::mutex mutex;
  std::unordered_map<std::string, std::weak_ptr<Prepared>> all;
};
Registry& registry() {
  static Registry& r = *new Registry;
  return r;
}

/// Packed weights are made anew at the next run.
void drop_prepared() noexcept {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  for (auto& [text, entry] : r.all)
    if (const std::shared_ptr<Prepared> p = entry.lock()) {
      const std::unique_lock mine(p->lock, std::try_to_lock);
      if (mine) p->memory = Tensor();
    }
}

void append_bytes(std::string& to, const void* p, size_t n) {
  to.append(static_cast<const char*>(p), n);
}
template <class T>
void append_value(std::string& to, const T& v) {
  append_bytes(to, &v, sizeof v);
}

}  // namespace

std::shared_ptr<Prepared> Prepared::of(const std::string& text) {
  static const bool known = (detail::on_empty_cache(drop_prepared), true);
  (void)known;
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  std::erase_if(r.all, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Prepared>& entry = r.all[text];
  std::shared_ptr<Prepared> p = entry.lock();
  if (!p) entry = p = std::make_shared<Prepared>();
  return p;
}

/// What the steps in front do, on which memory, and where they leave it.
void Plan::find_prepared() {
  if (prepared_ == 0) return;
  std::string text;
  std::vector<int> number(shells_.size(), -1);
  int made = 0;
  const auto operand = [&](ValueId id) {
    if (id < 0) return append_value(text, int64_t(-1));
    const Shell& s = shells_[size_t(id)];
    const Value& root = graph_->value(s.root);
    const TensorImpl& t = *s.tensor.impl();
    append_value(text, number[size_t(s.root)]);
    append_value(text, s.offset);
    text += cat(t.spec.dtype, t.spec.shape, t.strides);
    if (number[size_t(s.root)] >= 0) return;
    if (root.kind == ValueKind::constant && root.tensor.numel() <= 16)
      append_bytes(text, root.tensor.raw_data(),
                   size_t(root.tensor.numel() * itemsize(root.spec.dtype)));
    else append_value(text, root.tensor.impl());
  };
  for (int k = 0; k < prepared_; ++k) {
    const Node& n = *steps_[size_t(k)].node;
    append_value(text, n.info);
    text += packing_of(*n.info, n.op.get());
    for (ValueId id : n.inputs) operand(id);
    for (ValueId id : n.outputs) {
      number[size_t(id)] = made++;
      text += cat(graph_->value(id).spec.shape, bool(is_kept_[size_t(id)]));
    }
  }
  made_ = Prepared::of(text);
}

/// Lets the run read what was prepared, which happens now unless memory that it was made from is as
/// it was then. `held` keeps it for the run.
void Plan::prepare(Tensor& held) {
  const std::lock_guard lock(made_->lock);
  std::vector<Prepared::Seen>& seen = made_->seen;
  bool fresh = made_->memory.defined() && seen.size() == watched_.size();
  seen.resize(watched_.size());
  for (size_t i = 0; i < watched_.size(); ++i) {
    const TensorImpl& t = *graph_->value(watched_[i]).tensor.impl();
    const Prepared::Seen now{t.storage, t.data, t.storage ? t.storage->version : 0};
    fresh = fresh && seen[i] == now;
    seen[i] = now;
  }
  if (!fresh) {
    made_->memory = Tensor();
    const Tensor memory = empty({std::max<int64_t>(kept_bytes_, 1)}, u8);
    move(kept_, memory.impl()->data);
    for (int k = 0; k < prepared_; ++k) run_step(size_t(k));
    made_->memory = memory;
  }
  held = made_->memory;
  move(kept_, held.impl()->data);
}

}  // namespace tandem::graph
