#pragma once
#include <concepts>
#include <cstdint>

#include "tandem/core/convert.h"
#include "tandem/core/length.h"

namespace tandem {

/// A C++ number given where a tensor could stand; it promotes by its kind only, as in PyTorch.
/// Lengths and what was calculated of them are numbers, too, known or not.
class Scalar {
 public:
  template <std::floating_point T>
  Scalar(T v) : number_(v), kind_(f64) {}
  template <std::integral T>
  Scalar(T v) : int_(int64_t(v)), kind_(std::same_as<T, bool> ? boolean : i64) {}
  Scalar(Length v) : length_(v), kind_(i64), is_length_(!v.is_known()) {}
  Scalar(Number v) : number_(v), kind_(f64) {}

  /// f64, i64 or boolean.
  DType kind() const { return kind_; }
  /// False for an expression of unknown lengths; then the next two throw LengthError.
  bool is_known() const { return kind_ == f64 ? number_.is_known() : !is_length_; }
  double to_double() const { return kind_ == f64 ? double(number_) : double(to_int()); }
  int64_t to_int() const {
    if (is_length_) return length_;  // LengthError
    return kind_ == f64 ? detail::whole_part<int64_t>(double(number_)) : int_;
  }
  /// Of another kind than f64: as a length.
  Length length() const { return is_length_ ? length_ : Length(int_); }
  /// As a number, known or not.
  Number number() const {
    if (kind_ == f64) return number_;
    return is_length_ ? Number(length_) : Number(int_);
  }

 private:
  union {
    Number number_;
    int64_t int_;
    Length length_;
  };
  DType kind_;
  bool is_length_ = false;
};

}  // namespace tandem
