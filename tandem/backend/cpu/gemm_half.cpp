#include <algorithm>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/gemm_primitive.h"
#include "tandem/backend/cpu/half_convert.h"
#include "tandem/backend/cpu/isa.h"
#include "tandem/backend/cpu/scratch.h"
#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {
namespace {

using Matrices = MatmulShape;

bool machine_multiplies_bf16() {
#if TANDEM_X86
  static const bool yes = isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
  return yes;
#else
  return false;
#endif
}

// A dense f32 copy of the rows x cols matrix as stored.
float* widened(Half kind, int64_t rows, int64_t cols, const uint16_t* src, int64_t ld, float* dst) {
  parallel_for(rows, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, cols)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   widen(kind, cols, src + i * ld, dst + i * cols);
               });
  return dst;
}

void half_product(Half kind, const Matrices& s, float alpha, const uint16_t* a, const uint16_t* b,
                  float beta, uint16_t* c) {
  if (s.m == 0 || s.n == 0) return;
  if (kind == Half::bf16 && alpha == 1.0f && beta == 0.0f && s.m > 1 && s.n > 1 && s.k >= 16 &&
      machine_multiplies_bf16()) {
    if (matmul_primitive(s, a, b, nullptr, c)) return;
  }
  const int64_t size_a = s.m * s.k, size_b = s.k * s.n, size_c = s.m * s.n;
  const Scratch wide(static_cast<size_t>(size_a + size_b + size_c + 48) * sizeof(float));
  const auto next = [](int64_t n) { return (n + 15) / 16 * 16; };
  float* wa = wide.as<float>();
  float* wb = wa + next(size_a);
  float* wc = wb + next(size_b);
  if (s.trans_a) widened(kind, s.k, s.m, a, s.lda, wa);
  if (!s.trans_a) widened(kind, s.m, s.k, a, s.lda, wa);
  if (s.trans_b) widened(kind, s.n, s.k, b, s.ldb, wb);
  if (!s.trans_b) widened(kind, s.k, s.n, b, s.ldb, wb);
  if (beta != 0.0f) widened(kind, s.m, s.n, c, s.ldc, wc);
  gemm(s.trans_a, s.trans_b, s.m, s.n, s.k, alpha, wa, s.trans_a ? s.m : s.k, wb,
       s.trans_b ? s.k : s.n, beta, wc, s.n);
  parallel_for(s.m, std::max<int64_t>(1, 65536 / s.n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) narrow(kind, s.n, wc + i * s.n, c + i * s.ldc);
  });
}

void half_batched(Half kind, const Matrices& s, int64_t batch, float alpha, const uint16_t* a,
                  int64_t stride_a, const uint16_t* b, int64_t stride_b, float beta, uint16_t* c,
                  int64_t stride_c) {
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      half_product(kind, s, alpha, a + i * stride_a, b + i * stride_b, beta, c + i * stride_c);
    }
  };
  const double macs =
      static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  if (batch < 2 * num_threads() && macs >= 60000) return some(0, batch);
  const auto grain = static_cast<int64_t>(60000 / std::max(1.0, macs));
  parallel_for(batch, std::max<int64_t>(1, grain), some);
}

}  // namespace

void gemm_f16(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta,
              uint16_t* c, int64_t ldc) {
  half_product(Half::f16, {false, trans_a, trans_b, false, m, n, k, lda, ldb, ldc}, alpha, a, b,
               beta, c);
}

void gemm_bf16(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
               const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta,
               uint16_t* c, int64_t ldc) {
  half_product(Half::bf16, {true, trans_a, trans_b, false, m, n, k, lda, ldb, ldc}, alpha, a, b,
               beta, c);
}

void gemm_batched_f16(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                      float alpha, const uint16_t* a, int64_t lda, int64_t stride_a,
                      const uint16_t* b, int64_t ldb, int64_t stride_b, float beta, uint16_t* c,
                      int64_t ldc, int64_t stride_c) {
  half_batched(Half::f16, {false, trans_a, trans_b, false, m, n, k, lda, ldb, ldc}, batch, alpha, a,
               stride_a, b, stride_b, beta, c, stride_c);
}

void gemm_batched_bf16(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                       float alpha, const uint16_t* a, int64_t lda, int64_t stride_a,
                       const uint16_t* b, int64_t ldb, int64_t stride_b, float beta, uint16_t* c,
                       int64_t ldc, int64_t stride_c) {
  half_batched(Half::bf16, {true, trans_a, trans_b, false, m, n, k, lda, ldb, ldc}, batch, alpha, a,
               stride_a, b, stride_b, beta, c, stride_c);
}

}  // namespace tandem::cpu
