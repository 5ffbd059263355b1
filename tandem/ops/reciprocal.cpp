#include "tandem/ops/reciprocal.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"

namespace tandem {

TANDEM_OP(Reciprocal)

Tensors Reciprocal::vjp(const Saved& s, const Tensor& dy) const {
  return {neg(dy * square(s.out()))};
}

Samples<Reciprocal> Reciprocal::samples() {
  return {.ok = {{{}, {sample::positive({3, 5})}},
                 {{}, {sample::positive({})}},
                 {{}, {sample::positive({0, 2})}},
                 {{}, {sample::positive({17, 3})}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}}},
          .errors = {}};
}

}  // namespace tandem
