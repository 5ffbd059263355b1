#pragma once
#include <string>

#include "tandem/core/random.h"
#include "tandem/core/tensor.h"

// What code of core/ needs of a function under capture. Implemented above, where recorders and ops
// are known.
namespace tandem::detail {

/// The next key of `generator` as a value that each run draws anew.
Tensor captured_key(Generator& generator);
/// `value` as that shape, which may have an axis of unknown length.
Tensor captured_full(const Shape& shape, const Tensor& value);
/// Where a symbolic tensor comes from, for error texts: " of relu() in module Net.act".
std::string symbolic_origin(const Tensor& t);

}  // namespace tandem::detail
