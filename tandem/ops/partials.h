#pragma once
// How a fused gradient gets a gradient of its own: its meaning is written once more in public ops
// and differentiated by the tape.
#include "tandem/op/op.h"
#include "tandem/op/tape.h"

namespace tandem::detail {

/// d(sum_k <outputs_k, seeds_k>)/d(inputs); undefined where an input is undefined or has no part in
/// it. Implemented by the engine.
TANDEM_API Tensors gradients(const Tensors& outputs, const Tensors& inputs, const Tensors& seeds,
                             bool create_graph);
/// The same values as variables that do not depend on each other. With `linked`, gradients flow on
/// to what they were made from. Undefined and integer tensors stay as they are.
TANDEM_API Tensors variables(const Tensors& values, bool linked);

/// Gradients of sum_k <f(in)_k, g_k> by each of `in`. `f` takes and gives Tensors, in public ops.
template <class F>
Tensors vjp_through(const Tensors& in, const Tensors& g, F&& f) {
  const bool record = grad_enabled();
  EnableGrad on;
  const Tensors x = variables(in, record);
  return gradients(f(x), x, g, record);
}

/// Gradients of sum_k <d<f(in), dy>/d(in_k), g_k> by each of `in`, then by each of `dy`: what a
/// record that computes f's gradient by hand gives for its own. Undefined g_k are left out.
template <class F>
Tensors vjp_of_gradient(const Tensors& in, const Tensors& dy, const Tensors& g, F&& f) {
  const bool record = grad_enabled();
  EnableGrad on;
  const Tensors x = variables(in, record), seeds = variables(dy, record);
  const Tensors first = gradients(f(x), x, seeds, true);
  Tensors all = x;
  for (const Tensor& s : seeds) all.push_back(s);
  return gradients(first, all, g, record);
}

}  // namespace tandem::detail
