#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Sum over `axes` (none given: all). Booleans and integers give i64.
struct Sum {
  static constexpr std::string_view name = "sum";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"ReduceSum", 13};

  Shape axes;
  bool keepdim = false;
  static constexpr auto fields = Fields{field("axes", &Sum::axes), field("keepdim", &Sum::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    return A(0);
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return math::add(acc, x);
  }
  template <class A>
  TANDEM_FN static A fold_merge(A a, A b) {
    return math::add(a, b);
  }
  template <class A>
  TANDEM_FN A fold_finish(A acc, int64_t) const {
    return acc;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sum> samples();
};

/// `x` summed down to `shape`, from which it broadcasts: what sum_to() leaves to the run, which
/// knows whether a length is 1.
struct SumTo {
  static constexpr std::string_view name = "sum_to";
  static constexpr std::string_view inputs = "x";

  Shape shape;
  static constexpr auto fields = Fields{field("shape", &SumTo::shape)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SumTo> samples();
};

inline Tensor sum(const Tensor& x, const Shape& axes = {}, bool keepdim = false) {
  return apply(Sum{.axes = axes, .keepdim = keepdim}, {x});
}
/// Undoes broadcasting: sums `x` down to `shape`.
TANDEM_API Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace tandem
