#include "tandem/ops/log.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/div.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Log)
TANDEM_OP(Log1p)

Tensors Log::vjp(const Saved& s, const Tensor& dy) const { return {dy / s.in(0)}; }

Samples<Log> Log::samples() { return {.ok = sample::unary_of_positive<Log>(), .errors = {}}; }

Tensors Log1p::vjp(const Saved& s, const Tensor& dy) const { return {dy / (s.in(0) + 1)}; }

Samples<Log1p> Log1p::samples() { return {.ok = sample::unary_of_positive<Log1p>(), .errors = {}}; }

}  // namespace tandem
