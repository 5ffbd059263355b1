// f16 and bf16 bit patterns to and from f32, whole arrays at the speed of memory.
#pragma once

#include <cstdint>

namespace tandem::cpu {

enum class Half { f16, bf16 };

/// dst[i] = src[i], exact.
void widen(Half kind, int64_t n, const uint16_t* src, float* dst);

/// dst[i] = src[i], to nearest even; NaN stays NaN.
void narrow(Half kind, int64_t n, const float* src, uint16_t* dst);

}  // namespace tandem::cpu
