#include "tandem/ops/l1_loss.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/loss_reduce.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(L1Loss)
TANDEM_OP(L1LossGrad)

Spec L1Loss::infer(Specs in) const {
  detail::warn_of_broadcast(name, in);
  return detail::loss_infer(*this, in);
}

void L1Loss::cpu(Inputs in, Outputs out) const {
  detail::loss_launch(detail::loss_table<L1Loss>, this, detail::loss_reduction(*this), in, out[0]);
}

Tensors L1Loss::vjp(const Saved& s, const Tensor& dy) const {
  const Number scale =
      detail::loss_scale(detail::loss_reduction(*this), detail::loss_shape(s), s.shape(0));
  const Tensor dx = apply(L1LossGrad{.scale = scale}, {dy, s.in(0), s.in(1)});
  return {dx, s.needs(1) ? neg(dx) : Tensor()};
}

Samples<L1Loss> L1Loss::samples() {
  return {
      .ok = sample::loss<L1Loss>(),
      .errors = {
          {{.reduction = "avg"},
           {{{3}}, {{3}}},
           "l1_loss(reduction=avg): reduction must be mean, sum or none"},
          {{}, {{{3}}, {{4}}}, "l1_loss(reduction=mean): shapes [3] and [4] do not broadcast"}}};
}

Tensors L1LossGrad::vjp(const Saved& s, const Tensor& ddx) const {
  if (!s.needs(0)) return Tensors(3);
  return {ddx * sign(s.in(1) - s.in(2)) * scale, Tensor(), Tensor()};
}

Samples<L1LossGrad> L1LossGrad::samples() {
  return {.ok = sample::loss_gradient<L1LossGrad>(), .errors = {}};
}

}  // namespace tandem
