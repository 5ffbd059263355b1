#include "tandem/ops/softmax.h"

#include <algorithm>
#include <limits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Softmax)
TANDEM_OP(SoftmaxGrad)
TANDEM_OP(LogSoftmax)
TANDEM_OP(LogSoftmaxGrad)

namespace {

template <class O>
Spec row_spec(const O& op, Specs in) {
  check_axis(op, op.axis, in[0].shape);
  check<DTypeError>(is_floating(in[0].dtype), op, "dtype ", in[0].dtype,
                    " is not floating; cast it");
  return in[0];
}

template <class O>
Spec row_grad_spec(const O& op, Specs in) {
  check<ShapeError>(detail::may_equal(in[0].shape, in[1].shape), op, "y has shape ", in[0].shape,
                    " and dy ", in[1].shape, "; they must be equal");
  check<DTypeError>(in[0].dtype == in[1].dtype, op, "dtypes ", in[0].dtype, " and ", in[1].dtype,
                    " differ; cast one of them");
  return row_spec(op, in);
}

Tensor row_sum(const Tensor& x, int64_t axis) { return x.dim() == 0 ? x : sum(x, {axis}, true); }

// Along an axis other than the last, columns that lie side by side are worked on together: whole
// cache lines are read and the loops over columns vectorise.

constexpr int64_t tile = 64;  // columns

template <class O, class T>
TANDEM_FN void column_tile(const T* a, const T* b, T* out, int64_t n, int64_t inner, int64_t w) {
  T top[tile], total[tile];
  if constexpr (std::is_same_v<O, Softmax> || std::is_same_v<O, LogSoftmax>) {
    for (int64_t c = 0; c < w; ++c) top[c] = a[c], total[c] = 0;
    for (int64_t i = 1; i < n; ++i)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c)
        top[c] = a[i * inner + c] > top[c] ? a[i * inner + c] : top[c];
    for (int64_t i = 0; i < n; ++i)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) {
        const T e = math::exp(a[i * inner + c] - top[c]);
        if constexpr (std::is_same_v<O, Softmax>) out[i * inner + c] = e;
        total[c] += e;
      }
    if constexpr (std::is_same_v<O, Softmax>) {
      for (int64_t c = 0; c < w; ++c) total[c] = 1 / total[c];
      for (int64_t i = 0; i < n; ++i)
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) out[i * inner + c] *= total[c];
    } else {
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) total[c] = math::log(total[c]);
      for (int64_t i = 0; i < n; ++i)
#pragma omp simd
        for (int64_t c = 0; c < w; ++c) out[i * inner + c] = (a[i * inner + c] - top[c]) - total[c];
    }
  } else {
    constexpr bool logs = std::is_same_v<O, LogSoftmaxGrad>;
    for (int64_t c = 0; c < w; ++c) total[c] = 0;
    for (int64_t i = 0; i < n; ++i)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c)
        total[c] += logs ? b[i * inner + c] : a[i * inner + c] * b[i * inner + c];
    for (int64_t i = 0; i < n; ++i)
#pragma omp simd
      for (int64_t c = 0; c < w; ++c) {
        const T y = a[i * inner + c], dy = b[i * inner + c];
        if constexpr (logs) out[i * inner + c] = dy - math::exp(y) * total[c];
        else out[i * inner + c] = y * (dy - total[c]);
      }
  }
}

template <class O, class T>
void columns(int axis, Inputs in, const Tensor& out) {
  const Tensor a = detail::as_contiguous(in[0], dtype_of<T>);
  const Tensor b = in.size() > 1 ? detail::as_contiguous(in[1], dtype_of<T>) : a;
  const Tensor y = out.dtype() == dtype_of<T> ? out : empty(out.shape(), dtype_of<T>);
  const int64_t n = out.shape()[axis], inner = out.strides()[axis];
  const int64_t tiles = (inner + tile - 1) / tile, outer = out.numel() / (n * inner);
  const T *ap = a.data<T>(), *bp = b.data<T>();
  T* yp = y.data<T>();
  cpu::parallel_for(outer * tiles, std::max<int64_t>(1, 16384 / (n * std::min(inner, tile))),
                    [&](int64_t begin, int64_t end) {
                      simd([&] {
                        for (int64_t t = begin; t < end; ++t) {
                          const int64_t c = t % tiles * tile, at = t / tiles * n * inner + c;
                          column_tile<O, T>(ap + at, bp + at, yp + at, n, inner,
                                            std::min(tile, inner - c));
                        }
                      });
                    });
  if (!y.is_same(out)) detail::copy_data(out, y);
}

template <class O>
void rows_or_columns(const O& op, Inputs in, Tensor& out) {
  const int axis = check_axis(op, op.axis, out.shape());
  if (out.numel() == 0) return;
  if (out.dim() < 2 || out.strides()[axis] < 8 || out.shape()[axis] == 1)
    return detail::row_launch(detail::row_table<O>, &op, op.axis, in, out);
  if (out.dtype() == f64) columns<O, double>(axis, in, out);
  else columns<O, float>(axis, in, out);
}

template <class O>
Samples<O> row_samples() {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const std::string name(O::name);
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axis = 0}, {{{3, 5}}}},
                 {{.axis = 1}, {{{2, 17, 3}}}},
                 {{.axis = -2}, {sample::strided({4, 3, 2})}},
                 {{.axis = 0}, {{{21, 140}}}},
                 {{}, {{{}}}},
                 {{.axis = 0}, {{{0, 3}}}},
                 {{.axis = 1}, {{{3, 0}}}},
                 {{}, {{{2, 1}}}},
                 {{}, {sample::scaled({3, 40}, 100)}, false},
                 {{}, {sample::listed({3, 3}, {-inf, 0, 1, inf, 0, 1, nan, 0, 1})}, false},
                 {{}, {sample::listed({2, 3}, {-inf, -inf, -inf, 1, 2, nan})}, false}},
          .errors = {
              {{.axis = 2},
               {{{3, 5}}},
               name + "(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"},
              {{.axis = 1}, {{{}}}, name + "(axis=1): axis 1 is out of range [-1, 0] for shape []"},
              {{}, {{{3, 5}, i64}}, name + "(axis=-1): dtype i64 is not floating; cast it"}}};
}

template <class O>
Samples<O> row_grad_samples() {
  const std::string name(O::name);
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{.axis = 0}, {{{3, 5}}, sample::strided({3, 5})}},
                 {{.axis = 1}, {{{2, 17, 3}}, {{2, 17, 3}}}},
                 {{.axis = 0}, {{{4, 70}}, {{4, 70}}}},
                 {{}, {{{}}, {{}}}},
                 {{.axis = 0}, {{{0, 3}}, {{0, 3}}}}},
          .errors = {{{},
                      {{{3, 5}}, {{3, 4}}},
                      name + "(axis=-1): y has shape [3, 5] and dy [3, 4]; they must be equal"},
                     {{.axis = 2},
                      {{{3, 5}}, {{3, 5}}},
                      name + "(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"}}};
}

}  // namespace

Spec Softmax::infer(Specs in) const { return row_spec(*this, in); }
void Softmax::cpu(Inputs in, Outputs out) const { rows_or_columns(*this, in, out[0]); }
Tensors Softmax::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(SoftmaxGrad{.axis = axis}, {s.out(), dy})};
}
Samples<Softmax> Softmax::samples() { return row_samples<Softmax>(); }

Spec SoftmaxGrad::infer(Specs in) const { return row_grad_spec(*this, in); }
void SoftmaxGrad::cpu(Inputs in, Outputs out) const { rows_or_columns(*this, in, out[0]); }
Tensors SoftmaxGrad::vjp(const Saved& s, const Tensor& g) const {
  const Tensor &y = s.in(0), &dy = s.in(1);
  Tensor gy;
  if (s.needs(0)) gy = g * (dy - row_sum(y * dy, axis)) - dy * row_sum(g * y, axis);
  return {gy, s.needs(1) ? apply(SoftmaxGrad{.axis = axis}, {y, g}) : Tensor()};
}
Samples<SoftmaxGrad> SoftmaxGrad::samples() { return row_grad_samples<SoftmaxGrad>(); }

Spec LogSoftmax::infer(Specs in) const { return row_spec(*this, in); }
void LogSoftmax::cpu(Inputs in, Outputs out) const { rows_or_columns(*this, in, out[0]); }
Tensors LogSoftmax::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(LogSoftmaxGrad{.axis = axis}, {s.out(), dy})};
}
Samples<LogSoftmax> LogSoftmax::samples() { return row_samples<LogSoftmax>(); }

Spec LogSoftmaxGrad::infer(Specs in) const { return row_grad_spec(*this, in); }
void LogSoftmaxGrad::cpu(Inputs in, Outputs out) const { rows_or_columns(*this, in, out[0]); }
Tensors LogSoftmaxGrad::vjp(const Saved& s, const Tensor& g) const {
  const Tensor &y = s.in(0), &dy = s.in(1);
  const Tensor p = exp(y);
  Tensor gy;
  if (s.needs(0)) gy = neg(g * p * row_sum(dy, axis));
  return {gy, s.needs(1) ? g - row_sum(g * p, axis) : Tensor()};
}
Samples<LogSoftmaxGrad> LogSoftmaxGrad::samples() { return row_grad_samples<LogSoftmaxGrad>(); }

Tensor softmax(const Tensor& x, int64_t axis, std::optional<DType> dtype) {
  return apply(Softmax{.axis = axis}, {dtype ? cast(x, *dtype) : x});
}
Tensor log_softmax(const Tensor& x, int64_t axis, std::optional<DType> dtype) {
  return apply(LogSoftmax{.axis = axis}, {dtype ? cast(x, *dtype) : x});
}

}  // namespace tandem
