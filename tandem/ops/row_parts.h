#pragma once
// Records whose kernel can run on some rows of its tensors, but not as a record on smaller tensors:
// they count elements from the begin, or add up over rows. For fused rows.
#include "tandem/ops/dropout.h"
#include "tandem/ops/norm.h"

namespace tandem::detail {

/// Elements [first, first + n) of a row-major dropout in f32 or f64; `first` is a multiple of 64.
void dropout_part(const Dropout& op, const Tensor& key, DType dtype, int64_t first, int64_t n,
                  const void* x, void* y);

/// The sums over rows are made of so many parts, [rows k / parts, rows (k + 1) / parts).
int64_t layer_norm_grad_parts(int64_t rows, int64_t n);
/// Some rows of one part: writes dx and adds to the part's sums. f32 or f64; `weight` may be null.
void layer_norm_grad_rows(const LayerNormGrad& op, DType dtype, int64_t rows, const void* x,
                          const void* dy, const void* weight, void* dx, void* dweight, void* dbias);
/// The sum of the parts' sums, in order.
void layer_norm_grad_sum(DType dtype, const void* sums, int64_t parts, int64_t n, void* out);

}  // namespace tandem::detail
