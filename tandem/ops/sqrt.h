#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The square root; NaN below zero. Integers give f32.
struct Sqrt {
  static constexpr std::string_view name = "sqrt";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Sqrt", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::sqrt(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sqrt> samples();
};

/// 1 / sqrt(x); inf at zero. Integers give f32.
struct Rsqrt {
  static constexpr std::string_view name = "rsqrt";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return A(1) / math::sqrt(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Rsqrt> samples();
};

inline Tensor sqrt(const Tensor& x) { return apply(Sqrt{}, {x}); }
inline Tensor rsqrt(const Tensor& x) { return apply(Rsqrt{}, {x}); }

}  // namespace tandem
