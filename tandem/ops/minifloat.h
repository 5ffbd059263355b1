#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x rounded to what a float of 8 or 4 bits can hold, to the nearest, of two the even one. `format`
/// is e4m3fn, e4m3fnuz, e5m2, e5m2fnuz (8 bits), e2m1 (4 bits) or e8m0 (powers of two; NaN for
/// negative numbers). Numbers beyond the largest one become it when `saturate`, else infinity where
/// the format has one, else NaN; e2m1 always saturates, and takes NaN for -0. `rounding`:
/// "nearest", or, for e8m0, "up" or "down". The dtype of x. Errors: ValueError for other texts,
/// DTypeError unless x is floating.
struct Minifloat {
  static constexpr std::string_view name = "minifloat";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "rounding is a staircase";
  static constexpr bool broadcasts = true;

  std::string format = "e4m3fn";
  bool saturate = true;
  std::string rounding = "nearest";
  static constexpr auto fields =
      Fields{field("format", &Minifloat::format), field("saturate", &Minifloat::saturate),
             field("rounding", &Minifloat::rounding)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Minifloat> samples();
};

inline Tensor minifloat(const Tensor& x, std::string format, bool saturate = true,
                        std::string rounding = "nearest") {
  return apply(Minifloat{std::move(format), saturate, std::move(rounding)}, {x});
}

}  // namespace tandem
