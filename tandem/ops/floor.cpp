#include "tandem/ops/floor.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Floor)
TANDEM_OP(Ceil)

Tensors Floor::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Floor> Floor::samples() {
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

Tensors Ceil::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Ceil> Ceil::samples() {
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
