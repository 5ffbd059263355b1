#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// A copy of `x` in which y[i][index[i][j][k]][k] is joined with src[i][j][k] for axis 1: by
/// `reduce`, "prod", "amax" or "amin". Indices may repeat; `src` has the shape of `index`. Equal
/// extremes share the gradient. Errors: IndexError, ShapeError, DTypeError, ValueError.
struct ScatterReduce {
  static constexpr std::string_view name = "scatter_reduce";
  static constexpr std::string_view inputs = "x, index, src";
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {0}};

  int64_t axis = 0;
  std::string reduce = "prod";
  static constexpr auto fields =
      Fields{field("axis", &ScatterReduce::axis), field("reduce", &ScatterReduce::reduce)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ScatterReduce> samples();
};

inline Tensor scatter_reduce(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& src,
                             std::string reduce) {
  return apply(ScatterReduce{axis, std::move(reduce)}, {x, index, src});
}

}  // namespace tandem
