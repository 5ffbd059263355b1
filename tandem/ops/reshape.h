#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The same elements in row-major order as another shape; one size may be -1. A view where the
/// strides allow it, else a copy.
struct Reshape {
  static constexpr std::string_view name = "reshape";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Reshape", 14};

  Shape shape;
  static constexpr auto fields = Fields{field("shape", &Reshape::shape)};

  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Reshape> samples();
};

/// Repeats axes of length one without copying; -1 keeps a size. New axes come first.
struct Expand {
  static constexpr std::string_view name = "expand";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Expand", 13};

  Shape shape;
  static constexpr auto fields = Fields{field("shape", &Expand::shape)};

  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Expand> samples();
};

/// Axes in another order.
struct Permute {
  static constexpr std::string_view name = "permute";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Transpose", 13};

  Shape axes;
  static constexpr auto fields = Fields{field("axes", &Permute::axes)};

  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Permute> samples();
};

inline Tensor reshape(const Tensor& x, const Shape& shape) {
  return apply(Reshape{.shape = shape}, {x});
}
inline Tensor expand(const Tensor& x, const Shape& shape) {
  return apply(Expand{.shape = shape}, {x});
}
inline Tensor permute(const Tensor& x, const Shape& axes) {
  return apply(Permute{.axes = axes}, {x});
}
/// Swaps two axes.
TANDEM_API Tensor transpose(const Tensor& x, int axis0, int axis1);
/// Merges axes start..end into one.
TANDEM_API Tensor flatten(const Tensor& x, int start_axis = 0, int end_axis = -1);
/// Without `axis`, when its length is one; all such axes when none is given.
TANDEM_API Tensor squeeze(const Tensor& x, int axis);
TANDEM_API Tensor squeeze(const Tensor& x);
/// With a new axis of length one before `axis` (negative counts from the new end).
TANDEM_API Tensor unsqueeze(const Tensor& x, int axis);

}  // namespace tandem
