// 2-d pooling on raw pointers, f32 and f64; of i64 the pooling itself, not its gradients. Tensors
// are `planes` (batch times channels) contiguous planes: x[planes, h, w], y[planes, out_h, out_w].
#pragma once

#include <cstdint>

#include "tandem/core/export.h"

namespace tandem::cpu {

/// The output size is given by the caller, who knows about ceil_mode; windows that start beyond
/// the input and its right padding do not occur in PyTorch's rule.
struct PoolShape {
  int64_t planes, h, w, out_h, out_w, kh, kw;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dil_h = 1, dil_w = 1;
};

/// y = the largest value of each window, indices = its position h * W + w in the plane (the first
/// among equals). NaN counts as the largest; the last NaN of a window is the one reported, as in
/// PyTorch. A window that lies in the padding alone gives the least T and the position -1.
/// `indices` may be null.
template <class T>
TANDEM_API void max_pool2d(const PoolShape& shape, const T* x, T* y, int64_t* indices);

/// dx[indices] += dy, dx zero elsewhere; the index -1 is none. Returns where another index outside
/// [0, h w) lies, -1 if none does; with one, dx is not complete.
template <class T>
TANDEM_API int64_t max_pool2d_backward(const PoolShape& shape, const T* dy, const int64_t* indices,
                                       T* dx);

/// y = sum of each window / divisor: `divisor_override` if not 0, else the number of elements of
/// the window, counting those in the padding if `count_include_pad` (but never those beyond it).
template <class T>
TANDEM_API void avg_pool2d(const PoolShape& shape, bool count_include_pad, int64_t divisor_override,
                           const T* x, T* y);

template <class T>
TANDEM_API void avg_pool2d_backward(const PoolShape& shape, bool count_include_pad,
                                    int64_t divisor_override, const T* dy, T* dx);

/// y[i, j] = mean of rows [floor(i h / out_h), ceil((i + 1) h / out_h)) and columns likewise.
template <class T>
TANDEM_API void adaptive_avg_pool2d(int64_t planes, int64_t h, int64_t w, int64_t out_h,
                                    int64_t out_w, const T* x, T* y);

template <class T>
TANDEM_API void adaptive_avg_pool2d_backward(int64_t planes, int64_t h, int64_t w, int64_t out_h,
                                             int64_t out_w, const T* dy, T* dx);

}  // namespace tandem::cpu
