#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// Products of the elements up to each place along `axis`. Booleans and integers give i64.
struct Cumprod {
  static constexpr std::string_view name = "cumprod";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {0}, .out = {}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &Cumprod::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cumprod> samples();
};

/// y[0] = b[0], y[n] = a[n] y[n - 1] + b[n] along `axis`; a[0] is not read. a and b are floating,
/// of one shape and dtype.
struct LinearRecurrence {
  static constexpr std::string_view name = "linear_recurrence";
  static constexpr std::string_view inputs = "a, b";
  static constexpr Saves saves{.in = {0}, .out = {0}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &LinearRecurrence::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<LinearRecurrence> samples();
};

inline Tensor cumprod(const Tensor& x, int64_t axis) { return apply(Cumprod{.axis = axis}, {x}); }
/// Errors: ShapeError, DTypeError.
inline Tensor linear_recurrence(const Tensor& a, const Tensor& b, int64_t axis) {
  return apply(LinearRecurrence{.axis = axis}, {a, b});
}

}  // namespace tandem
