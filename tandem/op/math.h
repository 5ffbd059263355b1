#pragma once
// Elementary functions as branch-free scalar code, so that loops over them vectorise. NaN and
// infinities come out as IEEE 754 and C say. f64 uses the C library.
#include <cmath>

#include "tandem/op/simd.h"

namespace tandem::math {

template <class A>
TANDEM_FN A exp(A x) {
  return std::exp(x);
}

}  // namespace tandem::math
