#pragma once
#include "tandem/core/factory.h"
#include "tandem/op/op.h"

namespace tandem {

// Reading and writing at places along one axis. Indices are integers, not negative; an index out
// of range is an IndexError.

/// y[i][j][k] = x[i][index[i][j][k]][k] for axis 1, and so on. `index` has as many axes as `x` and
/// is not longer than it along the others; y has its shape.
struct Gather {
  static constexpr std::string_view name = "gather";
  static constexpr std::string_view inputs = "x, index";
  static constexpr OnnxRule onnx{"GatherElements", 13};
  static constexpr Saves saves{.in = {1}, .out = {}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &Gather::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Gather> samples();
};

/// A copy of `x` with y[i][index[i][j][k]][k] = src[i][j][k] for axis 1. `src` is at least as large
/// as `index`, or a single value (0-d). Where an index appears twice the last one wins.
struct Scatter {
  static constexpr std::string_view name = "scatter";
  static constexpr std::string_view inputs = "x, index, src";
  static constexpr OnnxRule onnx{"ScatterElements", 13};
  static constexpr Saves saves{.in = {1}, .out = {}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &Scatter::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Scatter> samples();
};

/// As Scatter, adding to what is there; indices may repeat.
struct ScatterAdd {
  static constexpr std::string_view name = "scatter_add";
  static constexpr std::string_view inputs = "x, index, src";
  static constexpr Saves saves{.in = {1}, .out = {}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &ScatterAdd::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ScatterAdd> samples();
};

/// The slices of `x` along `axis` that `index` (i64[n] or 0-d) names.
struct IndexSelect {
  static constexpr std::string_view name = "index_select";
  static constexpr std::string_view inputs = "x, index";
  static constexpr OnnxRule onnx{"Gather", 13};
  static constexpr Saves saves{.in = {1}, .out = {}};

  int64_t axis = 0;
  static constexpr auto fields = Fields{field("axis", &IndexSelect::axis)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<IndexSelect> samples();
};

/// A copy of `x` with alpha * src's slice i added to the slice index[i] along `axis`.
struct IndexAdd {
  static constexpr std::string_view name = "index_add";
  static constexpr std::string_view inputs = "x, index, src";
  static constexpr Saves saves{.in = {1}, .out = {}};

  int64_t axis = 0;
  double alpha = 1;
  static constexpr auto fields =
      Fields{field("axis", &IndexAdd::axis), field("alpha", &IndexAdd::alpha)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<IndexAdd> samples();
};

inline Tensor gather(const Tensor& x, int64_t axis, const Tensor& index) {
  return apply(Gather{.axis = axis}, {x, index});
}
inline Tensor scatter(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& src) {
  return apply(Scatter{.axis = axis}, {x, index, detail::number_as("scatter()", src, x.dtype())});
}
inline Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& src) {
  return apply(ScatterAdd{.axis = axis},
               {x, index, detail::number_as("scatter_add()", src, x.dtype())});
}
inline Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index) {
  return apply(IndexSelect{.axis = axis}, {x, index});
}
inline Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& src,
                        double alpha = 1) {
  return apply(IndexAdd{.axis = axis, .alpha = alpha}, {x, index, src});
}

}  // namespace tandem
