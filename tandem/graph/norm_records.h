#pragma once
#include "tandem/op/op.h"

// Records that `fuse_batch_norm` makes. They are not in the op table: what they compute is what the
// records that they replace say, and so is their gradient.

namespace tandem::graph {

/// batch_norm with a sum and a relu behind it: {relu(y + residual), mean, var}.
struct FusedBatchNorm {
  static constexpr std::string_view name = "fused_batch_norm";
  static constexpr std::string_view inputs =
      "x, weight?, bias?, running_mean?, running_var?, residual?";
  static constexpr int outputs = 3;
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";

  bool training = false, relu = false;
  double eps = 1e-5;
  static constexpr auto fields =
      Fields{field("training", &FusedBatchNorm::training), field("eps", &FusedBatchNorm::eps),
             field("relu", &FusedBatchNorm::relu)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<FusedBatchNorm> samples();
};

/// batch_norm_grad with the relu_grad in front of it: `y` is what the relu gave.
struct FusedBatchNormGrad {
  static constexpr std::string_view name = "fused_batch_norm_grad";
  static constexpr std::string_view inputs = "x, dy, mean, var, dmean, dvar, weight, y";
  static constexpr int outputs = 3;
  static constexpr std::string_view not_differentiable =
      "made by a pass, after gradients were taken";

  bool training = false;
  double eps = 1e-5;
  static constexpr auto fields = Fields{field("training", &FusedBatchNormGrad::training),
                                        field("eps", &FusedBatchNormGrad::eps)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<FusedBatchNormGrad> samples();
};

/// The row of one of these records, or null.
TANDEM_API const OpInfo* find_norm_record(std::string_view name);

}  // namespace tandem::graph
