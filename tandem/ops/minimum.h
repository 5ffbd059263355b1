#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// The smaller one, broadcast and promoted; NaN when one is NaN. Equal inputs share the gradient.
struct Minimum {
  static constexpr std::string_view name = "minimum";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Min", 13};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    return ((x < y) | (x != x)) ? x : y;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Minimum> samples();
};

/// The larger one, broadcast and promoted; NaN when one is NaN. Equal inputs share the gradient.
struct Maximum {
  static constexpr std::string_view name = "maximum";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Max", 13};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    return ((x > y) | (x != x)) ? x : y;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Maximum> samples();
};

inline Tensor minimum(const Tensor& x, const Tensor& y) { return apply(Minimum{}, {x, y}); }
inline Tensor maximum(const Tensor& x, const Tensor& y) { return apply(Maximum{}, {x, y}); }

}  // namespace tandem
