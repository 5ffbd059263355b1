#include "tandem/ops/tanh.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Tanh)
TANDEM_OP(TanhGrad)

Tensors Tanh::vjp(const Saved& s, const Tensor& dy) const { return {tanh_grad(dy, s.out())}; }

Samples<Tanh> Tanh::samples() { return {.ok = sample::unary<Tanh>(), .errors = {}}; }

Tensors TanhGrad::vjp(const Saved& s, const Tensor& dy) const {
  return {s.needs(0) ? tanh_grad(dy, s.in(1)) : Tensor(),
          s.needs(1) ? dy * s.in(0) * s.in(1) * -2 : Tensor()};
}

Samples<TanhGrad> TanhGrad::samples() {
  return {.ok = sample::unary_gradient<TanhGrad>(), .errors = {}};
}

}  // namespace tandem
