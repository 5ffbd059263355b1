#include "tandem/ops/nll_loss.h"

#include <cstring>

#include "tandem/ops/class_loss.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/where.h"

namespace tandem {

using namespace detail;

TANDEM_OP(NllLoss)
TANDEM_OP(NllLossGrad)

namespace {

Tensor nll_in_ops(const Tensor& x, const Tensor& target, const Tensor& weight, int64_t ignore,
                  Reduction r) {
  Tensor q = one_of(target, x.shape(), x.dtype(), ignore);
  const Tensor picked = where(ne(q, Tensor(0)), x, Tensor(0));
  if (weight.defined()) q = q * spread(weight, x.shape());
  return reduced(neg(per_row(q * picked, x.shape())), q, r);
}

}  // namespace

Spec NllLoss::infer(Specs in) const {
  const Reduction r = loss_reduction(*this);
  const Shape rows = target_shape(*this, in[0]);
  check_classes(*this, in[1], rows, in[0].shape);
  check_weight(*this, in, 2, in[0].dtype, LayoutOf<Length>(in[0].shape).classes);
  return {r == Reduction::none ? rows : Shape{}, in[0].dtype, in[0].device};
}

void NllLoss::cpu(Inputs in, Outputs out) const {
  const Reduction r = loss_reduction(*this);
  const Layout l(in[0].shape());
  const Tensor x = as_contiguous(in[0]), ids = class_numbers(*this, in[1], l.classes);
  const Weights w(optional_input(in, 2));
  const int64_t* t = ids.data<int64_t>();
  visit(x.dtype(), [&]<class T>() {
    const T* p = static_cast<const T*>(x.raw_data());
    T* y = static_cast<T*>(out[0].raw_data());
    double total = 0;
    for (int64_t i = 0; i < l.rows(); ++i) {
      double loss = 0;
      if (t[i] >= 0)
        loss = -w[t[i]] * double(p[(i / l.inner * l.classes + t[i]) * l.inner + i % l.inner]);
      if (r == Reduction::none) y[i] = convert<T>(loss);
      total += loss;
    }
    if (r == Reduction::none) return;
    if (r == Reduction::mean) total /= sum_of_weights(w, t, l.rows());
    y[0] = convert<T>(total);
  });
}

Tensors NllLoss::vjp(const Saved& s, const Tensor& dy) const {
  Tensor dx, dw;
  if (s.needs(0))
    dx = apply(NllLossGrad{.classes = LayoutOf<Length>(s.shape(0)).classes,
                           .ignore_index = ignore_index,
                           .reduction = reduction},
               {dy, s.in(1), s.in(2)});
  if (s.needs(2))
    dw = vjp_through({s.in(0), s.in(2)}, {dy}, [&](const Tensors& v) {
      return Tensors{nll_in_ops(v[0], s.in(1), v[1], ignore_index, loss_reduction(*this))};
    })[1];
  return {dx, {}, dw};
}

Samples<NllLoss> NllLoss::samples() {
  using sample::index;
  return {
      .ok = {{{}, {{{5, 3}}, index({5}, 3), sample::absent()}},
             {{.reduction = "sum"}, {{{5, 3}}, index({5}, 3), sample::positive({3})}},
             {{}, {{{5, 3}}, index({5}, 3), sample::positive({3})}},
             {{.ignore_index = 1, .reduction = "none"},
              {{{5, 3}}, index({5}, 3), sample::positive({3})}},
             {{.ignore_index = 1}, {{{8, 3}}, index({8}, 3), sample::absent()}},
             {{}, {{{3}}, index({}, 3), sample::absent()}},
             {{}, {{{2, 3, 4, 2}}, index({2, 4, 2}, 3), sample::positive({3})}},
             {{.reduction = "none"},
              {sample::strided({2, 3, 4}), index({2, 4}, 3), sample::absent()}},
             {{.reduction = "sum"}, {{{0, 3}}, index({0}, 3), sample::absent()}},
             {{}, {{{2, 3}}, sample::listed({2}, {-100, 2}, i64), sample::absent()}},
             {{}, {{{2, 3}}, sample::listed({2}, {-100, -100}, i64), sample::absent()}, false}},
      .errors = {
          {{},
           {{{5, 3}}, index({4}, 3), sample::absent()},
           "nll_loss(ignore_index=-100, reduction=mean): x of shape [5, 3] takes a target of shape "
           "[5], got [4]"},
          {{},
           {{{1, 3}}, sample::listed({1}, {3}, i64), sample::absent()},
           "nll_loss(ignore_index=-100, reduction=mean): target 3 is out of range [0, 2] and is "
           "not ignore_index"},
          {{},
           {{{5, 3}}, index({5}, 3), sample::positive({4})},
           "nll_loss(ignore_index=-100, reduction=mean): weight has shape [4]; 3 classes take [3]"},
          {{.reduction = "max"},
           {{{5, 3}}, index({5}, 3), sample::absent()},
           "nll_loss(ignore_index=-100, reduction=max): reduction must be mean, sum or none"}}};
}

Spec NllLossGrad::infer(Specs in) const {
  const Reduction r = loss_reduction(*this);
  Shape x = in[1].shape;
  x.insert(x.size() > 0, classes);
  check<DTypeError>(is_integral(in[1].dtype), *this, "target is ", in[1].dtype,
                    ", class numbers must be integers");
  const Shape want = r == Reduction::none ? in[1].shape : Shape{};
  check<ShapeError>(detail::may_equal(in[0].shape, want), *this, "dy has shape ", in[0].shape,
                    ", the loss ", want);
  check_weight(*this, in, 2, in[0].dtype, classes);
  return {x, in[0].dtype, in[0].device};
}

void NllLossGrad::cpu(Inputs in, Outputs out) const {
  const Reduction r = loss_reduction(*this);
  const Layout l(out[0].shape());
  const Tensor ids = class_numbers(*this, in[1], l.classes);
  const Tensor dy = as_contiguous(in[0], f64);
  const Weights w(optional_input(in, 2));
  const int64_t* t = ids.data<int64_t>();
  const double* g = dy.data<double>();
  const double count = r == Reduction::mean ? sum_of_weights(w, t, l.rows()) : 1;
  visit(out[0].dtype(), [&]<class T>() {
    T* dx = static_cast<T*>(out[0].raw_data());
    std::memset(static_cast<void*>(dx), 0, size_t(out[0].numel()) * sizeof(T));
    for (int64_t i = 0; i < l.rows(); ++i) {
      if (t[i] < 0) continue;
      const double v = -w[t[i]] * g[r == Reduction::none ? i : 0] / count;
      T& to = dx[(i / l.inner * l.classes + t[i]) * l.inner + i % l.inner];
      to = convert<T>(v);
    }
  });
}

Tensors NllLossGrad::vjp(const Saved& s, const Tensor& g) const {
  const Reduction r = loss_reduction(*this);
  Tensor ddy, dw;
  // The gradient is linear in dy: its transpose is the loss itself.
  if (s.needs(0))
    ddy = nll_loss(g, s.in(1),
                   {.weight = s.in(2), .ignore_index = ignore_index, .reduction = reduction});
  if (s.needs(2))
    dw = vjp_through({s.in(0), s.in(2)}, {g}, [&](const Tensors& v) {
      Tensor q = one_of(s.in(1), g.shape(), g.dtype(), ignore_index) * spread(v[1], g.shape());
      if (r == Reduction::mean) q = q / sum(q);
      const Tensor dy =
          r == Reduction::none ? unsqueeze(v[0], LayoutOf<Length>(g.shape()).axis) : v[0];
      return Tensors{neg(q * dy)};
    })[1];
  return {ddy, {}, dw};
}

Samples<NllLossGrad> NllLossGrad::samples() {
  using sample::index;
  return {.ok = {{{.classes = 3}, {{{}}, index({5}, 3), sample::absent()}},
                 {{.classes = 3}, {{{}}, index({5}, 3), sample::positive({3})}},
                 {{.classes = 3, .ignore_index = 1, .reduction = "none"},
                  {{{2, 4}}, index({2, 4}, 3), sample::positive({3})}},
                 {{.classes = 3, .reduction = "sum"}, {{{}}, index({}, 3), sample::absent()}}},
          .errors = {{{.classes = 3},
                      {{{5}}, index({5}, 3), sample::absent()},
                      "nll_loss_grad(classes=3, ignore_index=-100, reduction=mean): dy has shape "
                      "[5], the loss []"}}};
}

}  // namespace tandem
