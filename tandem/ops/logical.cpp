#include "tandem/ops/logical.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(LogicalAnd)
TANDEM_OP(LogicalOr)
TANDEM_OP(LogicalXor)
TANDEM_OP(LogicalNot)

namespace {

void check_masks(const char* what, const Tensor& x, const Tensor& y) {
  require<DTypeError>(x.dtype() == boolean && y.dtype() == boolean, what, ": needs booleans, got ",
                      x.dtype(), " and ", y.dtype(), "; use logical_and, logical_or, logical_xor");
}

}  // namespace

Tensor operator&(const Tensor& x, const Tensor& y) {
  check_masks("operator&", x, y);
  return logical_and(x, y);
}

Tensor operator|(const Tensor& x, const Tensor& y) {
  check_masks("operator|", x, y);
  return logical_or(x, y);
}

Tensor operator^(const Tensor& x, const Tensor& y) {
  check_masks("operator^", x, y);
  return logical_xor(x, y);
}

Tensor operator~(const Tensor& x) {
  require<DTypeError>(x.dtype() == boolean, "operator~: needs booleans, got ", x.dtype(),
                      "; use logical_not");
  return logical_not(x);
}

Samples<LogicalAnd> LogicalAnd::samples() { return sample::comparison<LogicalAnd>(); }

Samples<LogicalOr> LogicalOr::samples() { return sample::comparison<LogicalOr>(); }

Samples<LogicalXor> LogicalXor::samples() { return sample::comparison<LogicalXor>(); }

Samples<LogicalNot> LogicalNot::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}},
                 {{}, {sample::mask({8})}}},
          .errors = {}};
}

}  // namespace tandem
