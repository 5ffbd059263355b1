#include "tandem/nn/norm.h"

#include "tandem/core/factory.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/norm.h"

namespace tandem::nn {

BatchNorm::BatchNorm(int64_t num_features, const BatchNormOptions& o)
    : num_features(num_features),
      eps(o.eps),
      momentum(o.momentum),
      affine(o.affine),
      track_running_stats(o.track_running_stats) {
  if (affine) {
    weight = parameter(ones({num_features}));
    bias = parameter(zeros({num_features}));
  }
  if (track_running_stats) {
    running_mean = zeros({num_features});
    running_var = ones({num_features});
    num_batches_tracked = zeros({}, i64);
  }
}

Tensor BatchNorm::normalize(const Tensor& x, bool training) const {
  double share = momentum.value_or(0);
  if (training && track_running_stats) {
    const NoGrad guard;
    Tensor count = num_batches_tracked;
    count += 1;
    if (!momentum) share = 1 / count.item<double>();
  }
  return batch_norm(x, running_mean, running_var,
                    {.weight = weight,
                     .bias = bias,
                     .training = training || !track_running_stats,
                     .momentum = share,
                     .eps = eps});
}

Tensor BatchNorm1d::forward(const Tensor& x) const {
  require<ShapeError>(x.dim() == 2 || x.dim() == 3, "BatchNorm1d(num_features=", num_features,
                      "): needs 2 or 3 axes, got shape ", x.shape());
  return normalize(x, is_training());
}

Tensor BatchNorm2d::forward(const Tensor& x) const {
  require<ShapeError>(x.dim() == 4, "BatchNorm2d(num_features=", num_features,
                      "): needs 4 axes, got shape ", x.shape());
  return normalize(x, is_training());
}

LayerNorm::LayerNorm(Shape normalized_shape, LayerNormOptions o)
    : normalized_shape(normalized_shape), eps(o.eps) {
  if (!o.elementwise_affine) return;
  weight = parameter(ones(normalized_shape));
  if (o.bias) bias = parameter(zeros(normalized_shape));
}
Tensor LayerNorm::forward(const Tensor& x) const {
  return layer_norm(x, normalized_shape, weight, bias, eps);
}

GroupNorm::GroupNorm(int64_t num_groups, int64_t num_channels, GroupNormOptions o)
    : num_groups(num_groups), num_channels(num_channels), eps(o.eps) {
  require(num_groups > 0 && num_channels % num_groups == 0, "GroupNorm(num_groups=", num_groups,
          ", num_channels=", num_channels, "): the groups must divide the channels");
  if (!o.affine) return;
  weight = parameter(ones({num_channels}));
  bias = parameter(zeros({num_channels}));
}
Tensor GroupNorm::forward(const Tensor& x) const {
  return group_norm(x, num_groups, weight, bias, eps);
}

}  // namespace tandem::nn
