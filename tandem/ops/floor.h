#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The largest whole number not above x. Its gradient is zero; integers stay as they are.
struct Floor {
  static constexpr std::string_view name = "floor";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Floor", 13};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    if constexpr (std::is_integral_v<A>) return x;
    else return math::floor(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Floor> samples();
};

/// The smallest whole number not below x. Its gradient is zero; integers stay as they are.
struct Ceil {
  static constexpr std::string_view name = "ceil";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Ceil", 13};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    if constexpr (std::is_integral_v<A>) return x;
    else return math::ceil(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Ceil> samples();
};

inline Tensor floor(const Tensor& x) { return apply(Floor{}, {x}); }
inline Tensor ceil(const Tensor& x) { return apply(Ceil{}, {x}); }

}  // namespace tandem
