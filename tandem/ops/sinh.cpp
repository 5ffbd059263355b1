#include "tandem/ops/sinh.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/div.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/sample_lists.h"
#include "tandem/ops/sqrt.h"

namespace tandem {

TANDEM_OP(Sinh)
TANDEM_OP(Cosh)
TANDEM_OP(Asinh)
TANDEM_OP(Acosh)
TANDEM_OP(Atanh)

Tensors Sinh::vjp(const Saved& s, const Tensor& dy) const { return {dy * cosh(s.in(0))}; }
Tensors Cosh::vjp(const Saved& s, const Tensor& dy) const { return {dy * sinh(s.in(0))}; }
Tensors Asinh::vjp(const Saved& s, const Tensor& dy) const {
  return {dy * rsqrt(square(s.in(0)) + 1.0)};
}
Tensors Acosh::vjp(const Saved& s, const Tensor& dy) const {
  return {dy * rsqrt(square(s.in(0)) - 1.0)};
}
Tensors Atanh::vjp(const Saved& s, const Tensor& dy) const {
  return {dy / (1.0 - square(s.in(0)))};
}

Samples<Sinh> Sinh::samples() {
  auto good = sample::unary<Sinh>();
  good.push_back({{}, {sample::listed({4}, {1e-10, -1e-4, 88.8, -200})}, false});
  return {.ok = std::move(good), .errors = {}};
}
Samples<Cosh> Cosh::samples() {
  auto good = sample::unary<Cosh>();
  good.push_back({{}, {sample::listed({4}, {1e-10, -1e-4, 88.8, -200})}, false});
  return {.ok = std::move(good), .errors = {}};
}
Samples<Asinh> Asinh::samples() { return {.ok = sample::unary<Asinh>(), .errors = {}}; }
Samples<Acosh> Acosh::samples() {
  auto above_one = [](Shape shape) {
    return sample::listed(shape, {1.1, 2.5, 1.7, 4, 1.3, 9.5, 1.05});
  };
  return {.ok = {{{}, {above_one({3, 5})}},
                 {{}, {above_one({})}},
                 {{}, {{{0, 2}}}},
                 {{}, {above_one({17, 3})}},
                 {{}, {sample::listed({7}, {1, 0.5, -1, HUGE_VAL, NAN, 1 + 1e-9, 1e30})}, false},
                 {{}, {sample::listed({3}, {1, 2, 9}, i32)}}},
          .errors = {}};
}
Samples<Atanh> Atanh::samples() {
  return {.ok = {{{}, {sample::filled({3, 5}, InputSpec::unit)}},
                 {{}, {sample::filled({}, InputSpec::unit)}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::filled({17, 3}, InputSpec::unit)}},
                 {{}, {sample::listed({7}, {0.0, -0.0, 1, -1, NAN, 2, 1e-9})}, false},
                 {{}, {sample::listed({3}, {0, 0, 0}, i32)}}},
          .errors = {}};
}

}  // namespace tandem
