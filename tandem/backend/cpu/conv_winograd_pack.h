// Filters in the orders that oneDNN's Winograd convolutions read. Its own reorder takes up to a
// hundred runs of a small convolution.
#pragma once

namespace tandem::cpu {

/// Writes w[oc, ic, 3, 3] as `to`, a dnnl_memory_desc_t, describes. False, and nothing is written,
/// for orders that are not known, or in which this oneDNN was found to mean something else.
bool pack_winograd(const void* to, const float* w, float* packed);

}  // namespace tandem::cpu
