#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// log(sum(e^x)) over `axes` (none given: all), without overflow. Integers give f32.
struct Logsumexp {
  static constexpr std::string_view name = "logsumexp";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"ReduceLogSumExp", 13};
  static constexpr Saves saves{.in = {0}, .out = {0}};

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Logsumexp::axes), field("keepdim", &Logsumexp::keepdim)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Logsumexp> samples();
};

inline Tensor logsumexp(const Tensor& x, const Shape& axes, bool keepdim = false) {
  return apply(Logsumexp{.axes = axes, .keepdim = keepdim}, {x});
}

}  // namespace tandem
