#pragma once
#include <string_view>

#include "tandem/core/convert.h"
#include "tandem/core/export.h"
#include "tandem/core/scalar.h"

namespace tandem::detail {

/// Whether a C++ number can become a T, by PyTorch's rule: an integer has no infinity and no NaN
/// and wraps only from below zero to unsigned; a finite number must not become an infinity.
template <class T>
bool fits(Scalar number) {
  using limits = std::numeric_limits<T>;
  if constexpr (std::is_same_v<T, bool>) return true;
  else if (number.kind() == f64) {
    const double x = number.to_double();
    if constexpr (std::is_integral_v<T> && sizeof(T) == 8)
      return x >= -0x1p63 && x < (std::is_signed_v<T> ? 0x1p63 : 0x1p64);
    else if constexpr (std::is_integral_v<T>)
      return x >= double(limits::min()) && x <= double(limits::max());
    else {
      const double top = std::is_same_v<T, Half>       ? 65504.0
                         : std::is_same_v<T, BFloat16> ? 0x1.fep127
                         : std::is_same_v<T, float>    ? double(std::numeric_limits<float>::max())
                                                       : std::numeric_limits<double>::max();
      return !(x < -top || x > top) || x - x != 0;
    }
  } else {
    const int64_t n = number.to_int();
    if constexpr (std::is_same_v<T, Half>) return n >= -65504 && n <= 65504;
    else if constexpr (!std::is_integral_v<T> || sizeof(T) == 8) return true;
    else if constexpr (std::is_unsigned_v<T>)
      return n >= -int64_t(limits::max()) && n <= int64_t(limits::max());
    else return n >= limits::min() && n <= limits::max();
  }
}

/// A C++ number as a T, also where it does not fit: as an element of a tensor becomes one.
template <class T>
T number_to(Scalar number) {
  if (number.kind() == f64) return convert<T>(number.to_double());
  return convert<T>(number.to_int());
}

/// "f32", "u16", ... of an arithmetic type or an element type.
template <class T>
constexpr std::string_view type_name() {
  if constexpr (requires { dtype_of_t<T>::value; }) return name(dtype_of<T>);
  else if constexpr (std::is_floating_point_v<T>) return "long double";
  else if constexpr (std::is_signed_v<T>) return sizeof(T) == 2 ? "i16" : "i64";
  else return sizeof(T) == 2 ? "u16" : sizeof(T) == 4 ? "u32" : "u64";
}

[[noreturn]] TANDEM_API void throw_unfit(std::string_view op, Scalar number, std::string_view type);

/// A C++ number as a T. Errors: ValueError, with the op, the number and T, where it does not fit.
template <class T>
T checked_number(std::string_view op, Scalar number) {
  if (!fits<T>(number)) [[unlikely]]
    throw_unfit(op, number, type_name<T>());
  return number_to<T>(number);
}

}  // namespace tandem::detail
