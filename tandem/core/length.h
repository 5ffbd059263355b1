#pragma once
#include <compare>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "tandem/core/export.h"

namespace tandem {

namespace detail {
class LengthTable;
}

/// The length of an axis: an integer, or, while a graph is built with lengths that are not known
/// yet, an exact expression of them. Arithmetic on known lengths is that of int64_t, checked:
/// ShapeError when a result does not fit. Arithmetic on unknown ones builds expressions, and so do
/// `min`, `max`, `sqrt`, `log` and the like. What needs the number itself, a conversion to an
/// integer or a comparison that has no answer yet, is a decision: LengthError, with the place where
/// the length was read, and what to do instead.
class TANDEM_API Length {
 public:
  Length() = default;  // not initialised, as an int64_t
  template <std::integral T>
  constexpr Length(T v) : v_(int64_t(v)) {
    if constexpr (sizeof(T) >= sizeof(int64_t)) {
      if (std::unsigned_integral<T> ? v_ < 0 : is_tag(v_)) [[unlikely]]
        refuse_number(v_);
    }
  }

  constexpr operator int64_t() const {
    if (is_tag(v_)) [[unlikely]]
      decide(*this);
    return v_;
  }
  /// False for an expression of unknown lengths.
  constexpr bool is_known() const { return !is_tag(v_); }
  /// Equal for equal numbers, and for expressions that have one form.
  constexpr int64_t bits() const { return v_; }

  friend constexpr Length operator+(Length a, Length b) {
    int64_t r = 0;
    if (plain(a, b) && !__builtin_add_overflow(a.v_, b.v_, &r)) [[likely]]
      return Length(r);
    return combine('+', a, b);
  }
  friend constexpr Length operator-(Length a, Length b) {
    int64_t r = 0;
    if (plain(a, b) && !__builtin_sub_overflow(a.v_, b.v_, &r)) [[likely]]
      return Length(r);
    return combine('-', a, b);
  }
  friend constexpr Length operator*(Length a, Length b) {
    int64_t r = 0;
    if (plain(a, b) && !__builtin_mul_overflow(a.v_, b.v_, &r)) [[likely]]
      return Length(r);
    return combine('*', a, b);
  }
  /// Rounds towards zero, as integers in C++ do. ShapeError when `b` is 0.
  friend constexpr Length operator/(Length a, Length b) {
    if (plain(a, b) && b.v_ > 0) [[likely]]
      return Length(a.v_ / b.v_);
    return combine('/', a, b);
  }
  friend constexpr Length operator%(Length a, Length b) {
    if (plain(a, b) && b.v_ > 0) [[likely]]
      return Length(a.v_ % b.v_);
    return combine('%', a, b);
  }
  friend constexpr Length min(Length a, Length b) {
    if (plain(a, b)) [[likely]]
      return b.v_ < a.v_ ? b : a;
    return combine('<', a, b);
  }
  friend constexpr Length max(Length a, Length b) {
    if (plain(a, b)) [[likely]]
      return a.v_ < b.v_ ? b : a;
    return combine('>', a, b);
  }
  friend constexpr bool operator==(Length a, Length b) {
    if (a.v_ == b.v_ || plain(a, b)) [[likely]]
      return a.v_ == b.v_;
    return equal(a, b);
  }
  friend constexpr bool operator<(Length a, Length b) {
    if (plain(a, b)) [[likely]]
      return a.v_ < b.v_;
    return less(a, b);
  }
  friend constexpr bool operator>(Length a, Length b) { return b < a; }
  friend constexpr bool operator<=(Length a, Length b) { return !(b < a); }
  friend constexpr bool operator>=(Length a, Length b) { return !(a < b); }

  constexpr Length operator-() const { return Length(0) - *this; }
  constexpr Length operator+() const { return *this; }
  constexpr Length& operator+=(Length o) { return *this = *this + o; }
  constexpr Length& operator-=(Length o) { return *this = *this - o; }
  constexpr Length& operator*=(Length o) { return *this = *this * o; }
  constexpr Length& operator/=(Length o) { return *this = *this / o; }
  constexpr Length& operator%=(Length o) { return *this = *this % o; }
  constexpr Length& operator++() { return *this += Length(1); }
  constexpr Length& operator--() { return *this -= Length(1); }

 private:
  friend class detail::LengthTable;
  struct Handle {
    int64_t bits;
  };
  constexpr explicit Length(Handle h) : v_(h.bits) {}

  // A handle to an expression is a number of a range that no length has.
  static constexpr uint64_t first_tag = uint64_t(5) << 61, tags = uint64_t(1) << 60;
  static constexpr bool is_tag(int64_t v) { return uint64_t(v) - first_tag < tags; }
  static constexpr bool plain(Length a, Length b) { return !is_tag(a.v_) && !is_tag(b.v_); }
  // All by value: a known length need not be written to memory for their sake.
  [[noreturn, gnu::cold]] static void refuse_number(int64_t v);
  [[noreturn, gnu::cold]] static void decide(Length n);
  [[gnu::cold]] static Length combine(char op, Length a, Length b);
  [[gnu::cold]] static bool equal(Length a, Length b);
  [[gnu::cold]] static bool less(Length a, Length b);

  int64_t v_;
};

// With integers of any type: exact matches, so that neither side is converted to the other's type.
template <std::integral T>
constexpr Length operator+(Length a, T b) {
  return a + Length(b);
}
template <std::integral T>
constexpr Length operator+(T a, Length b) {
  return Length(a) + b;
}
template <std::integral T>
constexpr Length operator-(Length a, T b) {
  return a - Length(b);
}
template <std::integral T>
constexpr Length operator-(T a, Length b) {
  return Length(a) - b;
}
template <std::integral T>
constexpr Length operator*(Length a, T b) {
  return a * Length(b);
}
template <std::integral T>
constexpr Length operator*(T a, Length b) {
  return Length(a) * b;
}
template <std::integral T>
constexpr Length operator/(Length a, T b) {
  return a / Length(b);
}
template <std::integral T>
constexpr Length operator/(T a, Length b) {
  return Length(a) / b;
}
template <std::integral T>
constexpr Length operator%(Length a, T b) {
  return a % Length(b);
}
template <std::integral T>
constexpr Length operator%(T a, Length b) {
  return Length(a) % b;
}
template <std::integral T>
constexpr Length min(Length a, T b) {
  return min(a, Length(b));
}
template <std::integral T>
constexpr Length min(T a, Length b) {
  return min(Length(a), b);
}
template <std::integral T>
constexpr Length max(Length a, T b) {
  return max(a, Length(b));
}
template <std::integral T>
constexpr Length max(T a, Length b) {
  return max(Length(a), b);
}
template <std::integral T>
constexpr bool operator==(Length a, T b) {
  return a == Length(b);
}
namespace detail {
template <class A, class B>
concept LengthPair = (std::same_as<A, Length> && std::integral<B>) ||
                     (std::integral<A> && std::same_as<B, Length>);
}  // namespace detail
template <class A, class B>
requires detail::LengthPair<A, B>
constexpr bool operator<(A a, B b) { return Length(a) < Length(b); }
template <class A, class B>
requires detail::LengthPair<A, B>
constexpr bool operator>(A a, B b) { return Length(a) > Length(b); }
template <class A, class B>
requires detail::LengthPair<A, B>
constexpr bool operator<=(A a, B b) { return Length(a) <= Length(b); }
template <class A, class B>
requires detail::LengthPair<A, B>
constexpr bool operator>=(A a, B b) { return Length(a) >= Length(b); }

/// A double, or an exact expression that makes one of unknown lengths: what `1.0 / x.size(0)` and
/// `sqrt(x.size(0))` are. It becomes a tensor where one is wanted; made a double while a length is
/// unknown, it is a LengthError.
class TANDEM_API Number {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr Number(T v) : v_(double(v)) {}
  constexpr Number(Length n) : v_(n.is_known() ? double(int64_t(n)) : 0) {
    if (!n.is_known()) expression_ = n.bits();
  }

  constexpr operator double() const {
    if (!is_known()) [[unlikely]]
      decide();
    return v_;
  }
  constexpr bool is_known() const { return expression_ == 0; }
  /// The handle of an expression; 0 for a double.
  constexpr int64_t expression() const { return expression_; }

  /// `op` is one of + - * /.
  static constexpr Number combine(char op, Number a, Number b) {
    if (a.is_known() && b.is_known()) [[likely]]
      switch (op) {
        case '+': return a.v_ + b.v_;
        case '-': return a.v_ - b.v_;
        case '*': return a.v_ * b.v_;
        default: return a.v_ / b.v_;
      }
    return combine_unknown(op, a, b);
  }
  constexpr Number operator-() const { return combine('-', -0.0, *this); }

 private:
  friend class detail::LengthTable;
  static Number combine_unknown(char op, Number a, Number b);
  [[noreturn]] void decide() const;

  double v_;
  int64_t expression_ = 0;
};

namespace detail {
template <class T>
concept AnyNumber = std::is_arithmetic_v<T> || std::same_as<T, Length> || std::same_as<T, Number>;
/// A Number with anything, or a length with a floating-point number.
template <class A, class B>
concept RealPair = AnyNumber<A> && AnyNumber<B> &&
    (std::same_as<A, Number> || std::same_as<B, Number> ||
     (std::same_as<A, Length> && std::floating_point<B>) ||
     (std::floating_point<A> && std::same_as<B, Length>));
}  // namespace detail

template <class A, class B>
requires detail::RealPair<A, B>
constexpr Number operator+(A a, B b) { return Number::combine('+', a, b); }
template <class A, class B>
requires detail::RealPair<A, B>
constexpr Number operator-(A a, B b) { return Number::combine('-', a, b); }
template <class A, class B>
requires detail::RealPair<A, B>
constexpr Number operator*(A a, B b) { return Number::combine('*', a, b); }
template <class A, class B>
requires detail::RealPair<A, B>
constexpr Number operator/(A a, B b) { return Number::combine('/', a, b); }
template <class A, class B>
requires detail::RealPair<A, B>
constexpr bool operator==(A a, B b) { return double(Number(a)) == double(Number(b)); }
template <class A, class B>
requires detail::RealPair<A, B>
constexpr std::partial_ordering operator<=>(A a, B b) {
  return double(Number(a)) <=> double(Number(b));
}

namespace detail {
template <class T>
concept LengthLike = std::same_as<T, Length> || std::same_as<T, Number>;
/// Whether a number that is not known is one of the lengths: a whole number.
TANDEM_API bool is_length(Number x);
/// The function of <cmath> of that name.
TANDEM_API Number apply_function(std::string_view name, Number x);
TANDEM_API Number apply_function(std::string_view name, Number x, Number y);
}  // namespace detail

// Functions of <cmath> on numbers that may depend on unknown lengths.
template <detail::LengthLike T>
Number sqrt(T x) {
  return detail::apply_function("sqrt", x);
}
template <detail::LengthLike T>
Number exp(T x) {
  return detail::apply_function("exp", x);
}
template <detail::LengthLike T>
Number log(T x) {
  return detail::apply_function("log", x);
}
template <detail::LengthLike T>
Number log2(T x) {
  return detail::apply_function("log2", x);
}
template <detail::LengthLike T>
Number log10(T x) {
  return detail::apply_function("log10", x);
}
template <detail::LengthLike T>
Number floor(T x) {
  return detail::apply_function("floor", x);
}
template <detail::LengthLike T>
Number ceil(T x) {
  return detail::apply_function("ceil", x);
}
template <class A, class B>
requires(detail::LengthLike<A> || detail::LengthLike<B>) &&
    detail::AnyNumber<A>&& detail::AnyNumber<B> Number pow(A x, B y) {
  return detail::apply_function("pow", x, y);
}

/// An unknown length with a name, for the shapes of `placeholder` and `save`: equal names are equal
/// lengths, other names are others. Errors: ValueError for an empty name.
TANDEM_API Length dim(std::string_view name);

/// "4", "batch", "(n + 1) / 2"; "?" for what depends on a length without a name.
TANDEM_API std::string to_string(Length length);

namespace detail {

enum class Answer { no, yes, unknown };
TANDEM_API Answer ask_equal(Length a, Length b);
TANDEM_API Answer ask_less(Length a, Length b);
// What shape rules ask. A check asks whether it may hold: it is made again with the lengths of each
// run. A choice between two results asks whether something must hold.
constexpr bool may_equal(Length a, Length b) {
  return a.bits() == b.bits() || (!(a.is_known() && b.is_known()) && ask_equal(a, b) != Answer::no);
}
constexpr bool must_equal(Length a, Length b) {
  return a.bits() == b.bits() ||
         (!(a.is_known() && b.is_known()) && ask_equal(a, b) == Answer::yes);
}
constexpr bool may_be_less(Length a, Length b) {
  return a.is_known() && b.is_known() ? a.bits() < b.bits() : ask_less(a, b) != Answer::no;
}
constexpr bool must_be_less(Length a, Length b) {
  return a.is_known() && b.is_known() ? a.bits() < b.bits() : ask_less(a, b) == Answer::yes;
}
/// a <= b.
constexpr bool may_fit(Length a, Length b) { return !must_be_less(b, a); }
constexpr bool must_fit(Length a, Length b) { return !may_be_less(b, a); }
/// An index as Python counts it: a negative one that many from the end of `n` elements.
TANDEM_API Length unknown_from_end(Length i, Length n);
constexpr Length from_end(Length i, Length n) {
  if (!i.is_known()) return unknown_from_end(i, n);
  return i.bits() < 0 ? i + n : i;
}
/// The length of two that are broadcast; -1 when they never fit.
TANDEM_API Length broadcast_length(Length a, Length b);

TANDEM_API void append(std::string& s, Length v);
TANDEM_API void append(std::string& s, Number v);

}  // namespace detail
}  // namespace tandem
