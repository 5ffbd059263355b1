#pragma once
#include <type_traits>

#include "tandem/op/lanes.h"
#include "tandem/op/simd.h"

namespace tandem::detail {

/// f(x) by the C library, element by element; machine code is not made from it.
template <class A, class F>
TANDEM_FN A by_library(A x, const F& f) {
  if constexpr (std::is_arithmetic_v<A>) return f(x);
  else return A::of(lanes::give_up());
}

}  // namespace tandem::detail
