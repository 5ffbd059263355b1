#include "tandem/ops/erf.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"

namespace tandem {

TANDEM_OP(Erf)

Tensors Erf::vjp(const Saved& s, const Tensor& dy) const {
  return {dy * exp(neg(square(s.in(0)))) * 1.1283791670955126};
}

Samples<Erf> Erf::samples() {
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
