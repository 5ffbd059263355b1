// SIMD registers as the kernels see them: one struct per instruction set and element type, with the
// same static functions. Only code compiled for that instruction set may call them.
#pragma once

#include <cstdint>
#include <cstring>

#include "tandem/backend/cpu/isa.h"

#if TANDEM_X86
#include <immintrin.h>
#endif

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
  TANDEM_ALWAYS_INLINE static void sum4(V a, V b, V c, V d, T* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
  /// Transposes a square of `width` rows.
  TANDEM_ALWAYS_INLINE static void turn(V* r) {
    for (int i = 0; i < width; ++i) {
      for (int j = 0; j < i; ++j) {
        const T keep = r[i][j];
        r[i][j] = r[j][i];
        r[j][i] = keep;
      }
    }
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
  TANDEM_FN2 void sum4(V a, V b, V c, V d, T* out) {
    const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
  }
  TANDEM_FN2 void turn(V* r) {
    V t[8];
    TANDEM_UNROLL for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    TANDEM_UNROLL for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    TANDEM_UNROLL for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
      t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    TANDEM_UNROLL for (int i = 0; i < 8; ++i) r[i] = t[i];
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
  TANDEM_FN2 void sum4(V a, V b, V c, V d, T* out) {
    const __m256d ab = _mm256_hadd_pd(a, b);
    const __m256d cd = _mm256_hadd_pd(c, d);
    _mm256_storeu_pd(out, _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20),
                                        _mm256_permute2f128_pd(ab, cd, 0x31)));
  }
  TANDEM_FN2 void turn(V* r) {
    const V a = _mm256_unpacklo_pd(r[0], r[1]);
    const V b = _mm256_unpackhi_pd(r[0], r[1]);
    const V c = _mm256_unpacklo_pd(r[2], r[3]);
    const V d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
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
  TANDEM_FN5 __m256 fold(V v) {
    return _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0),
                         _mm512_maskz_extractf32x8_ps(0xff, v, 1));
  }
  TANDEM_FN5 T sum(V v) { return VecAvx2<float>::sum(fold(v)); }
  TANDEM_FN5 void sum4(V a, V b, V c, V d, T* out) {
    VecAvx2<float>::sum4(fold(a), fold(b), fold(c), fold(d), out);
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
  TANDEM_FN5 __m256d fold(V v) {
    return _mm256_add_pd(_mm512_maskz_extractf64x4_pd(0xff, v, 0),
                         _mm512_maskz_extractf64x4_pd(0xff, v, 1));
  }
  TANDEM_FN5 T sum(V v) { return VecAvx2<double>::sum(fold(v)); }
  TANDEM_FN5 void sum4(V a, V b, V c, V d, T* out) {
    VecAvx2<double>::sum4(fold(a), fold(b), fold(c), fold(d), out);
  }
};

/// Half a register with AVX-512's masks, which cost less than AVX2's.
template <class Scalar>
struct VecAvx512Half;

template <>
struct VecAvx512Half<float> {
  using T = float;
  using V = __m256;
  using M = __mmask8;
  static constexpr int width = 8;
  TANDEM_FN5 V zero() { return _mm256_setzero_ps(); }
  TANDEM_FN5 V set1(T x) { return _mm256_set1_ps(x); }
  TANDEM_FN5 V load(const T* p) { return _mm256_loadu_ps(p); }
  TANDEM_FN5 void store(T* p, V v) { _mm256_storeu_ps(p, v); }
  TANDEM_FN5 M mask(int64_t n) { return static_cast<M>((1u << n) - 1); }
  TANDEM_FN5 V load(const T* p, M m) { return _mm256_maskz_loadu_ps(m, p); }
  TANDEM_FN5 void store(T* p, V v, M m) { _mm256_mask_storeu_ps(p, m, v); }
  TANDEM_FN5 V add(V a, V b) { return _mm256_add_ps(a, b); }
  TANDEM_FN5 V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  TANDEM_FN5 V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
};

template <>
struct VecAvx512Half<double> {
  using T = double;
  using V = __m256d;
  using M = __mmask8;
  static constexpr int width = 4;
  TANDEM_FN5 V zero() { return _mm256_setzero_pd(); }
  TANDEM_FN5 V set1(T x) { return _mm256_set1_pd(x); }
  TANDEM_FN5 V load(const T* p) { return _mm256_loadu_pd(p); }
  TANDEM_FN5 void store(T* p, V v) { _mm256_storeu_pd(p, v); }
  TANDEM_FN5 M mask(int64_t n) { return static_cast<M>((1u << n) - 1); }
  TANDEM_FN5 V load(const T* p, M m) { return _mm256_maskz_loadu_pd(m, p); }
  TANDEM_FN5 void store(T* p, V v, M m) { _mm256_mask_storeu_pd(p, m, v); }
  TANDEM_FN5 V add(V a, V b) { return _mm256_add_pd(a, b); }
  TANDEM_FN5 V mul(V a, V b) { return _mm256_mul_pd(a, b); }
  TANDEM_FN5 V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
};

#undef TANDEM_FN2
#undef TANDEM_FN5
#endif

}  // namespace tandem::cpu
