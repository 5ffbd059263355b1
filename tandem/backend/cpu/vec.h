// SIMD registers as the kernels see them: one struct per instruction set and element type, with the
// same static functions. Only code compiled for that instruction set may call them.
#pragma once

#include <cstdint>
#include <cstring>

#include "tandem/backend/cpu/isa.h"

#if TANDEM_X86
#include <immintrin.h>
#endif

namespace tandem::cpu {

/// 16-byte vectors of the compiler's own vector extension: SSE2 or NEON.
template <class Scalar>
struct VecBase {
  using T = Scalar;
  typedef T V __attribute__((vector_size(16)));
  using M = int64_t;
  static constexpr int width = 16 / sizeof(T);

  TANDEM_ALWAYS_INLINE static V zero() { return V{}; }
  TANDEM_ALWAYS_INLINE static V set1(T x) { return V{} + x; }
  TANDEM_ALWAYS_INLINE static V load(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  TANDEM_ALWAYS_INLINE static void store(T* p, V v) { std::memcpy(p, &v, sizeof v); }
  TANDEM_ALWAYS_INLINE static M mask(int64_t n) { return n; }
  TANDEM_ALWAYS_INLINE static V load(const T* p, M n) {
    if (n == width) return load(p);
    V v{};
    for (int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  TANDEM_ALWAYS_INLINE static void store(T* p, V v, M n) {
    if (n == width) return store(p, v);
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
  }
  TANDEM_ALWAYS_INLINE static V add(V a, V b) { return a + b; }
  TANDEM_ALWAYS_INLINE static V mul(V a, V b) { return a * b; }
  TANDEM_ALWAYS_INLINE static V fma(V a, V b, V c) { return a * b + c; }
  TANDEM_ALWAYS_INLINE static T sum(V v) {
    T s = 0;
    for (int i = 0; i < width; ++i) s += v[i];
    return s;
  }
};

#if TANDEM_X86
#define TANDEM_FN2 TANDEM_TARGET_AVX2 TANDEM_ALWAYS_INLINE static
#define TANDEM_FN5 TANDEM_TARGET_AVX512 TANDEM_ALWAYS_INLINE static

template <class Scalar>
struct VecAvx2;

template <>
struct VecAvx2<float> {
  using T = float;
  using V = __m256;
  using M = __m256i;
  static constexpr int width = 8;
  TANDEM_FN2 V zero() { return _mm256_setzero_ps(); }
  TANDEM_FN2 V set1(T x) { return _mm256_set1_ps(x); }
  TANDEM_FN2 V load(const T* p) { return _mm256_loadu_ps(p); }
  TANDEM_FN2 void store(T* p, V v) { _mm256_storeu_ps(p, v); }
  TANDEM_FN2 M mask(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }
  TANDEM_FN2 V load(const T* p, M m) { return _mm256_maskload_ps(p, m); }
  TANDEM_FN2 void store(T* p, V v, M m) { _mm256_maskstore_ps(p, m, v); }
  TANDEM_FN2 V add(V a, V b) { return _mm256_add_ps(a, b); }
  TANDEM_FN2 V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  TANDEM_FN2 V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  TANDEM_FN2 T sum(V v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
};

template <>
struct VecAvx2<double> {
  using T = double;
  using V = __m256d;
  using M = __m256i;
  static constexpr int width = 4;
  TANDEM_FN2 V zero() { return _mm256_setzero_pd(); }
  TANDEM_FN2 V set1(T x) { return _mm256_set1_pd(x); }
  TANDEM_FN2 V load(const T* p) { return _mm256_loadu_pd(p); }
  TANDEM_FN2 void store(T* p, V v) { _mm256_storeu_pd(p, v); }
  TANDEM_FN2 M mask(int64_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  TANDEM_FN2 V load(const T* p, M m) { return _mm256_maskload_pd(p, m); }
  TANDEM_FN2 void store(T* p, V v, M m) { _mm256_maskstore_pd(p, m, v); }
  TANDEM_FN2 V add(V a, V b) { return _mm256_add_pd(a, b); }
  TANDEM_FN2 V mul(V a, V b) { return _mm256_mul_pd(a, b); }
  TANDEM_FN2 V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
  TANDEM_FN2 T sum(V v) {
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
  }
};

template <class Scalar>
struct VecAvx512;

// Halves are taken with maskz_extract: the plain forms make g++ 12 warn about its own headers.
template <>
struct VecAvx512<float> {
  using T = float;
  using V = __m512;
  using M = __mmask16;
  static constexpr int width = 16;
  TANDEM_FN5 V zero() { return _mm512_setzero_ps(); }
  TANDEM_FN5 V set1(T x) { return _mm512_set1_ps(x); }
  TANDEM_FN5 V load(const T* p) { return _mm512_loadu_ps(p); }
  TANDEM_FN5 void store(T* p, V v) { _mm512_storeu_ps(p, v); }
  TANDEM_FN5 M mask(int64_t n) { return static_cast<M>((1u << n) - 1); }
  TANDEM_FN5 V load(const T* p, M m) { return _mm512_maskz_loadu_ps(m, p); }
  TANDEM_FN5 void store(T* p, V v, M m) { _mm512_mask_storeu_ps(p, m, v); }
  TANDEM_FN5 V add(V a, V b) { return _mm512_add_ps(a, b); }
  TANDEM_FN5 V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  TANDEM_FN5 V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  TANDEM_FN5 T sum(V v) {
    return VecAvx2<float>::sum(_mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0),
                                             _mm512_maskz_extractf32x8_ps(0xff, v, 1)));
  }
};

template <>
struct VecAvx512<double> {
  using T = double;
  using V = __m512d;
  using M = __mmask8;
  static constexpr int width = 8;
  TANDEM_FN5 V zero() { return _mm512_setzero_pd(); }
  TANDEM_FN5 V set1(T x) { return _mm512_set1_pd(x); }
  TANDEM_FN5 V load(const T* p) { return _mm512_loadu_pd(p); }
  TANDEM_FN5 void store(T* p, V v) { _mm512_storeu_pd(p, v); }
  TANDEM_FN5 M mask(int64_t n) { return static_cast<M>((1u << n) - 1); }
  TANDEM_FN5 V load(const T* p, M m) { return _mm512_maskz_loadu_pd(m, p); }
  TANDEM_FN5 void store(T* p, V v, M m) { _mm512_mask_storeu_pd(p, m, v); }
  TANDEM_FN5 V add(V a, V b) { return _mm512_add_pd(a, b); }
  TANDEM_FN5 V mul(V a, V b) { return _mm512_mul_pd(a, b); }
  TANDEM_FN5 V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  TANDEM_FN5 T sum(V v) {
    return VecAvx2<double>::sum(_mm256_add_pd(_mm512_maskz_extractf64x4_pd(0xff, v, 0),
                                              _mm512_maskz_extractf64x4_pd(0xff, v, 1)));
  }
};

#undef TANDEM_FN2
#undef TANDEM_FN5
#endif

}  // namespace tandem::cpu

// Kernels written once in a .inl file are compiled for each instruction set between these marks
// (a target attribute on the vector functions alone does not let their callers inline them).
#define TANDEM_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define TANDEM_UNROLL TANDEM_PRAGMA(clang loop unroll(full))
#define TANDEM_BEGIN_TARGET(features) \
  TANDEM_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TANDEM_END_TARGET TANDEM_PRAGMA(clang attribute pop)
#else
#define TANDEM_UNROLL TANDEM_PRAGMA(GCC unroll 16)
#define TANDEM_BEGIN_TARGET(features) \
  TANDEM_PRAGMA(GCC push_options)     \
  TANDEM_PRAGMA(GCC target(features))
#define TANDEM_END_TARGET TANDEM_PRAGMA(GCC pop_options)
#endif
