#pragma once
#include "tandem/io/detail/onnx_import.h"

namespace tandem::detail {

/// [batch, length, heads * size] as [batch, heads, length, size]. Errors: ValueError naming the
/// attribute `name` that says how many heads there are.
Tensor by_heads(OnnxImporter& n, const Tensor& x, int64_t heads, std::string_view name);
/// Pairs of the numbers of x turned by the angles whose cosines and sines are given, for each place
/// of the batch, or by index into a cache. The attributes are those of the node at hand. Errors:
/// ValueError.
Tensor rotated(OnnxImporter& n, const Tensor& x, const Tensor& cosines, const Tensor& sines,
               const Tensor& index);

}  // namespace tandem::detail
