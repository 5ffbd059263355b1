#include "tandem/ops/tanh.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"

namespace tandem {

TANDEM_OP(Tanh)
TANDEM_OP(TanhGrad)

Tensors Tanh::vjp(const Saved& s, const Tensor& dy) const { return {tanh_grad(dy, s.out())}; }

Samples<Tanh> Tanh::samples() {
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

Tensors TanhGrad::vjp(const Saved& s, const Tensor& dy) const {
  return {s.needs(0) ? tanh_grad(dy, s.in(1)) : Tensor(),
          s.needs(1) ? dy * s.in(0) * s.in(1) * -2 : Tensor()};
}

Samples<TanhGrad> TanhGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}}, {{}, {{{}}, {{}}}}, {{}, {{{0, 2}}, {{0, 2}}}}},
          .errors = {}};
}

}  // namespace tandem
