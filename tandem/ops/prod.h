#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Product over `axes` (none given: all). Booleans and integers give i64.
struct Prod {
  static constexpr std::string_view name = "prod";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"ReduceProd", 13};
  static constexpr Saves saves{.in = {0}, .out = {}};

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Prod::axes), field("keepdim", &Prod::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    return A(1);
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return math::mul(acc, x);
  }
  template <class A>
  TANDEM_FN static A fold_merge(A a, A b) {
    return math::mul(a, b);
  }
  template <class A>
  TANDEM_FN A fold_finish(A acc, int64_t) const {
    return acc;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Prod> samples();
};

/// dy[..., 1] times the product of all other elements of the last axis of x: the gradient of Prod,
/// right where elements are zero.
struct ProdGrad {
  static constexpr std::string_view name = "prod_grad";
  static constexpr std::string_view inputs = "x, dy";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ProdGrad> samples();
};

inline Tensor prod(const Tensor& x, const Shape& axes = {}, bool keepdim = false) {
  return apply(Prod{.axes = axes, .keepdim = keepdim}, {x});
}

}  // namespace tandem
