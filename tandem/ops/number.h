#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// A number that was calculated of unknown lengths: a 0-d tensor (i64, f64 or bool) that promotes
/// as a C++ number does. Tensor(Length) and Tensor(Number) make it in a graph under construction.
struct NumberOf {
  static constexpr std::string_view name = "number";
  static constexpr std::string_view inputs = "";
  static constexpr std::string_view not_differentiable = "a length has no gradient";
  static constexpr bool is_number = true;

  Number value = 0;
  DType dtype = f64;
  static constexpr auto fields =
      Fields{field("value", &NumberOf::value), field("dtype", &NumberOf::dtype)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<NumberOf> samples();
};

}  // namespace tandem
