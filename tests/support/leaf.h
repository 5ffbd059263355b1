#pragma once
#include <vector>

#include "tandem/core/factory.h"

namespace tandem::testing {

using Doubles = std::vector<double>;

/// An f64 tensor that wants a gradient.
inline Tensor leaf(Doubles v, const Shape& shape) {
  Tensor t = wrap(std::move(v), shape);
  t.requires_grad_();
  return t;
}
inline Tensor leaf(Doubles v) {
  const auto n = int64_t(v.size());
  return leaf(std::move(v), {n});
}

inline Doubles values(const Tensor& t) { return t.to_vector<double>(); }

}  // namespace tandem::testing
