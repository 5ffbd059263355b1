#include "tandem/ops/leaky_relu.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(LeakyRelu)
TANDEM_OP(LeakyReluGrad)

Tensors LeakyRelu::vjp(const Saved& s, const Tensor& dy) const {
  return {leaky_relu_grad(dy, s.in(0), negative_slope)};
}

Samples<LeakyRelu> LeakyRelu::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{.negative_slope = 0.3}, {sample::scaled({17, 3}, 3)}},
                 {{.negative_slope = -0.5}, {sample::scaled({17, 3}, 3)}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}}},
          .errors = {}};
}

Tensors LeakyReluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {leaky_relu_grad(ddy, s.in(1), negative_slope), Tensor()};
}

Samples<LeakyReluGrad> LeakyReluGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{}}, {{}}}},
                 {{}, {{{0, 2}}, {{0, 2}}}},
                 {{.negative_slope = 0.3}, {{{17, 3}}, sample::scaled({17, 3}, 3)}},
                 {{.negative_slope = -0.5}, {{{17, 3}}, sample::scaled({17, 3}, 3)}}},
          .errors = {}};
}

}  // namespace tandem
