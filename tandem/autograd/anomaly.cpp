#include "tandem/autograd/anomaly.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/text.h"
#include "tandem/op/copy.h"

namespace tandem::detail {

bool has_nan(const Tensor& t) {
  if (!is_floating(t.dtype()) || t.device() != cpu_device) return false;
  const Tensor numbers = as_contiguous(t, f64);
  const double* p = numbers.data<double>();
  return std::any_of(p, p + numbers.numel(), [](double v) { return std::isnan(v); });
}

void throw_nan_gradient(const std::string& op, int input, const Tensor& gradient,
                        const std::string& where) {
  throw GradientError(cat("anomaly: ", op, where, ": the gradient of input ", input, " of shape ",
                          gradient.shape(), " has NaN"));
}

}  // namespace tandem::detail
