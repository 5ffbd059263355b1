#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tandem/core/export.h"

namespace tandem {

inline constexpr int max_dims = 8;

/// Up to 8 integers held in place: the sizes of a tensor, its strides, or a list of axes.
class Shape {
 public:
  Shape() {}  // entries beyond the length are never read
  Shape(std::initializer_list<int64_t> v) : Shape(v.begin(), v.size()) {}
  explicit Shape(std::span<const int64_t> v) : Shape(v.data(), v.size()) {}
  /// `n` equal entries.
  static Shape filled(int n, int64_t value) {
    Shape s;
    s.resize(n, value);
    return s;
  }

  constexpr int size() const { return n_; }
  constexpr bool empty() const { return n_ == 0; }
  constexpr int64_t& operator[](int i) { return v_[i]; }
  constexpr int64_t operator[](int i) const { return v_[i]; }
  int64_t back() const { return v_[n_ - 1]; }
  int64_t* begin() { return v_; }
  int64_t* end() { return v_ + n_; }
  const int64_t* begin() const { return v_; }
  const int64_t* end() const { return v_ + n_; }

  void push_back(int64_t v) { resize(n_ + 1, v); }
  /// Changes the length, new entries hold `fill`; throws ShapeError above 8.
  void resize(int n, int64_t fill = 0) {
    if (n > max_dims) too_many(n);
    for (int i = n_; i < n; ++i) v_[i] = fill;
    n_ = uint8_t(n);
  }
  void insert(int at, int64_t v) {
    push_back(v);
    for (int i = n_ - 1; i > at; --i) v_[i] = v_[i - 1];
    v_[at] = v;
  }
  void erase(int at) {
    for (int i = at; i + 1 < n_; ++i) v_[i] = v_[i + 1];
    --n_;
  }
  /// Product of the entries; 1 when there are none.
  constexpr int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < n_; ++i) n *= v_[i];
    return n;
  }
  friend constexpr bool operator==(const Shape& a, const Shape& b) {
    if (a.n_ != b.n_) return false;
    for (int i = 0; i < a.n_; ++i)
      if (a.v_[i] != b.v_[i]) return false;
    return true;
  }

 private:
  TANDEM_API Shape(const int64_t* v, size_t n);
  [[noreturn]] TANDEM_API static void too_many(int64_t n);

  int64_t v_[max_dims];
  uint8_t n_ = 0;
};
using Strides = Shape;

/// Row-major strides in elements.
TANDEM_API Strides contiguous_strides(const Shape& shape);
TANDEM_API bool is_contiguous(const Shape& shape, const Strides& strides);
/// NumPy's broadcasting; false when the shapes do not fit, `out` then holds nothing useful.
TANDEM_API bool broadcast(const Shape& a, const Shape& b, Shape& out);
/// Strides of a tensor of `from` seen as the broadcast shape `to` (0 along stretched axes).
TANDEM_API Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to);
/// "[3, 5]"
TANDEM_API std::string to_string(const Shape& shape);

}  // namespace tandem
