// 2-d convolutions on raw pointers. Tensors are contiguous: x[n, c, h, w], w[oc, c / groups, kh,
// kw], y[n, oc, out_h, out_w]. A 1-d convolution is one with h = kh = 1; a transposed convolution
// is conv_backward_data of the convolution it transposes, whose h and w say what its output size
// is.
#pragma once

#include <cstdint>

#include "tandem/backend/cpu/rows_done.h"
#include "tandem/core/export.h"

namespace tandem::cpu {

struct ConvShape {
  int64_t n, c, h, w, oc, kh, kw;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dil_h = 1, dil_w = 1, groups = 1;

  bool operator==(const ConvShape&) const = default;

  /// floor((size + 2 pad - dil (k - 1) - 1) / stride) + 1
  int64_t out_h() const { return (h + 2 * pad_h - dil_h * (kh - 1) - 1) / stride_h + 1; }
  int64_t out_w() const { return (w + 2 * pad_w - dil_w * (kw - 1) - 1) / stride_w + 1; }
};

/// y = conv(x, w) + bias; bias[oc] may be null. Integers wrap around.
///
/// f32 picks among oneDNN (plain, channels-last, blocked, Winograd) and kernels of our own: by
/// rules over the shape, or, under set_autotune(true), by a measurement with the caller's buffers
/// at the first call with a shape. Rows are those of y's last axis.
TANDEM_API void conv_forward(const ConvShape& shape, const float* x, const float* w,
                             const float* bias, float* y, const RowsDone& done = {});
TANDEM_API void conv_forward(const ConvShape& shape, const double* x, const double* w,
                             const double* bias, double* y, const RowsDone& done = {});

TANDEM_API void conv_forward(const ConvShape& shape, const int64_t* x, const int64_t* w,
                             const int64_t* bias, int64_t* y, const RowsDone& done = {});

/// dx = gradient of sum(y * dy) with respect to x. Rows are those of its last axis.
TANDEM_API void conv_backward_data(const ConvShape& shape, const float* dy, const float* w,
                                   float* dx, const RowsDone& done = {});
TANDEM_API void conv_backward_data(const ConvShape& shape, const double* dy, const double* w,
                                   double* dx, const RowsDone& done = {});
TANDEM_API void conv_backward_data(const ConvShape& shape, const int64_t* dy, const int64_t* w,
                                   int64_t* dx, const RowsDone& done = {});

/// dw and db = gradients of sum(y * dy) with respect to w and bias; db may be null.
TANDEM_API void conv_backward_weights(const ConvShape& shape, const float* x, const float* dy,
                                      float* dw, float* db);
TANDEM_API void conv_backward_weights(const ConvShape& shape, const double* x, const double* dy,
                                      double* dw, double* db);
/// `db` is null.
TANDEM_API void conv_backward_weights(const ConvShape& shape, const int64_t* x, const int64_t* dy,
                                      int64_t* dw, int64_t* db);

/// Off: no Winograd, direct sums only. Winograd's relative error is about 9e-7 instead of 2e-7, and
/// a NaN in the input may reach every output of its 4 x 4 tile where oneDNN's Winograd runs.
TANDEM_API void set_conv_winograd(bool on) noexcept;
TANDEM_API bool conv_winograd() noexcept;

}  // namespace tandem::cpu
