#pragma once
#include "tandem/op/op.h"

namespace tandem {

// Products of 8-bit integers, signed or not, that stand for numbers moved by a zero point. Sums are
// exact 32-bit integers.

/// (x - x_zero) (y - y_zero) as i32: x[..., m, k], y[..., k, n] of i8 or u8, leading axes
/// broadcast. Zero points have the operand's dtype and one element; that of x may have one a row,
/// [m], that of y one a column, [n]. Errors: ShapeError, DTypeError.
struct Int8Matmul {
  static constexpr std::string_view name = "int8_matmul";
  static constexpr std::string_view inputs = "x, y, x_zero?, y_zero?";
  static constexpr std::string_view not_differentiable = "its operands are integers";
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Int8Matmul> samples();
};

/// Sums as stored integers: round(x scale) + zero, limited to what `dtype`, i8 or u8, holds; x is
/// i32. `scale`, f32, has one element or one for each index of `axis`; `bias`, i32, is added to x
/// first and has the shape of scale; `zero` has one element. Errors: ShapeError, DTypeError.
struct Requantize {
  static constexpr std::string_view name = "requantize";
  static constexpr std::string_view inputs = "x, scale, zero, bias?";
  static constexpr std::string_view not_differentiable = "its operands are integers";

  DType dtype = u8;
  int64_t axis = 1;
  static constexpr auto fields =
      Fields{field("dtype", &Requantize::dtype), field("axis", &Requantize::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Requantize> samples();
};

inline Tensor int8_matmul(const Tensor& x, const Tensor& y, const Tensor& x_zero = {},
                          const Tensor& y_zero = {}) {
  return apply(Int8Matmul{}, {x, y, x_zero, y_zero});
}
inline Tensor requantize(const Tensor& x, const Tensor& scale, const Tensor& zero,
                         const Tensor& bias, DType dtype, int64_t axis = 1) {
  return apply(Requantize{dtype, axis}, {x, scale, zero, bias});
}

}  // namespace tandem
