// Winograd's convolution F(4x4, 3x3) on NCHW tensors: a few rows of tiles at a time, so that their
// coefficients stay in the second-level cache and no tensor is reordered in memory.
#pragma once

#include "tandem/backend/cpu/conv.h"

namespace tandem::cpu::winograd {

/// 3 x 3 filters, stride and dilation 1, one group, pads at most 2.
bool applies(const ConvShape& s);

/// Whether the coefficients of all tiles may be held at once: then backward_weights() is fast for
/// any number of filters.
bool few_tiles(const ConvShape& s);

void forward(const ConvShape& s, const float* x, const float* w, const float* bias, float* y,
             const RowsDone& done = {});
void backward_data(const ConvShape& s, const float* dy, const float* w, float* dx,
                   const RowsDone& done = {});
void backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw);

}  // namespace tandem::cpu::winograd
