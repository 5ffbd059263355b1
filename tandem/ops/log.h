#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The natural logarithm. Integers give f32; below zero: NaN, zero: -inf.
struct Log {
  static constexpr std::string_view name = "log";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Log", 13};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::log(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Log> samples();
};

/// log(1 + x), accurate near zero. Integers give f32.
struct Log1p {
  static constexpr std::string_view name = "log1p";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::log1p(x);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Log1p> samples();
};

inline Tensor log(const Tensor& x) { return apply(Log{}, {x}); }
inline Tensor log1p(const Tensor& x) { return apply(Log1p{}, {x}); }

}  // namespace tandem
