#include "tandem/nn/loss.h"

#include "tandem/ops/binary_cross_entropy_with_logits.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/kl_div.h"
#include "tandem/ops/l1_loss.h"
#include "tandem/ops/mse_loss.h"
#include "tandem/ops/nll_loss.h"
#include "tandem/ops/smooth_l1_loss.h"

namespace tandem::nn {

Tensor MSELoss::forward(const Tensor& x, const Tensor& target) const {
  return mse_loss(x, target, reduction);
}
Tensor L1Loss::forward(const Tensor& x, const Tensor& target) const {
  return l1_loss(x, target, reduction);
}
Tensor SmoothL1Loss::forward(const Tensor& x, const Tensor& target) const {
  return smooth_l1_loss(x, target, reduction, beta);
}
Tensor CrossEntropyLoss::forward(const Tensor& x, const Tensor& target) const {
  return cross_entropy(x, target,
                       {.weight = weight,
                        .ignore_index = ignore_index,
                        .label_smoothing = label_smoothing,
                        .reduction = reduction});
}
Tensor NLLLoss::forward(const Tensor& x, const Tensor& target) const {
  return nll_loss(x, target,
                  {.weight = weight, .ignore_index = ignore_index, .reduction = reduction});
}
Tensor BCEWithLogitsLoss::forward(const Tensor& x, const Tensor& target) const {
  return binary_cross_entropy_with_logits(
      x, target, {.weight = weight, .pos_weight = pos_weight, .reduction = reduction});
}
Tensor KLDivLoss::forward(const Tensor& x, const Tensor& target) const {
  return kl_div(x, target, reduction, log_target);
}

}  // namespace tandem::nn
