#pragma once
#include <cstdint>

#include "tandem/core/random.h"

namespace tandem::data {

/// A small stream of random numbers for one sample or one shuffle: Philox with `seed` as the key
/// and (a, b) naming the stream, so that streams may be made anywhere and in any order.
class Random {
 public:
  Random(uint64_t seed, uint64_t a, uint32_t b = 0) : seed_(seed), a_(a), b_(b) {}

  uint32_t bits() {
    if (used_ == 4) {
      block_[0] = next_++;
      block_[1] = b_;
      block_[2] = uint32_t(a_);
      block_[3] = uint32_t(a_ >> 32);
      Philox::block(seed_, block_);
      used_ = 0;
    }
    return block_[used_++];
  }
  /// Uniform in [0, 1), with all 53 bits of a double.
  double uniform() {
    const uint64_t high = bits() >> 5, low = bits() >> 6;
    return double(high << 26 | low) * 0x1p-53;
  }
  /// Uniform in 0..n-1, n > 0, without bias.
  int64_t below(int64_t n) {
    const auto range = uint64_t(n);
    const uint64_t rest = (0 - range) % range;  // 2^64 mod n: values below it would be too many
    uint64_t v;
    do v = uint64_t(bits()) << 32 | bits();
    while (v < rest);
    return int64_t(v % range);
  }
  /// True with probability p.
  bool chance(double p) { return uniform() < p; }

 private:
  uint64_t seed_, a_;
  uint32_t b_, next_ = 0;
  uint32_t block_[4] = {};
  int used_ = 4;
};

/// A seed from the next draw of `generator`.
TANDEM_API uint64_t draw_seed(Generator& generator = default_generator());
/// The seed that a key of a generator gives.
TANDEM_API uint64_t seed_of(const Tensor& key);

}  // namespace tandem::data
