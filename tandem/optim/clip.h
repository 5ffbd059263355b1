#pragma once
#include "tandem/optim/optimizer.h"

namespace tandem::optim {

/// Scales the gradients so that their norm together is at most `max_norm`, by
/// min(1, max_norm / (norm + 1e-6)), and gives the norm before, a 0-d tensor (f32 for f16 and
/// bf16, whose squares and sums are kept in it); infinity as the type means the largest magnitude.
/// Parameters without a gradient are passed over. Errors: ValueError when `error_if_nonfinite` and
/// the norm is infinite or NaN.
TANDEM_API Tensor clip_grad_norm_(const Parameters& parameters, double max_norm,
                                  double norm_type = 2, bool error_if_nonfinite = false);
/// Cuts every element of the gradients to [-clip_value, clip_value].
TANDEM_API void clip_grad_value_(const Parameters& parameters, double clip_value);

}  // namespace tandem::optim
