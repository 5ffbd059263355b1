#include "tandem/ops/tan.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/div.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/sample_lists.h"
#include "tandem/ops/sqrt.h"

namespace tandem {

TANDEM_OP(Tan)
TANDEM_OP(Asin)
TANDEM_OP(Acos)
TANDEM_OP(Atan)

namespace {

/// Within [-1, 1], its ends, and beyond.
template <class O>
Samples<O> ratios() {
  return {
      .ok = {{{}, {sample::filled({3, 5}, InputSpec::unit)}},
             {{}, {sample::filled({}, InputSpec::unit)}},
             {{}, {{{0, 2}}}},
             {{}, {sample::filled({17, 3}, InputSpec::unit)}},
             {{}, {sample::listed({9}, {0.0, -0.0, 1, -1, NAN, 1e-3, -0.999, 2, HUGE_VAL})}, false},
             {{}, {sample::listed({3}, {0, 1, -1}, i32)}}},
      .errors = {}};
}

}  // namespace

Tensors Tan::vjp(const Saved& s, const Tensor& dy) const { return {dy * (square(s.out()) + 1.0)}; }
Tensors Asin::vjp(const Saved& s, const Tensor& dy) const {
  return {dy * rsqrt(1.0 - square(s.in(0)))};
}
Tensors Acos::vjp(const Saved& s, const Tensor& dy) const {
  return {-dy * rsqrt(1.0 - square(s.in(0)))};
}
Tensors Atan::vjp(const Saved& s, const Tensor& dy) const { return {dy / (square(s.in(0)) + 1.0)}; }

Samples<Tan> Tan::samples() { return {.ok = sample::unary<Tan>(), .errors = {}}; }
Samples<Asin> Asin::samples() { return ratios<Asin>(); }
Samples<Acos> Acos::samples() { return ratios<Acos>(); }
Samples<Atan> Atan::samples() { return {.ok = sample::unary<Atan>(), .errors = {}}; }

}  // namespace tandem
