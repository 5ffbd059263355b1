#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// max(x, 0); NaN stays NaN. Errors: DTypeError for booleans.
struct Relu {
  static constexpr std::string_view name = "relu";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Relu", 14};
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Result result = Result::same;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    return x < A(0) ? A(0) : x;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Relu> samples();
};

/// The gradient of relu from its result: 0 where y <= 0, else dy.
struct ReluGrad {
  static constexpr std::string_view name = "relu_grad";
  static constexpr std::string_view inputs = "dy, y";
  static constexpr Saves saves{.in = {1}, .out = {}};
  static constexpr Result result = Result::floating;
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A dy, A y) const {
    return y <= A(0) ? A(0) : dy;
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ReluGrad> samples();
};

inline Tensor relu(const Tensor& x) { return apply(Relu{}, {x}); }
inline Tensor relu_grad(const Tensor& dy, const Tensor& y) { return apply(ReluGrad{}, {dy, y}); }

}  // namespace tandem
