#pragma once
#include "tandem/ops/batch_norm.h"

// Batch normalisation and what surrounds it in one pass over memory, for graphs (f32). Results are
// those of the separate records, bit for bit.

namespace tandem::detail {

/// batch_norm, whose y is relu(y + residual): an undefined residual adds nothing, and `relu` says
/// whether there is one.
void batch_norm_fused(const BatchNorm& op, Inputs in, Outputs out, const Tensor& residual,
                      bool relu);
/// batch_norm_grad of relu_grad(dy, y): in[1] is the dy of the relu whose result was `y`.
void batch_norm_grad_fused(const BatchNormGrad& op, Inputs in, Outputs out, const Tensor& y);

}  // namespace tandem::detail
