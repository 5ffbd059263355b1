#pragma once
#include "tandem/core/by_name.h"
#include "tandem/nn/module.h"

namespace tandem::nn {

struct BatchNormOptions {
  ByName by_name = ByName();
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  ///< none: the plain mean over all batches so far
  bool affine = true;
  bool track_running_stats = true;
};

/// What BatchNorm1d and BatchNorm2d have in common (Ioffe & Szegedy 2015): every channel is scaled
/// to mean 0 and variance 1, then by weight and bias [num_features]. While training the statistics
/// are the batch's, and running ones are kept: running = (1 - momentum) running + momentum batch
/// (with the unbiased variance); in evaluation the running ones are used.
struct TANDEM_API BatchNorm {
  int64_t num_features;
  double eps;
  std::optional<double> momentum;
  bool affine, track_running_stats;
  Tensor weight, bias;
  Tensor running_mean, running_var, num_batches_tracked;

  static constexpr auto fields =
      Fields{field("num_features", &BatchNorm::num_features),
             field("eps", &BatchNorm::eps),
             field("momentum", &BatchNorm::momentum),
             field("affine", &BatchNorm::affine),
             field("track_running_stats", &BatchNorm::track_running_stats),
             field("weight", &BatchNorm::weight),
             field("bias", &BatchNorm::bias),
             buffer("running_mean", &BatchNorm::running_mean),
             buffer("running_var", &BatchNorm::running_var),
             buffer("num_batches_tracked", &BatchNorm::num_batches_tracked)};

 protected:
  BatchNorm(int64_t num_features, const BatchNormOptions& o);
  Tensor normalize(const Tensor& x, bool training) const;
};

/// x [N, C] or [N, C, L]. Errors: ShapeError.
struct TANDEM_API BatchNorm1d : Module<BatchNorm1d>, BatchNorm {
  explicit BatchNorm1d(int64_t num_features, BatchNormOptions o = {})
      : BatchNorm(num_features, o) {}
  Tensor forward(const Tensor& x) const;
};
/// x [N, C, H, W]. Errors: ShapeError.
struct TANDEM_API BatchNorm2d : Module<BatchNorm2d>, BatchNorm {
  explicit BatchNorm2d(int64_t num_features, BatchNormOptions o = {})
      : BatchNorm(num_features, o) {}
  Tensor forward(const Tensor& x) const;
};

struct LayerNormOptions {
  ByName by_name = ByName();
  double eps = 1e-5;
  bool elementwise_affine = true;
  bool bias = true;
};
/// The last axes, of shape `normalized_shape`, are scaled to mean 0 and variance 1, then by weight
/// and bias of that shape (Ba et al. 2016).
struct TANDEM_API LayerNorm : Module<LayerNorm> {
  Shape normalized_shape;
  double eps;
  Tensor weight, bias;

  explicit LayerNorm(Shape normalized_shape, LayerNormOptions o = {});
  explicit LayerNorm(int64_t size, LayerNormOptions o = {}) : LayerNorm(Shape{size}, o) {}
  static constexpr auto fields =
      Fields{field("normalized_shape", &LayerNorm::normalized_shape), field("eps", &LayerNorm::eps),
             field("weight", &LayerNorm::weight), field("bias", &LayerNorm::bias)};
  Tensor forward(const Tensor& x) const;
};

struct GroupNormOptions {
  ByName by_name = ByName();
  double eps = 1e-5;
  bool affine = true;
};
/// The channels of x [N, C, ...] in groups, each scaled to mean 0 and variance 1, then by weight
/// and bias [C] (Wu & He 2018). Errors: ValueError when the groups do not divide the channels.
struct TANDEM_API GroupNorm : Module<GroupNorm> {
  int64_t num_groups, num_channels;
  double eps;
  Tensor weight, bias;

  GroupNorm(int64_t num_groups, int64_t num_channels, GroupNormOptions o = {});
  static constexpr auto fields =
      Fields{field("num_groups", &GroupNorm::num_groups),
             field("num_channels", &GroupNorm::num_channels), field("eps", &GroupNorm::eps),
             field("weight", &GroupNorm::weight), field("bias", &GroupNorm::bias)};
  Tensor forward(const Tensor& x) const;
};

}  // namespace tandem::nn
