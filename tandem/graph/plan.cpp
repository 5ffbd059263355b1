#include "tandem/graph/plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "tandem/core/allocator.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/op/copy.h"
#include "tandem/op/tape.h"
#include "tandem/ops/update.h"

namespace tandem::graph {
namespace {

constexpr int64_t align = 64;

int64_t bytes_of(const Spec& spec) { return spec.shape.numel() * itemsize(spec.dtype); }

/// A tensor of that geometry whose memory is given later.
Tensor make_shell(const Spec& spec, const Strides& strides) {
  TensorImpl* impl = detail::new_impl();
  impl->spec = spec;
  impl->strides = strides;
  impl->numel = spec.shape.numel();
  if (!is_contiguous(spec.shape, strides)) impl->flags &= uint8_t(~TensorImpl::contiguous);
  return Tensor::adopt(impl);
}

}  // namespace

Plan::Plan(std::shared_ptr<const Graph> graph) : graph_(std::move(graph)) {
  shells_.resize(graph_->values().size());
  mobile_of_.assign(graph_->values().size(), -1);
  written_directly_.assign(graph_->assignments().size(), false);
  group_updates();
  make_shells();
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

Plan::Mobile& Plan::mobile(ValueId root) {
  int& at = mobile_of_[size_t(root)];
  if (at < 0) {
    at = int(mobiles_.size());
    mobiles_.push_back({root, {}, nullptr});
  }
  return mobiles_[size_t(at)];
}

/// Every value's geometry; a step that is a view becomes geometry alone.
void Plan::make_shells() {
  for (size_t i = 0; i < shells_.size(); ++i) {
    const Value& v = graph_->values()[i];
    Shell& s = shells_[i];
    s.root = ValueId(i);
    if (v.kind == ValueKind::state || v.kind == ValueKind::constant) s.tensor = v.tensor;
    else s.tensor = make_shell(v.spec, contiguous_strides(v.spec.shape));
    if (v.kind == ValueKind::input || v.kind == ValueKind::state || v.kind == ValueKind::constant)
      mobile(ValueId(i));
  }
  std::vector<Step> kept;
  for (const Step& step : steps_) {
    const Node& n = *step.node;
    View view;
    if (step.update < 0 && n.info->view &&
        n.info->view(n.op.get(), shells_[size_t(n.inputs[0])].tensor, view)) {
      const Shell& from = shells_[size_t(n.inputs[0])];
      Shell& s = shells_[size_t(n.outputs[0])];
      const Spec& spec = graph_->value(n.outputs[0]).spec;
      s.tensor = make_shell({view.shape, spec.dtype, spec.device}, view.strides);
      s.root = from.root;
      s.offset = from.offset + view.offset * itemsize(spec.dtype);
      continue;
    }
    kept.push_back(step);
  }
  steps_ = std::move(kept);
  put_prepared_first();

  auto use = [&](ValueId id, int at) {
    if (id < 0) return;
    Shell& root = shells_[size_t(shells_[size_t(id)].root)];
    root.last = std::max(root.last, at);
  };
  const int end = int(steps_.size());
  for (int k = 0; k < end; ++k) {
    const Step& step = steps_[size_t(k)];
    if (step.update >= 0) {
      for (const auto& m : groups_[size_t(step.update)].members) use(m.gradient, k);
      continue;
    }
    for (ValueId id : step.node->outputs) {
      shells_[size_t(id)].first = k;
      use(id, k);
    }
    for (ValueId id : step.node->inputs) use(id, k);
  }
  for (int k = 0; k < prepared_; ++k)
    for (ValueId id : steps_[size_t(k)].node->outputs)
      if (shells_[size_t(id)].last >= prepared_) {
        shells_[size_t(id)].first = 0;
        shells_[size_t(id)].last = end;
      }
  for (size_t i = 0; i < graph_->assignments().size(); ++i)
    if (!written_directly_[i]) use(graph_->assignments()[i].value, end);

  // Results and gradients are written where they will stay, unless they are looks at something.
  for (ValueId id : graph_->outputs()) {
    use(id, end);
    if (shells_[size_t(id)].root == id && graph_->value(id).kind == ValueKind::result) mobile(id);
  }
  for (const GradientWrite& g : graph_->gradients()) {
    if (g.value >= 0) {
      use(g.value, end);
      const bool own = shells_[size_t(g.value)].root == g.value &&
                       graph_->value(g.value).kind == ValueKind::result &&
                       mobile_of_[size_t(g.value)] < 0;
      if (own) mobile(g.value);
    }
  }
  for (size_t i = 0; i < shells_.size(); ++i) {
    Shell& s = shells_[i];
    const int at = mobile_of_[size_t(s.root)];
    const ValueKind kind = graph_->values()[i].kind;
    if (at < 0 ||
        (s.root == ValueId(i) && (kind == ValueKind::state || kind == ValueKind::constant)))
      continue;
    mobiles_[size_t(at)].shells.emplace_back(s.tensor.impl(), s.offset);
  }
}

/// Places in the arena, largest value first, each at the lowest offset that is free while it lives
/// (greedy by size, Pisarchyk and Lee, arXiv 2001.03288).
void Plan::place() {
  struct Block {
    ValueId id;
    int64_t bytes, at;
    int first, last;
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < shells_.size(); ++i) {
    const Shell& s = shells_[i];
    const ValueKind kind = graph_->values()[i].kind;
    if (s.root != ValueId(i) || mobile_of_[i] >= 0) continue;
    if (kind == ValueKind::result && s.last < 0) continue;  // a member of an update group
    const int64_t bytes = (bytes_of(s.tensor.spec()) + align - 1) / align * align;
    const int last = kind == ValueKind::key ? int(steps_.size()) : s.last;
    blocks.push_back({ValueId(i), bytes, 0, kind == ValueKind::key ? 0 : s.first, last});
    value_bytes_ += bytes;
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return a.bytes > b.bytes; });
  std::vector<const Block*> placed, rivals;  // `placed` in order of their offsets
  for (Block& b : blocks) {
    int64_t at = 0;
    size_t where = placed.size();
    for (const Block* p : placed) {
      if (p->last < b.first || b.last < p->first) continue;
      if (p->at >= at + b.bytes) break;
      at = std::max(at, p->at + p->bytes);
    }
    b.at = at;
    arena_bytes_ = std::max(arena_bytes_, at + b.bytes);
    const auto pos = std::upper_bound(placed.begin(), placed.end(), at,
                                      [](int64_t v, const Block* p) { return v < p->at; });
    where = size_t(pos - placed.begin());
    placed.insert(placed.begin() + std::ptrdiff_t(where), &b);
  }
  arena_ = empty({std::max<int64_t>(arena_bytes_, 1)}, u8);
  char* base = static_cast<char*>(arena_.raw_data());
  for (const Block& b : blocks) shells_[size_t(b.id)].tensor.impl()->data = base + b.at;
  for (const Shell& s : shells_)
    if (&s != &shells_[size_t(s.root)] && mobile_of_[size_t(s.root)] < 0)
      s.tensor.impl()->data = shells_[size_t(s.root)].tensor.impl()->data + s.offset;
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

void Plan::run_updates(UpdateGroup& group) {
  group.items.clear();
  for (const auto& m : group.members) {
    double& count = *static_cast<double*>(m.step.raw_data());
    count += 1;
    detail::UpdateItem item{};
    item.p = m.parameter.raw_data();
    item.g = shells_[size_t(m.gradient)].tensor.raw_data();
    for (int i = 0; i < group.states; ++i) item.state[i] = m.states[i].raw_data();
    item.n = m.parameter.numel();
    item.step = count;
    group.items.push_back(item);
    detail::bump_version(m.parameter, group.rule->name.data());
  }
  group.rule->update(group.first->op.get(), static_cast<const double*>(group.hyper.raw_data()),
                     group.items, group.states, group.dtype);
}

void Plan::write_state() {
  for (size_t i : written_later_) {
    const Assignment& a = graph_->assignments()[i];
    const Tensor& to = graph_->value(a.state).tensor;
    detail::copy_data(to, shells_[size_t(a.value)].tensor);
    detail::bump_version(to, "a compiled function");
  }
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

  Tensor* const base = operands_.data();
  for (size_t k = prepare() ? 0 : size_t(prepared_); k < steps_.size(); ++k) {
    const Step& step = steps_[k];
    if (step.update < 0)
      step.node->info->cpu(step.node->op.get(), {base + step.first_input, size_t(step.n_in)},
                           {base + step.first_output, size_t(step.n_out)});
    else run_updates(groups_[size_t(step.update)]);
  }

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
