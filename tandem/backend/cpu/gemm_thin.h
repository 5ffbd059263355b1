// Products of f32 with one short side, such as a layer's on a small batch: the large factor is read
// once, in place, its rows by the same threads in every call, so that a layer's weights, their
// gradient and their update stay in one core's cache from step to step.
#pragma once

#include <cstdint>

#include "tandem/backend/cpu/gemm.h"

namespace tandem::cpu {

/// Whether turned_product takes such a product: whole panels of A, of a size that every core keeps,
/// and work for all threads.
bool turned_suits(int64_t m, int64_t n, int64_t k);
/// C[m,n] = A[m,k] B[n,k]^T + bias as the transpose of B A^T: rows of B are shared out, A is
/// packed. `bias` may be null.
void turned_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                    int64_t ldb, const float* bias, float* c, int64_t ldc);

/// C[m,n] = A[m,k] B[k,n], A[i,p] = a[i * a_row + p * a_col], for k that leaves a strip of B in the
/// first-level cache: rows of C are shared out, B is read in place.
void strip_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_col,
                   const float* b, int64_t ldb, float* c, int64_t ldc, const RowsDone& done);

}  // namespace tandem::cpu
