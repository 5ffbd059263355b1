// What becomes of infinities and NaN in convolutions: they reach what their windows hold, and
// nothing else. Kernels multiply the zeros around an image with filters, and Winograd's tiles mix
// neighbours; where that made NaN, the element is summed up again from its own window.
#pragma once

#include "tandem/backend/cpu/conv_onednn.h"

namespace tandem::cpu {

/// Looks at the rows of a result as they become final, repairs them, and then tells `done`.
template <class T>
class ConvRepair {
 public:
  /// `a` is x (forward) or dy (backward_data), `out` y or dx; bias may be null.
  ConvRepair(const ConvShape& s, ConvPass pass, const T* a, const T* w, const T* bias, T* out,
             const RowsDone& done);
  RowsDone rows() const { return {&ConvRepair::look, this, done_.same_kernel}; }

 private:
  static void look(const void* self, int64_t begin, int64_t end);
  T window(int64_t row, int64_t column) const;

  const ConvShape& s_;
  const T *a_, *w_, *bias_;
  T* out_;
  const RowsDone& done_;
  bool forward_;
  int64_t width_;  ///< of a row of the result
};

/// The same for dw of backward_weights, when it is whole.
template <class T>
void repair_weights(const ConvShape& s, const T* x, const T* dy, T* dw);

template <class T>
bool all_finite(const T* x, int64_t n);

}  // namespace tandem::cpu
