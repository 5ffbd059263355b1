#include "tandem/graph/plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "tandem/autograd/anomaly.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/core/poison.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/control_flow_node.h"
#include "tandem/graph/fused_product.h"
#include "tandem/graph/geometry.h"
#include "tandem/graph/plan_check.h"
#include "tandem/op/copy.h"
#include "tandem/op/tape.h"
#include "tandem/ops/update.h"

namespace tandem::graph {
namespace {

/// A smaller arena is the plan's own: to borrow one would be felt.
constexpr int64_t own_arena = 16 << 10;

void check_device(const Value& v, const Tensor& t) {
  require<DeviceError>(t.device() == v.spec.device, "input ", v.name, " is on ", t.device(),
                       ", not on ", v.spec.device);
}

/// How often working memory was given back: then kernels ask for it anew.
constinit std::atomic<uint32_t> emptied{0};

}  // namespace

/// Until `keep()` the keys that a run has drawn go back when it ends: a retry draws them again.
class Plan::Undo {
 public:
  explicit Undo(Plan& plan) : plan_(plan) {}
  ~Undo() {
    if (!kept_) plan_.settled_ = false;
    while (!kept_ && drawn_ > 0) {
      const ValueId id = plan_.keys_[--drawn_];
      plan_.graph_->value(id).generator->take_back(plan_.shells_[size_t(id)].tensor);
    }
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  void draw() {
    const ValueId id = plan_.keys_[drawn_];
    detail::copy_data(plan_.shells_[size_t(id)].tensor,
                      plan_.graph_->value(id).generator->next_key());
    ++drawn_;
  }
  void keep() { kept_ = true; }

 private:
  Plan& plan_;
  size_t drawn_ = 0;
  bool kept_ = false;
};

Plan::Plan(std::shared_ptr<const Graph> graph, bool watches)
    : graph_(std::move(graph)), watches_(watches) {
  shells_.resize(graph_->values().size());
  mobile_of_.assign(graph_->values().size(), -1);
  written_directly_.assign(graph_->assignments().size(), false);
  group_updates();
  make_shells();
  if constexpr (checks_plans)
    for (size_t i = 0; i < shells_.size(); ++i)
      if (const Shell& s = shells_[i]; s.root != ValueId(i))
        check_inside(ValueId(i), s.tensor, s.offset, shells_[size_t(s.root)].tensor);
  share_in_place();
  place();
  bind_steps();
  find_bindings();
  find_prepared();
  if (watches_) find_gradients();
  static const bool counts = (detail::on_empty_cache([]() noexcept { ++emptied; }), true);
  (void)counts;
  if (arena_bytes_ > 0 && arena_bytes_ <= own_arena && !detail::poisons) {
    own_ = empty({arena_bytes_}, u8);
    move(lent_, own_.impl()->data);
  }
}

Plan::~Plan() = default;

bool plans_are_checked() { return checks_plans; }

/// Updates of parameters by one rule and one set of hyperparameters become one pass over all of
/// them, in place, after everything that reads the old values.
void Plan::group_updates() {
  const auto& values = graph_->values();
  std::vector<int> uses(values.size(), 0);
  for (const Node& n : graph_->nodes())
    for (ValueId id : n.inputs)
      if (id >= 0) ++uses[size_t(id)];
  for (ValueId id : graph_->outputs()) ++uses[size_t(id)];
  for (const GradientWrite& g : graph_->gradients())
    if (g.value >= 0) ++uses[size_t(g.value)];
  std::vector<int> assigned(values.size(), -1);  // by the value that is written
  for (size_t i = 0; i < graph_->assignments().size(); ++i) {
    const ValueId v = graph_->assignments()[i].value;
    ++uses[size_t(v)];
    assigned[size_t(v)] = int(i);
  }
  auto state_tensor = [&](ValueId id, DType dtype) {
    const Value& v = values[size_t(id)];
    return v.kind == ValueKind::state && v.tensor.is_contiguous() && v.spec.dtype == dtype &&
                   v.spec.device.type == DeviceType::cpu
               ? v.tensor
               : Tensor();
  };

  std::optional<Geometry> geometry;
  // The pass over many tensors reads each as a row of numbers.
  auto packed = [&](ValueId id) {
    if (!geometry) geometry.emplace(*graph_);
    return (*geometry)[id].is_contiguous();
  };
  for (const Node& n : graph_->nodes()) {
    Step step{.node = &n};
    const OpInfo* rule = n.info;
    auto in_place = [&]() -> bool {
      if (!rule->update) return false;
      const DType dtype = values[size_t(n.inputs[2])].spec.dtype;
      if (dtype != f32 && dtype != f64) return false;
      // (hyper, step, p, g, states...) to (p, states..., step)
      UpdateGroup::Member m;
      m.step = state_tensor(n.inputs[1], f64);
      m.parameter = state_tensor(n.inputs[2], dtype);
      m.gradient = n.inputs[3];
      const Tensor hyper = state_tensor(n.inputs[0], f64);
      if (!m.step.defined() || !m.parameter.defined() || !hyper.defined() ||
          values[size_t(m.gradient)].spec.dtype != dtype || !packed(m.gradient))
        return false;
      const int states = int(n.inputs.size()) - 4;
      auto writes = [&](ValueId out, ValueId state) {
        const int a = assigned[size_t(out)];
        return uses[size_t(out)] == 1 && a >= 0 && graph_->assignments()[size_t(a)].state == state;
      };
      if (!writes(n.outputs[0], n.inputs[2]) || !writes(n.outputs.back(), n.inputs[1]))
        return false;
      for (int i = 0; i < states; ++i) {
        if (n.inputs[size_t(i) + 4] < 0) return false;
        m.states[i] = state_tensor(n.inputs[size_t(i) + 4], dtype);
        if (!m.states[i].defined() || !writes(n.outputs[size_t(i) + 1], n.inputs[size_t(i) + 4]))
          return false;
      }
      size_t g = 0;
      for (; g < groups_.size(); ++g) {
        const UpdateGroup& have = groups_[g];
        if (have.rule == rule && have.hyper.is_same(hyper) && have.dtype == dtype &&
            have.states == states && n.info->equal(have.first->op.get(), n.op.get()))
          break;
      }
      if (g == groups_.size()) {
        UpdateGroup& fresh = groups_.emplace_back();
        fresh.rule = rule;
        fresh.first = &n;
        fresh.hyper = hyper;
        fresh.states = states;
        fresh.dtype = dtype;
      }
      groups_[g].members.push_back(m);
      for (ValueId out : n.outputs)
        if (out >= 0 && assigned[size_t(out)] >= 0)
          written_directly_[size_t(assigned[size_t(out)])] = true;
      return true;
    };
    if (!in_place()) steps_.push_back(step);
  }
  for (size_t g = 0; g < groups_.size(); ++g)
    steps_.push_back({.node = groups_[g].first, .update = int(g)});
}

void Plan::bind_steps() {
  for (Step& step : steps_) {
    if (step.update >= 0) continue;
    const Node& n = *step.node;
    step.first_input = int(operands_.size());
    step.n_in = int(n.inputs.size());
    for (ValueId id : n.inputs) operands_.push_back(id < 0 ? Tensor() : shells_[size_t(id)].tensor);
    step.first_output = int(operands_.size());
    step.n_out = int(n.outputs.size());
    for (ValueId id : n.outputs) operands_.push_back(shells_[size_t(id)].tensor);
  }
  for (UpdateGroup& g : groups_) g.items.reserve(g.members.size());
  first_update_ = steps_.size();
  while (first_update_ > 0 && steps_[first_update_ - 1].update >= 0) --first_update_;
}

void Plan::find_bindings() {
  const auto& values = graph_->values();
  const auto& outputs = graph_->outputs();
  for (size_t k = 0; k < mobiles_.size(); ++k) {
    const ValueKind kind = values[size_t(mobiles_[k].value)].kind;
    if (kind == ValueKind::state || kind == ValueKind::constant) states_.push_back(int(k));
  }
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i].kind == ValueKind::key) keys_.push_back(ValueId(i));
  for (size_t i = 0; i < graph_->assignments().size(); ++i)
    if (!written_directly_[i]) written_later_.push_back(i);
  for (size_t k = 0; k < outputs.size(); ++k) {
    const ValueId id = outputs[k];
    Result r{.id = id};
    const auto first = size_t(std::find(outputs.begin(), outputs.end(), id) - outputs.begin());
    if (first < k) r.same_as = int(first);
    else if (shells_[size_t(id)].root == id && values[size_t(id)].kind == ValueKind::result)
      r.mobile = mobile_of_[size_t(id)];
    results_.push_back(r);
  }
  for (const GradientWrite& g : graph_->gradients()) {
    Gradient& mine = gradients_.emplace_back();
    mine.value = g.value;
    mine.leaf = &detail::extras(*g.leaf.impl()).grad;
    if (g.value >= 0) mine.from = &shells_[size_t(g.value)].tensor;
    if (g.value >= 0 && values[size_t(g.value)].kind == ValueKind::result &&
        std::find(outputs.begin(), outputs.end(), g.value) == outputs.end())
      mine.mobile = mobile_of_[size_t(g.value)];
  }
}

void Plan::move(Mobile& m, char* to) {
  if (m.at == to) return;
  m.at = to;
  for (auto& [impl, offset] : m.shells) impl->data = to + offset;
}

/// Counts the step and gives the pointers of one parameter.
detail::UpdateItem Plan::begin_update(const UpdateGroup& group,
                                      const UpdateGroup::Member& m) const {
  double& count = *static_cast<double*>(m.step.raw_data());
  count += 1;
  detail::UpdateItem item{};
  item.p = m.parameter.raw_data();
  item.g = shells_[size_t(m.gradient)].tensor.raw_data();
  for (int i = 0; i < group.states; ++i) item.state[i] = m.states[i].raw_data();
  item.n = m.parameter.impl()->numel.bits();
  item.step = count;
  detail::bump_version(m.parameter, group.rule->name.data());
  return item;
}

void Plan::run_updates(UpdateGroup& group) {
  group.items.clear();
  for (const auto& m : group.members) group.items.push_back(begin_update(group, m));
  group.rule->update(group.first->op.get(), static_cast<const double*>(group.hyper.raw_data()),
                     group.items, group.states, group.dtype);
}

void Plan::run_folded(const Step& step) {
  const FoldedUpdate& folded = folded_[size_t(step.folded)];
  struct Rows {
    const UpdateGroup& group;
    detail::UpdateItem item;
    int64_t width, size;
  } const rows{
      groups_[size_t(folded.group)], begin_update(groups_[size_t(folded.group)], folded.member),
      folded.member.parameter.shape().back().bits(), itemsize(groups_[size_t(folded.group)].dtype)};
  Tensor* const base = operands_.data();
  run_rows(*step.node->info, step.node->op.get(), {base + step.first_input, size_t(step.n_in)},
           {base + step.first_output, size_t(step.n_out)},
           {[](const void* self, int64_t begin, int64_t end) {
              const Rows& r = *static_cast<const Rows*>(self);
              const int64_t from = begin * r.width * r.size;
              detail::UpdateItem part = r.item;
              part.p = static_cast<char*>(part.p) + from;
              part.g = static_cast<const char*>(part.g) + from;
              for (int i = 0; i < r.group.states; ++i)
                part.state[i] = static_cast<char*>(part.state[i]) + from;
              part.n = (end - begin) * r.width;
              r.group.rule->update(r.group.first->op.get(),
                                   static_cast<const double*>(r.group.hyper.raw_data()), {&part, 1},
                                   r.group.states, r.group.dtype);
            },
            &rows, graph_->same_kernels()});
}

void Plan::write_state() {
  for (size_t i : written_later_) {
    const Assignment& a = graph_->assignments()[i];
    const Tensor& to = graph_->value(a.state).tensor;
    detail::copy_data(to, shells_[size_t(a.value)].tensor);
    detail::bump_version(to, "a compiled function");
    for (const RandomStream& s : graph_->streams())
      if (s.state == a.state) s.generator->set_state(to);
  }
}

[[gnu::always_inline]] inline void Plan::run_this(const Step& step) {
  Tensor* const base = operands_.data();
  const Inputs in{base + step.first_input, size_t(step.n_in)};
  const Outputs out{base + step.first_output, size_t(step.n_out)};
  std::optional<StepCheck> check;
  if constexpr (checks_plans) check.emplace(*step.node->info, step.node->op.get(), in, out);
  if (step.folded < 0) {
    step.node->info->cpu(step.node->op.get(), in, out);
  } else if (settled_) {
    run_folded(step);
  } else {
    // The same kernel, but nothing is written yet.
    run_rows(*step.node->info, step.node->op.get(), in, out,
             {[](const void*, int64_t, int64_t) {}, nullptr, graph_->same_kernels()});
    // Later steps may take its place.
    const Tensor& gradient = shells_[size_t(folded_[size_t(step.folded)].member.gradient)].tensor;
    late_.resize(folded_.size());
    late_[size_t(step.folded)] = detail::new_tensor(gradient.spec());
    detail::copy_data(late_[size_t(step.folded)], gradient);
  }
  if constexpr (checks_plans) check->compare();
}

void Plan::run_step(size_t k) { run_this(steps_[k]); }

/// All but the updates of parameters.
[[gnu::always_inline]] inline void Plan::run_steps() {
  for (size_t k = size_t(prepared_); k < first_update_; ++k) {
    if (detail::poisons) watch(int(k));
    run_this(steps_[k]);
  }
}

/// Nothing here asks for memory.
void Plan::run_updates() {
  if (!settled_) {
    for (size_t k = 0; k < folded_.size(); ++k) {
      const UpdateGroup& group = groups_[size_t(folded_[k].group)];
      detail::UpdateItem item = begin_update(group, folded_[k].member);
      item.g = late_[k].raw_data();
      group.rule->update(group.first->op.get(), static_cast<const double*>(group.hyper.raw_data()),
                         {&item, 1}, group.states, group.dtype);
    }
    late_.clear();
  }
  using clock = std::chrono::steady_clock;
  for (size_t k = first_update_; k < steps_.size(); ++k) {
    if (detail::poisons) watch(int(k));
    const clock::time_point before = profile_ ? clock::now() : clock::time_point();
    run_updates(groups_[size_t(steps_[k].update)]);
    if (profile_) seconds_[k] += std::chrono::duration<double>(clock::now() - before).count();
  }
}

/// Only what lives at step k may be touched.
void Plan::watch(int k) {
  if (!lent_.at) return;
  detail::poison(lent_.at, size_t(arena_bytes_));
  for (const Place& p : places_)
    if (p.first <= k && k <= p.last) detail::unpoison(lent_.at + p.at, size_t(p.bytes));
}

void Plan::set_profile(bool on) {
  if (on == profile_) return;
  profile_ = on;
  if (!on) return;
  seconds_.assign(steps_.size(), 0);
  timed_runs_ = 0;
}

void Plan::run_timed() {
  using clock = std::chrono::steady_clock;
  for (size_t k = size_t(prepared_); k < first_update_; ++k) {
    const auto before = clock::now();
    run_step(k);
    seconds_[k] += std::chrono::duration<double>(clock::now() - before).count();
  }
  ++timed_runs_;
}

void Plan::find_gradients() {
  std::vector<int> made(shells_.size(), -2);  // -2: by no step
  for (size_t i = 0; i < shells_.size(); ++i)
    if (graph_->values()[i].kind != ValueKind::result) made[i] = -1;
  for (size_t k = 0; k < steps_.size(); ++k)
    if (steps_[k].update < 0)
      for (ValueId id : steps_[k].node->outputs) made[size_t(id)] = int(k);
  const auto made_at = [&](ValueId id) { return made[size_t(shells_[size_t(id)].root)]; };
  for (const GradientOf& g : graph_->gradients_of()) {
    const int k = made_at(g.value), when = g.when < 0 ? -1 : made_at(g.when);
    if (std::min(k, when) > -2) gradients_of_.push_back({std::max(k, when), &g});
  }
  std::stable_sort(gradients_of_.begin(), gradients_of_.end(),
                   [](const Watched& a, const Watched& b) { return a.step < b.step; });
}

/// As run_steps(), with a look at each gradient before a later step may take its place.
void Plan::run_watched() {
  auto next = gradients_of_.begin();
  for (int k = prepared_ - 1; k < int(first_update_); ++k) {
    if (detail::poisons) watch(k);
    if (k >= prepared_) run_this(steps_[size_t(k)]);
    for (; next != gradients_of_.end() && next->step <= k; ++next) {
      const GradientOf& g = *next->what;
      const Tensor& t = shells_[size_t(g.value)].tensor;
      if (g.when >= 0 && truth(shells_[size_t(g.when)].tensor) != g.holds) continue;
      if (detail::has_nan(t)) detail::throw_nan_gradient(g.op, g.input, t, g.where);
    }
  }
}

Tensors Plan::run(Inputs inputs, Ready ready) {
  const NoGrad guard;
  const auto& ids = graph_->inputs();
  Tensors held;  // row-major copies of inputs that were not
  for (size_t i = 0; i < ids.size(); ++i) {
    const Tensor* t = &inputs[i];
    if (!t->impl()->data) [[unlikely]]
      check_device(graph_->value(ids[i]), *t);
    const Strides& as_it_lies = graph_->value(ids[i]).strides;
    if (!t->is_contiguous() && !detail::identical(t->strides(), as_it_lies)) {
      held.push_back(detail::as_contiguous(*t));
      t = &held.back();
    }
    move(mobiles_[size_t(mobile_of_[size_t(ids[i])])], t->impl()->data);
  }
  for (int k : states_) {
    Mobile& m = mobiles_[size_t(k)];
    move(m, graph_->value(m.value).tensor.impl()->data);
  }
  std::optional<cpu::Scratch> arena;
  if (arena_bytes_ > 0 && !own_.defined()) {
    arena.emplace(size_t(arena_bytes_));
    move(lent_, arena->as<char>());
  }

  Tensors results(results_.size());
  for (size_t k = 0; k < results.size(); ++k) {
    const Result& r = results_[k];
    if (r.same_as >= 0) {
      results[k] = results[size_t(r.same_as)];
      continue;
    }
    results[k] = detail::new_tensor(graph_->value(r.id).spec);
    if (r.mobile >= 0) move(mobiles_[size_t(r.mobile)], results[k].impl()->data);
  }
  for (Gradient& g : gradients_) {
    if (g.value < 0) continue;
    // A gradient that somebody else looks at stays as it is; a shape is always the leaf's.
    TensorImpl* const now = g.leaf->impl();
    const DType dtype = g.from->impl()->spec.dtype;
    const bool again = now && now->has(TensorImpl::left_by_plan) &&
                       now->refs.load(std::memory_order_relaxed) == 1 && now->spec.dtype == dtype &&
                       !watches_;
    g.now = now;
    if (again) {
      if (g.fresh.defined()) g.fresh = Tensor();  // of a run that threw
    } else {
      g.fresh = detail::new_tensor(g.from->spec());
      g.now = g.fresh.impl();
      g.now->flags |= TensorImpl::left_by_plan;
    }
    if (g.mobile >= 0) move(mobiles_[size_t(g.mobile)], g.now->data);
  }

  const uint32_t now_emptied = emptied.load(std::memory_order_relaxed);
  if (settled_in_ != &detail::modes || emptied_ != now_emptied) settled_ = false;
  Undo undo(*this);
  for (size_t k = 0; k < keys_.size(); ++k) undo.draw();
  Tensor prepared;
  if (prepared_ > 0) prepare(prepared);
  if (ready.call) ready.call(ready.self, results);
  if (watches_) [[unlikely]]
    run_watched();
  else if (profile_) [[unlikely]] run_timed();
  else run_steps();
  run_updates();
  if (detail::poisons) watch(int(steps_.size()));
  undo.keep();

  for (size_t k = 0; k < results.size(); ++k)
    if (results_[k].mobile < 0 && results_[k].same_as < 0)
      detail::copy_data(results[k], shells_[size_t(results_[k].id)].tensor);
  for (Gradient& g : gradients_) {
    if (g.value == -2) continue;
    if (g.value < 0) {
      *g.leaf = Tensor();
      continue;
    }
    if (g.from->impl()->data != g.now->data)
      detail::copy_data(g.fresh.defined() ? g.fresh : *g.leaf, *g.from);
    if (g.fresh.defined()) *g.leaf = std::move(g.fresh);
  }
  write_state();
  settled_ = !watches_;  // updates come after the last look
  settled_in_ = &detail::modes;
  emptied_ = now_emptied;
  if (detail::poisons && lent_.at) detail::unpoison(lent_.at, size_t(arena_bytes_));
  return results;
}

}  // namespace tandem::graph
