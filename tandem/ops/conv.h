#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

namespace cpu {
struct RowsDone;
}

/// Cross-correlation of x[n, c, h, w] with weight[oc, c / groups, kh, kw].
struct Conv2d {
  static constexpr std::string_view name = "conv2d";
  static constexpr std::string_view inputs = "x, weight, bias?";
  static constexpr OnnxRule onnx{"Conv", 11};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  Shape stride = {1}, padding = {0}, dilation = {1};
  int64_t groups = 1;
  static constexpr auto fields =
      Fields{field("stride", &Conv2d::stride), field("padding", &Conv2d::padding),
             field("dilation", &Conv2d::dilation), field("groups", &Conv2d::groups)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  /// Tells of rows of the result's last axis when they are final.
  void cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Conv2d> samples();
};

/// The gradient of conv2d by x, whose height and width are `size`.
struct Conv2dInputGrad {
  static constexpr std::string_view name = "conv2d_input_grad";
  static constexpr std::string_view inputs = "dy, weight";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  Shape size = {1}, stride = {1}, padding = {0}, dilation = {1};
  int64_t groups = 1;
  static constexpr auto fields = Fields{
      field("size", &Conv2dInputGrad::size), field("stride", &Conv2dInputGrad::stride),
      field("padding", &Conv2dInputGrad::padding), field("dilation", &Conv2dInputGrad::dilation),
      field("groups", &Conv2dInputGrad::groups)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  /// Tells of rows of the result's last axis when they are final.
  void cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const;
  Tensors vjp(const Saved& s, const Tensor& g) const;
  static Samples<Conv2dInputGrad> samples();
};

/// The gradient of conv2d by weight, whose height and width are `kernel`.
struct Conv2dWeightGrad {
  static constexpr std::string_view name = "conv2d_weight_grad";
  static constexpr std::string_view inputs = "x, dy";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  Shape kernel = {1}, stride = {1}, padding = {0}, dilation = {1};
  int64_t groups = 1;
  static constexpr auto fields = Fields{
      field("kernel", &Conv2dWeightGrad::kernel), field("stride", &Conv2dWeightGrad::stride),
      field("padding", &Conv2dWeightGrad::padding), field("dilation", &Conv2dWeightGrad::dilation),
      field("groups", &Conv2dWeightGrad::groups)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& g) const;
  static Samples<Conv2dWeightGrad> samples();
};

/// Cross-correlation of x[n, c, l] with weight[oc, c / groups, k].
struct Conv1d {
  static constexpr std::string_view name = "conv1d";
  static constexpr std::string_view inputs = "x, weight, bias?";
  static constexpr OnnxRule onnx{"Conv", 11};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  Shape stride = {1}, padding = {0}, dilation = {1};
  int64_t groups = 1;
  static constexpr auto fields =
      Fields{field("stride", &Conv1d::stride), field("padding", &Conv1d::padding),
             field("dilation", &Conv1d::dilation), field("groups", &Conv1d::groups)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Conv1d> samples();
};

/// The transpose of conv2d as a map of its input: x[n, c, h, w], weight[c, oc / groups, kh, kw].
struct ConvTranspose2d {
  static constexpr std::string_view name = "conv_transpose2d";
  static constexpr std::string_view inputs = "x, weight, bias?";
  static constexpr OnnxRule onnx{"ConvTranspose", 11};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  Shape stride = {1}, padding = {0}, output_padding = {0};
  int64_t groups = 1;
  Shape dilation = {1};
  static constexpr auto fields = Fields{
      field("stride", &ConvTranspose2d::stride), field("padding", &ConvTranspose2d::padding),
      field("output_padding", &ConvTranspose2d::output_padding),
      field("groups", &ConvTranspose2d::groups), field("dilation", &ConvTranspose2d::dilation)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ConvTranspose2d> samples();
};

/// Each is one number for every spatial axis, or one for each: 2, or {2, 1}.
struct Conv2dOptions {
  ByName by_name = ByName();
  Shape stride = 1, padding = 0, dilation = 1;
  int64_t groups = 1;
};
using Conv1dOptions = Conv2dOptions;
struct ConvTranspose2dOptions {
  ByName by_name = ByName();
  Shape stride = 1, padding = 0, output_padding = 0;
  int64_t groups = 1;
  Shape dilation = 1;
};

/// y[n, o, i, j] = bias[o] + sum of weight[o, c, a, b] x[n, c, i stride - padding + a dilation,
/// ...] over a group's channels and the kernel; x outside its bounds is 0. x is [n, c, h, w] or
/// [c, h, w], weight [oc, c / groups, kh, kw], the result [n, oc, floor((h + 2 padding - dilation
/// (kh - 1) - 1) / stride) + 1, ...]. Integers are exact below 2^53. Errors: ShapeError,
/// DTypeError, ValueError for options out of range.
inline Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                     const Conv2dOptions& o = {}) {
  return apply(Conv2d{o.stride, o.padding, o.dilation, o.groups}, {x, weight, bias});
}
/// The same over one axis: x[n, c, l] or [c, l], weight[oc, c / groups, k]. Errors: as conv2d.
inline Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                     const Conv1dOptions& o = {}) {
  return apply(Conv1d{o.stride, o.padding, o.dilation, o.groups}, {x, weight, bias});
}
/// x[n, c, h, w] or [c, h, w], weight[c, oc / groups, kh, kw]: the result has height (h - 1) stride
/// - 2 padding + dilation (kh - 1) + output_padding + 1, and width likewise. Errors: as conv2d.
inline Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                               const ConvTranspose2dOptions& o = {}) {
  return apply(ConvTranspose2d{o.stride, o.padding, o.output_padding, o.groups, o.dilation},
               {x, weight, bias});
}

}  // namespace tandem
