#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// To the nearest multiple of 10^-decimals, halves to the even one. Its gradient is zero; integers
/// stay as they are.
struct Round {
  static constexpr std::string_view name = "round";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Round", 11};
  static constexpr bool broadcasts = true;

  int64_t decimals = 0;
  static constexpr auto fields = Fields{field("decimals", &Round::decimals)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Round> samples();
};

inline Tensor round(const Tensor& x, int64_t decimals = 0) {
  return apply(Round{.decimals = decimals}, {x});
}

}  // namespace tandem
