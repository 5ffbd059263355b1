#include "tandem/nn/pool.h"

#include "tandem/ops/pool.h"

namespace tandem::nn {

Tensor MaxPool2d::forward(const Tensor& x) const {
  return max_pool2d(x, kernel_size.shape(), stride.shape(), padding.shape(), dilation.shape(),
                    ceil_mode);
}

Tensor AvgPool2d::forward(const Tensor& x) const {
  return avg_pool2d(x, kernel_size.shape(), stride.shape(), padding.shape(), ceil_mode,
                    count_include_pad, divisor_override);
}

Tensor AdaptiveAvgPool2d::forward(const Tensor& x) const {
  return adaptive_avg_pool2d(x, output_size.shape());
}

}  // namespace tandem::nn
