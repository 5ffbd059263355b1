#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// log(1 + e^(beta x)) / beta, and x itself where beta x exceeds threshold. Integers give f32.
struct Softplus {
  static constexpr std::string_view name = "softplus";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Softplus", 1};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;

  double beta = 1;
  double threshold = 20;
  static constexpr auto fields =
      Fields{field("beta", &Softplus::beta), field("threshold", &Softplus::threshold)};

  template <class A>
  TANDEM_FN A point(A x) const {
    const A z = x * A(beta);
    return z > A(threshold) ? x : math::log1p(math::exp(z)) / A(beta);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Softplus> samples();
};

/// The gradient of softplus: dy * sigmoid(beta x), and dy where beta x exceeds threshold.
struct SoftplusGrad {
  static constexpr std::string_view name = "softplus_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;

  double beta = 1;
  double threshold = 20;
  static constexpr auto fields =
      Fields{field("beta", &SoftplusGrad::beta), field("threshold", &SoftplusGrad::threshold)};

  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    const A z = x * A(beta);
    return z > A(threshold) ? dy : dy * math::sigmoid(z);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SoftplusGrad> samples();
};

inline Tensor softplus(const Tensor& x, double beta = 1, double threshold = 20) {
  return apply(Softplus{.beta = beta, .threshold = threshold}, {x});
}
inline Tensor softplus_grad(const Tensor& dy, const Tensor& x, double beta, double threshold) {
  return apply(SoftplusGrad{.beta = beta, .threshold = threshold}, {dy, x});
}

}  // namespace tandem
