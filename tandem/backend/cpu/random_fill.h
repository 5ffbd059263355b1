#pragma once
#include <cstdint>

namespace tandem::cpu {

/// What one draw of a random tensor is made from.
struct RandomKey {
  uint64_t seed, offset;
};

// Element i of a draw takes word i of a stream of Philox words (32-bit kinds), or words of a pair
// (64-bit kinds). The words come in groups of 64, made from 16 blocks: word w of lane l lies at
// 16 * w + l, so that 16 blocks are computed side by side without a shuffle.
inline constexpr int64_t random_group = 64;

/// Words first..first+n of a draw; `first` is a multiple of 64, room is rounded up to groups.
void random_words(RandomKey key, int64_t first, int64_t n, uint32_t* out);

// Elements first..first+n of a draw (`first` a multiple of 64); the memory holds whole groups.
/// [low, high) with `bits` random bits (at most 24). What roundings lead beyond `top` becomes it.
void random_uniform(RandomKey key, int64_t first, int64_t n, float low, float high, float top,
                    int bits, float* out);
/// The same with 53 random bits.
void random_uniform(RandomKey key, int64_t first, int64_t n, double low, double high, double top,
                    double* out);
/// Normal numbers by Box and Muller's method.
void random_normal(RandomKey key, int64_t first, int64_t n, float mean, float std, float* out);
void random_normal(RandomKey key, int64_t first, int64_t n, double mean, double std, double* out);
/// 64-bit words.
void random_words64(RandomKey key, int64_t first, int64_t n, uint64_t* out);

/// y = x * scale where the element's word is at least `threshold`, else x * 0.
void dropout(RandomKey key, int64_t first, int64_t n, uint32_t threshold, float scale,
             const float* x, float* y);
void dropout(RandomKey key, int64_t first, int64_t n, uint32_t threshold, double scale,
             const double* x, double* y);

}  // namespace tandem::cpu
