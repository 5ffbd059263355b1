#include "tandem/ops/relu.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Relu)
TANDEM_OP(ReluGrad)

Spec Relu::infer(Specs in) const {
  check<DTypeError>(in[0].dtype != boolean, *this, "booleans have no relu");
  return detail::point_infer(op_info<Relu>(), this, in, result);
}

Tensors Relu::vjp(const Saved& s, const Tensor& dy) const { return {relu_grad(dy, s.out())}; }

Samples<Relu> Relu::samples() {
  return {.ok = sample::unary<Relu>(),
          .errors = {{{}, {sample::mask({3})}, "relu(): booleans have no relu"}}};
}

Tensors ReluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {relu_grad(ddy, s.in(1)), Tensor()};
}

Samples<ReluGrad> ReluGrad::samples() {
  return {.ok = sample::unary_gradient<ReluGrad>(), .errors = {}};
}

}  // namespace tandem
