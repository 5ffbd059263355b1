#include "tandem/ops/isnan.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Isnan)
TANDEM_OP(Isinf)
TANDEM_OP(Isfinite)

Samples<Isnan> Isnan::samples() { return {.ok = sample::unary<Isnan>(), .errors = {}}; }

Samples<Isinf> Isinf::samples() { return {.ok = sample::unary<Isinf>(), .errors = {}}; }

Samples<Isfinite> Isfinite::samples() { return {.ok = sample::unary<Isfinite>(), .errors = {}}; }

}  // namespace tandem
