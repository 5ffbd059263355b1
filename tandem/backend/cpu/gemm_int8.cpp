#include "tandem/backend/cpu/gemm_int8.h"

#include <oneapi/dnnl/dnnl.h>
#include <algorithm>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

/// Whether the processor adds four products at once without an intermediate that saturates.
bool has_dot_products() {
#if TANDEM_X86
  static const bool found = isa() == Isa::avx512 && __builtin_cpu_supports("avx512vnni");
  return found;
#else
  return false;
#endif
}

/// By the library of 32-bit integers, where there are no instructions for less.
void widened_product(int64_t m, int64_t n, int64_t k, const int8_t* a, int64_t lda, int32_t a_zero,
                     const int8_t* b, int64_t ldb, int32_t b_zero, int32_t* c, int64_t ldc) {
  const Scratch wide(static_cast<size_t>((m + n) * k) * sizeof(int32_t) + 64);
  int32_t* wa = wide.as<int32_t>();
  int32_t* wb = wa + m * k;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) wa[i * k + p] = a[i * lda + p] - a_zero;
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) wb[p * n + j] = b[p * ldb + j] - b_zero;
  gemm(false, false, m, n, k, int32_t{1}, wa, k, wb, n, int32_t{0}, c, ldc);
}

constexpr double fork_macs = 4e6;

}  // namespace

void gemm_int8(int64_t m, int64_t n, int64_t k, const int8_t* a, int64_t lda, int32_t a_zero,
               const int8_t* b, int64_t ldb, int32_t b_zero, int32_t* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * ldc, n, 0);
    return;
  }
  if (!has_dot_products()) return widened_product(m, n, k, a, lda, a_zero, b, ldb, b_zero, c, ldc);
  // Parts of the longer side, claimed by threads that are free.
  const int64_t side = std::max(m, n);
  const double macs = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const int64_t parts =
      macs < fork_macs ? 1 : std::min<int64_t>(2 * usable_threads(), (side + 63) / 64);
  const int64_t each = ((side + parts - 1) / parts + 15) / 16 * 16;
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    const OmpScope threads;
    const int32_t nothing = 0;
    const int64_t from = std::min(side, begin * each), size = std::min(side, end * each) - from;
    if (size == 0) return;
    const bool tall = m >= n;
    const int64_t i = tall ? from : 0, j = tall ? 0 : from;
    const auto status =
        dnnl_gemm_s8s8s32('N', 'N', 'F', tall ? size : m, tall ? n : size, k, 1.0f, a + i * lda,
                          lda, static_cast<int8_t>(a_zero), b + j, ldb, static_cast<int8_t>(b_zero),
                          0.0f, c + i * ldc + j, ldc, &nothing);
    if (status != dnnl_success)
      widened_product(tall ? size : m, tall ? n : size, k, a + i * lda, lda, a_zero, b + j, ldb,
                      b_zero, c + i * ldc + j, ldc);
  });
}

void shift(const uint8_t* from, int8_t* to, int64_t n) {
  parallel_for(n, int64_t{1} << 18, [=](int64_t begin, int64_t end) {
    const uint8_t* __restrict p = from;
    int8_t* __restrict q = to;
    for (int64_t i = begin; i < end; ++i) q[i] = shifted(p[i]);
  });
}

}  // namespace tandem::cpu
