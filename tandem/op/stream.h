#pragma once
#include <cstdint>
#include <cstring>

#include "tandem/op/simd.h"

#if TANDEM_X86
#include <immintrin.h>
#endif

namespace tandem::detail {

/// Results larger than the last-level cache are stored past it: that saves reading the lines first.
inline constexpr int64_t streaming_bytes = int64_t(32) << 20;
/// Elements computed between two such stores: few, so that loads and stores overlap.
inline constexpr int64_t streaming_tile = 256;

/// Copies a finished tile to memory without reading the lines it overwrites, and asks for what the
/// next tile reads: `ahead` points to `n_ahead` addresses.
inline void stream(char* to, const char* from, int64_t bytes, const char* const* ahead = nullptr,
                   int n_ahead = 0) {
#if TANDEM_X86
  int64_t i = 0;
  for (; i < bytes && (reinterpret_cast<uintptr_t>(to + i) & 15); ++i) to[i] = from[i];
  for (; i + 64 <= bytes; i += 64) {
    for (int k = 0; k < n_ahead; ++k) _mm_prefetch(ahead[k] + i, _MM_HINT_T0);
    for (int64_t k = i; k < i + 64; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k)));
  }
  for (; i < bytes; ++i) to[i] = from[i];
#else
  (void)ahead;
  (void)n_ahead;
  std::memcpy(to, from, size_t(bytes));
#endif
}

/// Makes streamed results visible to other threads.
inline void stream_end() {
#if TANDEM_X86
  _mm_sfence();
#endif
}

}  // namespace tandem::detail
