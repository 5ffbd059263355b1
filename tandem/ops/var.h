#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// Variance over `axes` (none given: all): the sum of squared distances from the mean, by two
/// passes, over n - correction (but not below zero). Errors: DTypeError unless floating.
struct Var {
  static constexpr std::string_view name = "var";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr Saves saves{.in = {0}, .out = {}};

  Shape axes = {};
  double correction = 1;
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Var::axes), field("correction", &Var::correction),
             field("keepdim", &Var::keepdim)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Var> samples();
};

/// Standard deviation: the root of Var. Its gradient is zero where it is zero.
struct Std {
  static constexpr std::string_view name = "std";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr Saves saves{.in = {0}, .out = {0}};

  Shape axes = {};
  double correction = 1;
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Std::axes), field("correction", &Std::correction),
             field("keepdim", &Std::keepdim)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Std> samples();
};

inline Tensor var(const Tensor& x, const Shape& axes = {}, double correction = 1,
                  bool keepdim = false) {
  return apply(Var{.axes = axes, .correction = correction, .keepdim = keepdim}, {x});
}
/// Named so because `std` inside namespace tandem would hide the standard library's namespace.
inline Tensor stddev(const Tensor& x, const Shape& axes = {}, double correction = 1,
                     bool keepdim = false) {
  return apply(Std{.axes = axes, .correction = correction, .keepdim = keepdim}, {x});
}

}  // namespace tandem
