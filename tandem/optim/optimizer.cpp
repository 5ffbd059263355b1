#include "tandem/optim/optimizer.h"

#include <algorithm>
#include <new>
#include <unordered_set>

#include "tandem/autograd/taken.h"
#include "tandem/core/captured.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/update.h"
#include "tandem/ops/where.h"

namespace tandem::optim {

using tandem::detail::UpdateItem;

Parameters::Parameters(const std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) list_.emplace_back(std::string(), t);
}
Parameters::Parameters(std::initializer_list<Tensor> tensors) {
  for (const Tensor& t : tensors) list_.emplace_back(std::string(), t);
}

struct Optimizer::Slot {
  std::string name;
  Tensor param;
  Tensors states;             ///< empty before the first step
  Tensor step;                ///< f64, how often the parameter was updated
  double* counter = nullptr;  ///< the data of `step`
};

struct Optimizer::Group {
  std::vector<Slot> slots;
  Tensor numbers;  ///< f64; a recorded graph reads it, so a changed learning rate needs no new one
  Tensor hyper;    ///< the rule's part of it
  std::optional<double> initial_lr;
  std::vector<bool> flags;
  Plan plan;
  // Of a step; kept for their memory.
  std::vector<UpdateItem> items[2];  ///< f32 and f64
  struct Converted {
    Tensor param, work, gradient;
  };
  std::vector<Converted> converted;  ///< of other dtypes, or not row-major
  size_t first = 0;                  ///< position of slots[0] among all parameters

  std::span<double> values() const { return {numbers.data<double>(), size_t(numbers.numel())}; }
};

Optimizer::Optimizer(std::string_view name, std::span<const Number> numbers,
                     std::span<const std::string_view> flags)
    : name_(name), numbers_(numbers), flags_(flags) {}
Optimizer::~Optimizer() = default;

void Optimizer::add_group(const Parameters& parameters, std::initializer_list<double> numbers,
                          std::initializer_list<bool> flags) {
  require(!parameters.list().empty(), name_, ": the parameter list is empty");
  std::unordered_set<TensorImpl*> seen;
  size_t first = 0;
  for (const auto& g : groups_) {
    for (const Slot& s : g->slots) seen.insert(s.param.impl());
    first += g->slots.size();
  }
  auto group = std::make_unique<Group>();
  group->first = first;
  for (const auto& entry : parameters.list()) {
    const std::string& name = entry.first;
    const Tensor& t = entry.second;
    const size_t position = first + group->slots.size();
    auto check = [&](bool ok, const auto&... what) {
      require(ok, name_, ": parameter ", position, name.empty() ? "" : " ", name, " ", what...);
    };
    check(t.defined(), "is undefined");
    check(is_floating(t.dtype()), "is ", t.dtype(), ", not floating");
    check(t.is_leaf(), "is the result of an op, not a leaf");
    check(seen.insert(t.impl()).second, "is given twice");
    Slot slot;
    slot.name = name;
    slot.param = t;
    group->slots.push_back(std::move(slot));
  }
  for (size_t i = 0; i < numbers.size(); ++i) check_number(i, numbers.begin()[i]);
  group->numbers =
      tensor(std::span<const double>(numbers.begin(), numbers.size()), {int64_t(numbers.size())});
  group->flags.assign(flags.begin(), flags.end());
  group->plan = plan(group->values(), group->flags);
  group->hyper = tandem::detail::alias(group->numbers, {group->plan.hyper}, {1}, 0);
  groups_.push_back(std::move(group));
}

Optimizer::Group& Optimizer::group_at(int group) const {
  require<IndexError>(group >= 0 && group < groups(), name_, ": group ", group,
                      " is out of range [0, ", groups() - 1, "]");
  return *groups_[size_t(group)];
}

size_t Optimizer::number_at(std::string_view name) const {
  for (size_t i = 0; i < numbers_.size(); ++i)
    if (numbers_[i].name == name) return i;
  throw ValueError(cat(name_, ": there is no number called ", name));
}

void Optimizer::check_number(size_t i, double value) const {
  const Number& n = numbers_[i];
  require(value >= n.min && value < n.limit, name_, "(", n.name, "=", value, "): ", n.name,
          n.limit < 1e300 ? " must be in [" : " must be at least ", n.min,
          [&] { return n.limit < 1e300 ? cat(", ", n.limit, ")") : std::string(); });
}

std::vector<Tensor> Optimizer::parameters(int group) const {
  std::vector<Tensor> out;
  for (const Slot& s : group_at(group).slots) out.push_back(s.param);
  return out;
}

double Optimizer::number(int group, std::string_view name) const {
  return group_at(group).values()[number_at(name)];
}
bool Optimizer::has_number(std::string_view name) const {
  return std::any_of(numbers_.begin(), numbers_.end(),
                     [&](const Number& n) { return n.name == name; });
}
bool Optimizer::flag(int group, std::string_view name) const {
  const auto at = std::find(flags_.begin(), flags_.end(), name);
  return group_at(group).flags[size_t(at - flags_.begin())];
}

void Optimizer::set_number(int group, std::string_view name, double value) {
  detail::refuse_in_compiled("set_lr() or set_number() of an optimizer");
  check_number(number_at(name), value);
  write_number(group, name, value);
}

void Optimizer::write_number(int group, std::string_view name, double value) {
  Group& g = group_at(group);
  g.values()[number_at(name)] = value;
  g.plan = plan(g.values(), g.flags);
}

void Optimizer::set_lr(double lr) {
  for (int g = 0; g < groups(); ++g) set_lr(g, lr);
}

double Optimizer::initial_lr(int group) {
  Group& g = group_at(group);
  if (!g.initial_lr) g.initial_lr = lr(group);
  return *g.initial_lr;
}
void Optimizer::set_initial_lr(int group, double lr) { group_at(group).initial_lr = lr; }

void Optimizer::zero_grad(bool set_to_none) {
  const NoGrad guard;
  for (auto& g : groups_)
    for (Slot& s : g->slots) {
      TensorExtras* extras = s.param.impl()->extras;
      if (tandem::detail::capturing) tandem::detail::capturing->gradient_changes(s.param);
      if (!extras || !extras->grad.defined()) continue;
      if (set_to_none) extras->grad = Tensor();
      else extras->grad = zeros_like(extras->grad);
    }
}

// --- One step ---------------------------------------------------------------------------------

namespace {

/// Fresh states take the parameter's dtype; halves keep them in f32, where small sums survive.
DType state_dtype(DType param) { return param == f64 ? f64 : f32; }

bool direct(const TensorImpl& p, const TensorImpl& g) {
  return p.spec.dtype <= f64 && p.spec.dtype == g.spec.dtype && p.has(TensorImpl::contiguous) &&
         g.has(TensorImpl::contiguous);
}

}  // namespace

// What can fail comes first: a step that throws OutOfMemory has changed no parameter and no state,
// and may be taken again.
void Optimizer::step() {
  size_t group = 0, slot = 0;
  try {
    const NoGrad guard;
    for (; group < groups_.size(); ++group) collect(*groups_[group], slot = 0);
    for (auto& g : groups_) update(*g);
  } catch (...) {
    for (size_t k = 0; k < groups_.size() && k <= group; ++k)
      uncount(*groups_[k], k < group ? groups_[k]->slots.size() : slot);
    tandem::detail::rethrow_for(name_);
  }
}

/// State is made at the first step, also while a function is recorded, and stays.
void Optimizer::prepare(Slot& slot, const Plan& plan) {
  const TensorImpl& p = *slot.param.impl();
  const size_t states = plan.states.size();
  const DType dtype = state_dtype(p.spec.dtype);
  if (slot.counter && slot.states.size() == states &&
      (!states || slot.states[0].impl()->spec.dtype == dtype))
    return;
  const tandem::detail::Uncaptured now;
  if (!slot.counter) {
    slot.step = zeros({}, f64);
    slot.counter = slot.step.data<double>();
  }
  Tensors fresh;
  if (slot.states.size() != states) {
    for (size_t i = 0; i < states; ++i)
      fresh.push_back(full(p.spec.shape, plan.fill, dtype, p.spec.device));
    *slot.counter = 0;
  } else {
    for (const Tensor& s : slot.states) fresh.push_back(s.to(dtype));  // the module was converted
  }
  slot.states = std::move(fresh);
}

/// What the step will update, with all the memory for it, and counted. `at` is the slot that is
/// being looked at.
void Optimizer::collect(Group& group, size_t& at) {
  const Plan& plan = group.plan;
  const size_t states = plan.states.size();
  for (auto& items : group.items) items.clear();
  group.converted.clear();
  for (at = 0; at < group.slots.size(); ++at) {
    Slot& slot = group.slots[at];
    TensorImpl& p = *slot.param.impl();
    if (tandem::detail::capturing) [[unlikely]]
      tandem::detail::capturing->gradient_is_read(slot.param);
    if (!p.extras || !p.extras->grad.defined()) continue;
    const Tensor& gradient = p.extras->grad;
    const TensorImpl& g = *gradient.impl();
    prepare(slot, group.plan);
    require<ShapeError>(!states || slot.states[0].impl()->spec.shape == p.spec.shape, name_,
                        ": parameter ", slot.name, " now has shape ", p.spec.shape,
                        ", its state has ", states ? slot.states[0].shape() : Shape());
    if (g.has(TensorImpl::symbolic) || tandem::detail::capturing) {
      step_symbolic(group, slot, gradient);
      continue;
    }
    require<ShapeError>(g.spec.shape == p.spec.shape, name_, ": the gradient of shape ",
                        g.spec.shape, " does not fit parameter ", slot.name, " of shape ",
                        p.spec.shape);
    UpdateItem item{p.data, g.data, {}, p.numel, *slot.counter + 1};
    if (p.spec.device.type != DeviceType::null) {
      for (size_t i = 0; i < states; ++i) item.state[i] = slot.states[i].impl()->data;
      const DType compute = state_dtype(p.spec.dtype);
      if (!direct(p, g)) [[unlikely]]
        convert(group, slot, gradient, item);
      group.items[compute == f64].push_back(item);
    }
    *slot.counter += 1;
    if (p.storage) {
      ++p.storage->version;
      p.storage->writer = plan.rule->name.data();
    }
  }
}

/// Row-major copies of the type that the rule computes in.
void Optimizer::convert(Group& group, const Slot& slot, const Tensor& gradient, UpdateItem& item) {
  const DType compute = state_dtype(slot.param.dtype());
  const Tensor work = empty(slot.param.shape(), compute), from = empty(work.spec());
  tandem::detail::copy_data(work, slot.param);
  tandem::detail::copy_data(from, gradient);
  item.p = work.raw_data();
  item.g = from.raw_data();
  group.converted.push_back({slot.param, work, from});
}

/// Takes back what collect() has counted of the first slots.
void Optimizer::uncount(Group& group, size_t slots) {
  if (tandem::detail::capturing) return;
  for (size_t i = 0; i < slots; ++i) {
    const Slot& slot = group.slots[i];
    const TensorImpl& p = *slot.param.impl();
    if (!p.extras || !p.extras->grad.defined() || p.extras->grad.is_symbolic()) continue;
    *slot.counter -= 1;
    if (p.storage) --p.storage->version;
  }
}

void Optimizer::update(Group& group) {
  const Plan& plan = group.plan;
  for (const DType dtype : {f32, f64})
    if (const auto& items = group.items[dtype == f64]; !items.empty())
      plan.rule->update(plan.op.get(), group.numbers.data<double>(), items, int(plan.states.size()),
                        dtype);
  for (const auto& c : group.converted) tandem::detail::copy_data(c.param, c.work);
  group.converted.clear();
}

// While a function is recorded, the update is one node a parameter and the writes are assignments.
void Optimizer::step_symbolic(Group& group, Slot& slot, const Tensor& gradient) {
  Tensors in{group.hyper, slot.step, slot.param, gradient};
  for (const Tensor& s : slot.states) in.push_back(s);
  Tensors out =
      tandem::detail::apply_all(*group.plan.rule, group.plan.op.get(), in.data(), int(in.size()));
  // A parameter that only a branch not taken reads has no gradient, and stays as it is.
  if (const auto taken = tandem::detail::taken_of(gradient); !taken.always()) {
    const Tensor updates = tandem::detail::as_boolean(taken);
    out[0] = where(updates, out[0], slot.param.detach());
    for (size_t i = 0; i < slot.states.size(); ++i)
      out[i + 1] = where(updates, out[i + 1], slot.states[i]);
    out.back() = where(updates, out.back(), slot.step);
  }
  slot.param.copy_(out[0]);
  for (size_t i = 0; i < slot.states.size(); ++i) slot.states[i].copy_(out[i + 1]);
  slot.step.copy_(out.back());
}

// --- State ------------------------------------------------------------------------------------

namespace {
std::string slot_key(size_t position, const std::string& name) {
  return cat("state.", position, ".", name, name.empty() ? "" : ".");
}
}  // namespace

NamedTensors Optimizer::state_dict() const {
  NamedTensors out;
  for (size_t k = 0; k < groups_.size(); ++k) {
    const Group& g = *groups_[k];
    for (size_t i = 0; i < numbers_.size(); ++i)
      out.emplace_back(cat("groups.", k, ".", numbers_[i].name), full({}, g.values()[i], f64));
    if (g.initial_lr)
      out.emplace_back(cat("groups.", k, ".initial_lr"), full({}, *g.initial_lr, f64));
    for (size_t i = 0; i < flags_.size(); ++i)
      out.emplace_back(cat("groups.", k, ".", flags_[i]), full({}, bool(g.flags[i]), boolean));
    for (size_t i = 0; i < g.slots.size(); ++i) {
      const Slot& s = g.slots[i];
      if (s.states.empty()) continue;
      const std::string key = slot_key(g.first + i, s.name);
      out.emplace_back(key + "step", s.step.clone());
      for (size_t j = 0; j < s.states.size(); ++j)
        out.emplace_back(cat(key, g.plan.states[j]), s.states[j].clone());
    }
  }
  return out;
}

void Optimizer::load_state_dict(const NamedTensors& state) {
  std::string problems;
  std::unordered_set<std::string> used;
  auto problem = [&](const auto&... text) {
    problems += problems.empty() ? "" : "; ";
    (tandem::detail::append(problems, text), ...);
  };
  auto take = [&](const std::string& key, const Shape& shape, bool needed) {
    const Tensor t = find(state, key);
    if (t.defined()) used.insert(key);
    if (!t.defined() && needed) problem(key, " is missing");
    if (t.defined() && t.shape() != shape) problem(key, " is ", t.shape(), ", not ", shape);
    return t;
  };

  struct Loaded {
    std::vector<double> numbers;
    std::optional<double> initial_lr;
    std::vector<bool> flags;
    std::vector<Tensors> slots;  ///< step, then the states
  };
  std::vector<Loaded> loaded(groups_.size());
  for (size_t k = 0; k < groups_.size(); ++k) {
    const Group& g = *groups_[k];
    Loaded& l = loaded[k];
    for (const Number& n : numbers_) {
      const Tensor t = take(cat("groups.", k, ".", n.name), {}, true);
      l.numbers.push_back(t.defined() && t.numel() == 1 ? t.item<double>() : 0);
    }
    if (const Tensor t = take(cat("groups.", k, ".initial_lr"), {}, false);
        t.defined() && t.numel() == 1)
      l.initial_lr = t.item<double>();
    for (std::string_view f : flags_) {
      const Tensor t = take(cat("groups.", k, ".", f), {}, true);
      l.flags.push_back(t.defined() && t.numel() == 1 && t.item<double>() != 0);
    }
    const Plan p = plan(l.numbers, l.flags);
    for (size_t i = 0; i < g.slots.size(); ++i) {
      const std::string key = slot_key(g.first + i, g.slots[i].name);
      Tensors& values = l.slots.emplace_back();
      const Tensor step = p.states.empty() ? Tensor() : take(key + "step", {}, false);
      if (!step.defined()) continue;
      values.push_back(step);
      for (std::string_view s : p.states)
        values.push_back(take(cat(key, s), g.slots[i].param.shape(), true));
    }
  }
  for (const auto& [key, t] : state)
    if (!used.count(key)) problem(key, " is unexpected");
  require(problems.empty(), name_, ": load_state_dict(): ", problems);

  const NoGrad guard;
  for (size_t k = 0; k < groups_.size(); ++k) {
    Group& g = *groups_[k];
    std::copy(loaded[k].numbers.begin(), loaded[k].numbers.end(), g.values().begin());
    if (loaded[k].initial_lr) g.initial_lr = loaded[k].initial_lr;
    g.flags = loaded[k].flags;
    g.plan = plan(g.values(), g.flags);
    for (size_t i = 0; i < g.slots.size(); ++i) {
      Slot& s = g.slots[i];
      const Tensors& values = loaded[k].slots[i];
      const DType dtype = state_dtype(s.param.dtype());
      // In place where there is something: recorded functions go on with these tensors.
      const bool keep = s.states.size() == g.plan.states.size() &&
                        std::all_of(s.states.begin(), s.states.end(), [&](const Tensor& t) {
                          return t.shape() == s.param.shape() && t.dtype() == dtype;
                        });
      if (!s.counter) {
        s.step = zeros({}, f64);
        s.counter = s.step.data<double>();
      }
      *s.counter = values.empty() ? 0 : values[0].item<double>();
      if (!keep) s.states.clear();
      for (size_t j = 0; j < g.plan.states.size(); ++j) {
        if (values.empty() && !keep) break;
        if (!keep) s.states.push_back(empty(s.param.shape(), dtype, s.param.device()));
        if (values.empty()) s.states[j].copy_(full({}, g.plan.fill, dtype));
        else s.states[j].copy_(values[j + 1]);
      }
    }
  }
}

}  // namespace tandem::optim
