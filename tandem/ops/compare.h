#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// x == y, broadcast; a boolean tensor. Comparisons with NaN are false.
struct Eq {
  static constexpr std::string_view name = "eq";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Equal", 13};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return x == y;
  }

  static Samples<Eq> samples();
};

/// x != y, broadcast; a boolean tensor. Comparisons with NaN are true.
struct Ne {
  static constexpr std::string_view name = "ne";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return x != y;
  }

  static Samples<Ne> samples();
};

/// x < y, broadcast; a boolean tensor. Comparisons with NaN are false.
struct Lt {
  static constexpr std::string_view name = "lt";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Less", 13};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return x < y;
  }

  static Samples<Lt> samples();
};

/// x <= y, broadcast; a boolean tensor. Comparisons with NaN are false.
struct Le {
  static constexpr std::string_view name = "le";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"LessOrEqual", 16};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return x <= y;
  }

  static Samples<Le> samples();
};

/// x > y, broadcast; a boolean tensor. Comparisons with NaN are false.
struct Gt {
  static constexpr std::string_view name = "gt";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"Greater", 13};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return x > y;
  }

  static Samples<Gt> samples();
};

/// x >= y, broadcast; a boolean tensor. Comparisons with NaN are false.
struct Ge {
  static constexpr std::string_view name = "ge";
  static constexpr std::string_view inputs = "x, y";
  static constexpr OnnxRule onnx{"GreaterOrEqual", 16};
  static constexpr Result result = Result::boolean;
  static constexpr std::string_view not_differentiable = "the result is boolean";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN bool point(A x, A y) const {
    return x >= y;
  }

  static Samples<Ge> samples();
};

inline Tensor eq(const Tensor& x, const Tensor& y) { return apply(Eq{}, {x, y}); }
inline Tensor ne(const Tensor& x, const Tensor& y) { return apply(Ne{}, {x, y}); }
inline Tensor lt(const Tensor& x, const Tensor& y) { return apply(Lt{}, {x, y}); }
inline Tensor le(const Tensor& x, const Tensor& y) { return apply(Le{}, {x, y}); }
inline Tensor gt(const Tensor& x, const Tensor& y) { return apply(Gt{}, {x, y}); }
inline Tensor ge(const Tensor& x, const Tensor& y) { return apply(Ge{}, {x, y}); }
inline Tensor operator==(const Tensor& x, const Tensor& y) { return apply(Eq{}, {x, y}); }
inline Tensor operator!=(const Tensor& x, const Tensor& y) { return apply(Ne{}, {x, y}); }
inline Tensor operator<(const Tensor& x, const Tensor& y) { return apply(Lt{}, {x, y}); }
inline Tensor operator<=(const Tensor& x, const Tensor& y) { return apply(Le{}, {x, y}); }
inline Tensor operator>(const Tensor& x, const Tensor& y) { return apply(Gt{}, {x, y}); }
inline Tensor operator>=(const Tensor& x, const Tensor& y) { return apply(Ge{}, {x, y}); }

}  // namespace tandem
