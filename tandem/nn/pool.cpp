#include "tandem/nn/pool.h"

#include "tandem/ops/pool.h"

namespace tandem::nn {

Tensor MaxPool2d::forward(const Tensor& x) const {
  return max_pool2d(
      x, kernel_size,
      {.stride = stride, .padding = padding, .dilation = dilation, .ceil_mode = ceil_mode});
}

Tensor AvgPool2d::forward(const Tensor& x) const {
  return avg_pool2d(x, kernel_size,
                    {.stride = stride,
                     .padding = padding,
                     .ceil_mode = ceil_mode,
                     .count_include_pad = count_include_pad,
                     .divisor_override = divisor_override});
}

Tensor AdaptiveAvgPool2d::forward(const Tensor& x) const {
  return adaptive_avg_pool2d(x, output_size.shape());
}

}  // namespace tandem::nn
