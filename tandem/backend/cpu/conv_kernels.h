// Inner loops of the convolutions of our own. An image lies in rows of phase planes (see
// conv_direct.cpp), so that the element of window position t for output column q is
// x[off[t] + q], whatever the stride and dilation are.
#pragma once

#include <cstdint>

namespace tandem::cpu {

struct ConvKernels {
  /// Register tiles: output channels at once (`channels`); for weight gradients, output channels
  /// (`dy_rows`) by window positions (`taps`).
  int64_t channels, dy_rows, taps;

  /// One output row of `rows` channels: y[i * ldy + q] = bias[i] + sum_t w[t * rows + i] x[off[t] +
  /// q].
  void (*row)(int64_t rows, int64_t cols, int64_t taps, const float* w, const float* x,
              const int64_t* off, const float* bias, float* y, int64_t ldy);

  /// One plane: y[r * ldy + q] = bias + sum_t w[t] x[r * step + off[t] + q].
  void (*plane)(int64_t rows, int64_t cols, int64_t taps, const float* w, const float* x,
                const int64_t* off, int64_t step, float bias, float* y, int64_t ldy);

  /// dw[i * ldw + t] += sum over r, q of dy[i * ldy + r * dy_step + q] x[r * step + off[t] + q],
  /// for `channels` and `taps` within the register tile.
  void (*weights)(int64_t channels, int64_t taps, int64_t rows, int64_t cols, const float* dy,
                  int64_t ldy, int64_t dy_step, const float* x, const int64_t* off, int64_t step,
                  float* dw, int64_t ldw);
};

/// The table for isa().
const ConvKernels& conv_kernels();

}  // namespace tandem::cpu
