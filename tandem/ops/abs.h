#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// |x|.
struct Abs {
  static constexpr std::string_view name = "abs";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Abs", 13};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    // The least integer stays as it is, as everywhere.
    if constexpr (std::is_unsigned_v<A>) return x;
    else if constexpr (std::is_integral_v<A>) return x < A(0) ? math::neg(x) : x;
    else return math::abs(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Abs> samples();
};

/// -1, 0 or 1; 0 for NaN. Its gradient is zero.
struct Sign {
  static constexpr std::string_view name = "sign";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Sign", 13};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return A(x > A(0)) - A(x < A(0));
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sign> samples();
};

inline Tensor abs(const Tensor& x) { return apply(Abs{}, {x}); }
inline Tensor sign(const Tensor& x) { return apply(Sign{}, {x}); }

}  // namespace tandem
