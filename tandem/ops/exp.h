#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// e^x. Integers give f32.
struct Exp {
  static constexpr std::string_view name = "exp";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Exp", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::exp(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Exp> samples();
};

inline Tensor exp(const Tensor& x) { return apply(Exp{}, {x}); }

}  // namespace tandem
