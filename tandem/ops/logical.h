#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Whether both are non-zero. NaN is non-zero.
struct LogicalAnd {
  static constexpr std::string_view name = "logical_and";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"And", 7};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return (x != A(0)) & (y != A(0));
  }

  static Samples<LogicalAnd> samples();
};

/// Whether one or both are non-zero. NaN is non-zero.
struct LogicalOr {
  static constexpr std::string_view name = "logical_or";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Or", 7};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return (x != A(0)) | (y != A(0));
  }

  static Samples<LogicalOr> samples();
};

/// Whether exactly one is non-zero. NaN is non-zero.
struct LogicalXor {
  static constexpr std::string_view name = "logical_xor";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Xor", 7};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return bool(x != A(0)) ^ bool(y != A(0));
  }

  static Samples<LogicalXor> samples();
};

/// Whether x is zero. NaN is non-zero.
struct LogicalNot {
  static constexpr std::string_view name = "logical_not";
  static constexpr std::string_view inputs = "x";
  static constexpr OnnxRule onnx{"Not", 1};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x) const {
    return x == A(0);
  }

  static Samples<LogicalNot> samples();
};

inline Tensor logical_and(const Tensor& x, const Tensor& y) { return apply(LogicalAnd{}, {x, y}); }
inline Tensor logical_or(const Tensor& x, const Tensor& y) { return apply(LogicalOr{}, {x, y}); }
inline Tensor logical_xor(const Tensor& x, const Tensor& y) { return apply(LogicalXor{}, {x, y}); }
inline Tensor logical_not(const Tensor& x) { return apply(LogicalNot{}, {x}); }

/// Masks combined: the logical ops for booleans. Errors: DTypeError for other types, whose bitwise
/// operators these are not.
TANDEM_API Tensor operator&(const Tensor& x, const Tensor& y);
TANDEM_API Tensor operator|(const Tensor& x, const Tensor& y);
TANDEM_API Tensor operator^(const Tensor& x, const Tensor& y);
TANDEM_API Tensor operator~(const Tensor& x);
/// Where x is zero.
inline Tensor operator!(const Tensor& x) { return logical_not(x); }

}  // namespace tandem
