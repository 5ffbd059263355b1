#include "tandem/ops/logical.h"

#include "tandem/op/kernel.h"

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

Samples<LogicalAnd> LogicalAnd::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{}}, {{2, 3}}}},
                 {{}, {{{0, 3}}, {{3}}}},
                 {{}, {sample::strided({4, 3}), {{4, 3}}}},
                 {{},
                  {sample::listed({6}, {0, 1, -1, HUGE_VAL, NAN, -0.0}),
                   sample::listed({6}, {-0.0, 1, 2, HUGE_VAL, NAN, 0})}},
                 {{}, {{{40}, i8}, {{40}, i32}}},
                 {{}, {{{9}, u8}, {{}}}},
                 {{}, {sample::mask({8}), sample::mask({8})}}},
          .errors = {{{}, {{{3}}, {{4}}}, "logical_and(): shapes [3] and [4] do not broadcast"}}};
}

Samples<LogicalOr> LogicalOr::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{}}, {{2, 3}}}},
                 {{}, {{{0, 3}}, {{3}}}},
                 {{}, {sample::strided({4, 3}), {{4, 3}}}},
                 {{},
                  {sample::listed({6}, {0, 1, -1, HUGE_VAL, NAN, -0.0}),
                   sample::listed({6}, {-0.0, 1, 2, HUGE_VAL, NAN, 0})}},
                 {{}, {{{40}, i8}, {{40}, i32}}},
                 {{}, {{{9}, u8}, {{}}}},
                 {{}, {sample::mask({8}), sample::mask({8})}}},
          .errors = {{{}, {{{3}}, {{4}}}, "logical_or(): shapes [3] and [4] do not broadcast"}}};
}

Samples<LogicalXor> LogicalXor::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{}}, {{2, 3}}}},
                 {{}, {{{0, 3}}, {{3}}}},
                 {{}, {sample::strided({4, 3}), {{4, 3}}}},
                 {{},
                  {sample::listed({6}, {0, 1, -1, HUGE_VAL, NAN, -0.0}),
                   sample::listed({6}, {-0.0, 1, 2, HUGE_VAL, NAN, 0})}},
                 {{}, {{{40}, i8}, {{40}, i32}}},
                 {{}, {{{9}, u8}, {{}}}},
                 {{}, {sample::mask({8}), sample::mask({8})}}},
          .errors = {{{}, {{{3}}, {{4}}}, "logical_xor(): shapes [3] and [4] do not broadcast"}}};
}

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
