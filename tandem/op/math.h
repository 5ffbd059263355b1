#pragma once
// Elementary functions as branch-free scalar code, so that loops over them vectorise. NaN and
// infinities come out as IEEE 754 and C say. f64 uses the C library.
#include <cmath>

#include "tandem/op/simd.h"

namespace tandem::math {

template <class A>
TANDEM_FN A abs(A x) {
  return std::abs(x);
}
template <class A>
TANDEM_FN A sqrt(A x) {
  return std::sqrt(x);
}
template <class A>
TANDEM_FN A floor(A x) {
  return std::floor(x);
}
template <class A>
TANDEM_FN A ceil(A x) {
  return std::ceil(x);
}
template <class A>
TANDEM_FN A trunc(A x) {
  return std::trunc(x);
}
template <class A>
TANDEM_FN A rint(A x) {
  return std::rint(x);
}
template <class A>
TANDEM_FN A exp(A x) {
  return std::exp(x);
}
template <class A>
TANDEM_FN A expm1(A x) {
  return std::expm1(x);
}
template <class A>
TANDEM_FN A pow(A x, A y) {
  return std::pow(x, y);
}
template <class A>
TANDEM_FN A log(A x) {
  return std::log(x);
}
template <class A>
TANDEM_FN A log1p(A x) {
  return std::log1p(x);
}
template <class A>
TANDEM_FN A sin(A x) {
  return std::sin(x);
}
template <class A>
TANDEM_FN A cos(A x) {
  return std::cos(x);
}
template <class A>
TANDEM_FN A tanh(A x) {
  return std::tanh(x);
}
template <class A>
TANDEM_FN A erf(A x) {
  return std::erf(x);
}
/// 1 / (1 + e^-x)
template <class A>
TANDEM_FN A sigmoid(A x) {
  return A(1) / (A(1) + exp(-x));
}

}  // namespace tandem::math
