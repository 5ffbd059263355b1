#pragma once
#include <concepts>
#include <cstdint>

#include "tandem/core/convert.h"

namespace tandem {

/// A C++ number given where a tensor could stand; it promotes by its kind only, as in PyTorch.
class Scalar {
 public:
  template <std::floating_point T>
  Scalar(T v) : double_(double(v)), kind_(f64) {}
  template <std::integral T>
  Scalar(T v) : int_(int64_t(v)), kind_(std::same_as<T, bool> ? boolean : i64) {}

  /// f64, i64 or boolean.
  DType kind() const { return kind_; }
  double to_double() const { return kind_ == f64 ? double_ : double(int_); }
  int64_t to_int() const { return kind_ == f64 ? detail::whole_part<int64_t>(double_) : int_; }

 private:
  union {
    double double_;
    int64_t int_;
  };
  DType kind_;
};

}  // namespace tandem
