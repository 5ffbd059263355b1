#include "tandem/ops/sigmoid.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Sigmoid)
TANDEM_OP(SigmoidGrad)

Tensors Sigmoid::vjp(const Saved& s, const Tensor& dy) const { return {sigmoid_grad(dy, s.out())}; }

Samples<Sigmoid> Sigmoid::samples() { return {.ok = sample::unary<Sigmoid>(), .errors = {}}; }

Tensors SigmoidGrad::vjp(const Saved& s, const Tensor& dy) const {
  return {s.needs(0) ? sigmoid_grad(dy, s.in(1)) : Tensor(),
          s.needs(1) ? dy * s.in(0) * (1 - s.in(1) * 2) : Tensor()};
}

Samples<SigmoidGrad> SigmoidGrad::samples() {
  return {.ok = sample::unary_gradient<SigmoidGrad>(), .errors = {}};
}

}  // namespace tandem
