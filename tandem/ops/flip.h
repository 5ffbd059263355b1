#pragma once
#include <vector>

#include "tandem/op/op.h"

namespace tandem {

/// The elements along `axes` in the opposite order.
struct Flip {
  static constexpr std::string_view name = "flip";
  static constexpr std::string_view inputs = "x";

  Shape axes = {};
  static constexpr auto fields = Fields{field("axes", &Flip::axes)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Flip> samples();
};

/// The elements moved `shifts` places along `axes`; what leaves at one end enters at the other.
/// Without axes the flattened elements are moved.
struct Roll {
  static constexpr std::string_view name = "roll";
  static constexpr std::string_view inputs = "x";

  Shape shifts = {}, axes = {};
  static constexpr auto fields = Fields{field("shifts", &Roll::shifts), field("axes", &Roll::axes)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Roll> samples();
};

/// The tensor `repeats` times along each axis; more repeats than axes add axes in front.
struct Repeat {
  static constexpr std::string_view name = "repeat";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Tile", 13};

  Shape repeats = {};
  static constexpr auto fields = Fields{field("repeats", &Repeat::repeats)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Repeat> samples();
};

/// More places around the last axes: `pad` = {left, right, top, bottom, ...} from the last axis on,
/// as PyTorch's F.pad; negative numbers crop. Modes: "constant" (`value`), "reflect" (without the
/// border), "replicate", "circular".
struct Pad {
  static constexpr std::string_view name = "pad";
  static constexpr std::string_view inputs = "x";

  Shape pad = {};
  std::string mode = "constant";
  double value = 0;
  static constexpr auto fields =
      Fields{field("pad", &Pad::pad), field("mode", &Pad::mode), field("value", &Pad::value)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Pad> samples();
};

/// Adds what Pad placed around a tensor of `shape` back to where it came from.
struct PadGrad {
  static constexpr std::string_view name = "pad_grad";
  static constexpr std::string_view inputs = "dy";

  Shape shape = {}, pad = {};
  std::string mode = "reflect";
  static constexpr auto fields = Fields{field("shape", &PadGrad::shape),
                                        field("pad", &PadGrad::pad), field("mode", &PadGrad::mode)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<PadGrad> samples();
};

inline Tensor flip(const Tensor& x, const Shape& axes) { return apply(Flip{.axes = axes}, {x}); }
inline Tensor roll(const Tensor& x, const Shape& shifts, const Shape& axes = {}) {
  return apply(Roll{.shifts = shifts, .axes = axes}, {x});
}
inline Tensor repeat(const Tensor& x, const Shape& repeats) {
  return apply(Repeat{.repeats = repeats}, {x});
}
/// As `repeat`, but fewer repeats than axes count for the last axes.
TANDEM_API Tensor tile(const Tensor& x, const Shape& repeats);
inline Tensor pad(const Tensor& x, const Shape& pad, std::string mode = "constant",
                  double value = 0) {
  return apply(Pad{.pad = pad, .mode = std::move(mode), .value = value}, {x});
}

}  // namespace tandem
