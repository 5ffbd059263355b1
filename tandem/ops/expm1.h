#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// e^x - 1, accurate near zero. Integers give f32.
struct Expm1 {
  static constexpr std::string_view name = "expm1";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::expm1(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Expm1> samples();
};

inline Tensor expm1(const Tensor& x) { return apply(Expm1{}, {x}); }

}  // namespace tandem
