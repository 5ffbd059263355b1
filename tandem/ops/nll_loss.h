#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

/// Minus the weighted log-probability of the target class.
struct NllLoss {
  static constexpr std::string_view name = "nll_loss";
  static constexpr std::string_view inputs = "x, target, weight?";
  static constexpr OnnxRule onnx{"NegativeLogLikelihoodLoss", 13};
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};

  int64_t ignore_index = -100;
  std::string reduction = "mean";
  static constexpr auto fields = Fields{field("ignore_index", &NllLoss::ignore_index),
                                        field("reduction", &NllLoss::reduction)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<NllLoss> samples();
};

/// The gradient of nll_loss by x, which has `classes` classes.
struct NllLossGrad {
  static constexpr std::string_view name = "nll_loss_grad";
  static constexpr std::string_view inputs = "dy, target, weight?";
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};

  Length classes = 1;
  int64_t ignore_index = -100;
  std::string reduction = "mean";
  static constexpr auto fields = Fields{field("classes", &NllLossGrad::classes),
                                        field("ignore_index", &NllLossGrad::ignore_index),
                                        field("reduction", &NllLossGrad::reduction)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<NllLossGrad> samples();
};

struct NLLLossOptions {
  ByName by_name = ByName();
  Tensor weight = {};  ///< one a class
  int64_t ignore_index = -100;
  std::string reduction = "mean";  ///< or "sum", "none"
};
/// Negative log-likelihood: x[n, classes, ...] (or [classes]) holds log-probabilities, target
/// [n, ...] (or []) class numbers; loss = -weight[t] x[t], 0 where t is `ignore_index`. "mean"
/// divides the sum by the weights of the targets that count. Errors: ShapeError, DTypeError,
/// ValueError for the reduction, IndexError for a target outside the classes.
inline Tensor nll_loss(const Tensor& x, const Tensor& target, const NLLLossOptions& o = {}) {
  return apply(NllLoss{.ignore_index = o.ignore_index, .reduction = o.reduction},
               {x, target, o.weight});
}

}  // namespace tandem
