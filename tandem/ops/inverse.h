#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// The inverse of each matrix in the last two axes, by elimination with pivots, in f64. Errors:
/// ShapeError unless the matrices are square, DTypeError unless they are floating, ValueError for a
/// singular one.
struct Inverse {
  static constexpr std::string_view name = "inverse";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Inverse> samples();
};

/// The lower triangular L of each symmetric, positive definite matrix L L^T in the last two axes;
/// what lies above the diagonal is not read. The gradient is that of a symmetric matrix. Errors: as
/// Inverse, ValueError for a matrix that is not positive definite.
struct Cholesky {
  static constexpr std::string_view name = "cholesky";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = {}, .out = {0}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Cholesky> samples();
};

inline Tensor inverse(const Tensor& x) { return apply(Inverse{}, {x}); }
inline Tensor cholesky(const Tensor& x) { return apply(Cholesky{}, {x}); }

}  // namespace tandem
