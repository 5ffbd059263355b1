#pragma once
#include <algorithm>
#include <initializer_list>
#include <optional>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

/// Tensors filled with one value. The dtype of `full` follows the value as PyTorch's does: f32 for
/// a floating number, i64 for an integer, bool. Errors: as `empty`; ValueError for a number that
/// does not fit the dtype: one beyond an integer type, an infinity or NaN as an integer, a finite
/// one beyond f32. (Beyond f16 or bf16 it becomes an infinity. What is not zero is true.)
TANDEM_API Tensor full(const Shape& shape, Scalar value, std::optional<DType> dtype = {},
                       Device device = {});
TANDEM_API Tensor zeros(const Shape& shape, DType dtype = f32, Device device = {});
TANDEM_API Tensor ones(const Shape& shape, DType dtype = f32, Device device = {});
// Lengths without braces: `zeros(3, 4)`.
template <detail::AxisNumber... I>
requires(sizeof...(I) > 1) Tensor zeros(I... lengths) { return zeros(Shape{Length(lengths)...}); }
template <detail::AxisNumber... I>
requires(sizeof...(I) > 1) Tensor ones(I... lengths) { return ones(Shape{Length(lengths)...}); }
template <detail::AxisNumber... I>
requires(sizeof...(I) > 1) Tensor empty(I... lengths) { return empty(Shape{Length(lengths)...}); }
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
/// What `tensor` is given: a number, or a list of such, to any depth.
class TANDEM_API Values {
 public:
  /// A number has its type, but by PyTorch's rule a double is f32 and an int or long i64.
  template <class T>
  requires std::is_arithmetic_v<T> || std::same_as<T, Half> || std::same_as<T, BFloat16> Values(T v)
      : number_(number_of(v)), dtype_(type_of<T>()) {}
  Values(Scalar v) : number_(v), dtype_(v.kind() == f64 ? f32 : v.kind()) {}
  Values(std::initializer_list<Values> list);

  /// Of all numbers.
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /// The numbers in row-major order.
  void write(std::vector<Scalar>& to) const;

 private:
  template <class T>
  static Scalar number_of(T v) {
    if constexpr (std::is_arithmetic_v<T>) return v;
    else return float(v);
  }
  template <class T>
  static constexpr DType type_of() {
    if constexpr (std::is_same_v<T, bool>) return boolean;
    else if constexpr (std::is_floating_point_v<T>) return f32;
    else if constexpr (std::is_integral_v<T> && (sizeof(T) > 4 || std::is_same_v<T, int>))
      return std::is_signed_v<T> ? i64 : u64;
    else if constexpr (requires { dtype_of_t<T>::value; }) return dtype_of<T>;
    else return i64;
  }

  Scalar number_ = 0;
  DType dtype_;
  Shape shape_;
  std::vector<Values> list_;
};

/// A tensor of the given values: `tensor({1.0, 2.0})` is f32[2], `tensor({{1, 2}, {3, 4}})` is
/// i64[2, 2], `tensor({1, 2.5}, f64)` is f64[2], `tensor(true)` is bool[]. Errors: ShapeError for
/// rows of different lengths, ValueError as `full`.
TANDEM_API Tensor tensor(const Values& values, std::optional<DType> dtype = {});
/// The same, converted to T first.
template <class T>
Tensor tensor(const Values& values) {
  return tensor(values, dtype_of<T>);
}

namespace detail {
/// A C++ number as an ordinary 0-d tensor of `dtype`; other tensors as they are. Errors: ValueError
/// when the number does not fit; with `halves_round` f16 and bf16 may become infinities.
TANDEM_API Tensor number_as(std::string_view op, const Tensor& t, DType dtype,
                            bool halves_round = false);
}  // namespace detail
}  // namespace tandem
