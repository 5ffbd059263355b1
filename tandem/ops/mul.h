#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x * y, broadcast and promoted. For booleans: x and y.
struct Mul {
  static constexpr std::string_view name = "mul";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Mul", 14};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    return math::mul(x, y);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Mul> samples();
};

inline Tensor mul(const Tensor& x, const Tensor& y) { return apply(Mul{}, {x, y}); }
inline Tensor operator*(const Tensor& x, const Tensor& y) { return apply(Mul{}, {x, y}); }

}  // namespace tandem
