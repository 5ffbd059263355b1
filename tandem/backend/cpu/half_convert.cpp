#include "tandem/backend/cpu/half_convert.h"

#include <bit>

#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/vec.h"

namespace tandem::cpu {
namespace {

TANDEM_ALWAYS_INLINE float from_bf16(uint16_t h) {
  return std::bit_cast<float>(static_cast<uint32_t>(h) << 16);
}

TANDEM_ALWAYS_INLINE uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
}

// Exponents are moved by a product with a power of two, which sets subnormals right as well.
TANDEM_ALWAYS_INLINE float from_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fffu) << 13;
  const float scaled = std::bit_cast<float>(rest) * std::bit_cast<float>(0x77800000u);  // 2^112
  const uint32_t special = (h & 0x7c00u) == 0x7c00u ? rest | 0x7f800000u : 0u;
  const uint32_t bits = special != 0u ? special : std::bit_cast<uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

TANDEM_ALWAYS_INLINE uint16_t to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t size = bits & 0x7fffffffu;
  uint32_t h;
  if (size > 0x7f800000u) {
    h = 0x7e00u | ((size >> 13) & 0x3ffu);
  } else if (size >= 0x477ff000u) {  // 65520, which rounds to infinity
    h = 0x7c00u;
  } else if (size < 0x38800000u) {  // below 2^-14: let the adder round to a multiple of 2^-24
    h = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - 0x3f000000u;
  } else {
    h = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | h);
}

TANDEM_ALWAYS_INLINE void widen_bf16(int64_t n, const uint16_t* src, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = from_bf16(src[i]);
}

TANDEM_ALWAYS_INLINE void narrow_bf16(int64_t n, const float* src, uint16_t* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = to_bf16(src[i]);
}

void widen_f16_from(int64_t i, int64_t n, const uint16_t* src, float* dst) {
  for (; i < n; ++i) dst[i] = from_f16(src[i]);
}

void narrow_f16_from(int64_t i, int64_t n, const float* src, uint16_t* dst) {
  for (; i < n; ++i) dst[i] = to_f16(src[i]);
}

#if TANDEM_X86
// Every AVX2 machine that isa() reports is asked for F16C as well (they came together).
TANDEM_TARGET_AVX2 void widen_avx2(Half kind, int64_t n, const uint16_t* src, float* dst) {
  if (kind == Half::bf16) return widen_bf16(n, src, dst);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i));
    _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
  }
  widen_f16_from(i, n, src, dst);
}

TANDEM_TARGET_AVX2 void narrow_avx2(Half kind, int64_t n, const float* src, uint16_t* dst) {
  if (kind == Half::bf16) return narrow_bf16(n, src, dst);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i), h);
  }
  narrow_f16_from(i, n, src, dst);
}
#endif

}  // namespace

void widen(Half kind, int64_t n, const uint16_t* src, float* dst) {
#if TANDEM_X86
  if (isa() != Isa::baseline) return widen_avx2(kind, n, src, dst);
#endif
  if (kind == Half::bf16) return widen_bf16(n, src, dst);
  widen_f16_from(0, n, src, dst);
}

void narrow(Half kind, int64_t n, const float* src, uint16_t* dst) {
#if TANDEM_X86
  if (isa() != Isa::baseline) return narrow_avx2(kind, n, src, dst);
#endif
  if (kind == Half::bf16) return narrow_bf16(n, src, dst);
  narrow_f16_from(0, n, src, dst);
}

}  // namespace tandem::cpu
