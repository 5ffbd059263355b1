#pragma once
#include "tandem/core/tensor.h"

namespace tandem::detail {

/// Copies elements, converting the dtype; any strides; `from` broadcasts. No history.
TANDEM_API void copy_data(const Tensor& to, const Tensor& from);
inline Tensor as_contiguous(const Tensor& t) { return as_contiguous(t, t.dtype()); }

/// Converts `n` elements, `stride` elements apart, into contiguous `to`, and back.
using GatherFn = void (*)(const void* from, int64_t stride, void* to, int64_t n);
using ScatterFn = void (*)(const void* from, void* to, int64_t stride, int64_t n);
GatherFn gather_fn(DType from, DType to);
ScatterFn scatter_fn(DType from, DType to);

}  // namespace tandem::detail
