#pragma once
#include <string>

#include "tandem/core/tensor.h"

namespace tandem::testing {

/// |got - want| <= relative * |want| + normwise * max|want| + absolute, element by element.
struct Tolerance {
  double relative = 0, normwise = 0, absolute = 0;
  Tolerance operator*(double k) const { return {relative * k, normwise * k, absolute * k}; }
};

/// What one rounding of a dtype costs, with room for the few that an op's kernel does.
Tolerance tolerance_of(DType dtype);

/// Empty when `got` equals `want` within `tol`: same dtype and shape, NaN exactly where `want` has
/// NaN, equal infinities, integers exactly. Else what differs and where.
std::string difference(const Tensor& got, const Tensor& want, Tolerance tol);
/// As above with the tolerance of the dtype.
std::string difference(const Tensor& got, const Tensor& want);

}  // namespace tandem::testing
