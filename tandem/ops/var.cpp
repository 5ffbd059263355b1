#include "tandem/ops/var.h"

#include <cmath>
#include <vector>

#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reduce_rows.h"

namespace tandem {

TANDEM_OP(Var)
TANDEM_OP(Std)
namespace {

template <class O>
Spec infer_spread(const O& op, const Spec& x) {
  check<DTypeError>(is_floating(x.dtype), op, "takes floating tensors, got ", x.dtype,
                    "; cast first");
  return {detail::reduced_shape(op, op.axes, op.keepdim, x.shape), x.dtype, x.device};
}

template <class O>
Length count_of(const O& op, const Shape& shape) {
  Length n = 1;
  for (int64_t a : detail::reduced_axes(op, op.axes, shape)) n *= shape[int(a)];
  return n;
}

/// Sum of f(x[i]) in double, over pieces of a fixed size so that threads do not change the value.
template <class T, class F>
double sum_of(const T* x, int64_t n, const F& f) {
  constexpr int64_t piece = 16384;
  auto add = [&](int64_t first, int64_t last) {
    double s = 0;
    simd([&] {
      double t = 0;
#pragma omp simd reduction(+ : t)
      for (int64_t i = first; i < last; ++i) t += f(double(x[i]));
      s = t;
    });
    return s;
  };
  if (n <= piece) return add(0, n);
  std::vector<double> parts(size_t((n + piece - 1) / piece));
  cpu::parallel_for(int64_t(parts.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      parts[size_t(i)] = add(i * piece, std::min(n, (i + 1) * piece));
  });
  double s = 0;
  for (double p : parts) s += p;
  return s;
}

template <class T>
double variance(const T* x, int64_t n, double correction) {
  const double mean = sum_of(x, n, [](double v) { return v; }) / double(n);
  const double squares = sum_of(x, n, [mean](double v) { return (v - mean) * (v - mean); });
  return squares / std::max(0.0, double(n) - correction);
}

template <class O>
void spread(const O& op, const Tensor& x, Tensor& out, bool root) {
  const DType compute = x.dtype() == f64 ? f64 : f32;
  const detail::Rows rows = detail::rows_of(op, x, compute);
  const Tensor result = out.dtype() == compute ? out : empty(out.shape(), compute);
  auto run = [&]<class T>() {
    detail::each_row(rows, static_cast<T*>(result.raw_data()), [&](const T* p, int64_t n) {
      const double v = variance(p, n, op.correction);
      return T(root ? std::sqrt(v) : v);
    });
  };
  if (compute == f64) run.template operator()<double>();
  else run.template operator()<float>();
  if (out.dtype() != compute) detail::copy_data(out, result);
}

/// d var / dx = 2 (x - mean) / (n - correction)
template <class O>
Tensor spread_back(const O& op, const Saved& s, const Tensor& dvar) {
  const Tensor& x = s.in(0);
  const Length count = count_of(op, x.shape());
  // Not below zero: with whole corrections, which are all that matter there, as a length.
  const int64_t least = int64_t(std::ceil(op.correction));
  const Number n = max(count, least) - op.correction;
  return detail::restore_axes(dvar * (2 / n), op.axes, op.keepdim, x.shape()) *
         (x - mean(x, op.axes.empty() ? detail::reduced_axes(op, {}, x.shape()) : op.axes, true));
}

template <class O>
Samples<O> spread_samples() {
  const std::string text(O::name);
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axes = {0}}, {{{3, 5}}}},
                 {{.axes = {1}, .correction = 0, .keepdim = true}, {{{3, 5}}}},
                 {{.axes = {-1, 0}, .correction = 2}, {{{2, 3, 4}}}},
                 {{.axes = {1}}, {{{2, 30, 17}}}},
                 {{.axes = {0, 2}}, {sample::strided({4, 3, 2})}},
                 {{.axes = {1}}, {sample::scaled({2, 300}, 0.01, 1000)}, false},
                 {{}, {{{}}}, false},
                 {{.axes = {0}}, {{{1, 3}}}, false},
                 {{.axes = {0}}, {{{0, 3}}}, false},
                 {{.axes = {1}}, {{{0, 3}}}}},
          .errors = {{{.axes = {2}},
                      {{{3, 5}}},
                      text + "(axes=[2], correction=1, keepdim=false): axis 2 is out of range "
                             "[-2, 1] for shape [3, 5]"},
                     {{},
                      {{{3}, i64}},
                      text + "(axes=[], correction=1, keepdim=false): takes floating tensors, got "
                             "i64; cast first"}}};
}

}  // namespace

Spec Var::infer(Specs in) const { return infer_spread(*this, in[0]); }
void Var::cpu(Inputs in, Outputs out) const { spread(*this, in[0], out[0], false); }
Tensors Var::vjp(const Saved& s, const Tensor& dy) const { return {spread_back(*this, s, dy)}; }
Samples<Var> Var::samples() { return spread_samples<Var>(); }

Spec Std::infer(Specs in) const { return infer_spread(*this, in[0]); }
void Std::cpu(Inputs in, Outputs out) const { spread(*this, in[0], out[0], true); }
Tensors Std::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor y = s.out();
  return {spread_back(*this, s, masked_fill(dy / (y * 2.0), eq(y, 0.0), 0.0))};
}
Samples<Std> Std::samples() { return spread_samples<Std>(); }

}  // namespace tandem
