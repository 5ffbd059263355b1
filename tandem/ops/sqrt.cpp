#include "tandem/ops/sqrt.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/div.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"

namespace tandem {

TANDEM_OP(Sqrt)
TANDEM_OP(Rsqrt)

Tensors Sqrt::vjp(const Saved& s, const Tensor& dy) const { return {dy / (s.out() * 2)}; }

Samples<Sqrt> Sqrt::samples() {
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

Tensors Rsqrt::vjp(const Saved& s, const Tensor& dy) const {
  return {dy * s.out() * square(s.out()) * -0.5};
}

Samples<Rsqrt> Rsqrt::samples() {
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
