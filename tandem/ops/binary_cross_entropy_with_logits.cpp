#include "tandem/ops/binary_cross_entropy_with_logits.h"

#include "tandem/ops/add.h"
#include "tandem/ops/loss_reduce.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/softplus.h"

namespace tandem {

TANDEM_OP(BinaryCrossEntropyWithLogits)
TANDEM_OP(BinaryCrossEntropyWithLogitsGrad)

namespace {

/// log(1 + e^-x), with no switch to a straight line.
Tensor softplus_of_minus(const Tensor& x) { return softplus(neg(x), 1, 40); }

}  // namespace

Spec BinaryCrossEntropyWithLogits::infer(Specs in) const {
  check<ShapeError>(detail::may_equal(in[0].shape, in[1].shape), *this, "the target of shape ",
                    in[1].shape, " must have the shape of x, ", in[0].shape);
  Spec out = in[0];
  DType d = in.is_number(1) ? in[0].dtype : promote(in[0].dtype, in[1].dtype);
  for (int i = 2; i < 4; ++i) {
    if (!in.has(i)) continue;
    Shape all;
    check<ShapeError>(broadcast(out.shape, in[i].shape, all) && detail::may_equal(all, in[0].shape),
                      *this, i == 2 ? "weight" : "pos_weight", " of shape ", in[i].shape,
                      " does not broadcast to x, ", in[0].shape);
    if (!in.is_number(i)) d = promote(d, in[i].dtype);
  }
  out.dtype = is_floating(d) ? d : f32;
  if (detail::loss_reduction(*this) != detail::Reduction::none) out.shape = {};
  return out;
}

void BinaryCrossEntropyWithLogits::cpu(Inputs in, Outputs out) const {
  Tensor all[4] = {in[0], in[1], Tensor(1.0), Tensor(1.0)};
  for (size_t i = 2; i < in.size(); ++i)
    if (in[i].defined()) all[i] = in[i];
  detail::loss_launch(detail::loss_table<BinaryCrossEntropyWithLogits>, this,
                      detail::loss_reduction(*this), all, out[0]);
}

Tensors BinaryCrossEntropyWithLogits::vjp(const Saved& s, const Tensor& dy) const {
  const Number scale = detail::loss_scale(detail::loss_reduction(*this), s.shape(0), s.shape(0));
  const Tensor &x = s.in(0), &target = s.in(1), &weight = s.in(2), &pos_weight = s.in(3);
  const Tensor p = pos_weight.defined() ? pos_weight : Tensor(1.0);
  const Tensor weighted = weight.defined() ? dy * weight : dy;
  Tensors dx(4);
  if (s.needs(0))
    dx[0] = apply(BinaryCrossEntropyWithLogitsGrad{.scale = scale}, {weighted, x, target, p});
  if (s.needs(1))
    dx[1] = weighted * scale *
            (pos_weight.defined() ? p * softplus_of_minus(x) - softplus_of_minus(neg(x)) : neg(x));
  if (s.needs(2))
    dx[2] = dy * scale * ((1 - target) * x + ((p - 1) * target + 1) * softplus_of_minus(x));
  if (s.needs(3)) dx[3] = weighted * scale * target * softplus_of_minus(x);
  return dx;
}

Samples<BinaryCrossEntropyWithLogits> BinaryCrossEntropyWithLogits::samples() {
  using sample::absent;
  using sample::positive;
  const InputSpec t = positive({3, 5});
  return {
      .ok = {{{}, {{{3, 5}}, t}},
             {{.reduction = "sum"}, {{{3, 5}}, t, positive({5})}},
             {{.reduction = "none"}, {{{3, 5}}, t, absent(), positive({5})}},
             {{}, {{{3, 5}}, t, positive({3, 1}), positive({5})}},
             {{}, {{{}}, positive({})}},
             {{.reduction = "sum"}, {{{0, 2}}, {{0, 2}}}},
             {{}, {{{0, 2}}, {{0, 2}}}, false},
             {{}, {sample::strided({5, 4}), positive({5, 4})}},
             {{.reduction = "none"},
              {sample::listed({6}, {0, 100, -100, 800, -800, NAN}), sample::listed({6}, {0, 1})},
              false}},
      .errors = {{{.reduction = "avg"},
                  {{{3}}, {{3}}},
                  "binary_cross_entropy_with_logits(reduction=avg): reduction must be mean, sum or "
                  "none"},
                 {{},
                  {{{3}}, {{1}}},
                  "binary_cross_entropy_with_logits(reduction=mean): the target of shape [1] must "
                  "have the shape of x, [3]"},
                 {{},
                  {{{3}}, {{3}}, {{2}}},
                  "binary_cross_entropy_with_logits(reduction=mean): weight of shape [2] does not "
                  "broadcast to x, [3]"}}};
}

Tensors BinaryCrossEntropyWithLogitsGrad::vjp(const Saved& s, const Tensor& ddx) const {
  const Tensor &dy = s.in(0), &x = s.in(1), &target = s.in(2), &p = s.in(3);
  const Tensor y = sigmoid(x), g = ddx * scale;
  Tensors dx(4);
  if (p.impl()->has(TensorImpl::wrapped_number)) {  // 1: there is no pos_weight
    if (s.needs(0)) dx[0] = g * (y - target);
    if (s.needs(1)) dx[1] = g * dy * sigmoid_grad(Tensor(1.0), y);
    if (s.needs(2)) dx[2] = neg(g * dy);
    return dx;
  }
  const Tensor by_target = (p - 1) * target + 1;
  if (s.needs(0)) dx[0] = g * (y * by_target - p * target);
  if (s.needs(1)) dx[1] = g * dy * by_target * sigmoid_grad(Tensor(1.0), y);
  if (s.needs(2)) dx[2] = g * dy * (y * (p - 1) - p);
  if (s.needs(3)) dx[3] = g * dy * target * (y - 1);
  return dx;
}

Samples<BinaryCrossEntropyWithLogitsGrad> BinaryCrossEntropyWithLogitsGrad::samples() {
  using sample::positive;
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}, positive({3, 5}), positive({5})}},
                 {{.scale = 0.25}, {{{}}, {{3, 5}}, positive({3, 5}), positive({})}},
                 {{}, {{{0, 2}}, {{0, 2}}, {{0, 2}}, {{}}}}},
          .errors = {}};
}

}  // namespace tandem
