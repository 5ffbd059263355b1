#pragma once
// Gradients that plain code has only where a branch was taken. A graph makes a number of each all
// the same: what would come of it in ops with an infinite derivative must reach nothing else.
#include "tandem/core/tensor_extras.h"

namespace tandem::detail {

/// When plain code has a gradient; an undefined condition: always.
struct Taken {
  Tensor condition;
  bool holds = true;

  bool always() const { return !condition.defined(); }
};

inline Taken taken_of(const Tensor& gradient) {
  if (!gradient.defined() || !gradient.is_symbolic()) [[likely]]
    return {};
  const TensorExtras& e = *gradient.impl()->extras;
  return {e.taken, e.taken_if};
}
inline bool is_partial(const Tensor& gradient) {
  return gradient.defined() && gradient.is_symbolic() && gradient.impl()->extras->taken.defined();
}

/// The gradient, marked; `zero`: its elements are zero elsewhere.
TANDEM_API Tensor where_taken(const Tensor& gradient, const Taken& when, bool zero);
/// The gradient, zero elsewhere.
TANDEM_API Tensor settled(const Tensor& gradient);
/// Where both have, and where one of them has.
Taken both(const Taken& a, const Taken& b);
Taken either(const Taken& a, const Taken& b);
/// The sum of two gradients, one of them marked.
Tensor sum_of_partial(const Tensor& a, const Tensor& b);
/// What the gradients of one node have in common; where that differs they are settled.
Taken common(Tensors& gradients);
/// Whether a node's gradient, made of gradients that are there when `taken` says, is zero
/// elsewhere.
bool stays_zero(const Tensor& gradient, const Taken& taken);
/// A condition as a boolean without axes.
TANDEM_API Tensor as_boolean(const Taken& when);

}  // namespace tandem::detail
