#include "tandem/ops/linear.h"

#include <cmath>

#include "tandem/backend/cpu/gemm.h"
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
TANDEM_OP(Addmm)
TANDEM_OP(Outer)

Spec Linear::infer(Specs in) const {
  const Shape &x = in[0].shape, &w = in[1].shape;
  check<ShapeError>(x.size() > 0 && (w.size() == 2 || w.size() == 1), *this, "x has shape ", x,
                    " and weight ", w, "; x needs at least one axis, weight one or two");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  check<ShapeError>(x.back() == w.back(), *this, "x of shape ", x, " and weight of shape ", w,
                    " cannot be multiplied: ", x.back(), " != ", w.back());
  Spec out{x, in[0].dtype, in[0].device};
  if (w.size() == 2) out.shape[x.size() - 1] = w[0];
  else out.shape.resize(x.size() - 1);
  if (in.has(2)) {
    const Shape bias = w.size() == 2 ? Shape{w[0]} : Shape{};
    check<ShapeError>(in[2].shape == bias, *this, "bias has shape ", in[2].shape, "; a weight of ",
                      w, " takes ", bias);
    detail::check_product_dtypes(*this, in[0].dtype, in[2].dtype);
  }
  return out;
}

void Linear::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const Tensor& w = in[1];
  const bool has_bias = in.size() > 2 && in[2].defined();
  const int64_t k = w.shape().back(), n = w.dim() == 2 ? w.shape()[0] : 1;
  Shape merged{in[0].numel() / std::max<int64_t>(k, 1), k};
  if (k == 0) merged[0] = out[0].numel() / n;
  const Tensor y = detail::alias(out[0], {merged[0], n}, {n, 1}, 0);
  Tensor x = in[0];
  if (x.dim() != 2) {
    x = detail::as_contiguous(x);
    x = detail::alias(x, merged, {k, 1}, 0);
  }
  const int64_t ws = w.dim() == 2 ? w.strides()[0] : k, wc = w.strides()[w.dim() - 1];
  const DType d = y.dtype();
  if ((d == f32 || d == f64) && k > 0 && x.strides()[1] == 1 && wc == 1 && x.strides()[0] >= k &&
      ws >= k) {
    const Tensor bias = has_bias ? detail::as_contiguous(in[2]) : Tensor();
    auto call = [&]<class T>() {
      cpu::linear(merged[0], n, k, x.data<T>(), x.strides()[0], w.data<T>(), ws,
                  has_bias ? bias.data<T>() : nullptr, y.data<T>(), n);
    };
    return d == f32 ? call.operator()<float>() : call.operator()<double>();
  }
  if (has_bias)
    detail::copy_data(
        y, detail::alias(in[2], y.shape(), {0, in[2].dim() ? in[2].strides()[0] : 0}, 0));
  detail::matrix_product(x, detail::alias(w, {k, n}, {wc, ws}, 0), y, 1, has_bias ? 1 : 0);
}

Tensors Linear::vjp(const Saved& s, const Tensor& dy) const {
  const bool vector = s.shape(1).size() == 1;
  const Tensor g = vector ? unsqueeze(dy, -1) : dy;
  const Tensor rows = s.needs(1) || s.needs(2) ? detail::merge_rows(g) : Tensor();
  Tensor dx, dw, db;
  if (s.needs(0)) dx = matmul(g, vector ? unsqueeze(s.in(1), 0) : s.in(1));
  if (s.needs(1)) {
    dw = matmul(transpose(rows, 0, 1), detail::merge_rows(s.in(0)));
    if (vector) dw = squeeze(dw, 0);
  }
  if (s.needs(2)) db = vector ? sum(dy) : sum(rows, {0});
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

Spec Addmm::infer(Specs in) const {
  const Shape &input = in[0].shape, &x = in[1].shape, &y = in[2].shape;
  check<ShapeError>(x.size() == 2 && y.size() == 2, *this, "mat1 has shape ", x, " and mat2 ", y,
                    "; each needs 2 axes");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  detail::check_product_dtypes(*this, in[1].dtype, in[2].dtype);
  check<ShapeError>(x[1] == y[0], *this, "shapes ", x, " and ", y, " cannot be multiplied: ", x[1],
                    " != ", y[0]);
  const Shape out{x[0], y[1]};
  Shape wide;
  check<ShapeError>(broadcast(input, out, wide) && wide == out, *this, "input of shape ", input,
                    " does not broadcast to ", out);
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
