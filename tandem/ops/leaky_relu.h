#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x above zero, else negative_slope * x. Integers give f32.
struct LeakyRelu {
  static constexpr std::string_view name = "leaky_relu";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"LeakyRelu", 6};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;

  double negative_slope = 0.01;
  static constexpr auto fields = Fields{field("negative_slope", &LeakyRelu::negative_slope)};

  template <class A>
  TANDEM_FN A point(A x) const {
    return x > A(0) ? x : x * A(negative_slope);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<LeakyRelu> samples();
};

/// The gradient of leaky_relu: dy, times negative_slope where x <= 0.
struct LeakyReluGrad {
  static constexpr std::string_view name = "leaky_relu_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {1}, .out = {}};
  static constexpr Result result = Result::floating;

  double negative_slope = 0.01;
  static constexpr auto fields = Fields{field("negative_slope", &LeakyReluGrad::negative_slope)};

  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    return x > A(0) ? dy : dy * A(negative_slope);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<LeakyReluGrad> samples();
};

inline Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01) {
  return apply(LeakyRelu{.negative_slope = negative_slope}, {x});
}
inline Tensor leaky_relu_grad(const Tensor& dy, const Tensor& x, double negative_slope) {
  return apply(LeakyReluGrad{.negative_slope = negative_slope}, {dy, x});
}

}  // namespace tandem
