#include "tandem/ops/silu.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"
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

Samples<Silu> Silu::samples() {
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

Tensors SiluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {s.needs(0) ? silu_grad(ddy, s.in(1)) : Tensor(),
          s.needs(1) ? s.in(0) * ddy * silu_second(s.in(1)) : Tensor()};
}

Samples<SiluGrad> SiluGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}}, {{}, {{{}}, {{}}}}, {{}, {{{0, 2}}, {{0, 2}}}}},
          .errors = {}};
}

}  // namespace tandem
