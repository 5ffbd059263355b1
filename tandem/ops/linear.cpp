#include "tandem/ops/linear.h"

#include <algorithm>
#include <cmath>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/matmul_kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Linear)
TANDEM_OP(LinearGrad)
TANDEM_OP(Addmm)
TANDEM_OP(Outer)

Spec Linear::infer(Specs in) const {
  const Shape &x = in[0].shape, &w = in[1].shape;
  check<ShapeError>(x.size() > 0 && (w.size() == 2 || w.size() == 1), *this, "x has shape ", x,
                    " and weight ", w, "; x needs at least one axis, weight one or two");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  check<ShapeError>(detail::may_equal(x.back(), w.back()), *this, "x of shape ", x,
                    " and weight of shape ", w, " cannot be multiplied: ", x.back(),
                    " != ", w.back());
  Spec out{x, in[0].dtype, in[0].device};
  if (w.size() == 2) out.shape[x.size() - 1] = w[0];
  else out.shape.resize(x.size() - 1);
  if (in.has(2)) {
    const Shape bias = w.size() == 2 ? Shape{w[0]} : Shape{};
    check<ShapeError>(detail::may_equal(in[2].shape, bias), *this, "bias has shape ", in[2].shape,
                      "; a weight of ", w, " takes ", bias);
    detail::check_product_dtypes(*this, in[0].dtype, in[2].dtype);
  }
  return out;
}

void Linear::cpu(Inputs in, Outputs out) const { cpu(in, out, {}); }

void Linear::cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const {
  if (out[0].numel() == 0) return;
  const Tensor& w = in[1];
  if (w.dim() == 1 && done.fn != nullptr) {
    // The product makes a column; the rows to tell of are those of the result's last axis.
    cpu(in, out, {});
    return detail::finish_rows(out[0], done);
  }
  const bool has_bias = in.size() > 2 && in[2].defined();
  // What has memory has known lengths. How far apart rows lie says nothing of a single one.
  const int64_t k = w.shape().back().bits(), n = w.dim() == 2 ? w.shape()[0].bits() : 1;
  const int64_t ws = n == 1 ? k : w.strides()[0].bits(), wc = w.strides()[w.dim() - 1].bits();
  const int64_t rows = out[0].impl()->numel.bits() / n;
  const DType d = out[0].dtype();
  const bool matrix = in[0].dim() == 2;
  const int64_t ldx = matrix && rows > 1 ? in[0].strides()[0].bits() : k;
  const bool in_place = matrix ? in[0].strides()[1] == 1 && ldx >= k : in[0].is_contiguous();
  if ((d == f32 || d == f64) && k > 0 && in_place && wc == 1 && ws >= k &&
      (!has_bias || in[2].is_contiguous())) {
    auto call = [&]<class T>() {
      cpu::linear(rows, n, k, static_cast<const T*>(in[0].raw_data()), ldx,
                  static_cast<const T*>(w.raw_data()), ws,
                  has_bias ? static_cast<const T*>(in[2].raw_data()) : nullptr,
                  static_cast<T*>(out[0].raw_data()), n, done);
    };
    return d == f32 ? call.operator()<float>() : call.operator()<double>();
  }
  const Tensor y = detail::alias(out[0], {rows, n}, {n, 1}, 0);
  Tensor x = in[0];
  if (!matrix) x = detail::alias(detail::as_contiguous(x), {rows, k}, {k, 1}, 0);
  if (has_bias)
    detail::copy_data(
        y, detail::alias(in[2], y.shape(), {0, in[2].dim() ? in[2].strides()[0] : Length(0)}, 0));
  detail::matrix_product(x, detail::alias(w, {k, n}, {wc, ws}, 0), y, 1, has_bias ? 1 : 0, done);
}

Tensors Linear::vjp(const Saved& s, const Tensor& dy) const {
  const bool vector = s.shape(1).size() == 1;
  const Tensor g = vector ? unsqueeze(dy, -1) : dy;
  Tensor dx, dw, db;
  if (s.needs(0)) dx = matmul(g, vector ? unsqueeze(s.in(1), 0) : s.in(1));
  if (s.needs(1) || s.needs(2)) {
    const Tensors d = apply_all(LinearGrad{}, {s.in(0), g});
    dw = vector ? squeeze(d[0], 0) : d[0];
    db = vector ? squeeze(d[1], 0) : d[1];
  }
  return {dx, dw, db};
}

Samples<Linear> Linear::samples() {
  return {
      .ok = {{{}, {{{3, 5}}, {{4, 5}}, {{4}}}},
             {{}, {{{3, 5}}, {{4, 5}}, sample::absent()}},
             {{}, {{{2, 3, 5}}, {{4, 5}}, {{4}}}},
             {{}, {{{5}}, {{4, 5}}, {{4}}}},
             {{}, {{{3, 5}}, {{5}}, {{}}}},
             {{}, {sample::strided({3, 5}), sample::strided({4, 5}), {{4}}}},
             {{}, {sample::strided({2, 3, 5}), {{4, 5}}, sample::absent()}},
             {{}, {{{0, 5}}, {{4, 5}}, {{4}}}},
             {{}, {{{3, 0}}, {{4, 0}}, {{4}}}},
             {{}, {{{33, 65}}, {{17, 65}}, {{17}}}},
             {{}, {{{3, 5}, i64}, {{4, 5}, i64}, {{4}, i64}}}},
      .errors = {{{},
                  {{{3, 4}}, {{4, 5}}, sample::absent()},
                  "linear(): x of shape [3, 4] and weight of shape [4, 5] cannot be multiplied: "
                  "4 != 5"},
                 {{},
                  {{{3, 5}}, {{4, 5}}, {{5}}},
                  "linear(): bias has shape [5]; a weight of [4, 5] takes [4]"},
                 {{},
                  {{{}}, {{4, 5}}, sample::absent()},
                  "linear(): x has shape [] and weight [4, 5]; x needs at least one axis, weight "
                  "one or two"}}};
}

std::array<Spec, 2> LinearGrad::infer(Specs in) const {
  const Shape &x = in[0].shape, &dy = in[1].shape;
  bool fits = x.size() > 0 && x.size() == dy.size();
  for (int i = 0; fits && i + 1 < x.size(); ++i) fits = detail::may_equal(x[i], dy[i]);
  check<ShapeError>(fits, *this, "x of shape ", x, " and dy of shape ", dy,
                    " may differ in their last axis only");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  return {Spec{{dy.back(), x.back()}, in[0].dtype, in[0].device},
          Spec{{dy.back()}, in[0].dtype, in[0].device}};
}

namespace {

/// `t` as [rows, last], copied only when its axes do not merge.
Tensor as_rows(const Tensor& t) {
  if (t.dim() == 2) return t;
  const int64_t last = t.shape().back(), rows = last ? int64_t(t.numel()) / last : 0;
  return detail::alias(detail::as_contiguous(t), {rows, last}, {last, 1}, 0);
}

/// sums[j] = sum of x[i, j]: 64 rows at a time, so that rounding errors stay small.
template <class T>
void sum_rows(const T* x, int64_t rows, int64_t n, int64_t ld, T* sums) {
  constexpr int64_t wide = 64, tall = 64;
  auto strips = [=](int64_t first, int64_t last) {
    simd([=] {
      for (int64_t j0 = first * wide; j0 < std::min(n, last * wide); j0 += wide) {
        const int64_t w = std::min(wide, n - j0);
        T total[wide] = {};
        for (int64_t i0 = 0; i0 < rows; i0 += tall) {
          T part[wide] = {};
          for (int64_t i = i0; i < std::min(rows, i0 + tall); ++i) {
            const T* row = x + i * ld + j0;
#pragma omp simd
            for (int64_t j = 0; j < w; ++j) part[j] += row[j];
          }
          for (int64_t j = 0; j < w; ++j) total[j] += part[j];
        }
        for (int64_t j = 0; j < w; ++j) sums[j0 + j] = total[j];
      }
    });
  };
  const int64_t grain = std::max<int64_t>(1, 1024 / std::max<int64_t>(rows, 1));
  cpu::parallel_for((n + wide - 1) / wide, grain, strips);
}

}  // namespace

void LinearGrad::cpu(Inputs in, Outputs out) const { cpu(in, out, {}); }

void LinearGrad::cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const {
  // What has memory has known lengths.
  auto plain = [](const TensorImpl& t) {
    return t.spec.dtype == f32 && t.spec.shape.size() == 2 && t.strides[1].bits() == 1 &&
           t.strides[0].bits() >= t.spec.shape[1].bits() && t.numel.bits() > 0;
  };
  const TensorImpl &xi = *in[0].impl(), &dyi = *in[1].impl();
  if (plain(xi) && plain(dyi)) {  // the usual case, without views
    const int64_t rows = xi.spec.shape[0].bits(), k = xi.spec.shape[1].bits(),
                  n = dyi.spec.shape[1].bits();
    const int64_t ldx = xi.strides[0].bits(), ldy = dyi.strides[0].bits();
    const float *x = in[0].data<float>(), *dy = in[1].data<float>();
    cpu::gemm(true, false, n, k, rows, 1.0f, dy, ldy, x, ldx, 0.0f, out[0].data<float>(), k, done);
    return sum_rows(dy, rows, n, ldy, out[1].data<float>());
  }
  const Tensor x = as_rows(in[0]), dy = as_rows(in[1]);
  const int64_t rows = dy.shape()[0], n = dy.shape()[1];
  detail::matrix_product(detail::alias(dy, {n, rows}, {dy.strides()[1], dy.strides()[0]}, 0), x,
                         out[0], 1, 0, done);
  const DType d = dy.dtype();
  if ((d == f32 || d == f64) && dy.strides()[1] == 1) {
    const int64_t ld = dy.strides()[0];
    if (d == f32) sum_rows(dy.data<float>(), rows, n, ld, out[1].data<float>());
    else sum_rows(dy.data<double>(), rows, n, ld, out[1].data<double>());
    return;
  }
  const Tensor wide = detail::as_contiguous(dy, d == f16 || d == bf16 ? f32 : f64);
  const Tensor sums = empty({n}, wide.dtype());
  if (wide.dtype() == f32) sum_rows(wide.data<float>(), rows, n, n, sums.data<float>());
  else sum_rows(wide.data<double>(), rows, n, n, sums.data<double>());
  detail::copy_data(out[1], sums);
}

Tensors LinearGrad::vjp(const Saved& s, const Tensors& g) const {
  return {s.needs(0) ? matmul(s.in(1), g[0]) : Tensor(),
          s.needs(1) ? linear(s.in(0), g[0], g[1]) : Tensor()};
}

Samples<LinearGrad> LinearGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 4}}}},
                 {{}, {{{2, 3, 5}}, {{2, 3, 4}}}},
                 {{}, {{{5}}, {{4}}}},
                 {{}, {sample::strided({70, 5}), sample::strided({70, 4})}},
                 {{}, {{{0, 5}}, {{0, 4}}}},
                 {{}, {{{150, 3}}, {{150, 70}}}}},
          .errors = {{{},
                      {{{3, 5}}, {{2, 4}}},
                      "linear_grad(): x of shape [3, 5] and dy of shape [2, 4] may differ in their "
                      "last axis only"}}};
}

Spec Addmm::infer(Specs in) const {
  const Shape &input = in[0].shape, &x = in[1].shape, &y = in[2].shape;
  check<ShapeError>(x.size() == 2 && y.size() == 2, *this, "mat1 has shape ", x, " and mat2 ", y,
                    "; each needs 2 axes");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  detail::check_product_dtypes(*this, in[1].dtype, in[2].dtype);
  check<ShapeError>(detail::may_equal(x[1], y[0]), *this, "shapes ", x, " and ", y,
                    " cannot be multiplied: ", x[1], " != ", y[0]);
  const Shape out{x[0], y[1]};
  Shape wide;
  check<ShapeError>(broadcast(input, out, wide) && detail::may_equal(wide, out), *this,
                    "input of shape ", input, " does not broadcast to ", out);
  check<ValueError>(
      is_floating(in[0].dtype) || (beta == std::trunc(beta) && alpha == std::trunc(alpha)), *this,
      "integers take whole numbers for beta and alpha");
  return {out, in[0].dtype, in[0].device};
}

void Addmm::cpu(Inputs in, Outputs out) const {
  const Tensor &input = in[0], &y = out[0];
  if (beta != 0)
    detail::copy_data(
        y, detail::alias(input, y.shape(),
                         broadcast_strides(input.shape(), input.strides(), y.shape()), 0));
  detail::matrix_product(in[1], in[2], y, alpha, beta);
}

Tensors Addmm::vjp(const Saved& s, const Tensor& dy) const {
  auto scaled = [](const Tensor& t, double by) { return by == 1 ? t : t * Tensor(by); };
  Tensor di, dx, dw;
  if (s.needs(0)) di = sum_to(scaled(dy, beta), s.shape(0));
  if (s.needs(1)) dx = scaled(matmul(dy, transpose(s.in(2), 0, 1)), alpha);
  if (s.needs(2)) dw = scaled(matmul(transpose(s.in(1), 0, 1), dy), alpha);
  return {di, dx, dw};
}

Samples<Addmm> Addmm::samples() {
  return {.ok = {{{}, {{{3, 4}}, {{3, 5}}, {{5, 4}}}},
                 {{.beta = 0.5, .alpha = -2}, {{{4}}, {{3, 5}}, {{5, 4}}}},
                 {{.beta = 2, .alpha = 0}, {{{3, 1}}, {{3, 5}}, {{5, 4}}}},
                 {{.beta = 0}, {{{}}, {{3, 5}}, sample::strided({5, 4})}},
                 {{}, {{{3, 4}}, {{3, 0}}, {{0, 4}}}},
                 {{}, {{{0, 4}}, {{0, 5}}, {{5, 4}}}},
                 {{.beta = 2, .alpha = 3}, {{{3, 4}, i64}, {{3, 5}, i64}, {{5, 4}, i64}}}},
          .errors = {
              {{},
               {{{3, 4}}, {{3, 5}}, {{4, 5}}},
               "addmm(beta=1, alpha=1): shapes [3, 5] and [4, 5] cannot be multiplied: 5 != 4"},
              {{},
               {{{2, 4}}, {{3, 5}}, {{5, 4}}},
               "addmm(beta=1, alpha=1): input of shape [2, 4] does not broadcast to [3, 4]"},
              {{.beta = 0.5},
               {{{3, 4}, i64}, {{3, 5}, i64}, {{5, 4}, i64}},
               "addmm(beta=0.5, alpha=1): integers take whole numbers for beta and alpha"},
              {{},
               {{{3, 4}}, {{5}}, {{5, 4}}},
               "addmm(beta=1, alpha=1): mat1 has shape [5] and mat2 [5, 4]; each needs 2 axes"}}};
}

Spec Outer::infer(Specs in) const {
  const Shape &x = in[0].shape, &y = in[1].shape;
  check<ShapeError>(x.size() == 1 && y.size() == 1, *this, "shapes ", x, " and ", y,
                    ": each needs 1 axis");
  return {{x[0], y[0]}, promote(in[0].dtype, in[1].dtype), in[0].device};
}

void Outer::cpu(Inputs in, Outputs out) const {
  const int64_t n = in[0].shape()[0], m = in[1].shape()[0];
  const Tensor factors[] = {detail::alias(in[0], {n, 1}, {in[0].strides()[0], 0}, 0),
                            detail::alias(in[1], {1, m}, {0, in[1].strides()[0]}, 0)};
  const Mul mul;
  op_info<Mul>().cpu(&mul, {factors, 2}, out);
}

Tensors Outer::vjp(const Saved& s, const Tensor& dy) const {
  // Sums of products in the result's type; the tape casts to the inputs' types.
  auto as = [&](const Tensor& t) { return cast(t, dy.dtype()); };
  return {s.needs(0) ? matmul(dy, as(s.in(1))) : Tensor(),
          s.needs(1) ? matmul(as(s.in(0)), dy) : Tensor()};
}

Samples<Outer> Outer::samples() {
  return {.ok = {{{}, {{{3}}, {{5}}}},
                 {{}, {{{0}}, {{5}}}},
                 {{}, {{{3}, i64}, {{5}}}},
                 {{}, {sample::mask({3}), sample::mask({2})}}},
          .errors = {{{}, {{{3, 1}}, {{5}}}, "outer(): shapes [3, 1] and [5]: each needs 1 axis"}}};
}

}  // namespace tandem
