#pragma once
#include "tandem/core/tensor.h"

namespace tandem::detail {

/// Marks what nn::parameter() made, so that a module can tell when one of its members is not in its
/// list. Errors: OutOfMemory.
TANDEM_API void remember_parameter(const Tensor& t);
/// Whether `impl` is a living tensor that was marked; any address may be asked.
TANDEM_API bool is_parameter(const TensorImpl* impl);

}  // namespace tandem::detail
