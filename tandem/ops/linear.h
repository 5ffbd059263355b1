#pragma once
#include "tandem/op/op.h"

namespace tandem {

namespace cpu {
struct RowsDone;
}

/// y = x weight^T + bias over the last axis.
struct Linear {
  static constexpr std::string_view name = "linear";
  static constexpr std::string_view inputs = "x, weight, bias?";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  /// The same; `done` takes rows of the result, seen as a matrix, as they become final.
  void cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Linear> samples();
};

/// The gradients of linear by weight and bias: dy^T x and the sum of dy over all rows.
struct LinearGrad {
  static constexpr std::string_view name = "linear_grad";
  static constexpr std::string_view inputs = "x, dy";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Fields<> fields{};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  /// The same; `done` takes rows of the weight's gradient as they become final.
  void cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const;
  Tensors vjp(const Saved& s, const Tensors& g) const;
  static Samples<LinearGrad> samples();
};

/// y = beta input + alpha (x y); input broadcasts to [n, m]. beta = 0 does not read it.
struct Addmm {
  static constexpr std::string_view name = "addmm";
  static constexpr std::string_view inputs = "input, mat1, mat2";
  static constexpr Saves saves{.in = {1, 2}, .out = {}};

  double beta = 1, alpha = 1;
  static constexpr auto fields = Fields{field("beta", &Addmm::beta), field("alpha", &Addmm::alpha)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Addmm> samples();
};

/// y[i, j] = x[i] y[j], promoted.
struct Outer {
  static constexpr std::string_view name = "outer";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Outer> samples();
};

/// x[..., in], weight[out, in], bias[out] (may be undefined): [..., out]. A weight of one axis [in]
/// takes a 0-d bias and gives [...]. Errors: ShapeError when sizes do not fit, DTypeError for
/// different types.
inline Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
  return apply(Linear{}, {x, weight, bias});
}
/// beta * input + alpha * mat1[n, k] @ mat2[k, m]. Errors: as matmul, and ShapeError when `input`
/// does not broadcast to [n, m].
inline Tensor addmm(const Tensor& input, const Tensor& mat1, const Tensor& mat2, double beta = 1,
                    double alpha = 1) {
  return apply(Addmm{.beta = beta, .alpha = alpha}, {input, mat1, mat2});
}
/// x[n], y[m]: [n, m]. Errors: ShapeError for other than one axis.
inline Tensor outer(const Tensor& x, const Tensor& y) { return apply(Outer{}, {x, y}); }

}  // namespace tandem
