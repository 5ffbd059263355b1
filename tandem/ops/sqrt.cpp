#include "tandem/ops/sqrt.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/div.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Sqrt)
TANDEM_OP(Rsqrt)

Tensors Sqrt::vjp(const Saved& s, const Tensor& dy) const { return {dy / (s.out() * 2)}; }

Samples<Sqrt> Sqrt::samples() { return {.ok = sample::unary_of_positive<Sqrt>(), .errors = {}}; }

Tensors Rsqrt::vjp(const Saved& s, const Tensor& dy) const {
  return {dy * s.out() * square(s.out()) * -0.5};
}

Samples<Rsqrt> Rsqrt::samples() { return {.ok = sample::unary_of_positive<Rsqrt>(), .errors = {}}; }

}  // namespace tandem
