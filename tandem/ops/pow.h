#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x to the power y, broadcast and promoted, as C's pow. Whole numbers stay whole and wrap around;
/// a negative exponent then gives 0, but 1 and -1 for a base of 1 and -1. Errors: DTypeError for
/// two booleans, ValueError for an integer x and a negative whole C++ number y.
struct Pow {
  static constexpr std::string_view name = "pow";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Pow", 15};
  static constexpr Saves saves{.in = {0, 1}, .out = {0}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_integral_v<A>) {
      if constexpr (std::is_signed_v<A>)
        if (y < 0) return x == 1 ? 1 : x == -1 ? (y % 2 ? -1 : 1) : 0;
      uint64_t p = 1, base = uint64_t(x);
      for (uint64_t e = uint64_t(y); e; e >>= 1) {
        if (e & 1) p *= base;
        base *= base;
      }
      return A(p);
    } else {
      return math::pow(x, y);
    }
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Pow> samples();
};

/// x * x. Booleans give i64.
struct Square {
  static constexpr std::string_view name = "square";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::mul(x, x);
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Square> samples();
};

inline Tensor square(const Tensor& x) { return apply(Square{}, {x}); }
/// Pow; the C++ numbers 2, 3, 0.5, -0.5, -1 and -2 as exponents of floating tensors take shorter
/// ways (square, sqrt, reciprocal, ...), as in PyTorch.
TANDEM_API Tensor pow(const Tensor& x, const Tensor& y);

}  // namespace tandem
