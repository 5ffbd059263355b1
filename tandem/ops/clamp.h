#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"
#include "tandem/ops/minimum.h"

namespace tandem {

/// x limited to [min, max]; either bound may be absent. NaN stays NaN; everything is max where min
/// exceeds max, and NaN where a bound is. Whole bounds keep integers integers (booleans give i64),
/// others make them f32. Errors: ValueError when both bounds are absent.
struct Clamp {
  static constexpr std::string_view name = "clamp";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Clip", 13};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr bool broadcasts = true;

  std::optional<Number> min = std::nullopt;
  std::optional<Number> max = std::nullopt;
  static constexpr auto fields = Fields{field("min", &Clamp::min), field("max", &Clamp::max)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Clamp> samples();
};

/// The gradient of clamp: dy where min < x < max, else 0, as PyTorch 2.15 does at the bounds.
struct ClampGrad {
  static constexpr std::string_view name = "clamp_grad";
  static constexpr std::string_view inputs = "dy, x";
  static constexpr Saves saves{.in = {1}, .out = {}};
  static constexpr bool broadcasts = true;

  std::optional<Number> min = std::nullopt;
  std::optional<Number> max = std::nullopt;
  static constexpr auto fields =
      Fields{field("min", &ClampGrad::min), field("max", &ClampGrad::max)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ClampGrad> samples();
};

inline Tensor clamp(const Tensor& x, std::optional<Number> min, std::optional<Number> max = {}) {
  return apply(Clamp{.min = min, .max = max}, {x});
}
/// Tensor bounds, broadcast; an undefined one is absent.
template <std::same_as<Tensor> T>
Tensor clamp(const Tensor& x, const T& min, const T& max) {
  const Tensor y = min.defined() ? maximum(x, min) : x;
  return max.defined() ? minimum(y, max) : y;
}

}  // namespace tandem
