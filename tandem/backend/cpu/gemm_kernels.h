// The inner loops of the matrix products, as one table per instruction set and element type.
#pragma once

#include <cstdint>

namespace tandem::cpu {

/// C = alpha * sum + beta * C + bias; bias (one per column) may be null.
template <class T>
struct Epilogue {
  T alpha = 1;
  T beta = 0;
  const T* bias = nullptr;
};

template <class T>
struct GemmKernels {
  /// Register tile: rows, columns, and the lanes of one vector.
  int mr, nr, width;

  /// C[m,n] = A[m,k] B[k,n] without packing; A[i,p] = a[i * a_row + p * a_col], rows of B and C
  /// contiguous. For products that stay in the first-level cache.
  void (*direct)(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col,
                 const T* b, int64_t ldb, const Epilogue<T>& e, T* c, int64_t ldc);

  /// C[m,n] = A[m,k] B[n,k]^T by inner products, for k much longer than a vector.
  void (*dots)(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
               const Epilogue<T>& e, T* c, int64_t ldc);

  /// One panel of packed A (k groups of mr) against one of packed B (k groups of nr); `bias` here
  /// is that of the panel's first column.
  void (*packed)(int64_t rows, int64_t cols, int64_t k, const T* a, const T* b,
                 const Epilogue<T>& e, const T* bias, T* c, int64_t ldc);

  /// dst[p * ldd + j] = b[j * ldb + p]: B^T of n x k, columns n..ldd zero.
  void (*transpose)(int64_t n, int64_t k, const T* b, int64_t ldb, T* dst, int64_t ldd);

  /// y[i] = alpha * dot(a[i, :], x) + beta * y[i], y `inc` apart.
  void (*gemv_rows)(int64_t rows, int64_t k, const T* a, int64_t lda, const T* x, T alpha, T beta,
                    T* y, int64_t inc);

  /// sum[j] = sum over p of x[p * inc] * b[p, j], overwriting sum[0..n).
  void (*gemv_columns)(int64_t n, int64_t k, const T* b, int64_t ldb, const T* x, int64_t inc,
                       T* sum);
};

/// The table for isa().
template <class T>
const GemmKernels<T>& gemm_kernels();

}  // namespace tandem::cpu
