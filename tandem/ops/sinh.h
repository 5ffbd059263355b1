#pragma once
#include <cmath>

#include "tandem/op/op.h"
#include "tandem/op/point_op.h"
#include "tandem/ops/by_library.h"

namespace tandem {

/// The hyperbolic sine. Integers give f32.
struct Sinh {
  static constexpr std::string_view name = "sinh";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Sinh", 9};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::sinh(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Sinh> samples();
};

/// The hyperbolic cosine. Integers give f32.
struct Cosh {
  static constexpr std::string_view name = "cosh";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Cosh", 9};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::cosh(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cosh> samples();
};

/// The inverse of sinh. Integers give f32.
struct Asinh {
  static constexpr std::string_view name = "asinh";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Asinh", 9};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::asinh(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Asinh> samples();
};

/// The inverse of cosh; NaN below 1. Integers give f32.
struct Acosh {
  static constexpr std::string_view name = "acosh";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Acosh", 9};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::acosh(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Acosh> samples();
};

/// The inverse of tanh; NaN outside [-1, 1]. Integers give f32.
struct Atanh {
  static constexpr std::string_view name = "atanh";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Atanh", 9};
  static constexpr Saves saves{.in = {0}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [](auto v) { return std::atanh(v); });
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Atanh> samples();
};

inline Tensor sinh(const Tensor& x) { return apply(Sinh{}, {x}); }
inline Tensor cosh(const Tensor& x) { return apply(Cosh{}, {x}); }
inline Tensor asinh(const Tensor& x) { return apply(Asinh{}, {x}); }
inline Tensor acosh(const Tensor& x) { return apply(Acosh{}, {x}); }
inline Tensor atanh(const Tensor& x) { return apply(Atanh{}, {x}); }

}  // namespace tandem
