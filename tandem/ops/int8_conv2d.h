#pragma once
#include "tandem/op/op.h"
#include "tandem/ops/conv.h"

namespace tandem {

/// The cross-correlation of x[n, c, h, w] - x_zero with weight[oc, c / groups, kh, kw] - w_zero as
/// i32. `padding` is one number, two, or top, left, bottom, right. Zero points have one element;
/// that of the weight may have one an output channel. Errors: ShapeError, DTypeError, ValueError.
struct Int8Conv2d {
  static constexpr std::string_view name = "int8_conv2d";
  static constexpr std::string_view inputs = "x, weight, x_zero?, w_zero?";
  static constexpr std::string_view not_differentiable = "its operands are integers";

  Shape stride = {1}, padding = {0}, dilation = {1};
  int64_t groups = 1;
  static constexpr auto fields =
      Fields{field("stride", &Int8Conv2d::stride), field("padding", &Int8Conv2d::padding),
             field("dilation", &Int8Conv2d::dilation), field("groups", &Int8Conv2d::groups)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Int8Conv2d> samples();
};

inline Tensor int8_conv2d(const Tensor& x, const Tensor& weight, const Tensor& x_zero = {},
                          const Tensor& w_zero = {}, const Conv2dOptions& o = {}) {
  return apply(Int8Conv2d{o.stride, o.padding, o.dilation, o.groups}, {x, weight, x_zero, w_zero});
}

}  // namespace tandem
