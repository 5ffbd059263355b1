#include "tandem/ops/silu.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/sample_lists.h"
#include "tandem/ops/sigmoid.h"

namespace tandem {

TANDEM_OP(Silu)
TANDEM_OP(SiluGrad)

namespace {

/// silu'' = s (1 - s) (2 + x (1 - 2 s))
Tensor silu_second(const Tensor& x) {
  const Tensor s = sigmoid(x);
  return s * (1 - s) * (x * (1 - s * 2) + 2);
}

}  // namespace

Tensors Silu::vjp(const Saved& s, const Tensor& dy) const { return {silu_grad(dy, s.in(0))}; }

Samples<Silu> Silu::samples() { return {.ok = sample::unary<Silu>(), .errors = {}}; }

Tensors SiluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {s.needs(0) ? silu_grad(ddy, s.in(1)) : Tensor(),
          s.needs(1) ? s.in(0) * ddy * silu_second(s.in(1)) : Tensor()};
}

Samples<SiluGrad> SiluGrad::samples() {
  return {.ok = sample::unary_gradient<SiluGrad>(), .errors = {}};
}

}  // namespace tandem
