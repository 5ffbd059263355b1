#include "tandem/ops/expm1.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"

namespace tandem {

TANDEM_OP(Expm1)

Tensors Expm1::vjp(const Saved& s, const Tensor& dy) const { return {dy * (s.out() + 1)}; }

Samples<Expm1> Expm1::samples() {
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
