#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

/// (x - mean) / sqrt(var + eps) * weight + bias per channel (axis 1) of x[n, c, ...]: with the
/// batch's own statistics when `training`, else with the running ones. Gives y, and the mean and
/// the biased variance that were used, [c], in f32 (f64 for f64).
struct BatchNorm {
  static constexpr std::string_view name = "batch_norm";
  static constexpr std::string_view inputs = "x, weight?, bias?, running_mean?, running_var?";
  static constexpr OnnxRule onnx{"BatchNormalization", 15};
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1}, .out = {1, 2}};

  bool training = false;
  double eps = 1e-5;
  static constexpr auto fields =
      Fields{field("training", &BatchNorm::training), field("eps", &BatchNorm::eps)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<BatchNorm> samples();
};

/// The gradients of batch_norm by x, weight and bias, given those of its three outputs. mean and
/// var count as results of x when `training`, else as constants.
struct BatchNormGrad {
  static constexpr std::string_view name = "batch_norm_grad";
  static constexpr std::string_view inputs = "x, dy, mean, var, dmean, dvar, weight?";
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5, 6}, .out = {}};

  bool training = false;
  double eps = 1e-5;
  static constexpr auto fields =
      Fields{field("training", &BatchNormGrad::training), field("eps", &BatchNormGrad::eps)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& g) const;
  static Samples<BatchNormGrad> samples();
};

struct BatchNormOptions {
  ByName by_name = ByName();
  Tensor weight = {}, bias = {};  ///< [c]
  bool training = false;
  double momentum = 0.1, eps = 1e-5;
};
/// Batch normalisation (Ioffe and Szegedy, arXiv 1502.03167) of x[n, c, ...]. When `training`, the
/// running statistics, if given, move towards the batch's by `momentum` (the variance unbiased), in
/// place. Errors: ShapeError for statistics or parameters other than [c], ValueError when training
/// on one value a channel, or without running statistics otherwise.
TANDEM_API Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                             const BatchNormOptions& o = {});

}  // namespace tandem
