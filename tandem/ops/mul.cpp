#include "tandem/ops/mul.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Mul)

Tensors Mul::vjp(const Saved& s, const Tensor& dy) const {
  return {s.needs(0) ? dy * s.in(1) : Tensor(), s.needs(1) ? dy * s.in(0) : Tensor()};
}

Samples<Mul> Mul::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{}}, {{2, 3}}}},
                 {{}, {{{0, 3}}, {{3}}}},
                 {{}, {{{7}, i8}, {{7}, i32}}},
                 {{}, {sample::mask({3}), sample::mask({3})}}},
          .errors = {{{}, {{{3, 2}}, {{4}}}, "mul(): shapes [3, 2] and [4] do not broadcast"}}};
}

}  // namespace tandem
