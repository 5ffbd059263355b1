#pragma once
#include "tandem/nn/conv.h"
#include "tandem/ops/pool.h"

namespace tandem::nn {

using tandem::AvgPool2dOptions;
using tandem::MaxPool2dOptions;

/// The largest value of each window: x [N, C, H, W] or [C, H, W].
struct TANDEM_API MaxPool2d : Module<MaxPool2d> {
  Pair kernel_size, stride, padding, dilation;
  bool ceil_mode;

  explicit MaxPool2d(Pair kernel_size, MaxPool2dOptions o = {})
      : kernel_size(kernel_size),
        stride(o.stride.empty() ? kernel_size : Pair(o.stride)),
        padding(o.padding),
        dilation(o.dilation),
        ceil_mode(o.ceil_mode) {}
  static constexpr auto fields =
      Fields{field("kernel_size", &MaxPool2d::kernel_size), field("stride", &MaxPool2d::stride),
             field("padding", &MaxPool2d::padding), field("dilation", &MaxPool2d::dilation),
             field("ceil_mode", &MaxPool2d::ceil_mode)};
  Tensor forward(const Tensor& x) const;
};

/// The mean of each window: x [N, C, H, W] or [C, H, W].
struct TANDEM_API AvgPool2d : Module<AvgPool2d> {
  Pair kernel_size, stride, padding;
  bool ceil_mode, count_include_pad;
  std::optional<int64_t> divisor_override;

  explicit AvgPool2d(Pair kernel_size, AvgPool2dOptions o = {})
      : kernel_size(kernel_size),
        stride(o.stride.empty() ? kernel_size : Pair(o.stride)),
        padding(o.padding),
        ceil_mode(o.ceil_mode),
        count_include_pad(o.count_include_pad),
        divisor_override(o.divisor_override) {}
  static constexpr auto fields = Fields{field("kernel_size", &AvgPool2d::kernel_size),
                                        field("stride", &AvgPool2d::stride),
                                        field("padding", &AvgPool2d::padding),
                                        field("ceil_mode", &AvgPool2d::ceil_mode),
                                        field("count_include_pad", &AvgPool2d::count_include_pad),
                                        field("divisor_override", &AvgPool2d::divisor_override)};
  Tensor forward(const Tensor& x) const;
};

/// Means over windows such that the output is `output_size`: x [N, C, H, W] or [C, H, W].
struct TANDEM_API AdaptiveAvgPool2d : Module<AdaptiveAvgPool2d> {
  Pair output_size;

  explicit AdaptiveAvgPool2d(Pair output_size) : output_size(output_size) {}
  static constexpr auto fields = Fields{field("output_size", &AdaptiveAvgPool2d::output_size)};
  Tensor forward(const Tensor& x) const;
};

}  // namespace tandem::nn
