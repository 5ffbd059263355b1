#include "tandem/ops/sigmoid.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"

namespace tandem {

TANDEM_OP(Sigmoid)
TANDEM_OP(SigmoidGrad)

Tensors Sigmoid::vjp(const Saved& s, const Tensor& dy) const { return {sigmoid_grad(dy, s.out())}; }

Samples<Sigmoid> Sigmoid::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}}},
          .errors = {}};
}

Tensors SigmoidGrad::vjp(const Saved& s, const Tensor& dy) const {
  return {s.needs(0) ? sigmoid_grad(dy, s.in(1)) : Tensor(),
          s.needs(1) ? dy * s.in(0) * (1 - s.in(1) * 2) : Tensor()};
}

Samples<SigmoidGrad> SigmoidGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}}, {{}, {{{}}, {{}}}}, {{}, {{{0, 2}}, {{0, 2}}}}},
          .errors = {}};
}

}  // namespace tandem
