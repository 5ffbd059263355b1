#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x * Phi(x), Phi the normal distribution function: approximate "none" is x (1 + erf(x / sqrt 2))
/// / 2, "tanh" replaces Phi by (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Hendrycks and
/// Gimpel 2016, arXiv:1606.08415. Integers give f32. Errors: ValueError for another `approximate`.
struct Gelu {
  static constexpr std::string_view name = "gelu";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr bool broadcasts = true;

  std::string approximate = "none";
  static constexpr auto fields = Fields{field("approximate", &Gelu::approximate)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Gelu> samples();
};

/// The gradient of gelu: dy * gelu'(x).
struct GeluGrad {
  static constexpr std::string_view name = "gelu_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr bool broadcasts = true;

  std::string approximate = "none";
  static constexpr auto fields = Fields{field("approximate", &GeluGrad::approximate)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<GeluGrad> samples();
};

inline Tensor gelu(const Tensor& x, std::string_view approximate = "none") {
  return apply(Gelu{.approximate = std::string(approximate)}, {x});
}
inline Tensor gelu_grad(const Tensor& dy, const Tensor& x, std::string_view approximate) {
  return apply(GeluGrad{.approximate = std::string(approximate)}, {dy, x});
}

}  // namespace tandem
