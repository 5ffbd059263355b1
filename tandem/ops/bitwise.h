#pragma once
#include "tandem/op/lanes.h"
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

namespace detail {
/// Floating numbers are refused before, and machine code is not made from bits.
template <class A>
TANDEM_FN A no_bits(A x) {
  if constexpr (std::is_arithmetic_v<A>) return x;
  else return A::of(lanes::give_up());
}
}  // namespace detail

// The bits of integers, negative ones in two's complement, and of booleans. Errors: DTypeError for
// floating tensors.

/// The bits that both have, broadcast and promoted.
struct BitwiseAnd {
  static constexpr std::string_view name = "bitwise_and";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Result result = Result::same;
  static constexpr std::string_view not_differentiable = "bits are no real numbers";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_integral_v<A>) return A(x & y);
    else return detail::no_bits(x);
  }

  Spec infer(Specs in) const;
  static Samples<BitwiseAnd> samples();
};

/// The bits that one has, broadcast and promoted.
struct BitwiseOr {
  static constexpr std::string_view name = "bitwise_or";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Result result = Result::same;
  static constexpr std::string_view not_differentiable = "bits are no real numbers";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_integral_v<A>) return A(x | y);
    else return detail::no_bits(x);
  }

  Spec infer(Specs in) const;
  static Samples<BitwiseOr> samples();
};

/// The bits that exactly one has, broadcast and promoted.
struct BitwiseXor {
  static constexpr std::string_view name = "bitwise_xor";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Result result = Result::same;
  static constexpr std::string_view not_differentiable = "bits are no real numbers";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_integral_v<A>) return A(x ^ y);
    else return detail::no_bits(x);
  }

  Spec infer(Specs in) const;
  static Samples<BitwiseXor> samples();
};

/// The bits that x has not; not x for booleans.
struct BitwiseNot {
  static constexpr std::string_view name = "bitwise_not";
  static constexpr std::string_view inputs = "x";
  static constexpr Result result = Result::same;
  static constexpr std::string_view not_differentiable = "bits are no real numbers";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x) const {
    if constexpr (std::is_integral_v<A>) return A(~x);
    else return detail::no_bits(x);
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<BitwiseNot> samples();
};

/// The bits of x moved to higher places, y of them, broadcast and promoted; 0 when y is negative or
/// not below the number of bits. Errors: DTypeError for booleans, too.
struct BitwiseLeftShift {
  static constexpr std::string_view name = "bitwise_left_shift";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Result result = Result::same;
  static constexpr std::string_view not_differentiable = "bits are no real numbers";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_integral_v<A>) return uint64_t(y) < 64 ? A(uint64_t(x) << y) : A(0);
    else return detail::no_bits(x);
  }

  Spec infer(Specs in) const;
  static Samples<BitwiseLeftShift> samples();
};

/// The bits of x moved to lower places, y of them, broadcast and promoted; the sign stays. Where y
/// is negative or not below the number of bits, 0, or -1 for negative x. Errors: DTypeError for
/// booleans, too.
struct BitwiseRightShift {
  static constexpr std::string_view name = "bitwise_right_shift";
  static constexpr std::string_view inputs = "x, y";
  static constexpr Result result = Result::same;
  static constexpr std::string_view not_differentiable = "bits are no real numbers";
  static constexpr Fields<> fields{};

  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_integral_v<A>)
      return uint64_t(y) < 64 ? A(x >> y) : x < A(0) ? A(-1) : A(0);
    else return detail::no_bits(x);
  }

  Spec infer(Specs in) const;
  static Samples<BitwiseRightShift> samples();
};

inline Tensor bitwise_and(const Tensor& x, const Tensor& y) { return apply(BitwiseAnd{}, {x, y}); }
inline Tensor bitwise_or(const Tensor& x, const Tensor& y) { return apply(BitwiseOr{}, {x, y}); }
inline Tensor bitwise_xor(const Tensor& x, const Tensor& y) { return apply(BitwiseXor{}, {x, y}); }
inline Tensor bitwise_left_shift(const Tensor& x, const Tensor& y) {
  return apply(BitwiseLeftShift{}, {x, y});
}
inline Tensor bitwise_right_shift(const Tensor& x, const Tensor& y) {
  return apply(BitwiseRightShift{}, {x, y});
}
inline Tensor bitwise_not(const Tensor& x) { return apply(BitwiseNot{}, {x}); }

}  // namespace tandem
