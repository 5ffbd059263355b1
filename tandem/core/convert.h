#pragma once
#include <limits>

#include "tandem/core/dtype.h"

namespace tandem::detail {

/// The whole part of x where I holds it, else the least I: what the conversions of x86 give for
/// infinities, NaN and numbers out of range. Without a branch, so that loops over it vectorise.
template <class I, class F>
[[gnu::always_inline]] inline I whole_part(F x) {
  static_assert(std::is_signed_v<I> && std::is_floating_point_v<F>);
#if defined(__x86_64__) && !defined(__CUDACC__)
  // g++ vectorises no loop from f32 to i64: the instruction alone is the shortest.
  if constexpr (sizeof(F) == 4 && sizeof(I) == 8) {
    using Lanes [[gnu::vector_size(16)]] = float;
    return __builtin_ia32_cvttss2si64(Lanes{x});
  } else
#endif
  {
    constexpr F low = F(std::numeric_limits<I>::min());  // exact, unlike the largest I
    return I(((x > low - F(1)) & (x < -low)) ? x : low);
  }
}

/// An element as another type, on every processor PyTorch's result on x86: what is not zero, NaN
/// included, is true; integers wrap; floats lose their fraction and wrap as i64, or as i32 where
/// the result is i8 or i32.
template <class To, class From>
[[gnu::always_inline]] inline To convert(From v) {
  if constexpr (std::is_same_v<To, From>) return v;
  else if constexpr (std::is_class_v<From>) return convert<To>(float(v));
  else if constexpr (std::is_same_v<To, bool>) return v != From(0);
  else if constexpr (std::is_class_v<To>) return To(float(v));
  else if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, uint64_t>) {
    constexpr From half = From(0x1p63);
    return v < half || v != v ? To(whole_part<int64_t>(v))
                              : To(whole_part<int64_t>(v - half)) ^ (To(1) << 63);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    using I = std::conditional_t<std::is_signed_v<To> && sizeof(To) <= 4, int32_t, int64_t>;
    return To(whole_part<I>(v));
  } else return To(v);
}

}  // namespace tandem::detail
