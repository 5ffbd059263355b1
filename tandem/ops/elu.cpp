#include "tandem/ops/elu.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(Elu)
TANDEM_OP(EluGrad)

Tensors Elu::vjp(const Saved& s, const Tensor& dy) const { return {elu_grad(dy, s.in(0), alpha)}; }

Samples<Elu> Elu::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{.alpha = 0.3}, {sample::scaled({17, 3}, 3)}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}}},
          .errors = {}};
}

Tensors EluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {s.needs(0) ? elu_grad(ddy, s.in(1), alpha) : Tensor(),
          s.needs(1) ? ddy * where(s.in(1) >= 0, 0, s.in(0) * exp(clamp(s.in(1), {}, 0)) * alpha)
                     : Tensor()};
}

Samples<EluGrad> EluGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{}}, {{}}}},
                 {{}, {{{0, 2}}, {{0, 2}}}},
                 {{.alpha = 0.3}, {{{17, 3}}, sample::scaled({17, 3}, 3)}}},
          .errors = {}};
}

}  // namespace tandem
