#include "tandem/ops/compare.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Eq)
TANDEM_OP(Ne)
TANDEM_OP(Lt)
TANDEM_OP(Le)
TANDEM_OP(Gt)
TANDEM_OP(Ge)

Samples<Eq> Eq::samples() {
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
          .errors = {{{}, {{{3}}, {{4}}}, "eq(): shapes [3] and [4] do not broadcast"}}};
}

Samples<Ne> Ne::samples() {
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
          .errors = {{{}, {{{3}}, {{4}}}, "ne(): shapes [3] and [4] do not broadcast"}}};
}

Samples<Lt> Lt::samples() {
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
          .errors = {{{}, {{{3}}, {{4}}}, "lt(): shapes [3] and [4] do not broadcast"}}};
}

Samples<Le> Le::samples() {
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
          .errors = {{{}, {{{3}}, {{4}}}, "le(): shapes [3] and [4] do not broadcast"}}};
}

Samples<Gt> Gt::samples() {
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
          .errors = {{{}, {{{3}}, {{4}}}, "gt(): shapes [3] and [4] do not broadcast"}}};
}

Samples<Ge> Ge::samples() {
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
          .errors = {{{}, {{{3}}, {{4}}}, "ge(): shapes [3] and [4] do not broadcast"}}};
}

}  // namespace tandem
