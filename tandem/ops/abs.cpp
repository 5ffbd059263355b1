#include "tandem/ops/abs.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Abs)
TANDEM_OP(Sign)

Tensors Abs::vjp(const Saved& s, const Tensor& dy) const { return {dy * sign(s.in(0))}; }

Samples<Abs> Abs::samples() { return {.ok = sample::unary<Abs>(), .errors = {}}; }

Tensors Sign::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Sign> Sign::samples() { return {.ok = sample::unary<Sign>(), .errors = {}}; }

}  // namespace tandem
