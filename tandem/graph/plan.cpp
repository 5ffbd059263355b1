#include "tandem/graph/plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "tandem/core/allocator.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/fused_product.h"
#include "tandem/op/copy.h"
#include "tandem/op/tape.h"
#include "tandem/ops/update.h"

namespace tandem::graph {

Plan::Plan(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)) {
  shells_.resize(graph_->values().size());
  mobile_of_.assign(graph_->values().size(), -1);
  written_directly_.assign(graph_->assignments().size(), false);
  group_updates();
  make_shells();
  share_in_place();
  place();
  bind_steps();
  find_bindings();
}

Plan::~Plan() = default;

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

  int at = -1;
  for (const Node& n : graph_->nodes()) {
    Step step{.node = &n};
    ++at;
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
          values[size_t(m.gradient)].spec.dtype != dtype)
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
  item.n = m.parameter.numel();
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
      folded.member.parameter.shape().back(), itemsize(groups_[size_t(folded.group)].dtype)};
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

inline void Plan::run_step(const Step& step) {
  Tensor* const base = operands_.data();
  if (step.folded >= 0) run_folded(step);
  else if (step.update < 0)
    step.node->info->cpu(step.node->op.get(), {base + step.first_input, size_t(step.n_in)},
                         {base + step.first_output, size_t(step.n_out)});
  else run_updates(groups_[size_t(step.update)]);
}

void Plan::set_profile(bool on) {
  if (on == profile_) return;
  profile_ = on;
  if (!on) return;
  seconds_.assign(steps_.size(), 0);
  timed_runs_ = 0;
}

void Plan::run_timed(size_t first) {
  using clock = std::chrono::steady_clock;
  auto before = clock::now();
  for (size_t k = first; k < steps_.size(); ++k) {
    run_step(steps_[k]);
    const auto now = clock::now();
    seconds_[k] += std::chrono::duration<double>(now - before).count();
    before = now;
  }
  ++timed_runs_;
}

Tensors Plan::run(Inputs inputs) {
  const NoGrad guard;
  const auto& ids = graph_->inputs();
  Tensors held;  // row-major copies of inputs that were not
  for (size_t i = 0; i < ids.size(); ++i) {
    const Tensor* t = &inputs[i];
    if (!t->is_contiguous()) {
      held.push_back(detail::as_contiguous(*t));
      t = &held.back();
    }
    move(mobiles_[size_t(mobile_of_[size_t(ids[i])])], t->impl()->data);
  }
  for (int k : states_) {
    Mobile& m = mobiles_[size_t(k)];
    move(m, graph_->value(m.value).tensor.impl()->data);
  }
  for (ValueId id : keys_)
    detail::copy_data(shells_[size_t(id)].tensor, graph_->value(id).generator->next_key());

  Tensors results(results_.size());
  for (size_t k = 0; k < results.size(); ++k) {
    const Result& r = results_[k];
    if (r.same_as >= 0) {
      results[k] = results[size_t(r.same_as)];
    } else if (r.mobile >= 0) {
      results[k] = detail::new_tensor(graph_->value(r.id).spec);
      move(mobiles_[size_t(r.mobile)], results[k].impl()->data);
    }
  }
  for (size_t k = 0; k < gradients_.size(); ++k) {
    const GradientWrite& g = graph_->gradients()[k];
    if (g.value < 0) continue;
    // A gradient that somebody else still looks at stays as it is.
    Gradient& to = gradients_[k];
    const Tensor& now = detail::extras(*g.leaf.impl()).grad;
    if (!to.mine.defined() || !now.is_same(to.mine) || to.mine.impl()->refs.load() > 2)
      to.mine = detail::new_tensor(graph_->value(g.value).spec);
    if (to.mobile >= 0) move(mobiles_[size_t(to.mobile)], to.mine.impl()->data);
  }

  const size_t first = prepare() ? 0 : size_t(prepared_);
  if (profile_) [[unlikely]]
    run_timed(first);
  else
    for (size_t k = first; k < steps_.size(); ++k) run_step(steps_[k]);

  is_prepared_ = true;
  for (size_t k = 0; k < results.size(); ++k) {
    if (results[k].defined()) continue;
    if (results_[k].same_as >= 0) {
      results[k] = results[size_t(results_[k].same_as)];
      continue;
    }
    const Tensor& from = shells_[size_t(results_[k].id)].tensor;
    results[k] = detail::new_tensor(from.spec());
    detail::copy_data(results[k], from);
  }
  for (size_t k = 0; k < gradients_.size(); ++k) {
    const GradientWrite& g = graph_->gradients()[k];
    Tensor& grad = detail::extras(*g.leaf.impl()).grad;
    if (g.value == -2) continue;
    if (g.value < 0) {
      grad = Tensor();
      continue;
    }
    const Tensor& mine = gradients_[k].mine;
    const TensorImpl& from = *shells_[size_t(g.value)].tensor.impl();
    if (from.data != mine.impl()->data) detail::copy_data(mine, shells_[size_t(g.value)].tensor);
    if (!grad.is_same(mine)) grad = mine;
  }
  write_state();
  return results;
}

}  // namespace tandem::graph
