#pragma once
#include <bit>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "tandem/core/export.h"

namespace tandem {

/// Element types. Names are printed as written here, `boolean` as "bool".
enum class DType : uint8_t { f32, f64, f16, bf16, i8, u8, i32, i64, boolean, i16, u16, u32, u64 };
using enum DType;
inline constexpr int dtype_count = 13;

/// IEEE 754 binary16 as bits; arithmetic happens in f32.
struct Half {
  uint16_t bits = 0;
  Half() = default;
  inline explicit Half(float v);
  inline operator float() const;
};

/// The upper half of an f32 as bits; arithmetic happens in f32.
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  inline explicit BFloat16(float v);
  inline operator float() const { return std::bit_cast<float>(uint32_t(bits) << 16); }
};

// Round to nearest even; branch-free so that loops over it vectorise.
inline BFloat16::BFloat16(float v) {
  const uint32_t u = std::bit_cast<uint32_t>(v);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  bits = uint16_t(v != v ? 0x7fc0u : rounded);
}

inline Half::Half(float v) {
  const uint32_t u = std::bit_cast<uint32_t>(v);
  const uint32_t sign = (u >> 16) & 0x8000u, mag = u & 0x7fffffffu;
  // Adding 0.5 aligns a subnormal result's bits at the bottom of the float and rounds them.
  const uint32_t sub = std::bit_cast<uint32_t>(std::bit_cast<float>(mag) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (mag + 0xc8000fffu + ((mag >> 13) & 1u)) >> 13;
  const uint32_t special = mag > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = mag < 0x38800000u ? sub : normal;
  bits = uint16_t(sign | (mag >= 0x477ff000u ? special : finite));
}

inline Half::operator float() const {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16, mag = uint32_t(bits & 0x7fffu) << 13;
  // Multiplying by 2^112 rebases the exponent and normalises subnormals.
  const float scaled = std::bit_cast<float>(mag) * 0x1p112f;
  const uint32_t special = mag | 0x7f800000u;
  const uint32_t u = mag >= 0x0f800000u ? special : std::bit_cast<uint32_t>(scaled);
  return std::bit_cast<float>(u | sign);
}

namespace detail {
inline constexpr int64_t dtype_bytes[] = {4, 8, 2, 2, 1, 1, 4, 8, 1, 2, 2, 4, 8};
inline constexpr std::string_view dtype_names[] = {"f32", "f64",  "f16", "bf16", "i8",  "u8", "i32",
                                                   "i64", "bool", "i16", "u16",  "u32", "u64"};
[[noreturn]] TANDEM_API void throw_no_common_dtype(DType a, DType b);
}  // namespace detail

/// Bytes of one element.
constexpr int64_t itemsize(DType d) { return detail::dtype_bytes[int(d)]; }
constexpr std::string_view name(DType d) { return detail::dtype_names[int(d)]; }
constexpr bool is_floating(DType d) { return d <= bf16; }
constexpr bool is_integral(DType d) { return d >= i8 && d != boolean; }

/// Whether two dtypes have a common one. u16, u32 and u64 have none with other integers and bool,
/// as in PyTorch.
constexpr bool promotes(DType a, DType b) {
  if (a == b || is_floating(a) || is_floating(b)) return true;
  return a < u16 && b < u16;
}
/// The dtype that holds both, by PyTorch's rules. Errors: DTypeError where there is none.
constexpr DType promote(DType a, DType b) {
  if (a == b) return a;
  if (!promotes(a, b)) detail::throw_no_common_dtype(a, b);
  if (a == boolean) return b;
  if (b == boolean) return a;
  const bool fa = is_floating(a), fb = is_floating(b);
  if (fa != fb) return fa ? a : b;
  if (fa) return (a == f64 || b == f64) ? f64 : f32;  // f16 with bf16 gives f32
  if (a == i64 || b == i64) return i64;
  if (a == i32 || b == i32) return i32;
  return i16;
}

template <class T>
struct dtype_of_t;
template <>
struct dtype_of_t<float> {
  static constexpr DType value = f32;
};
template <>
struct dtype_of_t<double> {
  static constexpr DType value = f64;
};
template <>
struct dtype_of_t<Half> {
  static constexpr DType value = f16;
};
template <>
struct dtype_of_t<BFloat16> {
  static constexpr DType value = bf16;
};
template <>
struct dtype_of_t<int8_t> {
  static constexpr DType value = i8;
};
template <>
struct dtype_of_t<uint8_t> {
  static constexpr DType value = u8;
};
template <>
struct dtype_of_t<int32_t> {
  static constexpr DType value = i32;
};
template <>
struct dtype_of_t<int64_t> {
  static constexpr DType value = i64;
};
template <>
struct dtype_of_t<bool> {
  static constexpr DType value = boolean;
};
template <>
struct dtype_of_t<int16_t> {
  static constexpr DType value = i16;
};
template <>
struct dtype_of_t<uint16_t> {
  static constexpr DType value = u16;
};
template <>
struct dtype_of_t<uint32_t> {
  static constexpr DType value = u32;
};
template <>
struct dtype_of_t<uint64_t> {
  static constexpr DType value = u64;
};
/// The DType of a C++ element type.
template <class T>
inline constexpr DType dtype_of = dtype_of_t<std::remove_const_t<T>>::value;

/// Calls `f.template operator()<T>()` with the C++ type of `d`.
template <class F>
decltype(auto) visit(DType d, F&& f) {
  switch (d) {
    case f32: return f.template operator()<float>();
    case f64: return f.template operator()<double>();
    case f16: return f.template operator()<Half>();
    case bf16: return f.template operator()<BFloat16>();
    case i8: return f.template operator()<int8_t>();
    case u8: return f.template operator()<uint8_t>();
    case i32: return f.template operator()<int32_t>();
    case i64: return f.template operator()<int64_t>();
    case i16: return f.template operator()<int16_t>();
    case u16: return f.template operator()<uint16_t>();
    case u32: return f.template operator()<uint32_t>();
    case u64: return f.template operator()<uint64_t>();
    case boolean: break;
  }
  return f.template operator()<bool>();
}

}  // namespace tandem
