#include "tandem/autograd/function.h"

#include <limits>

namespace tandem::detail {
namespace {

/// The record of every user-written function; what it does is in the object that it holds.
struct Held {
  std::shared_ptr<UserFunction> function;
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
    dx = held(op).function->backward(dy);
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

}  // namespace

Tensor function_input(const Tensor& t) {
  if (!t.defined()) return t;
  if (t.impl()->has(TensorImpl::is_view)) refresh_view(t);
  if (t.requires_grad() && t.is_leaf()) return t;
  Tensor kept = alias(t);
  TensorImpl* k = kept.impl();
  k->flags |= t.impl()->flags & (TensorImpl::needs_grad | TensorImpl::wrapped_number);
  k->node = t.impl()->node;
  k->output_nr = t.impl()->output_nr;
  if (k->node) add_ref(k->node->refs);
  return kept;
}

Tensors record_function(std::shared_ptr<UserFunction> function, Inputs inputs, Tensors outputs) {
  constexpr size_t most = std::numeric_limits<uint16_t>::max();
  require<ValueError>(!outputs.empty() && outputs.size() <= most, "custom(): forward gave ",
                      int64_t(outputs.size()), " outputs; it must give 1 to ", int64_t(most));
  for (size_t i = 0; i < outputs.size(); ++i)
    require<ValueError>(outputs[i].defined(), "custom(): forward gave an undefined tensor for ",
                        "output ", int64_t(i));
  bool wanted = false;
  for (const Tensor& t : inputs) wanted = wanted || (t.defined() && t.requires_grad());
  if (!wanted || !grad_enabled()) return outputs;
  Tensors fresh;
  for (const Tensor& t : outputs) fresh.push_back(alias(t));
  const Held op{std::move(function)};
  record_node(row, &op, inputs.data(), int(inputs.size()), fresh.data(), int(fresh.size()));
  return fresh;
}

}  // namespace tandem::detail
