#include "tandem/ops/softplus.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(Softplus)
TANDEM_OP(SoftplusGrad)

namespace {

Tensor softplus_second(const SoftplusGrad& op, const Tensor& dy, const Tensor& x) {
  const Tensor z = x * op.beta;
  return where(z > op.threshold, 0, sigmoid_grad(dy, sigmoid(z)) * op.beta);
}

}  // namespace

Tensors Softplus::vjp(const Saved& s, const Tensor& dy) const {
  return {softplus_grad(dy, s.in(0), beta, threshold)};
}

Samples<Softplus> Softplus::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{.beta = 2, .threshold = 1.5}, {sample::scaled({17, 3}, 3)}},
                 {{.beta = 0.5, .threshold = 20}, {sample::scaled({17, 3}, 3)}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}}},
          .errors = {}};
}

Tensors SoftplusGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {s.needs(0) ? softplus_grad(ddy, s.in(1), beta, threshold) : Tensor(),
          s.needs(1) ? ddy * softplus_second(*this, s.in(0), s.in(1)) : Tensor()};
}

Samples<SoftplusGrad> SoftplusGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{}}, {{}}}},
                 {{}, {{{0, 2}}, {{0, 2}}}},
                 {{.beta = 2, .threshold = 1.5}, {{{17, 3}}, sample::scaled({17, 3}, 3)}},
                 {{.beta = 0.5, .threshold = 20}, {{{17, 3}}, sample::scaled({17, 3}, 3)}}},
          .errors = {}};
}

}  // namespace tandem
