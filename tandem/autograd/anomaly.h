#pragma once
#include <string>

#include "tandem/core/tensor.h"

namespace tandem::detail {

/// Whether a floating tensor has a NaN; false for what is not on the CPU.
TANDEM_API bool has_nan(const Tensor& t);
/// What AnomalyMode throws for the gradient of input `input` of `op`, which ran `where`.
[[noreturn]] TANDEM_API void throw_nan_gradient(const std::string& op, int input,
                                                const Tensor& gradient, const std::string& where);

}  // namespace tandem::detail
