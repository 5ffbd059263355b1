#pragma once
#include <algorithm>

#include "tandem/core/tensor.h"

namespace tandem {

/// Tensors filled with one value. Errors: as `empty`; ValueError for a number that does not fit the
/// dtype: one beyond an integer type, an infinity or NaN as an integer, a finite one beyond f32.
/// (Beyond f16 or bf16 it becomes an infinity. What is not zero is true.)
TANDEM_API Tensor full(const Shape& shape, Scalar value, DType dtype = f32, Device device = {});
TANDEM_API Tensor zeros(const Shape& shape, DType dtype = f32, Device device = {});
TANDEM_API Tensor ones(const Shape& shape, DType dtype = f32, Device device = {});
/// Shape, dtype and device of `t`.
TANDEM_API Tensor empty_like(const Tensor& t);
TANDEM_API Tensor full_like(const Tensor& t, Scalar value);
TANDEM_API Tensor zeros_like(const Tensor& t);
TANDEM_API Tensor ones_like(const Tensor& t);

/// A copy of the values, as the given shape. Errors: ShapeError when the sizes differ.
template <class T>
Tensor tensor(std::span<const T> values, const Shape& shape) {
  require<ShapeError>(int64_t(values.size()) == shape.numel(), "tensor(): ", values.size(),
                      " values do not fill shape ", shape);
  Tensor t = empty(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), t.template data<T>());
  return t;
}
/// A tensor of the given values: `tensor({1.f, 2.f})` is f32[2], `tensor({{1, 2}, {3, 4}})` is
/// i32[2, 2], `tensor({1.0, 2.0})` is f64[2].
template <class T>
Tensor tensor(std::initializer_list<T> values) {
  return tensor(std::span<const T>(values.begin(), values.size()), {int64_t(values.size())});
}
template <class T>
Tensor tensor(std::initializer_list<std::initializer_list<T>> rows) {
  const size_t width = rows.size() ? rows.begin()->size() : 0;
  Tensor t = empty({int64_t(rows.size()), int64_t(width)}, dtype_of<T>);
  T* to = t.template data<T>();
  for (const auto& row : rows) {
    require<ShapeError>(row.size() == width, "tensor(): rows of ", width, " and ", row.size(),
                        " values");
    to = std::copy(row.begin(), row.end(), to);
  }
  return t;
}

namespace detail {
/// A C++ number as an ordinary 0-d tensor of `dtype`; other tensors as they are. Errors: ValueError
/// when the number does not fit; with `halves_round` f16 and bf16 may become infinities.
TANDEM_API Tensor number_as(std::string_view op, const Tensor& t, DType dtype,
                            bool halves_round = false);
}  // namespace detail
}  // namespace tandem
