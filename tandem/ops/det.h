#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The determinant of each matrix in the last two axes, by elimination; sums are kept in f64.
/// Errors: ShapeError unless the matrices are square, DTypeError unless they are floating.
struct Det {
  static constexpr std::string_view name = "det";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Det", 11};
  static constexpr std::string_view not_differentiable =
      "its gradient at a singular matrix needs the adjugate, which there is no op for";
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Det> samples();
};

inline Tensor det(const Tensor& x) { return apply(Det{}, {x}); }

}  // namespace tandem
