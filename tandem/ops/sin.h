#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The sine of an angle in radians. Integers give f32.
struct Sin {
  static constexpr std::string_view name = "sin";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Sin", 7};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::sin(x);
  }

  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sin> samples();
};

/// The cosine of an angle in radians. Integers give f32.
struct Cos {
  static constexpr std::string_view name = "cos";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Cos", 7};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return math::cos(x);
  }

  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cos> samples();
};

inline Tensor sin(const Tensor& x) { return apply(Sin{}, {x}); }
inline Tensor cos(const Tensor& x) { return apply(Cos{}, {x}); }

}  // namespace tandem
