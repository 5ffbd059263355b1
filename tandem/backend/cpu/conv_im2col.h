// Convolutions as matrix products over unfolded windows: any shape, f32, f64 and i64, which wraps.
#pragma once

#include "tandem/backend/cpu/conv.h"

namespace tandem::cpu::im2col {

template <class T>
void forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y);

template <class T>
void backward_data(const ConvShape& s, const T* dy, const T* w, T* dx);

template <class T>
void backward_weights(const ConvShape& s, const T* x, const T* dy, T* dw);

/// Unfolds output rows [row, row + rows) of `channels` planes: cols[channel kh kw][rows out_w].
template <class T>
void unfold(const ConvShape& s, int64_t channels, const T* x, int64_t row, int64_t rows, T* cols);

/// db[oc] = sum of dy over images and positions.
template <class T>
void bias_gradient(const ConvShape& s, const T* dy, T* db);

}  // namespace tandem::cpu::im2col
