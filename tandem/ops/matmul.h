#pragma once
#include "tandem/op/op.h"

namespace tandem {

namespace cpu {
struct RowsDone;
}

/// The matrix product over the last two axes, PyTorch's rules: leading axes broadcast, a vector on
/// the left is a row, one on the right a column, and its axis is dropped from the result.
struct Matmul {
  static constexpr std::string_view name = "matmul";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"MatMul", 13};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  /// The same; `done` takes rows of the result, seen as a matrix, as they become final.
  void cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Matmul> samples();
};

/// [b, m, k] times [b, k, n]: [b, m, n], nothing broadcasts.
struct Bmm {
  static constexpr std::string_view name = "bmm";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"MatMul", 13};
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Fields<> fields{};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Bmm> samples();
};

/// The product of matrices and stacks of matrices: [..., m, k] and [..., k, n] give [..., m, n];
/// [k] and [k] give []. Sums of f16 and bf16 are kept in f32; integers wrap around. Errors:
/// ShapeError when the inner sizes differ or the leading axes do not broadcast, DTypeError for
/// different types and for booleans.
inline Tensor matmul(const Tensor& x, const Tensor& y) { return apply(Matmul{}, {x, y}); }
/// Stacks of equal length: [b, m, k] and [b, k, n] give [b, m, n]. Errors: as matmul.
inline Tensor bmm(const Tensor& x, const Tensor& y) { return apply(Bmm{}, {x, y}); }
/// Two matrices. Errors: as matmul, and ShapeError for other than two axes.
TANDEM_API Tensor mm(const Tensor& x, const Tensor& y);

}  // namespace tandem
