#include "tandem/backend/cpu/gemm_thin.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <utility>

#include "tandem/backend/cpu/gemm_kernels.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

constexpr int64_t most_packed = 1 << 17;
constexpr int most_threads = 64;

// Rows in blocks of even size, each at most a register tile high, as many for every thread.
struct Blocks {
  int64_t rows, count;

  Blocks(int64_t n, int64_t height) : rows(n) {
    const int64_t threads = usable_threads();
    count = (n + height - 1) / height;
    if (count > threads / 2) count = std::min(n, (count + threads - 1) / threads * threads);
  }
  int64_t begin(int64_t block) const { return rows * block / count; }
};

}  // namespace

bool turned_suits(int64_t m, int64_t n, int64_t k) {
  const int threads = usable_threads();
  return m % gemm_kernels<float>().nr == 0 && m * k <= most_packed && threads <= most_threads &&
         n >= 32 * threads;
}

void turned_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                    int64_t ldb, const float* bias, float* c, int64_t ldc) {
  const GemmKernels<float>& kernels = gemm_kernels<float>();
  const int64_t nr = kernels.nr;
  const Blocks blocks(n, kernels.mr);
  // Every thread packs A for itself: to read what another one packed takes longer.
  const int threads = usable_threads();
  const Scratch memory(size_t(m * k * threads) * sizeof(float));
  std::array<bool, most_threads> packed{};
  parallel_for(blocks.count, 1, [&](int64_t begin, int64_t end) {
    const int self = threads == 1 ? 0 : omp_get_thread_num();
    float* const panels = memory.as<float>() + m * k * self;
    if (!std::exchange(packed[size_t(self)], true))
      for (int64_t row = 0; row < m; row += nr)
        kernels.transpose(nr, k, a + row * lda, lda, panels + row * k, nr);
    alignas(64) float sums[16 * 32];
    for (int64_t block = begin; block < end; ++block) {
      const int64_t j = blocks.begin(block), width = blocks.begin(block + 1) - j;
      for (int64_t row = 0; row < m; row += nr) {
        kernels.direct(width, nr, k, b + j * ldb, ldb, 1, panels + row * k, nr, {}, sums, nr);
        for (int64_t i = 0; i < nr; ++i) {
          float* to = c + (row + i) * ldc + j;
          for (int64_t q = 0; q < width; ++q)
            to[q] = bias ? sums[q * nr + i] + bias[j + q] : sums[q * nr + i];
        }
      }
    }
  });
}

void strip_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_col,
                   const float* b, int64_t ldb, float* c, int64_t ldc, const RowsDone& done) {
  const GemmKernels<float>& kernels = gemm_kernels<float>();
  const Blocks blocks(m, kernels.mr);
  parallel_for(blocks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i = blocks.begin(block), rows = blocks.begin(block + 1) - i;
      kernels.direct(rows, n, k, a + i * a_row, a_row, a_col, b, ldb, {}, c + i * ldc, ldc);
      if (done.fn) done.fn(done.self, i, i + rows);
    }
  });
}

}  // namespace tandem::cpu
