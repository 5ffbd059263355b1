#include "tandem/ops/mse_loss.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/loss_reduce.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(MseLoss)
TANDEM_OP(MseLossGrad)

Spec MseLoss::infer(Specs in) const {
  detail::warn_of_broadcast(name, in);
  return detail::loss_infer(*this, in);
}

void MseLoss::cpu(Inputs in, Outputs out) const {
  detail::loss_launch(detail::loss_table<MseLoss>, this, detail::loss_reduction(*this), in, out[0]);
}

Tensors MseLoss::vjp(const Saved& s, const Tensor& dy) const {
  const Number scale =
      detail::loss_scale(detail::loss_reduction(*this), detail::loss_shape(s), s.shape(0));
  const Tensor dx = apply(MseLossGrad{.scale = scale}, {dy, s.in(0), s.in(1)});
  return {dx, s.needs(1) ? neg(dx) : Tensor()};
}

Samples<MseLoss> MseLoss::samples() {
  return {
      .ok = sample::loss<MseLoss>(),
      .errors = {
          {{.reduction = "avg"},
           {{{3}}, {{3}}},
           "mse_loss(reduction=avg): reduction must be mean, sum or none"},
          {{}, {{{3}}, {{4}}}, "mse_loss(reduction=mean): shapes [3] and [4] do not broadcast"}}};
}

Tensors MseLossGrad::vjp(const Saved& s, const Tensor& ddx) const {
  const Tensor d = s.needs(1) || s.needs(2) ? ddx * s.in(0) * (2 * scale) : Tensor();
  return {s.needs(0) ? ddx * (s.in(1) - s.in(2)) * (2 * scale) : Tensor(), d,
          s.needs(2) ? neg(d) : Tensor()};
}

Samples<MseLossGrad> MseLossGrad::samples() {
  return {.ok = sample::loss_gradient<MseLossGrad>(), .errors = {}};
}

}  // namespace tandem
