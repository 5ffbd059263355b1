#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// (x - mean) / sqrt(var + eps) * weight + bias, statistics over the last axes.
struct LayerNorm {
  static constexpr std::string_view name = "layer_norm";
  static constexpr std::string_view inputs = "x, weight?, bias?";
  static constexpr bool by_rows = true;
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  Shape normalized_shape = {1};
  double eps = 1e-5;
  static constexpr auto fields = Fields{field("normalized_shape", &LayerNorm::normalized_shape),
                                        field("eps", &LayerNorm::eps)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<LayerNorm> samples();
};

/// The gradients of layer_norm by x, weight and bias.
struct LayerNormGrad {
  static constexpr std::string_view name = "layer_norm_grad";
  static constexpr std::string_view inputs = "x, dy, weight?";
  static constexpr bool by_rows = true;
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};

  Shape normalized_shape = {1};
  double eps = 1e-5;
  static constexpr auto fields = Fields{field("normalized_shape", &LayerNormGrad::normalized_shape),
                                        field("eps", &LayerNormGrad::eps)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& g) const;
  static Samples<LayerNormGrad> samples();
};

/// The same with statistics over groups of channels of x[n, c, ...] and all that follows.
struct GroupNorm {
  static constexpr std::string_view name = "group_norm";
  static constexpr std::string_view inputs = "x, weight?, bias?";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  int64_t num_groups = 1;
  double eps = 1e-5;
  static constexpr auto fields =
      Fields{field("num_groups", &GroupNorm::num_groups), field("eps", &GroupNorm::eps)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<GroupNorm> samples();
};

/// The gradients of group_norm by x, weight and bias.
struct GroupNormGrad {
  static constexpr std::string_view name = "group_norm_grad";
  static constexpr std::string_view inputs = "x, dy, weight?";
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};

  int64_t num_groups = 1;
  double eps = 1e-5;
  static constexpr auto fields =
      Fields{field("num_groups", &GroupNormGrad::num_groups), field("eps", &GroupNormGrad::eps)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& g) const;
  static Samples<GroupNormGrad> samples();
};

/// Layer normalisation (Ba et al., arXiv 1607.06450) over the last axes, whose sizes are
/// `normalized_shape`; weight and bias have that shape and may be undefined. The variance is the
/// biased one. Errors: ShapeError, DTypeError.
inline Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                         const Tensor& bias = {}, double eps = 1e-5) {
  return apply(LayerNorm{normalized_shape, eps}, {x, weight, bias});
}
/// Group normalisation (Wu and He, arXiv 1803.08494) of x[n, c, ...]: c is a multiple of
/// `num_groups`, weight and bias are [c] and may be undefined. Errors: as layer_norm.
inline Tensor group_norm(const Tensor& x, int64_t num_groups, const Tensor& weight = {},
                         const Tensor& bias = {}, double eps = 1e-5) {
  return apply(GroupNorm{num_groups, eps}, {x, weight, bias});
}

}  // namespace tandem
