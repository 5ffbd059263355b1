#include "tandem/ops/cross_entropy.h"

#include <limits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/ops/add.h"
#include "tandem/ops/class_loss.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/where.h"

namespace tandem {

using namespace detail;

TANDEM_OP(CrossEntropy)
TANDEM_OP(CrossEntropyGrad)

namespace {

template <class O>
Tensor cross_entropy_in_ops(const O& op, const Tensor& x, const Tensor& target,
                            const Tensor& weight) {
  const Reduction r = detail::loss_reduction(op);
  const Shape& shape = x.shape();
  const auto l = LayoutOf<Length>(shape);
  const bool numbers = !is_floating(target.dtype());
  Tensor logs = log_softmax(x, l.axis), q = target, counted;
  if (numbers) {
    q = one_of(target, shape, x.dtype(), op.ignore_index);
    counted = weight.defined() ? q * spread(weight, shape) : q;
    if (op.label_smoothing == 0) logs = where(ne(q, Tensor(0)), logs, Tensor(0));
  }
  if (op.label_smoothing != 0) {
    Tensor even(op.label_smoothing / l.classes);
    if (numbers)  // ignored rows stay zero
      even =
          even * cast(ne(unsqueeze(cast(target, i64), l.axis), Tensor(op.ignore_index)), x.dtype());
    q = q * Tensor(1 - op.label_smoothing) + even;
  }
  if (weight.defined()) q = q * spread(weight, shape);
  const Tensor rows = neg(per_row(q * logs, shape));
  if (numbers || r != Reduction::mean) return reduced(rows, counted, r);
  return sum(rows) / Tensor(Number(l.rows()));
}

}  // namespace

namespace {

template <class O>
Spec check_cross_entropy(const O& op, Specs in, int weight_at) {
  const Reduction r = loss_reduction(op);
  const Shape rows = target_shape(op, in[0]);
  check(op.label_smoothing >= 0 && op.label_smoothing <= 1, op,
        "label_smoothing must lie in [0, 1]");
  if (is_floating(in[1].dtype)) {
    check<ShapeError>(detail::may_equal(in[1].shape, in[0].shape), op, "x of shape ", in[0].shape,
                      " takes probabilities of the same shape, got ", in[1].shape);
    check<DTypeError>(in[1].dtype == in[0].dtype, op, "probabilities are ", in[1].dtype, ", x is ",
                      in[0].dtype, "; cast one of them");
    check(op.ignore_index < 0, op, "probabilities have no ignore_index");
  } else {
    check_classes(op, in[1], rows, in[0].shape);
  }
  check_weight(op, in, weight_at, in[0].dtype, LayoutOf<Length>(in[0].shape).classes);
  return {r == Reduction::none ? rows : Shape{}, in[0].dtype, in[0].device};
}

/// `t` with the class axis last, row-major.
template <class T>
Tensor class_last(const Tensor& t, const Layout& l) {
  Shape shape = t.shape(), strides = t.strides();
  const int64_t size = shape[l.axis], stride = strides[l.axis];
  shape.erase(l.axis);
  strides.erase(l.axis);
  shape.push_back(size);
  strides.push_back(stride);
  return as_contiguous(alias(t, shape, strides, 0), dtype_of<T>);
}

/// log(sum(exp(x))) as top + log, with the largest x apart.
template <class T>
struct LogSumExp {
  T top, log;
};

/// One problem: rows of logits, and what each row's target is.
template <class T>
struct CrossEntropyRows {
  Layout l;
  Tensor x, ids, probabilities, weight;
  T smoothing, even;
  T weight_total;

  template <class O>
  CrossEntropyRows(const O& op, const Tensor& logits, const Tensor& target, const Tensor& w)
      : l(logits.shape()),
        x(class_last<T>(logits, l)),
        smoothing(T(op.label_smoothing)),
        even(T(op.label_smoothing / double(l.classes))),
        weight_total(T(l.classes)) {
    if (is_floating(target.dtype())) probabilities = class_last<T>(target, l);
    else ids = class_numbers(op, target, l.classes);
    if (!w.defined()) return;
    weight = as_contiguous(w, dtype_of<T>);
    double total = 0;
    for (int64_t c = 0; c < l.classes; ++c) total += double(weight.data<T>()[c]);
    weight_total = T(total);
  }
  /// What "mean" divides by.
  double count() const {
    if (ids.defined()) return sum_of_weights(Weights(weight), ids.data<int64_t>(), l.rows());
    return l.classes > 0 ? double(l.rows()) : std::numeric_limits<double>::quiet_NaN();
  }

  /// The loss of row i. log(sum(exp(x))) in one number would lose what large logits differ by.
  TANDEM_FN T loss(int64_t i, const T* row, LogSumExp<T> all) const {
    auto minus_log = [=](int64_t c) { return all.log + (all.top - row[c]); };
    const int64_t n = l.classes;
    const T* w = weight.defined() ? static_cast<const T*>(weight.raw_data()) : nullptr;
    const CpuTeam team;
    if (probabilities.defined()) {
      const T* q = static_cast<const T*>(probabilities.raw_data()) + i * n;
      const T keep = 1 - smoothing, add = even;
      if (w)
        return team.sum(n, [=](int64_t c) { return (q[c] * keep + add) * w[c] * minus_log(c); });
      return team.sum(n, [=](int64_t c) { return (q[c] * keep + add) * minus_log(c); });
    }
    const int64_t t = static_cast<const int64_t*>(ids.raw_data())[i];
    if (t < 0) return 0;
    const T picked = (w ? w[t] : T(1)) * minus_log(t);
    if (smoothing == 0) return picked;
    const T every = w ? team.sum(n, [=](int64_t c) { return w[c] * minus_log(c); })
                      : team.sum(n, [=](int64_t c) { return minus_log(c); });
    return (1 - smoothing) * picked + even * every;
  }

  /// dx = g d(loss)/dx, given p = softmax(row) in dx.
  TANDEM_FN void gradient(int64_t i, T g, T* dx) const {
    const int64_t n = l.classes;
    const T* w = weight.defined() ? static_cast<const T*>(weight.raw_data()) : nullptr;
    const CpuTeam team;
    if (probabilities.defined()) {
      const T* q = static_cast<const T*>(probabilities.raw_data()) + i * n;
      const T keep = 1 - smoothing, add = even;
      auto part = [=](int64_t c) { return (q[c] * keep + add) * (w ? w[c] : T(1)); };
      const T total = team.sum(n, part);
      team.each(n, [=](int64_t c) { dx[c] = g * (total * dx[c] - part(c)); });
      return;
    }
    const int64_t t = static_cast<const int64_t*>(ids.raw_data())[i];
    if (t < 0) {
      team.each(n, [=](int64_t c) { dx[c] = 0; });
      return;
    }
    const T own = (1 - smoothing) * (w ? w[t] : T(1)), e = even;
    const T scale = g * (smoothing == 0 ? own : own + e * weight_total);
    if (smoothing == 0) team.each(n, [=](int64_t c) { dx[c] *= scale; });
    else if (w) team.each(n, [=](int64_t c) { dx[c] = scale * dx[c] - g * e * w[c]; });
    else team.each(n, [=](int64_t c) { dx[c] = scale * dx[c] - g * e; });
    dx[t] -= g * own;
  }
};

template <class T>
TANDEM_FN LogSumExp<T> log_sum_exp(const T* row, int64_t n) {
  const CpuTeam team;
  if (n == 0) return {};  // the rows' losses have no terms
  const T top = team.max(n, [=](int64_t c) { return row[c]; });
  return {top, math::log(team.sum(n, [=](int64_t c) { return math::exp(row[c] - top); }))};
}

template <class T>
TANDEM_FN void softmax_row(const T* row, T* p, int64_t n) {
  const CpuTeam team;
  const T top = team.max(n, [=](int64_t c) { return row[c]; });
  const T total = team.sum(n, [=](int64_t c) {
    const T e = math::exp(row[c] - top);
    p[c] = e;
    return e;
  });
  const T scale = 1 / total;
  team.each(n, [=](int64_t c) { p[c] *= scale; });
}

constexpr int64_t grain = 16384;  // elements

template <class T, class O>
void cross_entropy_forward(const O& op, Inputs in, const Tensor& out) {
  const Reduction r = loss_reduction(op);
  const CrossEntropyRows<T> rows(op, in[0], in[1], optional_input(in, 2));
  const int64_t n = rows.l.classes, count = rows.l.rows();
  const Tensor losses = empty({count}, dtype_of<T>);
  T* loss = losses.data<T>();
  const T* x = rows.x.template data<T>();
  cpu::parallel_for(count, std::max<int64_t>(1, grain / std::max<int64_t>(n, 1)),
                    [&](int64_t begin, int64_t end) {
                      simd([&] {
                        for (int64_t i = begin; i < end; ++i)
                          loss[i] = rows.loss(i, x + i * n, log_sum_exp(x + i * n, n));
                      });
                    });
  if (r == Reduction::none) {
    copy_data(out, alias(losses, out.shape(), contiguous_strides(out.shape()), 0));
    return;
  }
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += double(loss[i]);
  if (r == Reduction::mean) total /= rows.count();
  copy_data(out, full({}, total, f64));
}

template <class T, class O>
void cross_entropy_backward(const O& op, Inputs in, const Tensor& out) {
  if (out.numel() == 0) return;
  const Reduction r = loss_reduction(op);
  const CrossEntropyRows<T> rows(op, in[0], in[1], optional_input(in, 3));
  const int64_t n = rows.l.classes, count = rows.l.rows();
  const Tensor dy = as_contiguous(in[2], dtype_of<T>);
  const T* g = dy.data<T>();
  const T scale = r == Reduction::mean ? T(1 / rows.count()) : T(1);
  const bool direct = out.dtype() == dtype_of<T> && rows.l.inner == 1;
  const Tensor dx = direct ? out : empty(rows.x.shape(), dtype_of<T>);
  const T* x = rows.x.template data<T>();
  T* to = static_cast<T*>(dx.raw_data());
  cpu::parallel_for(count, std::max<int64_t>(1, grain / std::max<int64_t>(n, 1)),
                    [&](int64_t begin, int64_t end) {
                      simd([&] {
                        for (int64_t i = begin; i < end; ++i) {
                          softmax_row(x + i * n, to + i * n, n);
                          rows.gradient(i, scale * g[r == Reduction::none ? i : 0], to + i * n);
                        }
                      });
                    });
  if (direct) return;
  Shape strides = out.strides(), shape = out.shape();
  const int64_t step = strides[rows.l.axis];
  strides.erase(rows.l.axis);
  shape.erase(rows.l.axis);
  strides.push_back(step);
  shape.push_back(n);
  copy_data(alias(out, shape, strides, 0), dx);
}

}  // namespace

Spec CrossEntropy::infer(Specs in) const { return check_cross_entropy(*this, in, 2); }

void CrossEntropy::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) cross_entropy_forward<double>(*this, in, out[0]);
  else cross_entropy_forward<float>(*this, in, out[0]);
}

Tensors CrossEntropy::vjp(const Saved& s, const Tensor& dy) const {
  Tensors d(3);
  if (s.needs(0))
    d[0] = apply(CrossEntropyGrad{.ignore_index = ignore_index,
                                  .reduction = reduction,
                                  .label_smoothing = label_smoothing},
                 {s.in(0), s.in(1), dy, s.in(2)});
  if (!s.needs(1) && !s.needs(2)) return d;
  const Tensors more = vjp_through({s.in(0), s.in(1), s.in(2)}, {dy}, [&](const Tensors& v) {
    return Tensors{cross_entropy_in_ops(*this, v[0], v[1], v[2])};
  });
  if (s.needs(1)) d[1] = more[1];
  if (s.needs(2)) d[2] = more[2];
  return d;
}

Samples<CrossEntropy> CrossEntropy::samples() {
  using sample::filled;
  using sample::index;
  const InputSpec none = sample::absent();
  const std::string op = "cross_entropy(ignore_index=-100, reduction=mean, label_smoothing=0): ";
  return {.ok = {{{}, {{{5, 3}}, index({5}, 3), none}},
                 {{.reduction = "sum"}, {{{5, 3}}, index({5}, 3), sample::positive({3})}},
                 {{.label_smoothing = 0.1}, {{{5, 3}}, index({5}, 3), sample::positive({3})}},
                 {{.ignore_index = 1, .reduction = "none", .label_smoothing = 0.2},
                  {{{6, 3}}, index({6}, 3), none}},
                 {{.ignore_index = 1}, {{{8, 3}}, index({8}, 3), sample::positive({3})}},
                 {{}, {{{3}}, index({}, 3), none}},
                 {{.label_smoothing = 0.1}, {{{2, 3, 4, 2}}, index({2, 4, 2}, 3), none}},
                 {{.reduction = "none"}, {sample::strided({2, 3, 4}), index({2, 4}, 3), none}},
                 {{.reduction = "sum"}, {{{0, 3}}, index({0}, 3), none}},
                 {{}, {{{40, 37}}, index({40}, 37), none}},
                 {{}, {{{5, 3}}, sample::positive({5, 3}), none}},
                 {{.reduction = "sum", .label_smoothing = 0.1},
                  {{{2, 3, 4}}, sample::positive({2, 3, 4}), sample::positive({3})}},
                 {{.reduction = "none"}, {{{3}}, sample::positive({3}), none}},
                 {{}, {filled({4, 6}, InputSpec::normal, f64, 200), index({4}, 6), none}, false},
                 {{}, {{{2, 3}}, sample::listed({2}, {-100, 2}, i64), none}},
                 {{}, {{{2, 3}}, sample::listed({2}, {-100, -100}, i64), none}, false},
                 {{}, {{{2, 0}}, {{2, 0}}, none}, false},
                 {{.reduction = "none"}, {{{0}}, {{0}}, none}, false}},
          .errors = {{{},
                      {{{5, 3}}, index({4}, 3), none},
                      op + "x of shape [5, 3] takes a target of shape [5], got [4]"},
                     {{},
                      {{{5, 3}}, sample::positive({5, 4}), none},
                      op + "x of shape [5, 3] takes probabilities of the same shape, got [5, 4]"},
                     {{},
                      {{{1, 3}}, sample::listed({1}, {-1}, i64), none},
                      op + "target -1 is out of range [0, 2] and is not ignore_index"},
                     {{.label_smoothing = 2},
                      {{{5, 3}}, index({5}, 3), none},
                      "cross_entropy(ignore_index=-100, reduction=mean, label_smoothing=2): "
                      "label_smoothing must lie in [0, 1]"}}};
}

Spec CrossEntropyGrad::infer(Specs in) const {
  const Spec loss = check_cross_entropy(*this, in, 3);
  check<ShapeError>(detail::may_equal(in[2].shape, loss.shape), *this, "dy has shape ", in[2].shape,
                    ", the loss ", loss.shape);
  return in[0];
}

void CrossEntropyGrad::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) cross_entropy_backward<double>(*this, in, out[0]);
  else cross_entropy_backward<float>(*this, in, out[0]);
}

Tensors CrossEntropyGrad::vjp(const Saved& s, const Tensor& g) const {
  // Only the gradient by x is this record's: the others are asked for nothing.
  const Tensors d = vjp_of_gradient(
      {s.in(0), s.in(1), s.in(3)}, {s.in(2)}, {g, {}, {}},
      [&](const Tensors& v) { return Tensors{cross_entropy_in_ops(*this, v[0], v[1], v[2])}; });
  return {d[0], d[1], d[3], d[2]};
}

Samples<CrossEntropyGrad> CrossEntropyGrad::samples() {
  using sample::index;
  const InputSpec none = sample::absent();
  return {.ok = {{{}, {{{5, 3}}, index({5}, 3), {{}}, none}},
                 {{.ignore_index = 1, .reduction = "none", .label_smoothing = 0.1},
                  {{{2, 3, 4}}, index({2, 4}, 3), {{2, 4}}, sample::positive({3})}},
                 {{.reduction = "sum", .label_smoothing = 0.1},
                  {{{5, 3}}, sample::positive({5, 3}), {{}}, sample::positive({3})}},
                 {{}, {{{3}}, index({}, 3), {{}}, none}}},
          .errors = {{{},
                      {{{5, 3}}, index({5}, 3), {{5}}, none},
                      "cross_entropy_grad(ignore_index=-100, reduction=mean, label_smoothing=0): "
                      "dy has shape [5], the loss []"}}};
}

}  // namespace tandem
