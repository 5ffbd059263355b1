#pragma once
#include "tandem/backend/cpu/isa.h"

// One text, several instruction sets: `simd(f)` inlines f into a copy of itself compiled for the
// best set this processor has, so the compiler vectorises the same loop for each of them. Nothing
// is compiled with -march flags, so no inline function of another header can carry instructions
// that the processor lacks.

#ifdef __CUDACC__
#define TANDEM_FN __host__ __device__ __forceinline__
#else
#define TANDEM_FN inline __attribute__((always_inline))
#endif

#if TANDEM_X86 && !defined(__CUDACC__)
#define TANDEM_SIMD_AVX2 __attribute__((target(TANDEM_AVX2_FEATURES), flatten, noinline))
#if defined(__clang__)
#define TANDEM_SIMD_AVX512 \
  __attribute__((target(TANDEM_AVX512_FEATURES), flatten, noinline, min_vector_width(512)))
#else
#define TANDEM_SIMD_AVX512 \
  __attribute__((target(TANDEM_AVX512_FEATURES ",prefer-vector-width=512"), flatten, noinline))
#endif
#endif

namespace tandem {

using cpu::Isa;

namespace detail {
/// cpu::isa(), read once when the library is loaded.
extern TANDEM_API const Isa isa;

#if TANDEM_X86 && !defined(__CUDACC__)
template <class F>
TANDEM_SIMD_AVX2 void simd_avx2(const F& f) {
  f();
}
template <class F>
TANDEM_SIMD_AVX512 void simd_avx512(const F& f) {
  f();
}
#endif
template <class F>
__attribute__((flatten, noinline)) void simd_baseline(const F& f) {
  f();
}
}  // namespace detail

/// Runs `f()` compiled for the processor's instruction set. Everything f calls is inlined.
template <class F>
inline void simd(const F& f) {
#if TANDEM_X86 && !defined(__CUDACC__)
  if (detail::isa == Isa::avx512) return detail::simd_avx512(f);
  if (detail::isa == Isa::avx2) return detail::simd_avx2(f);
#endif
  detail::simd_baseline(f);
}

}  // namespace tandem
