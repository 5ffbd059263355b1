#pragma once
#include <cmath>

#include "tandem/op/op.h"
#include "tandem/op/point_op.h"
#include "tandem/ops/by_library.h"

namespace tandem {

/// The tangent of an angle in radians. Integers give f32.
struct Tan {
  static constexpr std::string_view name = "tan";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Tan", 7};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::tan(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Tan> samples();
};

/// The angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]. Integers give f32.
struct Asin {
  static constexpr std::string_view name = "asin";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Asin", 7};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::asin(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Asin> samples();
};

/// The angle in [0, pi] whose cosine is x; NaN outside [-1, 1]. Integers give f32.
struct Acos {
  static constexpr std::string_view name = "acos";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Acos", 7};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::acos(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Acos> samples();
};

/// The angle in [-pi/2, pi/2] whose tangent is x. Integers give f32.
struct Atan {
  static constexpr std::string_view name = "atan";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Atan", 7};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::atan(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Atan> samples();
};

inline Tensor tan(const Tensor& x) { return apply(Tan{}, {x}); }
inline Tensor asin(const Tensor& x) { return apply(Asin{}, {x}); }
inline Tensor acos(const Tensor& x) { return apply(Acos{}, {x}); }
inline Tensor atan(const Tensor& x) { return apply(Atan{}, {x}); }

}  // namespace tandem
