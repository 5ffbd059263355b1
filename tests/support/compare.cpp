#include "tests/support/compare.h"

#include <cmath>

#include "tandem/op/copy.h"

namespace tandem::testing {
namespace {

std::string position(int64_t i, const Shape& shape) {
  Shape at = shape;
  for (int d = shape.size() - 1; d >= 0; --d) {
    at[d] = i % shape[d];
    i /= shape[d];
  }
  return to_string(at);
}

}  // namespace

Tolerance tolerance_of(DType dtype) {
  switch (dtype) {
    case f64: return {1e-11, 1e-12, 1e-14};
    case f32: return {1e-5, 2e-6, 1e-7};
    case f16: return {2e-3, 1e-3, 1e-4};
    case bf16: return {1.6e-2, 8e-3, 1e-4};
    default: return {};
  }
}

std::string difference(const Tensor& got, const Tensor& want, Tolerance tol) {
  if (!got.defined() || !want.defined())
    return got.defined() == want.defined() ? ""
           : got.defined()                 ? "is defined but should not be"
                                           : "is undefined but should not be";
  if (!(got.shape() == want.shape()) || got.dtype() != want.dtype())
    return cat("is ", to_string(got.spec()), ", should be ", to_string(want.spec()));
  int64_t wrong = 0;
  std::string first;
  if (!is_floating(want.dtype())) {
    const Tensor a = detail::as_contiguous(got, i64), b = detail::as_contiguous(want, i64);
    for (int64_t i = 0; i < a.numel(); ++i) {
      const int64_t x = a.data<int64_t>()[i], y = b.data<int64_t>()[i];
      if (x != y && wrong++ == 0)
        first = cat("at ", position(i, want.shape()), " is ", x, ", should be ", y);
    }
  } else {
    const Tensor a = detail::as_contiguous(got, f64), b = detail::as_contiguous(want, f64);
    double largest = 0;
    for (int64_t i = 0; i < b.numel(); ++i)
      if (const double y = std::abs(b.data<double>()[i]); std::isfinite(y))
        largest = std::max(largest, y);
    for (int64_t i = 0; i < a.numel(); ++i) {
      const double x = a.data<double>()[i], y = b.data<double>()[i];
      const double bound = tol.relative * std::abs(y) + tol.normwise * largest + tol.absolute;
      const bool same = std::isnan(x) || std::isnan(y)   ? std::isnan(x) && std::isnan(y)
                        : std::isinf(x) || std::isinf(y) ? x == y
                                                         : std::abs(x - y) <= bound;
      if (!same && wrong++ == 0)
        first = cat("at ", position(i, want.shape()), " is ", x, ", should be ", y, " (off by ",
                    x - y, ", allowed ", bound, ")");
    }
  }
  if (wrong == 0) return "";
  return cat(first, "; ", wrong, " of ", want.numel(), " differ");
}

std::string difference(const Tensor& got, const Tensor& want) {
  return difference(got, want, tolerance_of(want.defined() ? want.dtype() : f64));
}

}  // namespace tandem::testing
