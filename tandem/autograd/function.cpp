#include "tandem/autograd/function.h"

#include <limits>
#include <unordered_map>
#include <vector>

namespace tandem::detail {
namespace {

/// The record of every user-written function; what it does is in the object that it holds.
struct Kept {
  SavedTensor tensor;
  const char* what;
  int64_t index;
};
struct Call {
  std::shared_ptr<UserFunction> function;
  std::vector<Kept> kept;
};
struct Held {
  std::shared_ptr<const Call> call;
};

const Held& held(const void* op) { return *static_cast<const Held*>(op); }

constexpr OpInfo make_row() {
  OpInfo r{};
  r.name = "custom";
  r.inputs = "x...";
  r.min_inputs = 1;
  r.max_inputs = 1 << 16;
  r.outputs = 1;
  r.differentiable = true;
  r.size = sizeof(Held);
  r.align = alignof(Held);
  r.vjp = [](const void* op, const Saved& saved, const Tensors& dy, Tensors& dx) {
    const Call& call = *held(op).call;
    for (const Kept& k : call.kept) check_saved("custom()", k.tensor, k.what, k.index);
    dx = call.function->backward(dy);
    require<GradientError>(int(dx.size()) == saved.size(), "custom(): backward gave ",
                           int64_t(dx.size()), " gradients for ", saved.size(),
                           " inputs; an input without one gets an undefined tensor");
  };
  r.copy = [](void* to, const void* from) { new (to) Held(held(from)); };
  r.destroy = [](void* op) { static_cast<Held*>(op)->~Held(); };
  r.print = [](const void*) { return std::string("custom()"); };
  return r;
}
constinit const OpInfo row = make_row();

bool recorded(Inputs inputs) {
  bool is = capturing;
  for (const Tensor& t : inputs) is = is || (t.defined() && t.is_symbolic());
  return is;
}

/// The inputs and outputs that somebody holds besides `seen` and `outputs`: the function does.
std::vector<Kept> kept_by_function(Inputs seen, const Tensors& outputs) {
  // A graph's values are never overwritten.
  if (recorded(seen)) return {};
  std::unordered_map<const TensorImpl*, uint32_t> holders;
  for (const Tensor& t : seen) ++holders[t.impl()];
  for (const Tensor& t : outputs)
    if (++holders[t.impl()] == 1 && t.impl()->base) ++holders[t.impl()->base];
  std::vector<Kept> kept;
  const auto look = [&](Inputs tensors, const char* what) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& t = tensors[i];
      if (!t.defined() || t.is_symbolic()) continue;
      if (t.impl()->refs.load(std::memory_order_acquire) > holders[t.impl()])
        kept.push_back({SavedTensor(alias(t)), what, int64_t(i)});
    }
  };
  look(seen, "input");
  look({outputs.data(), outputs.size()}, "output");
  return kept;
}

Tensor function_input(const Tensor& t, bool in_graph) {
  if (!t.defined()) return t;
  if (t.impl()->has(TensorImpl::is_view)) refresh_view(t);
  // A graph knows leaves by their handles.
  if (in_graph && t.requires_grad() && t.is_leaf()) return t;
  Tensor kept = alias(t);
  TensorImpl* k = kept.impl();
  k->flags |= t.impl()->flags & (TensorImpl::needs_grad | TensorImpl::made_in_capture);
  const Edge history = gradient_edge(t);
  k->node = history.node;
  k->output_nr = history.output_nr;
  return kept;
}

}  // namespace

void function_inputs(Inputs inputs, Tensor* seen) {
  const bool in_graph = recorded(inputs);
  for (size_t i = 0; i < inputs.size(); ++i) seen[i] = function_input(inputs[i], in_graph);
}

Tensors record_function(std::shared_ptr<UserFunction> function, Inputs inputs, Inputs seen,
                        Tensors outputs) {
  constexpr size_t most = std::numeric_limits<uint16_t>::max();
  require<ValueError>(!outputs.empty() && outputs.size() <= most, "custom(): forward gave ",
                      int64_t(outputs.size()), " outputs; it must give 1 to ", int64_t(most));
  for (size_t i = 0; i < outputs.size(); ++i)
    require<ValueError>(outputs[i].defined(), "custom(): forward gave an undefined tensor for ",
                        "output ", int64_t(i));
  bool wanted = false;
  for (const Tensor& t : inputs) wanted = wanted || (t.defined() && t.requires_grad());
  if (!wanted || !grad_enabled()) return outputs;
  const Held op{std::make_shared<Call>(Call{std::move(function), kept_by_function(seen, outputs)})};
  Tensors fresh;
  for (const Tensor& t : outputs) fresh.push_back(alias(t));
  record_node(row, &op, inputs.data(), int(inputs.size()), fresh.data(), int(fresh.size()));
  return fresh;
}

}  // namespace tandem::detail
