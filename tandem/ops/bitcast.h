#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The bytes of x as elements of another dtype of the same width. Errors: DTypeError for another
/// width, and for bool, whose bytes are 0 and 1 only.
struct Bitcast {
  static constexpr std::string_view name = "bitcast";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "bits are no real numbers";

  DType dtype = f32;
  static constexpr auto fields = Fields{field("dtype", &Bitcast::dtype)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Bitcast> samples();
};

inline Tensor bitcast(const Tensor& x, DType dtype) { return apply(Bitcast{.dtype = dtype}, {x}); }

}  // namespace tandem
