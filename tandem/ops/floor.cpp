#include "tandem/ops/floor.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Floor)
TANDEM_OP(Ceil)

Tensors Floor::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Floor> Floor::samples() { return {.ok = sample::unary<Floor>(), .errors = {}}; }

Tensors Ceil::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Ceil> Ceil::samples() { return {.ok = sample::unary<Ceil>(), .errors = {}}; }

}  // namespace tandem
