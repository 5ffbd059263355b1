#include "tandem/data/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tandem/core/error.h"
#include "tandem/data/dataset.h"

namespace tandem::data {

namespace {

// Streams of samplers; those of samples count from 0.
constexpr uint32_t shuffle_stream = 0xffffffff, weighted_stream = 0xfffffffe;

class Sequential final : public Sampler {
 public:
  explicit Sequential(int64_t n) : n_(n) {}
  int64_t size() const override { return n_; }
  std::vector<int64_t> order(uint64_t, int64_t) const override {
    std::vector<int64_t> all(static_cast<size_t>(n_));
    std::iota(all.begin(), all.end(), int64_t{0});
    return all;
  }

 private:
  int64_t n_;
};

class Shuffled final : public Sampler {
 public:
  explicit Shuffled(int64_t n) : n_(n) {}
  int64_t size() const override { return n_; }
  std::vector<int64_t> order(uint64_t seed, int64_t epoch) const override {
    Random random(seed, uint64_t(epoch), shuffle_stream);
    return detail::permutation(n_, random);
  }

 private:
  int64_t n_;
};

class Weighted final : public Sampler {
 public:
  Weighted(std::vector<double> weights, int64_t n, bool replacement)
      : weights_(std::move(weights)), n_(n), replacement_(replacement) {
    double sum = 0;
    int64_t positive = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const double w = weights_[i];
      require(w >= 0 && std::isfinite(w), "weighted_sampler: weight ", i, " is ", w,
              "; weights must be finite and not negative");
      positive += w > 0;
      if (w > 0) last_ = int64_t(i);
      ends_.push_back(sum += w);
    }
    require(std::isfinite(sum), "weighted_sampler: the sum of the weights is ", sum);
    require(n >= 0, "weighted_sampler(num_samples=", n, "): must not be negative");
    require(sum > 0 || n == 0, "weighted_sampler: all weights are zero");
    require(replacement || n <= positive, "weighted_sampler(num_samples=", n,
            ", replacement=false): only ", positive, " weights are positive");
  }
  int64_t size() const override { return n_; }
  std::vector<int64_t> order(uint64_t seed, int64_t epoch) const override {
    Random random(seed, uint64_t(epoch), weighted_stream);
    std::vector<int64_t> out;
    if (replacement_) {
      for (int64_t i = 0; i < n_; ++i) {
        const double at = random.uniform() * ends_.back();
        const auto end = std::upper_bound(ends_.begin(), ends_.end(), at);
        out.push_back(std::min(int64_t(end - ends_.begin()), last_));
      }
      return out;
    }
    // Each index rings after an exponential time of rate w; the first to ring are taken.
    std::vector<std::pair<double, int64_t>> clocks;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const double u = 1 - random.uniform();
      if (weights_[i] > 0) clocks.emplace_back(-std::log(u) / weights_[i], int64_t(i));
    }
    std::partial_sort(clocks.begin(), clocks.begin() + n_, clocks.end());
    for (int64_t i = 0; i < n_; ++i) out.push_back(clocks[size_t(i)].second);
    return out;
  }

 private:
  std::vector<double> weights_, ends_;
  int64_t n_, last_ = 0;  ///< the last index with a weight: roundings may reach the sum
  bool replacement_;
};

class Batches final : public BatchSampler {
 public:
  Batches(SamplerPtr sampler, int64_t size, bool drop_last)
      : sampler_(std::move(sampler)), size_(size), drop_last_(drop_last) {
    require(size >= 1, "batch_sampler(batch_size=", size, "): must be at least 1");
  }
  std::vector<std::vector<int64_t>> batches(uint64_t seed, int64_t epoch) const override {
    const std::vector<int64_t> order = sampler_->order(seed, epoch);
    std::vector<std::vector<int64_t>> out;
    for (size_t at = 0; at < order.size(); at += size_t(size_)) {
      const size_t end = std::min(order.size(), at + size_t(size_));
      if (drop_last_ && end - at < size_t(size_)) break;
      out.emplace_back(order.begin() + long(at), order.begin() + long(end));
    }
    return out;
  }

 private:
  SamplerPtr sampler_;
  int64_t size_;
  bool drop_last_;
};

}  // namespace

SamplerPtr sequential_sampler(int64_t n) { return std::make_shared<Sequential>(n); }
SamplerPtr random_sampler(int64_t n) { return std::make_shared<Shuffled>(n); }
SamplerPtr weighted_sampler(std::vector<double> weights, int64_t num_samples, bool replacement) {
  return std::make_shared<Weighted>(std::move(weights), num_samples, replacement);
}
BatchSamplerPtr batch_sampler(SamplerPtr sampler, int64_t batch_size, bool drop_last) {
  return std::make_shared<Batches>(std::move(sampler), batch_size, drop_last);
}

}  // namespace tandem::data
