#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x above zero, else alpha * (e^x - 1). Clevert et al. 2015, arXiv:1511.07289. Integers give f32.
struct Elu {
  static constexpr std::string_view name = "elu";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Elu", 6};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;

  double alpha = 1;
  static constexpr auto fields = Fields{field("alpha", &Elu::alpha)};

  template <class A>
  TANDEM_FN A point(A x) const {
    return x < A(0) ? math::expm1(x) * A(alpha) : x;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Elu> samples();
};

/// The gradient of elu: dy, times alpha * e^x where x <= 0.
struct EluGrad {
  static constexpr std::string_view name = "elu_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;

  double alpha = 1;
  static constexpr auto fields = Fields{field("alpha", &EluGrad::alpha)};

  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    return x <= A(0) ? dy * (A(alpha) * math::exp(x)) : dy;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<EluGrad> samples();
};

inline Tensor elu(const Tensor& x, double alpha = 1) { return apply(Elu{.alpha = alpha}, {x}); }
inline Tensor elu_grad(const Tensor& dy, const Tensor& x, double alpha) {
  return apply(EluGrad{.alpha = alpha}, {dy, x});
}

}  // namespace tandem
