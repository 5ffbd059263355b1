#pragma once
#include "tandem/core/by_name.h"
#include "tandem/nn/module.h"
#include "tandem/ops/binary_cross_entropy_with_logits.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/nll_loss.h"

// Losses of x against a target. reduction: "mean", "sum" or "none"; the formulas stand beside the
// functions of the same names in tandem/ops.

namespace tandem::nn {

struct MSELossOptions {
  ByName by_name = ByName();
  std::string reduction = "mean";
};
/// The mean of (x - target)^2.
struct TANDEM_API MSELoss : Module<MSELoss> {
  std::string reduction;

  explicit MSELoss(MSELossOptions o = {}) : reduction(std::move(o.reduction)) {}
  static constexpr auto fields = Fields{field("reduction", &MSELoss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

struct L1LossOptions {
  ByName by_name = ByName();
  std::string reduction = "mean";
};
/// The mean of |x - target|.
struct TANDEM_API L1Loss : Module<L1Loss> {
  std::string reduction;

  explicit L1Loss(L1LossOptions o = {}) : reduction(std::move(o.reduction)) {}
  static constexpr auto fields = Fields{field("reduction", &L1Loss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

struct SmoothL1LossOptions {
  ByName by_name = ByName();
  double beta = 1;
  std::string reduction = "mean";
};
/// Quadratic within `beta` of the target, linear beyond (Girshick 2015).
struct TANDEM_API SmoothL1Loss : Module<SmoothL1Loss> {
  double beta;
  std::string reduction;

  explicit SmoothL1Loss(SmoothL1LossOptions o = {})
      : beta(o.beta), reduction(std::move(o.reduction)) {}
  static constexpr auto fields =
      Fields{field("beta", &SmoothL1Loss::beta), field("reduction", &SmoothL1Loss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

using tandem::CrossEntropyLossOptions;
/// Of logits x [n, classes, ...] against class numbers [n, ...] or probabilities of x's shape.
struct TANDEM_API CrossEntropyLoss : Module<CrossEntropyLoss> {
  Tensor weight;
  int64_t ignore_index;
  double label_smoothing;
  std::string reduction;

  explicit CrossEntropyLoss(CrossEntropyLossOptions o = {})
      : weight(o.weight),
        ignore_index(o.ignore_index),
        label_smoothing(o.label_smoothing),
        reduction(std::move(o.reduction)) {}
  static constexpr auto fields =
      Fields{buffer("weight", &CrossEntropyLoss::weight),
             field("ignore_index", &CrossEntropyLoss::ignore_index),
             field("label_smoothing", &CrossEntropyLoss::label_smoothing),
             field("reduction", &CrossEntropyLoss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

using tandem::NLLLossOptions;
/// Of log-probabilities x [n, classes, ...] against class numbers [n, ...].
struct TANDEM_API NLLLoss : Module<NLLLoss> {
  Tensor weight;
  int64_t ignore_index;
  std::string reduction;

  explicit NLLLoss(NLLLossOptions o = {})
      : weight(o.weight), ignore_index(o.ignore_index), reduction(std::move(o.reduction)) {}
  static constexpr auto fields =
      Fields{buffer("weight", &NLLLoss::weight), field("ignore_index", &NLLLoss::ignore_index),
             field("reduction", &NLLLoss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

using tandem::BCEWithLogitsLossOptions;
/// Cross-entropy of sigmoid(x) against probabilities of the same shape.
struct TANDEM_API BCEWithLogitsLoss : Module<BCEWithLogitsLoss> {
  Tensor weight;
  Tensor pos_weight;
  std::string reduction;

  explicit BCEWithLogitsLoss(BCEWithLogitsLossOptions o = {})
      : weight(o.weight), pos_weight(o.pos_weight), reduction(std::move(o.reduction)) {}
  static constexpr auto fields = Fields{buffer("weight", &BCEWithLogitsLoss::weight),
                                        buffer("pos_weight", &BCEWithLogitsLoss::pos_weight),
                                        field("reduction", &BCEWithLogitsLoss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

struct KLDivLossOptions {
  ByName by_name = ByName();
  bool log_target = false;
  std::string reduction = "mean";
};
/// Kullback-Leibler divergence of log-probabilities x from the target; also reduction "batchmean".
struct TANDEM_API KLDivLoss : Module<KLDivLoss> {
  bool log_target;
  std::string reduction;

  explicit KLDivLoss(KLDivLossOptions o = {})
      : log_target(o.log_target), reduction(std::move(o.reduction)) {}
  static constexpr auto fields = Fields{field("log_target", &KLDivLoss::log_target),
                                        field("reduction", &KLDivLoss::reduction)};
  Tensor forward(const Tensor& x, const Tensor& target) const;
};

}  // namespace tandem::nn
