#pragma once
#include <cstdint>

#include "tandem/op/simd.h"

namespace tandem {

// A program that includes this without OpenMP's simd mode reads the pragmas as unknown.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunknown-pragmas"

/// One CPU thread with vector lanes. A row body asks it for reductions and loops over 0..n-1, so
/// that the same text runs on a CUDA block (op/kernel_cuda.h).
struct CpuTeam {
  template <class F>
  TANDEM_FN auto max(int64_t n, F f) const {
    auto m = f(0);
#pragma omp simd reduction(max : m)
    for (int64_t i = 1; i < n; ++i) {
      const auto v = f(i);
      m = v > m ? v : m;
    }
    return m;
  }
  template <class F>
  TANDEM_FN auto sum(int64_t n, F f) const {
    decltype(f(0)) s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; ++i) s += f(i);
    return s;
  }
  template <class F>
  TANDEM_FN void each(int64_t n, F f) const {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) f(i);
  }
};

#pragma GCC diagnostic pop

}  // namespace tandem
