#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// 1 / (1 + e^-x). Integers give f32.
struct Sigmoid {
  static constexpr std::string_view name = "sigmoid";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Sigmoid", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::sigmoid(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sigmoid> samples();
};

/// The gradient of sigmoid from its result: dy * y * (1 - y).
struct SigmoidGrad {
  static constexpr std::string_view name = "sigmoid_grad";
  static constexpr std::string_view inputs = "dy, y";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A dy, A y) const {
    return dy * y * (A(1) - y);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SigmoidGrad> samples();
};

inline Tensor sigmoid(const Tensor& x) { return apply(Sigmoid{}, {x}); }
inline Tensor sigmoid_grad(const Tensor& dy, const Tensor& y) {
  return apply(SigmoidGrad{}, {dy, y});
}

}  // namespace tandem
