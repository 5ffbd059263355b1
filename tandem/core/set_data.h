#pragma once
#include "tandem/core/tensor.h"

namespace tandem::detail {

/// Gives the leaf `t` the memory, shape and dtype of `value`; every handle to `t` sees it. Graphs
/// recorded before no longer deliver gradients to it. Errors: GradientError for results of ops.
TANDEM_API void set_data(const Tensor& t, const Tensor& value);

}  // namespace tandem::detail
