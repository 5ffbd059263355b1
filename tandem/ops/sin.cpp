#include "tandem/ops/sin.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"

namespace tandem {

TANDEM_OP(Sin)
TANDEM_OP(Cos)

Tensors Sin::vjp(const Saved& s, const Tensor& dy) const { return {dy * cos(s.in(0))}; }

Samples<Sin> Sin::samples() {
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

Tensors Cos::vjp(const Saved& s, const Tensor& dy) const { return {neg(dy * sin(s.in(0)))}; }

Samples<Cos> Cos::samples() {
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
