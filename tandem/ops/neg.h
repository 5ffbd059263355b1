#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// -x. Errors: DTypeError for booleans.
struct Neg {
  static constexpr std::string_view name = "neg";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Neg", 13};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::neg(x);
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Neg> samples();
};

inline Tensor neg(const Tensor& x) { return apply(Neg{}, {x}); }
inline Tensor operator-(const Tensor& x) { return apply(Neg{}, {x}); }

}  // namespace tandem
