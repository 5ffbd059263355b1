#include "tandem/ops/kl_div.h"

#include "tandem/ops/add.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/log.h"
#include "tandem/ops/loss_reduce.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(KlDiv)

namespace {

struct KlPoint {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A x, A target) const {
    const A entropy = target == A(0) ? A(0) : target * math::log(target);
    return entropy - target * x;
  }
};

struct KlLogPoint {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A x, A target) const {
    return math::exp(target) * (target - x);
  }
};

}  // namespace

Spec KlDiv::infer(Specs in) const { return detail::loss_infer(*this, in); }

void KlDiv::cpu(Inputs in, Outputs out) const {
  const auto& kernel = log_target ? detail::loss_table<KlLogPoint> : detail::loss_table<KlPoint>;
  const KlPoint f;
  detail::loss_launch(kernel, &f, detail::loss_reduction(*this), in, out[0]);
}

Tensors KlDiv::vjp(const Saved& s, const Tensor& dy) const {
  const Number scale =
      detail::loss_scale(detail::loss_reduction(*this), detail::loss_shape(s), s.shape(0));
  const Tensor &x = s.in(0), &target = s.in(1);
  const Tensor p = log_target ? exp(target) : target;
  const Tensor g = expand(dy * scale, detail::loss_shape(s));
  Tensors dx(2);
  // As PyTorch: target / target is 1, and NaN at 0; no logarithm where there is no gradient.
  if (s.needs(0)) dx[0] = neg(g * p);
  if (s.needs(1))
    dx[1] = log_target
                ? g * p * (target - x + 1)
                : where(eq(g, Tensor(0)), Tensor(0), g * log(target)) + g * (target / target - x);
  return dx;
}

Samples<KlDiv> KlDiv::samples() {
  using sample::positive;
  const KlDiv mean, none{.reduction = "none"}, sum{.reduction = "sum"};
  const KlDiv per_batch{.reduction = "batchmean"}, log{.log_target = true};
  const KlDiv log_batchmean{.reduction = "batchmean", .log_target = true};
  return {
      .ok = {{mean, {{{3, 5}}, positive({3, 5})}},
             {sum, {{{3, 5}}, positive({5})}},
             {per_batch, {{{3, 5}}, positive({3, 5})}},
             {none, {{{3, 5}}, positive({3, 5})}},
             {log, {{{3, 5}}, {{3, 5}}}},
             {log_batchmean, {{{3, 5}}, {{3, 5}}}},
             {mean, {{{}}, positive({})}},
             {sum, {{{0, 2}}, {{0, 2}}}},
             {mean, {{{0, 2}}, {{0, 2}}}, false},
             {mean, {sample::strided({5, 4}), positive({5, 4})}},
             {none,
              {sample::listed({4}, {-1, -2, -3, -HUGE_VAL}), sample::listed({4}, {0, 1, 0.5, 1})},
              false}},
      .errors = {{{.reduction = "avg"},
                  {{{3}}, {{3}}},
                  "kl_div(reduction=avg, log_target=false): reduction must be mean, batchmean, "
                  "sum or none"},
                 {mean,
                  {{{3}}, {{4}}},
                  "kl_div(reduction=mean, log_target=false): shapes [3] and [4] do not "
                  "broadcast"}}};
}

}  // namespace tandem
