#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Mean over `axes` (none given: all), NaN of no elements. Errors: DTypeError unless floating.
struct Mean {
  static constexpr std::string_view name = "mean";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"ReduceMean", 13};

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Mean::axes), field("keepdim", &Mean::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    return A(0);
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return acc + x;
  }
  template <class A>
  TANDEM_FN static A fold_merge(A a, A b) {
    return a + b;
  }
  template <class A>
  TANDEM_FN A fold_finish(A acc, int64_t n) const {
    if constexpr (std::is_floating_point_v<A>) return acc / A(n);
    else return acc;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Mean> samples();
};

inline Tensor mean(const Tensor& x, const Shape& axes = {}, bool keepdim = false) {
  return apply(Mean{.axes = axes, .keepdim = keepdim}, {x});
}

}  // namespace tandem
