// Products of 8-bit integers with exact 32-bit sums.
#pragma once

#include <cstdint>

#include "tandem/core/export.h"

namespace tandem::cpu {

/// c[m, n] = (a[m, k] - a_zero) (b[k, n] - b_zero), row-major, exact (modulo 2^32).
TANDEM_API void gemm_int8(int64_t m, int64_t n, int64_t k, const int8_t* a, int64_t lda,
                          int32_t a_zero, const int8_t* b, int64_t ldb, int32_t b_zero, int32_t* c,
                          int64_t ldc);

/// The number moved from 0..255 to -128..127: how unsigned operands become signed ones.
inline int8_t shifted(uint8_t v) { return static_cast<int8_t>(v ^ 0x80u); }
/// `n` of them.
TANDEM_API void shift(const uint8_t* from, int8_t* to, int64_t n);

}  // namespace tandem::cpu
