#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tandem/core/export.h"

namespace tandem::data {

/// Says in which order an epoch visits the samples. The order depends on seed and epoch alone, so
/// that any position of any epoch can be found again.
class TANDEM_API Sampler {
 public:
  virtual ~Sampler() = default;
  /// How many samples an epoch has.
  virtual int64_t size() const = 0;
  virtual std::vector<int64_t> order(uint64_t seed, int64_t epoch) const = 0;
};
using SamplerPtr = std::shared_ptr<const Sampler>;

/// 0, 1, ..., n-1.
TANDEM_API SamplerPtr sequential_sampler(int64_t n);
/// 0..n-1 in another random order each epoch.
TANDEM_API SamplerPtr random_sampler(int64_t n);
/// `num_samples` indices, drawn with probabilities proportional to `weights` (not negative, not all
/// zero). Without replacement by exponential clocks (Efraimidis and Spirakis 2006).
/// Errors: ValueError, also when more samples are wanted than weights are positive.
TANDEM_API SamplerPtr weighted_sampler(std::vector<double> weights, int64_t num_samples,
                                       bool replacement = true);

/// Says which samples make up each batch of an epoch.
class TANDEM_API BatchSampler {
 public:
  virtual ~BatchSampler() = default;
  virtual std::vector<std::vector<int64_t>> batches(uint64_t seed, int64_t epoch) const = 0;
};
using BatchSamplerPtr = std::shared_ptr<const BatchSampler>;

/// Cuts what `sampler` gives into batches; the last may be smaller, or is dropped.
/// Errors: ValueError when batch_size < 1.
TANDEM_API BatchSamplerPtr batch_sampler(SamplerPtr sampler, int64_t batch_size,
                                         bool drop_last = false);

}  // namespace tandem::data
