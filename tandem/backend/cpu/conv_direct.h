// Convolutions by kernels of our own, where oneDNN is weak: few input channels, depthwise.
#pragma once

#include "tandem/backend/cpu/conv.h"

namespace tandem::cpu::direct {

/// One input channel a group and one output channel a group.
inline bool is_depthwise(const ConvShape& s) {
  return s.groups > 1 && s.groups == s.c && s.groups == s.oc;
}

/// Few enough window elements that the unfolded rows stay near the core.
bool few_inputs(const ConvShape& s);

/// The convolution whose forward pass, with flipped and swapped weights, is the backward pass of
/// `s`; only for stride 1 and pads not beyond the kernel.
bool has_transpose(const ConvShape& s);
ConvShape transposed(const ConvShape& s);

void forward(const ConvShape& s, const float* x, const float* w, const float* bias, float* y,
             const RowsDone& done = {});
void backward_data(const ConvShape& s, const float* dy, const float* w, float* dx,
                   const RowsDone& done = {});
void backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw);

void depthwise_forward(const ConvShape& s, const float* x, const float* w, const float* bias,
                       float* y);
void depthwise_backward_data(const ConvShape& s, const float* dy, const float* w, float* dx);
void depthwise_backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw);

}  // namespace tandem::cpu::direct
