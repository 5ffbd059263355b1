#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// Sums of the elements up to each place along `axis`. Booleans and integers give i64.
struct Cumsum {
  static constexpr std::string_view name = "cumsum";
  static constexpr std::string_view inputs = "x";

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &Cumsum::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cumsum> samples();
};

inline Tensor cumsum(const Tensor& x, int64_t axis) { return apply(Cumsum{.axis = axis}, {x}); }

}  // namespace tandem
