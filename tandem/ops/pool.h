#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

/// The largest value of each window, and its place h * width + w in the plane. A window that lies
/// in the padding alone, which dilation allows, gives -infinity (integers: the least one) and the
/// place -1, to which no gradient goes.
struct MaxPool2d {
  static constexpr std::string_view name = "max_pool2d";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"MaxPool", 12};
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {}, .out = {1}};

  Shape kernel_size = {1}, stride = {}, padding = {0}, dilation = {1};
  bool ceil_mode = false;
  static constexpr auto fields =
      Fields{field("kernel_size", &MaxPool2d::kernel_size), field("stride", &MaxPool2d::stride),
             field("padding", &MaxPool2d::padding), field("dilation", &MaxPool2d::dilation),
             field("ceil_mode", &MaxPool2d::ceil_mode)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<MaxPool2d> samples();
};

/// Adds each dy to the place that `indices` names, in planes of `size`; to none for -1.
struct MaxPool2dGrad {
  static constexpr std::string_view name = "max_pool2d_grad";
  static constexpr std::string_view inputs = "dy, indices";
  static constexpr Saves saves{.in = {1}, .out = {}};

  Shape size = {1};
  static constexpr auto fields = Fields{field("size", &MaxPool2dGrad::size)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& g) const;
  static Samples<MaxPool2dGrad> samples();
};

/// The mean of each window.
struct AvgPool2d {
  static constexpr std::string_view name = "avg_pool2d";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"AveragePool", 11};

  Shape kernel_size = {1}, stride = {}, padding = {0};
  bool ceil_mode = false, count_include_pad = true;
  std::optional<int64_t> divisor_override = {};
  static constexpr auto fields = Fields{field("kernel_size", &AvgPool2d::kernel_size),
                                        field("stride", &AvgPool2d::stride),
                                        field("padding", &AvgPool2d::padding),
                                        field("ceil_mode", &AvgPool2d::ceil_mode),
                                        field("count_include_pad", &AvgPool2d::count_include_pad),
                                        field("divisor_override", &AvgPool2d::divisor_override)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<AvgPool2d> samples();
};

/// The gradient of avg_pool2d by planes of `size`.
struct AvgPool2dGrad {
  static constexpr std::string_view name = "avg_pool2d_grad";
  static constexpr std::string_view inputs = "dy";

  Shape size = {1}, kernel_size = {1}, stride = {}, padding = {0};
  bool ceil_mode = false, count_include_pad = true;
  std::optional<int64_t> divisor_override = {};
  static constexpr auto fields =
      Fields{field("size", &AvgPool2dGrad::size),
             field("kernel_size", &AvgPool2dGrad::kernel_size),
             field("stride", &AvgPool2dGrad::stride),
             field("padding", &AvgPool2dGrad::padding),
             field("ceil_mode", &AvgPool2dGrad::ceil_mode),
             field("count_include_pad", &AvgPool2dGrad::count_include_pad),
             field("divisor_override", &AvgPool2dGrad::divisor_override)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& g) const;
  static Samples<AvgPool2dGrad> samples();
};

/// Means over windows that divide each plane evenly into `output_size`; -1 keeps a size.
struct AdaptiveAvgPool2d {
  static constexpr std::string_view name = "adaptive_avg_pool2d";
  static constexpr std::string_view inputs = "x";

  Shape output_size = {1};
  static constexpr auto fields = Fields{field("output_size", &AdaptiveAvgPool2d::output_size)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<AdaptiveAvgPool2d> samples();
};

/// The gradient of adaptive_avg_pool2d by planes of `size`.
struct AdaptiveAvgPool2dGrad {
  static constexpr std::string_view name = "adaptive_avg_pool2d_grad";
  static constexpr std::string_view inputs = "dy";

  Shape size = {1};
  static constexpr auto fields = Fields{field("size", &AdaptiveAvgPool2dGrad::size)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& g) const;
  static Samples<AdaptiveAvgPool2dGrad> samples();
};

/// Each is one number for both axes, or one for each.
struct MaxPool2dOptions {
  ByName by_name = ByName();
  Shape stride = {};  ///< the kernel's size unless given
  Shape padding = 0, dilation = 1;
  bool ceil_mode = false;
};
struct AvgPool2dOptions {
  ByName by_name = ByName();
  Shape stride = {};  ///< the kernel's size unless given
  Shape padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
  std::optional<int64_t> divisor_override = {};
};

/// Windows of `kernel_size`, `stride` apart, over x[n, c, h, w] or [c, h, w]: {values, indices
/// i64}. Padding counts as minus infinity, NaN as largest. Each size is floor or, with ceil_mode,
/// ceil((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1. Errors: ShapeError,
/// ValueError for options out of range.
inline Tensors max_pool2d_with_indices(const Tensor& x, const Shape& kernel_size,
                                       const MaxPool2dOptions& o = {}) {
  return apply_all(MaxPool2d{kernel_size, o.stride, o.padding, o.dilation, o.ceil_mode}, {x});
}
/// The values alone.
inline Tensor max_pool2d(const Tensor& x, const Shape& kernel_size,
                         const MaxPool2dOptions& o = {}) {
  return max_pool2d_with_indices(x, kernel_size, o)[0];
}
/// The mean of each window. Padding counts in the divisor unless count_include_pad is false;
/// divisor_override replaces it. Errors: as max_pool2d.
inline Tensor avg_pool2d(const Tensor& x, const Shape& kernel_size,
                         const AvgPool2dOptions& o = {}) {
  return apply(AvgPool2d{kernel_size, o.stride, o.padding, o.ceil_mode, o.count_include_pad,
                         o.divisor_override},
               {x});
}
/// y[i, j] = mean of rows [floor(i h / oh), ceil((i + 1) h / oh)) and columns likewise. Errors: as
/// max_pool2d.
inline Tensor adaptive_avg_pool2d(const Tensor& x, const Shape& output_size) {
  return apply(AdaptiveAvgPool2d{output_size}, {x});
}

}  // namespace tandem
