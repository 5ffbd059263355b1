#pragma once
#include <limits>
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Whether x is not a number.
struct Isnan {
  static constexpr std::string_view name = "isnan";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"IsNaN", 13};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x) const {
    return x != x;
  }

  static Samples<Isnan> samples();
};

/// Whether x is an infinity of either sign.
struct Isinf {
  static constexpr std::string_view name = "isinf";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"IsInf", 10};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point([[maybe_unused]] A x) const {
    if constexpr (std::is_integral_v<A>) return false;
    else return math::abs(x) == std::numeric_limits<A>::infinity();
  }

  static Samples<Isinf> samples();
};

/// Whether x is neither NaN nor an infinity.
struct Isfinite {
  static constexpr std::string_view name = "isfinite";
  static constexpr std::string_view inputs = "x";
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point([[maybe_unused]] A x) const {
    if constexpr (std::is_integral_v<A>) return true;
    else return math::abs(x) < std::numeric_limits<A>::infinity();
  }

  static Samples<Isfinite> samples();
};

inline Tensor isnan(const Tensor& x) { return apply(Isnan{}, {x}); }
inline Tensor isinf(const Tensor& x) { return apply(Isinf{}, {x}); }
inline Tensor isfinite(const Tensor& x) { return apply(Isfinite{}, {x}); }

}  // namespace tandem
