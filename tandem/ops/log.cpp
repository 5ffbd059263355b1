#include "tandem/ops/log.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/div.h"

namespace tandem {

TANDEM_OP(Log)
TANDEM_OP(Log1p)

Tensors Log::vjp(const Saved& s, const Tensor& dy) const { return {dy / s.in(0)}; }

Samples<Log> Log::samples() {
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

Tensors Log1p::vjp(const Saved& s, const Tensor& dy) const { return {dy / (s.in(0) + 1)}; }

Samples<Log1p> Log1p::samples() {
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
