#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. Integers give f32.
struct Erf {
  static constexpr std::string_view name = "erf";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Erf", 13};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::erf(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Erf> samples();
};

inline Tensor erf(const Tensor& x) { return apply(Erf{}, {x}); }

}  // namespace tandem
