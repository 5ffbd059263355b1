#pragma once
#include <vector>

#include "tandem/io/detail/onnx_import.h"

namespace tandem::detail {

/// Windows along the last axes of an input, with padding before and after each axis. The lists have
/// one number an axis.
struct OnnxWindows {
  using Ints = std::vector<int64_t>;
  Ints kernel, stride, dilation, before, after;
  Ints out;  ///< how many windows there are
  bool even() const { return before == after; }
  bool dilated() const {
    for (int64_t d : dilation)
      if (d != 1) return true;
    return false;
  }
  int64_t reach(size_t i) const { return dilation[i] * (kernel[i] - 1) + 1; }
};

/// The windows of the node at hand over input 0, by its attributes. Errors: ValueError for those
/// that contradict one another.
OnnxWindows onnx_windows(OnnxImporter& n, std::vector<int64_t> kernel);
/// Padding of its own, where a record has none or only the same at both ends: up to the end of the
/// last window.
Tensor padded_for(const Tensor& x, const OnnxWindows& w, double value);
Shape to_shape(const std::vector<int64_t>& list);
/// The lengths of a weight's kernel, which must be those that the node says. Errors: ValueError.
std::vector<int64_t> conv_kernel(OnnxImporter& n, const Tensor& weight);
/// AveragePool of x, which has the shape of input 0, by the attributes of the node at hand.
Tensor average_pool(OnnxImporter& n, const Tensor& x);

}  // namespace tandem::detail
