#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// 1 / x. Integers give f32.
struct Reciprocal {
  static constexpr std::string_view name = "reciprocal";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Reciprocal", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return A(1) / x;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Reciprocal> samples();
};

inline Tensor reciprocal(const Tensor& x) { return apply(Reciprocal{}, {x}); }

}  // namespace tandem
