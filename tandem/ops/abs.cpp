#include "tandem/ops/abs.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"

namespace tandem {

TANDEM_OP(Abs)
TANDEM_OP(Sign)

Tensors Abs::vjp(const Saved& s, const Tensor& dy) const { return {dy * sign(s.in(0))}; }

Samples<Abs> Abs::samples() {
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

Tensors Sign::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Sign> Sign::samples() {
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

}  // namespace tandem
