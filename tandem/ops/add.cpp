#include "tandem/ops/add.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/neg.h"

namespace tandem {

TANDEM_OP(Add)
TANDEM_OP(Sub)

Tensors Add::vjp(const Saved&, const Tensor& dy) const { return {dy, dy}; }

Samples<Add> Add::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{}}, {{2, 3}}}},
                 {{}, {{{0, 3}}, {{3}}}},
                 {{}, {sample::strided({4, 3}), {{4, 3}}}},
                 {{}, {{{7}, i32}, {{7}, u8}}},
                 {{}, {sample::mask({3}), sample::mask({3})}}},
          .errors = {{{}, {{{3}}, {{4}}}, "add(): shapes [3] and [4] do not broadcast"}}};
}

Spec Sub::infer(Specs in) const {
  const Spec out = detail::point_infer(op_info<Sub>(), this, in, result);
  check<DTypeError>(out.dtype != boolean, *this, "booleans have no difference; use logical_xor");
  return out;
}

Tensors Sub::vjp(const Saved& s, const Tensor& dy) const {
  return {dy, s.needs(1) ? neg(dy) : Tensor()};
}

Samples<Sub> Sub::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{3, 1}}, {{5}}}},
                 {{}, {{{2, 3}}, {{}}}},
                 {{}, {{{7}, i64}, {{7}, i8}}}},
          .errors = {{{},
                      {sample::mask({3}), sample::mask({3})},
                      "sub(): booleans have no difference; use logical_xor"}}};
}

}  // namespace tandem
