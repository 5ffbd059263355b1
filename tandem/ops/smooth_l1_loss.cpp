#include "tandem/ops/smooth_l1_loss.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/loss_reduce.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sample_lists.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(SmoothL1Loss)
TANDEM_OP(SmoothL1LossGrad)

Spec SmoothL1Loss::infer(Specs in) const {
  check(beta >= 0, *this, "beta must not be negative");
  detail::warn_of_broadcast(name, in);
  return detail::loss_infer(*this, in);
}

void SmoothL1Loss::cpu(Inputs in, Outputs out) const {
  detail::loss_launch(detail::loss_table<SmoothL1Loss>, this, detail::loss_reduction(*this), in,
                      out[0]);
}

Tensors SmoothL1Loss::vjp(const Saved& s, const Tensor& dy) const {
  const Number scale =
      detail::loss_scale(detail::loss_reduction(*this), detail::loss_shape(s), s.shape(0));
  const Tensor dx = apply(SmoothL1LossGrad{.scale = scale, .beta = beta}, {dy, s.in(0), s.in(1)});
  return {dx, s.needs(1) ? neg(dx) : Tensor()};
}

Samples<SmoothL1Loss> SmoothL1Loss::samples() {
  return {
      .ok = {{{}, {{{3, 5}}, {{3, 5}}}},
             {{.reduction = "sum"}, {{{3, 5}}, {{3, 5}}}},
             {{.reduction = "none"}, {{{3, 5}}, {{3, 5}}}},
             {{}, {{{}}, {{}}}},
             {{}, {{{3, 1}}, {{5}}}},
             {{}, {sample::strided({5, 4}), {{5, 4}}}},
             {{.reduction = "sum"}, {{{0, 2}}, {{0, 2}}}},
             {{}, {{{0, 2}}, {{0, 2}}}, false},
             {{}, {{{70000}, f32}, {{70000}, f32}}, false},
             {{.beta = 0.3}, {{{17, 3}}, {{17, 3}}}},
             {{.beta = 0}, {{{17, 3}}, {{17, 3}}}}},
      .errors = {{{.reduction = "avg"},
                  {{{3}}, {{3}}},
                  "smooth_l1_loss(reduction=avg, beta=1): reduction must be mean, sum or none"},
                 {{},
                  {{{3}}, {{4}}},
                  "smooth_l1_loss(reduction=mean, beta=1): shapes [3] and [4] do not broadcast"},
                 {{.beta = -1},
                  {{{3}}, {{3}}},
                  "smooth_l1_loss(reduction=mean, beta=-1): beta must not be negative"}}};
}

Tensors SmoothL1LossGrad::vjp(const Saved& s, const Tensor& ddx) const {
  const Tensor d = s.in(1) - s.in(2);
  const Tensor inside = abs(d) < beta;
  Tensors dx(3);
  if (s.needs(0)) dx[0] = ddx * where(inside, beta > 0 ? d / beta : d, sign(d)) * scale;
  if (beta > 0 && (s.needs(1) || s.needs(2))) {
    dx[1] = where(inside, ddx * s.in(0) * (scale / beta), 0);
    dx[2] = neg(dx[1]);
  }
  return dx;
}

Samples<SmoothL1LossGrad> SmoothL1LossGrad::samples() {
  return {.ok = sample::loss_gradient<SmoothL1LossGrad>(), .errors = {}};
}

}  // namespace tandem
