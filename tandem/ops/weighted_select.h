#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// Along `axis`, each element of the result is a weighted sum of a few of x: y[o] = sum over k of
/// weight[o, k] x[place[o, k]]. place is i64[out, K], weight [out, K] of x's dtype. This is how
/// pictures are made larger and smaller. Errors: ShapeError, DTypeError, IndexError.
struct WeightedSelect {
  static constexpr std::string_view name = "weighted_select";
  static constexpr std::string_view inputs = "x, place, weight";
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &WeightedSelect::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<WeightedSelect> samples();
};

inline Tensor weighted_select(const Tensor& x, int64_t axis, const Tensor& place,
                              const Tensor& weight) {
  return apply(WeightedSelect{.axis = axis}, {x, place, weight});
}

}  // namespace tandem
