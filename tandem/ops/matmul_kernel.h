#pragma once
// Matrix products of strided tensors, shared by matmul, bmm, addmm and linear.
#include "tandem/backend/cpu/gemm.h"
#include "tandem/op/op.h"

namespace tandem::detail {

/// out = alpha x y + beta out over the last two axes; leading axes broadcast against those of the
/// row-major `out` [..., m, n]. Row- and column-major matrices are read in place, others copied.
/// `done` counts rows over the whole stack.
void matrix_product(const Tensor& x, const Tensor& y, const Tensor& out, double alpha = 1,
                    double beta = 0, const cpu::RowsDone& done = {});
/// Calls `done` for all rows of `out`.
void finish_rows(const Tensor& out, const cpu::RowsDone& done);

/// `x` with its leading axes merged: [rows, last].
Tensor merge_rows(const Tensor& x);

/// The rule for element types that all products share.
template <class O>
void check_product_dtypes(const O& op, DType x, DType y) {
  check<DTypeError>(x == y, op, "dtypes ", x, " and ", y, " differ; cast one of them");
  check<DTypeError>(x != boolean, op, "booleans have no matrix product; cast them");
}

}  // namespace tandem::detail
