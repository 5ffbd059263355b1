#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The hyperbolic tangent. Integers give f32.
struct Tanh {
  static constexpr std::string_view name = "tanh";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Tanh", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::tanh(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Tanh> samples();
};

/// The gradient of tanh from its result: dy * (1 - y^2).
struct TanhGrad {
  static constexpr std::string_view name = "tanh_grad";
  static constexpr std::string_view inputs = "dy, y";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A dy, A y) const {
    return dy * (A(1) - y * y);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<TanhGrad> samples();
};

inline Tensor tanh(const Tensor& x) { return apply(Tanh{}, {x}); }
inline Tensor tanh_grad(const Tensor& dy, const Tensor& y) { return apply(TanhGrad{}, {dy, y}); }

}  // namespace tandem
