#pragma once
// What reductions share: their shape rule and how a gradient is spread back.
#include "tandem/op/op.h"

namespace tandem::detail {

/// `axes` counted from the front, in order; all axes when none are given.
template <class O>
Shape reduced_axes(const O& op, const Shape& axes, const Shape& shape) {
  bool hit[max_dims] = {};
  Shape out;
  for (int64_t axis : axes) {
    const int a = check_axis(op, axis, shape);
    check<IndexError>(!hit[a], op, "axis ", axis, " appears twice in ", axes, " for shape ", shape);
    hit[a] = true;
  }
  for (int i = 0; i < shape.size(); ++i)
    if (hit[i] || axes.empty()) out.push_back(i);
  return out;
}

template <class O>
Shape reduced_shape(const O& op, const Shape& axes, bool keepdim, const Shape& shape) {
  const Shape gone = reduced_axes(op, axes, shape);
  Shape out = shape;
  for (int64_t a : gone) out[int(a)] = 1;
  if (!keepdim)
    for (int i = gone.size() - 1; i >= 0; --i) out.erase(int(gone[i]));
  return out;
}

/// `y` (a reduction's result or its gradient) with the reduced axes back, of length one.
TANDEM_API Tensor restore_axes(const Tensor& y, const Shape& axes, bool keepdim,
                               const Shape& shape);

}  // namespace tandem::detail
