#include "tandem/ops/relu.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Relu)
TANDEM_OP(ReluGrad)

Spec Relu::infer(Specs in) const {
  check<DTypeError>(in[0].dtype != boolean, *this, "booleans have no relu");
  return detail::point_infer(op_info<Relu>(), this, in, result);
}

Tensors Relu::vjp(const Saved& s, const Tensor& dy) const { return {relu_grad(dy, s.out())}; }

Samples<Relu> Relu::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{},
                  {sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 1e-3, -3, 88.8})},
                  false},
                 {{}, {{{6}, i32}}}},
          .errors = {{{}, {sample::mask({3})}, "relu(): booleans have no relu"}}};
}

Tensors ReluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {relu_grad(ddy, s.in(1)), Tensor()};
}

Samples<ReluGrad> ReluGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}}, {{}, {{{}}, {{}}}}, {{}, {{{0, 2}}, {{0, 2}}}}},
          .errors = {}};
}

}  // namespace tandem
