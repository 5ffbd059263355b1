#include "tandem/ops/neg.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Neg)

Spec Neg::infer(Specs in) const {
  check<DTypeError>(in[0].dtype != boolean, *this, "booleans have no negative; use logical_not");
  return detail::point_infer(op_info<Neg>(), this, in, result);
}

Tensors Neg::vjp(const Saved&, const Tensor& dy) const { return {neg(dy)}; }

Samples<Neg> Neg::samples() {
  return {
      .ok = {{{}, {{{3, 5}}}}, {{}, {{{}}}}, {{}, {{{0, 2}}}}, {{}, {{{5}, i32}}}},
      .errors = {{{}, {sample::mask({3})}, "neg(): booleans have no negative; use logical_not"}}};
}

}  // namespace tandem
