// Matrix products on raw pointers. All matrices are row-major; `ld*` is the distance of two rows of
// the matrix as it is stored (before op()); op(X) is X or its transpose. C must not overlap A or B.
#pragma once

#include <cstdint>

#include "tandem/backend/cpu/rows_done.h"
#include "tandem/core/export.h"

namespace tandem::cpu {

/// C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C. beta == 0 never reads C; k == 0 gives beta C.
/// Large products of f32 run in oneDNN, all else in kernels of our own.
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                     const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                     int64_t ldc, const RowsDone& done = {});
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                     const double* a, int64_t lda, const double* b, int64_t ldb, double beta,
                     double* c, int64_t ldc, const RowsDone& done = {});

/// Integer products wrap around.
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, int32_t alpha,
                     const int32_t* a, int64_t lda, const int32_t* b, int64_t ldb, int32_t beta,
                     int32_t* c, int64_t ldc);
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, int64_t alpha,
                     const int64_t* a, int64_t lda, const int64_t* b, int64_t ldb, int64_t beta,
                     int64_t* c, int64_t ldc);
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, int8_t alpha,
                     const int8_t* a, int64_t lda, const int8_t* b, int64_t ldb, int8_t beta,
                     int8_t* c, int64_t ldc);
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, uint8_t alpha,
                     const uint8_t* a, int64_t lda, const uint8_t* b, int64_t ldb, uint8_t beta,
                     uint8_t* c, int64_t ldc);
TANDEM_API void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, int16_t alpha,
                     const int16_t* a, int64_t lda, const int16_t* b, int64_t ldb, int16_t beta,
                     int16_t* c, int64_t ldc);

/// IEEE half and bfloat16 as bit patterns; sums in f32, one rounding (to nearest even) at the end.
TANDEM_API void gemm_f16(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                         const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb, float beta,
                         uint16_t* c, int64_t ldc);
TANDEM_API void gemm_bf16(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const uint16_t* a, int64_t lda, const uint16_t* b, int64_t ldb,
                          float beta, uint16_t* c, int64_t ldc);

/// `batch` products whose matrices lie `stride_*` elements apart (0: the same matrix each time,
/// not for C). T is one of the element types of gemm().
template <class T>
TANDEM_API void gemm_batched(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n,
                             int64_t k, T alpha, const T* a, int64_t lda, int64_t stride_a,
                             const T* b, int64_t ldb, int64_t stride_b, T beta, T* c, int64_t ldc,
                             int64_t stride_c);
TANDEM_API void gemm_batched_f16(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n,
                                 int64_t k, float alpha, const uint16_t* a, int64_t lda,
                                 int64_t stride_a, const uint16_t* b, int64_t ldb, int64_t stride_b,
                                 float beta, uint16_t* c, int64_t ldc, int64_t stride_c);
TANDEM_API void gemm_batched_bf16(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n,
                                  int64_t k, float alpha, const uint16_t* a, int64_t lda,
                                  int64_t stride_a, const uint16_t* b, int64_t ldb,
                                  int64_t stride_b, float beta, uint16_t* c, int64_t ldc,
                                  int64_t stride_c);

/// y[m,n] = x[m,k] w[n,k]^T + bias[n]; bias may be null.
TANDEM_API void linear(int64_t m, int64_t n, int64_t k, const float* x, int64_t ldx, const float* w,
                       int64_t ldw, const float* bias, float* y, int64_t ldy,
                       const RowsDone& done = {});
TANDEM_API void linear(int64_t m, int64_t n, int64_t k, const double* x, int64_t ldx,
                       const double* w, int64_t ldw, const double* bias, double* y, int64_t ldy,
                       const RowsDone& done = {});

}  // namespace tandem::cpu
