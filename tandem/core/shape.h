#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tandem/core/export.h"
#include "tandem/core/length.h"

namespace tandem {

inline constexpr int max_dims = 8;

namespace detail {
/// What can be the length of an axis, or its number: an integer, but no bool.
template <class T>
concept AxisNumber = (std::integral<T> && !std::same_as<T, bool>) || std::same_as<T, Length>;
}  // namespace detail

/// Up to 8 integers held in place: the lengths of a tensor's axes, its strides, or a list of axes.
class Shape {
 public:
  Shape() {}  // entries beyond the length are never read
  Shape(std::initializer_list<Length> v) : Shape(v.begin(), v.size()) {}
  /// One entry: `sum(x, 1)`, `zeros(3)`.
  template <detail::AxisNumber T>
  Shape(T v) : n_(1) {
    v_[0] = v;
  }
  explicit Shape(std::span<const Length> v) : Shape(v.data(), v.size()) {}
  explicit Shape(std::span<const int64_t> v) : Shape(v.data(), v.size()) {}
  /// `n` equal entries.
  static Shape filled(int n, Length value) {
    Shape s;
    s.resize(n, value);
    return s;
  }

  constexpr int size() const { return n_; }
  constexpr bool empty() const { return n_ == 0; }
  constexpr Length& operator[](int i) { return v_[i]; }
  constexpr Length operator[](int i) const { return v_[i]; }
  Length back() const { return v_[n_ - 1]; }
  Length* begin() { return v_; }
  Length* end() { return v_ + n_; }
  const Length* begin() const { return v_; }
  const Length* end() const { return v_ + n_; }

  void push_back(Length v) { resize(n_ + 1, v); }
  /// Changes the number of entries, new ones hold `fill`; throws ShapeError above 8.
  void resize(int n, Length fill = 0) {
    if (n > max_dims) too_many(n);
    for (int i = n_; i < n; ++i) v_[i] = fill;
    n_ = uint8_t(n);
  }
  void insert(int at, Length v) {
    push_back(v);
    for (int i = n_ - 1; i > at; --i) v_[i] = v_[i - 1];
    v_[at] = v;
  }
  void erase(int at) {
    for (int i = at; i + 1 < n_; ++i) v_[i] = v_[i + 1];
    --n_;
  }
  /// Product of the entries; 1 when there are none. ShapeError when it does not fit in 63 bits.
  constexpr Length numel() const {
    Length n = 1;
    for (int i = 0; i < n_; ++i) n = n * v_[i];
    return n;
  }
  /// False for expressions of unknown lengths.
  constexpr bool is_known() const {
    for (int i = 0; i < n_; ++i)
      if (!v_[i].is_known()) return false;
    return true;
  }
  /// Equal entries. LengthError when unknown lengths leave that open.
  friend constexpr bool operator==(const Shape& a, const Shape& b) {
    if (a.n_ != b.n_) return false;
    for (int i = 0; i < a.n_; ++i)
      if (!(a.v_[i] == b.v_[i])) return false;
    return true;
  }

 private:
  TANDEM_API Shape(const Length* v, size_t n);
  TANDEM_API Shape(const int64_t* v, size_t n);
  [[noreturn]] TANDEM_API static void too_many(int64_t n);

  Length v_[max_dims];
  uint8_t n_ = 0;
};
using Strides = Shape;

/// Row-major strides in elements.
TANDEM_API Strides contiguous_strides(const Shape& shape);
TANDEM_API bool is_contiguous(const Shape& shape, const Strides& strides);
namespace detail {
/// Entries of one form: what they will be is equal.
constexpr bool identical(const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return false;
  for (int i = 0; i < a.size(); ++i)
    if (a[i].bits() != b[i].bits()) return false;
  return true;
}
/// Equal entries, or unknown ones that may be equal in a run.
constexpr bool may_equal(const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return false;
  for (int i = 0; i < a.size(); ++i)
    if (!may_equal(a[i], b[i])) return false;
  return true;
}
constexpr bool must_equal(const Shape& a, const Shape& b) {
  if (a.size() != b.size()) return false;
  for (int i = 0; i < a.size(); ++i)
    if (!must_equal(a[i], b[i])) return false;
  return true;
}
}  // namespace detail
/// NumPy's broadcasting; false when the shapes do not fit, `out` then holds nothing useful.
TANDEM_API bool broadcast(const Shape& a, const Shape& b, Shape& out);
/// Strides of a tensor of `from` seen as the broadcast shape `to` (0 along stretched axes).
TANDEM_API Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to);
/// "[3, 5]"
TANDEM_API std::string to_string(const Shape& shape);

}  // namespace tandem
