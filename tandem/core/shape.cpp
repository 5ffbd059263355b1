#include "tandem/core/shape.h"

#include "tandem/core/error.h"

namespace tandem {

Shape::Shape(const Length* v, size_t n) {
  if (n > size_t(max_dims)) too_many(int64_t(n));
  for (size_t i = 0; i < n; ++i) v_[i] = v[i];
  n_ = uint8_t(n);
}

void detail::throw_no_common_dtype(DType a, DType b) {
  throw DTypeError(cat("dtypes ", a, " and ", b, " have no common one; cast one of them"));
}

Shape::Shape(const int64_t* v, size_t n) {
  if (n > size_t(max_dims)) too_many(int64_t(n));
  for (size_t i = 0; i < n; ++i) v_[i] = v[i];
  n_ = uint8_t(n);
}

void Shape::too_many(int64_t n) {
  throw ShapeError(cat("shape: ", n, " dimensions, at most ", max_dims, " are supported"));
}

/// Of an axis without elements too.
static Length at_least_one(Length n) { return max(n, 1); }

Strides contiguous_strides(const Shape& shape) {
  Strides s = shape;
  Length step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    s[i] = step;
    if (i > 0) step *= at_least_one(shape[i]);
  }
  return s;
}

bool is_contiguous(const Shape& shape, const Strides& strides) {
  Length step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    if (detail::must_equal(shape[i], 0)) return true;
    if (!detail::must_equal(shape[i], 1) && !detail::must_equal(strides[i], step)) return false;
    if (i > 0) step *= at_least_one(shape[i]);
  }
  return true;
}

bool broadcast(const Shape& a, const Shape& b, Shape& out) {
  const Shape& big = a.size() >= b.size() ? a : b;
  const Shape& small = a.size() >= b.size() ? b : a;
  const int shift = big.size() - small.size();
  out = big;
  for (int i = 0; i < small.size(); ++i) {
    const Length x = big[i + shift], y = small[i];
    if (x.bits() == y.bits()) continue;
    const Length both = detail::broadcast_length(x, y);
    if (both.is_known() && both < 0) return false;
    out[i + shift] = both;
  }
  return true;
}

Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to) {
  Strides s = Shape::filled(to.size(), 0);
  const int shift = to.size() - from.size();
  for (int i = 0; i < from.size(); ++i)
    s[i + shift] = detail::must_equal(from[i], 1) ? Length(0) : strides[i];
  return s;
}

std::string to_string(const Shape& shape) {
  std::string s = "[";
  for (int i = 0; i < shape.size(); ++i) {
    if (i) s += ", ";
    s += to_string(shape[i]);
  }
  return s + "]";
}

}  // namespace tandem
