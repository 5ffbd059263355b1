#include "tandem/ops/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/batch_norm_fused.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(BatchNorm)
TANDEM_OP(BatchNormGrad)

namespace {

DType statistics_type(DType x) { return x == f64 ? f64 : f32; }

template <class O>
void check_channels(const O& op, const Spec& x) {
  check<ShapeError>(x.shape.size() >= 2, op, "x has shape ", x.shape,
                    "; it needs at least 2 axes, channels on axis 1");
  check<DTypeError>(is_floating(x.dtype), op, "x is ", x.dtype, ", it must be floating");
}
template <class O>
void check_parameter(const O& op, Specs in, int i, std::string_view what) {
  if (!in.has(i)) return;
  const Length c = in[0].shape[1];
  check<ShapeError>(detail::may_equal(in[i].shape, Shape{c}), op, what, " has shape ", in[i].shape,
                    "; x of shape ", in[0].shape, " takes [", c, "]");
  check<DTypeError>(is_floating(in[i].dtype), op, what, " is ", in[i].dtype,
                    ", it must be floating");
}

Length values_per_channel(const Shape& x) {
  Length n = 1;
  for (int i = 0; i < x.size(); ++i)
    if (i != 1) n *= x[i];
  return n;
}

/// x[n, c, inner].
struct Layout {
  int64_t n, c, inner = 1;
  explicit Layout(const Shape& x) : n(x[0]), c(x[1]) {
    for (int i = 2; i < x.size(); ++i) inner *= x[i];
  }
};

/// Optional parameters in the compute type; `other` where they are absent.
template <class T>
struct Parameter {
  Tensor kept;
  const T* p = nullptr;
  T other;
  Parameter(Inputs in, size_t i, T other) : other(other) {
    if (i >= in.size() || !in[i].defined()) return;
    kept = detail::as_contiguous(in[i], dtype_of<T>);
    p = kept.data<T>();
  }
  T operator[](int64_t c) const { return p ? p[c] : other; }
};

constexpr int64_t block = 64;     // channels that are walked side by side when inner is small
constexpr int64_t few = 8;        // ... which is below this
constexpr int64_t grain = 32768;  // elements

// Sums over short runs are kept in T, those over runs in f64: as exact as pairwise sums.

/// f(begin, end) over channels, or over blocks of them.
template <class F>
void over_channels(const Layout& l, F&& f) {
  const int64_t step = l.inner < few ? block : 1;
  const int64_t tasks = (l.c + step - 1) / step;
  cpu::parallel_for(tasks, std::max<int64_t>(1, grain / std::max<int64_t>(1, l.n * l.inner * step)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t t = begin; t < end; ++t)
                        f(t * step, std::min(l.c, (t + 1) * step));
                    });
}

/// total[k] += sum of value(c, i) over n and inner, for the channels begin + k.
template <class T, class V>
TANDEM_FN void channel_sums(const Layout& l, int64_t begin, int64_t end, double* total, V value) {
  if (end - begin == 1) {
    for (int64_t n = 0; n < l.n; ++n) {
      const int64_t at = (n * l.c + begin) * l.inner;
      for (int64_t from = 0; from < l.inner; from += 4096) {
        T s = 0;
        const int64_t stop = std::min(l.inner, from + 4096);
#pragma omp simd reduction(+ : s)
        for (int64_t i = from; i < stop; ++i) s += value(0, at + i);
        total[0] += double(s);
      }
    }
    return;
  }
  const int64_t width = end - begin;
  for (int64_t n = 0; n < l.n; ++n) {
    const int64_t at = (n * l.c + begin) * l.inner;
    for (int64_t k = 0; k < width; ++k)
      for (int64_t i = 0; i < l.inner; ++i) total[k] += double(value(k, at + k * l.inner + i));
  }
}

/// f(k, i) for every element of the channels.
template <class F>
TANDEM_FN void each_element(const Layout& l, int64_t begin, int64_t end, F f) {
  if (end - begin == 1) {
    for (int64_t n = 0; n < l.n; ++n) {
      const int64_t at = (n * l.c + begin) * l.inner;
#pragma omp simd
      for (int64_t i = 0; i < l.inner; ++i) f(0, at + i);
    }
    return;
  }
  const int64_t width = end - begin;
  for (int64_t n = 0; n < l.n; ++n) {
    const int64_t at = (n * l.c + begin) * l.inner;
    if (l.inner == 1) {
#pragma omp simd
      for (int64_t k = 0; k < width; ++k) f(k, at + k);
    } else {
      for (int64_t k = 0; k < width; ++k)
        for (int64_t i = 0; i < l.inner; ++i) f(k, at + k * l.inner + i);
    }
  }
}

/// What is done to each result while it is at hand.
template <class T, bool adds, bool relu>
struct Epilogue {
  const T* residual = nullptr;

  TANDEM_FN T operator()(T y, int64_t i) const {
    if constexpr (adds) y = y + residual[i];
    if constexpr (relu) y = y < T(0) ? T(0) : y;
    return y;
  }
};

template <class T, class E>
void forward(const BatchNorm& op, Inputs in, Outputs out, E epilogue) {
  const Layout l(in[0].shape());
  // Without elements the statistics are zeros, so that the parameters' gradients are, too.
  const double count = double(std::max<int64_t>(1, l.n * l.inner));
  const Tensor x_kept = detail::as_contiguous(in[0], dtype_of<T>);
  const Tensor y_kept = out[0].dtype() == dtype_of<T> ? out[0] : empty(out[0].shape(), dtype_of<T>);
  const Parameter<T> w(in, 1, 1), b(in, 2, 0), rm(in, 3, 0), rv(in, 4, 1);
  const T* x = x_kept.data<T>();
  T *y = y_kept.data<T>(), *mean = out[1].data<T>(), *var = out[2].data<T>();
  over_channels(l, [&](int64_t begin, int64_t end) {
    simd([&] {
      T scale[block], shift[block], center[block];
      double sums[block] = {};
      const int64_t width = end - begin;
      if (op.training) {
        channel_sums<T>(l, begin, end, sums, [=](int64_t, int64_t i) { return x[i]; });
        for (int64_t k = 0; k < width; ++k) {
          center[k] = T(sums[k] / count);
          sums[k] = 0;
        }
        const T* c = center;
        channel_sums<T>(l, begin, end, sums, [=](int64_t k, int64_t i) {
          const T d = x[i] - c[k];
          return d * d;
        });
      }
      for (int64_t k = 0; k < width; ++k) {
        const int64_t at = begin + k;
        mean[at] = op.training ? center[k] : rm[at];
        var[at] = op.training ? T(sums[k] / count) : rv[at];
        scale[k] = T(1 / std::sqrt(double(var[at]) + op.eps)) * w[at];
        center[k] = mean[at];
        shift[k] = b[at];
      }
      const T *s = scale, *t = shift, *c = center;
      each_element(l, begin, end,
                   [=](int64_t k, int64_t i) { y[i] = epilogue((x[i] - c[k]) * s[k] + t[k], i); });
    });
  });
  if (!y_kept.is_same(out[0])) detail::copy_data(out[0], y_kept);
}

/// The gradient as it comes, or behind a relu whose result was `y`.
template <class T, bool relu>
struct Incoming {
  const T *g, *y;

  TANDEM_FN T operator()(int64_t i) const {
    if constexpr (relu) return y[i] <= T(0) ? T(0) : g[i];
    else return g[i];
  }
};

template <class T, bool relu>
void backward(const BatchNormGrad& op, Inputs in, Outputs out, const Tensor& relu_y = {}) {
  const Layout l(in[0].shape());
  const double count = double(std::max<int64_t>(1, l.n * l.inner));
  const Tensor x_kept = detail::as_contiguous(in[0], dtype_of<T>);
  const Tensor g_kept = detail::as_contiguous(in[1], dtype_of<T>);
  const Tensor d_kept = out[0].dtype() == dtype_of<T> ? out[0] : empty(out[0].shape(), dtype_of<T>);
  const Parameter<T> mean(in, 2, 0), var(in, 3, 1), dmean(in, 4, 0), dvar(in, 5, 0), w(in, 6, 1);
  const Tensor y_kept = relu ? detail::as_contiguous(relu_y, dtype_of<T>) : Tensor();
  const T* x = x_kept.data<T>();
  const Incoming<T, relu> g{g_kept.data<T>(), relu ? y_kept.data<T>() : nullptr};
  T *dx = d_kept.data<T>(), *dw = out[1].data<T>(), *db = out[2].data<T>();
  over_channels(l, [&](int64_t begin, int64_t end) {
    simd([&] {
      // dx = of_dy dy + of_x (x - mean) + constant
      T center[block], of_dy[block], of_x[block], constant[block];
      double sum_dy[block] = {}, sum_dyx[block] = {};
      const int64_t width = end - begin;
      for (int64_t k = 0; k < width; ++k) center[k] = mean[begin + k];
      const T* c = center;
      channel_sums<T>(l, begin, end, sum_dy, [=](int64_t, int64_t i) { return g(i); });
      channel_sums<T>(l, begin, end, sum_dyx,
                      [=](int64_t k, int64_t i) { return g(i) * (x[i] - c[k]); });
      for (int64_t k = 0; k < width; ++k) {
        const int64_t at = begin + k;
        const double rstd = 1 / std::sqrt(double(var[at]) + op.eps);
        const double own = double(w[at]) * rstd;
        dw[at] = l.n * l.inner > 0 ? T(sum_dyx[k] * rstd) : T(0);  // a sum of no terms
        db[at] = T(sum_dy[k]);
        of_dy[k] = T(own);
        of_x[k] = constant[k] = 0;
        if (!op.training) continue;
        of_x[k] = T((2 * double(dvar[at]) - own * rstd * rstd * sum_dyx[k]) / count);
        constant[k] = T((double(dmean[at]) - own * sum_dy[k]) / count);
      }
      const T *a = of_dy, *b = of_x, *d = constant;
      if (op.training)
        each_element(l, begin, end, [=](int64_t k, int64_t i) {
          dx[i] = a[k] * g(i) + (b[k] * (x[i] - c[k]) + d[k]);
        });
      else each_element(l, begin, end, [=](int64_t k, int64_t i) { dx[i] = a[k] * g(i); });
    });
  });
  if (!d_kept.is_same(out[0])) detail::copy_data(out[0], d_kept);
}

/// [c] so that it broadcasts against x.
Tensor spread(const Tensor& t, const Shape& x) {
  Shape s = Shape::filled(x.size(), 1);
  s[1] = x[1];
  return reshape(t, s);
}

}  // namespace

std::array<Spec, 3> BatchNorm::infer(Specs in) const {
  check_channels(*this, in[0]);
  check_parameter(*this, in, 1, "weight");
  check_parameter(*this, in, 2, "bias");
  check_parameter(*this, in, 3, "running_mean");
  check_parameter(*this, in, 4, "running_var");
  if (training)
    check(!detail::must_equal(values_per_channel(in[0].shape), 1), *this,
          "training needs more than 1 value per channel, x has shape ", in[0].shape);
  else
    check(in.has(3) && in.has(4), *this, "running_mean and running_var are needed unless training");
  const Spec s{{in[0].shape[1]}, statistics_type(in[0].dtype), in[0].device};
  return {in[0], s, s};
}

void BatchNorm::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) forward<double>(*this, in, out, Epilogue<double, false, false>{});
  else forward<float>(*this, in, out, Epilogue<float, false, false>{});
}

Tensors BatchNorm::vjp(const Saved& s, const Tensors& dy) const {
  const Tensors d = apply_all(BatchNormGrad{training, eps},
                              {s.in(0), dy[0], s.out(1), s.out(2), dy[1], dy[2], s.in(1)});
  Tensors dx(5);
  dx[0] = d[0];
  if (s.needs(1)) dx[1] = d[1];
  if (s.needs(2)) dx[2] = d[2];
  if (training || (!s.needs(3) && !s.needs(4))) return dx;
  // y = (x - rm) rstd w + b, mean = rm, var = rv.
  const Tensor rstd = rsqrt(s.out(2) + Tensor(eps));
  const Tensor own = s.in(1).defined() ? rstd * s.in(1) : rstd;
  if (s.needs(3)) dx[3] = dy[1] - own * d[2];
  if (s.needs(4)) dx[4] = dy[2] - own * rstd * d[1] * Tensor(0.5);
  return dx;
}

Samples<BatchNorm> BatchNorm::samples() {
  const InputSpec none = sample::absent();
  const std::string op = "batch_norm(training=true, eps=1e-05): ";
  return {
      .ok = {{{.training = true}, {{{4, 3, 5}}, sample::positive({3}), {{3}}, none, none}},
             {{.training = true}, {{{3, 2, 3, 4}}, none, none, none, none}},
             {{.training = true, .eps = 0.1}, {{{7, 5}}, {{5}}, {{5}}, none, none}},
             {{.training = true}, {{{5, 70}}, {{70}}, {{70}}, none, none}},
             {{.training = true}, {{{3, 2, 17}}, {{2}}, none, {{2}}, sample::positive({2})}},
             {{}, {{{4, 3, 5}}, {{3}}, {{3}}, {{3}}, sample::positive({3})}},
             {{}, {{{4, 3}}, none, none, {{3}}, sample::positive({3})}},
             {{.eps = 0.01},
              {sample::strided({2, 3, 4, 5}), {{3}}, {{3}}, {{3}}, sample::positive({3})}},
             {{}, {{{0, 3, 2}}, {{3}}, {{3}}, {{3}}, sample::positive({3})}},
             {{.training = true},
              {sample::scaled({40, 2, 3}, 1, 30), none, none, none, none},
              false},
             {{}, {{{0, 1, 1}}, {{1}}, {{1}}, {{1}}, sample::listed({1}, {-1})}, false}},
      .errors = {
          {{.training = true},
           {{{1, 3}}, none, none, none, none},
           op + "training needs more than 1 value per channel, x has shape [1, 3]"},
          {{.training = true},
           {{{4, 3}}, {{4}}, none, none, none},
           op + "weight has shape [4]; x of shape [4, 3] takes [3]"},
          {{},
           {{{4, 3}}, none, none, {{3}}, none},
           "batch_norm(training=false, eps=1e-05): running_mean and running_var are needed unless "
           "training"},
          {{.training = true},
           {{{4}}, none, none, none, none},
           op + "x has shape [4]; it needs at least 2 axes, channels on axis 1"}}};
}

std::array<Spec, 3> BatchNormGrad::infer(Specs in) const {
  check_channels(*this, in[0]);
  check<ShapeError>(detail::may_equal(in[1].shape, in[0].shape), *this, "x has shape ", in[0].shape,
                    " and dy ", in[1].shape, "; they must be equal");
  constexpr std::string_view names[] = {"x", "dy", "mean", "var", "dmean", "dvar", "weight"};
  for (int i = 2; i < 7; ++i) check_parameter(*this, in, i, names[i]);
  const Spec s{{in[0].shape[1]}, statistics_type(in[0].dtype), in[0].device};
  return {in[0], s, s};
}

void BatchNormGrad::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) backward<double, false>(*this, in, out);
  else backward<float, false>(*this, in, out);
}

Tensors BatchNormGrad::vjp(const Saved& s, const Tensors& g) const {
  const Tensors in{s.in(0), s.in(1), s.in(2), s.in(3), s.in(4), s.in(5), s.in(6)};
  const Shape shape = s.shape(0);
  const DType d = statistics_type(s.spec(0).dtype);
  const Tensors r = detail::vjp_through(in, g, [&](const Tensors& v) {
    const Tensor x = cast(v[0], d), dy = cast(v[1], d);
    const Tensor rstd = rsqrt(v[3] + Tensor(eps)), centered = x - spread(v[2], shape);
    const Tensor own = v[6].defined() ? rstd * v[6] : rstd;
    Shape others;
    for (int i = 0; i < shape.size(); ++i)
      if (i != 1) others.push_back(i);
    const Tensor db = sum(dy, others), dot = sum(dy * centered, others);
    Tensor dx = dy * spread(own, shape);
    if (training) {
      const Tensor part(1.0 / max(1, values_per_channel(shape)));
      const Tensor of_x = (v[5] * Tensor(2) - own * rstd * rstd * dot) * part;
      dx = dx + centered * spread(of_x, shape) + spread((v[4] - own * db) * part, shape);
    }
    return Tensors{cast(dx, v[0].dtype()), dot * rstd, db};
  });
  return r;
}

Samples<BatchNormGrad> BatchNormGrad::samples() {
  const auto var = sample::positive({3});
  return {
      .ok = {{{.training = true}, {{{4, 3, 5}}, {{4, 3, 5}}, {{3}}, var, {{3}}, {{3}}, {{3}}}},
             {{.training = true}, {{{4, 3}}, {{4, 3}}, {{3}}, var, {{3}}, {{3}}, sample::absent()}},
             {{}, {{{2, 3, 12}}, {{2, 3, 12}}, {{3}}, var, {{3}}, {{3}}, {{3}}}}},
      .errors = {{{},
                  {{{4, 3}}, {{4, 2}}, {{3}}, var, {{3}}, {{3}}, sample::absent()},
                  "batch_norm_grad(training=false, eps=1e-05): x has shape [4, 3] and dy "
                  "[4, 2]; they must be equal"}}};
}

void detail::batch_norm_fused(const BatchNorm& op, Inputs in, Outputs out, const Tensor& residual,
                              bool relu) {
  const Tensor kept = residual.defined() ? as_contiguous(residual, f32) : Tensor();
  const float* r = kept.defined() ? kept.data<float>() : nullptr;
  if (r && relu) forward<float>(op, in, out, Epilogue<float, true, true>{r});
  else if (r) forward<float>(op, in, out, Epilogue<float, true, false>{r});
  else if (relu) forward<float>(op, in, out, Epilogue<float, false, true>{});
  else forward<float>(op, in, out, Epilogue<float, false, false>{});
}

void detail::batch_norm_grad_fused(const BatchNormGrad& op, Inputs in, Outputs out,
                                   const Tensor& y) {
  backward<float, true>(op, in, out, y);
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& o) {
  const Tensors y =
      apply_all(BatchNorm{o.training, o.eps}, {x, o.weight, o.bias, running_mean, running_var});
  // Nothing moves nothing: in a graph the batch may turn out to be empty.
  const Number momentum =
      x.numel().is_known() ? Number(o.momentum) : Number(min(x.numel(), 1)) * o.momentum;
  if (o.training && !detail::must_equal(x.numel(), 0) &&
      (running_mean.defined() || running_var.defined())) {
    NoGrad off;
    auto follow = [&](Tensor running, const Tensor& to) {
      if (!running.defined()) return;
      running.copy_(running * Tensor(1 - momentum) + cast(to, running.dtype()) * Tensor(momentum));
    };
    const Number n = values_per_channel(x.shape());
    follow(running_mean, y[1].detach());
    follow(running_var, y[2].detach() * Tensor(n / (n - 1)));
  }
  return y[0];
}

}  // namespace tandem
