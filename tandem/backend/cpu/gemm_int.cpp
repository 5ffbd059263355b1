#include <algorithm>
#include <type_traits>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

constexpr int64_t block_columns = 256;
constexpr int64_t block_depth = 64;

// Sums are unsigned, where wrapping is defined; conversions back keep the low bits.
template <class T>
using Sum = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

// sum[j] += a[p] * b[p, j]; four rows of b at a time, the running sums stay in the first cache.
template <class T>
TANDEM_ALWAYS_INLINE void row_body(int64_t n, int64_t k, const T* a, int64_t inc, const T* b,
                                   int64_t ldb, Sum<T>* sum) {
  using S = Sum<T>;
  int64_t p = 0;
  for (; p + 4 <= k; p += 4) {
    const S a0 = static_cast<S>(a[p * inc]), a1 = static_cast<S>(a[(p + 1) * inc]);
    const S a2 = static_cast<S>(a[(p + 2) * inc]), a3 = static_cast<S>(a[(p + 3) * inc]);
    const T* b0 = b + p * ldb;
    for (int64_t j = 0; j < n; ++j) {
      sum[j] += a0 * static_cast<S>(b0[j]) + a1 * static_cast<S>(b0[j + ldb]) +
                a2 * static_cast<S>(b0[j + 2 * ldb]) + a3 * static_cast<S>(b0[j + 3 * ldb]);
    }
  }
  for (; p < k; ++p) {
    const S ap = static_cast<S>(a[p * inc]);
    const T* bp = b + p * ldb;
    for (int64_t j = 0; j < n; ++j) sum[j] += ap * static_cast<S>(bp[j]);
  }
}

template <class T>
void row_baseline(int64_t n, int64_t k, const T* a, int64_t inc, const T* b, int64_t ldb,
                  Sum<T>* sum) {
  row_body(n, k, a, inc, b, ldb, sum);
}

#if TANDEM_X86
template <class T>
TANDEM_TARGET_AVX2 void row_avx2(int64_t n, int64_t k, const T* a, int64_t inc, const T* b,
                                 int64_t ldb, Sum<T>* sum) {
  row_body(n, k, a, inc, b, ldb, sum);
}

template <class T>
TANDEM_TARGET_AVX512 void row_avx512(int64_t n, int64_t k, const T* a, int64_t inc, const T* b,
                                     int64_t ldb, Sum<T>* sum) {
  row_body(n, k, a, inc, b, ldb, sum);
}
#endif

template <class T>
auto row_kernel() {
#if TANDEM_X86
  if (isa() == Isa::avx512) return &row_avx512<T>;
  if (isa() == Isa::avx2) return &row_avx2<T>;
#endif
  return &row_baseline<T>;
}

template <class T>
void integer_product(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, T alpha,
                     const T* a, int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
  using S = Sum<T>;
  if (m == 0 || n == 0) return;
  const auto kernel = row_kernel<T>();
  // B^T is laid out once, so that the inner loop always runs along contiguous columns.
  const Scratch turned(trans_b ? static_cast<size_t>(n * k) * sizeof(T) + 64 : 64);
  if (trans_b) {
    T* t = turned.as<T>();
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t j = 0; j < n; ++j) t[p * n + j] = b[j * ldb + p];
    }
    b = t;
    ldb = n;
  }
  const int64_t inc = trans_a ? lda : 1;
  const int64_t row = trans_a ? 1 : lda;
  const double work = static_cast<double>(n) * static_cast<double>(std::max<int64_t>(k, 1));
  const auto grain = static_cast<int64_t>(60000 / work);
  parallel_for(m, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    S sum[block_columns];
    for (int64_t j = 0; j < n; j += block_columns) {
      const int64_t cols = std::min(block_columns, n - j);
      for (int64_t i = begin; i < end; ++i) {
        std::fill_n(sum, cols, S{0});
        for (int64_t p = 0; p < k; p += block_depth) {
          kernel(cols, std::min(block_depth, k - p), a + i * row + p * inc, inc, b + p * ldb + j,
                 ldb, sum);
        }
        T* out = c + i * ldc + j;
        for (int64_t q = 0; q < cols; ++q) {
          S r = static_cast<S>(alpha) * sum[q];
          if (beta != 0) r += static_cast<S>(beta) * static_cast<S>(out[q]);
          out[q] = static_cast<T>(r);
        }
      }
    }
  });
}

}  // namespace

#define TANDEM_INTEGER_GEMM(T)                                                                \
  void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a, \
            int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {                \
    integer_product(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);          \
  }
TANDEM_INTEGER_GEMM(int32_t)
TANDEM_INTEGER_GEMM(int64_t)
TANDEM_INTEGER_GEMM(int8_t)
TANDEM_INTEGER_GEMM(uint8_t)
TANDEM_INTEGER_GEMM(int16_t)
#undef TANDEM_INTEGER_GEMM

}  // namespace tandem::cpu
