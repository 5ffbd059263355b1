#include "tandem/ops/reciprocal.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Reciprocal)

Tensors Reciprocal::vjp(const Saved& s, const Tensor& dy) const {
  return {neg(dy * square(s.out()))};
}

Samples<Reciprocal> Reciprocal::samples() {
  return {.ok = sample::unary_of_positive<Reciprocal>(), .errors = {}};
}

}  // namespace tandem
