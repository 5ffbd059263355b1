#include "tandem/ops/matmul.h"

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/matmul_kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Matmul)
TANDEM_OP(Bmm)

namespace detail {
namespace {

/// One factor as gemm takes it: row-major, or the transpose of a row-major matrix.
struct Factor {
  Tensor tensor;
  bool trans = false;
  int64_t ld = 1;
};

/// False when the last two axes of `t` are neither row- nor column-major.
bool read_in_place(const Tensor& t, bool& trans, int64_t& ld) {
  const int d = t.dim();
  // What has memory has known lengths.
  const int64_t rows = t.shape()[d - 2].bits(), cols = t.shape()[d - 1].bits();
  const int64_t rs = t.strides()[d - 2].bits(), cs = t.strides()[d - 1].bits();
  if ((cs == 1 || cols <= 1) && (rs >= std::max<int64_t>(cols, 1) || rows <= 1)) {
    trans = false;
    ld = rows <= 1 ? std::max<int64_t>(cols, 1) : rs;
    return true;
  }
  if ((rs == 1 || rows <= 1) && (cs >= std::max<int64_t>(rows, 1) || cols <= 1)) {
    trans = true;
    ld = cols <= 1 ? std::max<int64_t>(rows, 1) : cs;
    return true;
  }
  return false;
}

Factor as_factor(const Tensor& t) {
  Factor f{t};
  if (read_in_place(t, f.trans, f.ld)) return f;
  return {as_contiguous(t), false, std::max<int64_t>(t.shape().back(), 1)};
}

struct Batch {
  int64_t count = 1, x = 0, y = 0, out = 0;  ///< products, and the elements between two of them
};

template <class T>
void product(const Factor& x, const Factor& y, int64_t m, int64_t n, int64_t k, double alpha,
             double beta, const Batch& b, int64_t xo, int64_t yo, void* out, int64_t oo,
             const cpu::RowsDone& done) {
  const T* xp = static_cast<const T*>(x.tensor.raw_data()) + xo;
  const T* yp = static_cast<const T*>(y.tensor.raw_data()) + yo;
  T* op = static_cast<T*>(out) + oo;
  const int64_t ldo = std::max<int64_t>(n, 1);
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
    constexpr auto single = std::is_same_v<T, Half> ? cpu::gemm_f16 : cpu::gemm_bf16;
    constexpr auto many = std::is_same_v<T, Half> ? cpu::gemm_batched_f16 : cpu::gemm_batched_bf16;
    auto bits = [](auto* p) { return &p->bits; };
    if (b.count == 1)
      single(x.trans, y.trans, m, n, k, float(alpha), bits(xp), x.ld, bits(yp), y.ld, float(beta),
             bits(op), ldo);
    else
      many(x.trans, y.trans, b.count, m, n, k, float(alpha), bits(xp), x.ld, b.x, bits(yp), y.ld,
           b.y, float(beta), bits(op), ldo, b.out);
  } else if constexpr (!std::is_same_v<T, bool>) {
    if (b.count == 1) {
      if constexpr (std::is_floating_point_v<T>)
        return cpu::gemm(x.trans, y.trans, m, n, k, T(alpha), xp, x.ld, yp, y.ld, T(beta), op, ldo,
                         done);
      else cpu::gemm(x.trans, y.trans, m, n, k, T(alpha), xp, x.ld, yp, y.ld, T(beta), op, ldo);
    } else
      cpu::gemm_batched<T>(x.trans, y.trans, b.count, m, n, k, T(alpha), xp, x.ld, b.x, yp, y.ld,
                           b.y, T(beta), op, ldo, b.out);
  }
  cpu::finish_rows(b.count * m, n, done);
}

void run(DType d, const Factor& x, const Factor& y, int64_t m, int64_t n, int64_t k, double alpha,
         double beta, const Batch& b, int64_t xo, int64_t yo, const Tensor& out, int64_t oo,
         const cpu::RowsDone& done) {
  if (d == f32) [[likely]]
    return product<float>(x, y, m, n, k, alpha, beta, b, xo, yo, out.raw_data(), oo, done);
  visit(d, [&]<class T>() {
    // Products that wrap around are the same bits with and without a sign.
    if constexpr (std::is_unsigned_v<T> && !std::is_same_v<T, bool> && sizeof(T) > 1)
      product<std::make_signed_t<T>>(x, y, m, n, k, alpha, beta, b, xo, yo, out.raw_data(), oo,
                                     done);
    else product<T>(x, y, m, n, k, alpha, beta, b, xo, yo, out.raw_data(), oo, done);
  });
}

/// Axes that step alike in all three operands, merged; the last one is the batch of one call.
struct Batches {
  Shape sizes;
  Strides x, y, out;

  Batches(const Tensor& xt, const Tensor& yt, const Tensor& ot) {
    Shape lead = ot.shape(), os = ot.strides();
    lead.resize(ot.dim() - 2);
    os.resize(ot.dim() - 2);
    auto leading = [&](const Tensor& t) {
      Shape s = t.shape(), st = t.strides();
      s.resize(t.dim() - 2);
      st.resize(t.dim() - 2);
      return broadcast_strides(s, st, lead);
    };
    const Strides xs = leading(xt), ys = leading(yt);
    for (int i = 0; i < lead.size(); ++i) {
      if (lead[i] == 1) continue;
      const int last = sizes.size() - 1;
      if (last >= 0 && x[last] == xs[i] * lead[i] && y[last] == ys[i] * lead[i] &&
          out[last] == os[i] * lead[i]) {
        sizes[last] *= lead[i];
        x[last] = xs[i], y[last] = ys[i], out[last] = os[i];
      } else {
        sizes.push_back(lead[i]);
        x.push_back(xs[i]), y.push_back(ys[i]), out.push_back(os[i]);
      }
    }
  }
};

}  // namespace

void finish_rows(const Tensor& out, const cpu::RowsDone& done) {
  const int64_t n = out.dim() > 0 ? std::max<int64_t>(out.shape().back(), 1) : 1;
  cpu::finish_rows(out.numel() / n, n, done);
}

void matrix_product(const Tensor& x, const Tensor& y, const Tensor& out, double alpha, double beta,
                    const cpu::RowsDone& done) {
  if (out.numel() == 0) return;
  const DType d = out.dtype();
  const int64_t m = out.shape()[out.dim() - 2].bits(), n = out.shape()[out.dim() - 1].bits();
  const int64_t k = x.shape()[x.dim() - 1].bits();
  if (d == f32 && out.dim() == 2) [[likely]] {  // without a count of references
    bool tx, ty;
    int64_t ldx, ldy;
    if (read_in_place(x, tx, ldx) && read_in_place(y, ty, ldy))
      return cpu::gemm(tx, ty, m, n, k, float(alpha), static_cast<const float*>(x.raw_data()), ldx,
                       static_cast<const float*>(y.raw_data()), ldy, float(beta),
                       static_cast<float*>(out.raw_data()), n, done);
  }
  const Factor fx = as_factor(x), fy = as_factor(y);
  if (out.dim() == 2) return run(d, fx, fy, m, n, k, alpha, beta, {}, 0, 0, out, 0, done);

  const Batches all(fx.tensor, fy.tensor, out);
  const int last = all.sizes.size() - 1;
  if (last < 0) return run(d, fx, fy, m, n, k, alpha, beta, {}, 0, 0, out, 0, done);
  // One matrix on the right for all rows on the left: a single tall product.
  if (last == 0 && all.y[0] == 0 && !fx.trans && (m == 1 || fx.ld * m == all.x[0])) {
    Factor tall = fx;
    if (m == 1) tall.ld = all.x[0];
    if (tall.ld >= k && tall.ld > 0)
      return run(d, tall, fy, m * all.sizes[0], n, k, alpha, beta, {}, 0, 0, out, 0, done);
  }
  const Batch b{all.sizes[last], all.x[last], all.y[last], all.out[last]};
  const int64_t calls = all.sizes.numel() / b.count;
  for (int64_t c = 0; c < calls; ++c) {
    int64_t xo = 0, yo = 0, oo = 0, left = c;
    for (int i = last - 1; i >= 0; --i) {
      const int64_t at = left % all.sizes[i];
      left /= all.sizes[i];
      xo += at * all.x[i];
      yo += at * all.y[i];
      oo += at * all.out[i];
    }
    run(d, fx, fy, m, n, k, alpha, beta, b, xo, yo, out, oo, {});
  }
  finish_rows(out, done);
}

Tensor merge_rows(const Tensor& x) {
  if (x.dim() == 2) return x;
  const Length last = x.shape().back();
  if (last.is_known() && last != 0) return reshape(x, {-1, last});
  Length rows = 1;
  for (int i = 0; i + 1 < x.dim(); ++i) rows *= x.shape()[i];
  return reshape(x, {rows, last});
}

}  // namespace detail

namespace {

/// A vector as a matrix: no data moves, no history.
Tensor as_matrix(const Tensor& t, bool row) {
  if (t.dim() != 1) return t;
  const int64_t n = t.shape()[0], stride = t.strides()[0];
  return row ? detail::alias(t, {1, n}, {n * stride, stride}, 0)
             : detail::alias(t, {n, 1}, {stride, 1}, 0);
}

}  // namespace

Spec Matmul::infer(Specs in) const {
  const Shape &x = in[0].shape, &y = in[1].shape;
  const int dx = x.size(), dy = y.size();
  check<ShapeError>(dx > 0 && dy > 0, *this, "shapes ", x, " and ", y,
                    ": each needs at least one axis");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  const Length kx = x.back(), ky = y[dy == 1 ? 0 : dy - 2];
  check<ShapeError>(detail::may_equal(kx, ky), *this, "shapes ", x, " and ", y,
                    " cannot be multiplied: ", kx, " != ", ky);
  Spec out{{}, in[0].dtype, in[0].device};
  if (dx == 2 && dy == 2) [[likely]] {
    out.shape = {x[0], y[1]};
    return out;
  }
  Shape bx = x, by = y;
  bx.resize(std::max(dx - 2, 0));
  by.resize(std::max(dy - 2, 0));
  check<ShapeError>(broadcast(bx, by, out.shape), *this, "leading axes ", bx, " and ", by,
                    " of shapes ", x, " and ", y, " do not broadcast");
  if (dx > 1) out.shape.push_back(x[dx - 2]);
  if (dy > 1) out.shape.push_back(y[dy - 1]);
  return out;
}

void Matmul::cpu(Inputs in, Outputs out) const { cpu(in, out, {}); }

void Matmul::cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const {
  const Tensor &x = in[0], &y = in[1];
  if (x.dim() > 1 && y.dim() > 1) [[likely]]
    return detail::matrix_product(x, y, out[0], 1, 0, done);
  Shape full = out[0].shape();
  if (x.dim() == 1) full.insert(y.dim() == 1 ? 0 : full.size() - 1, 1);
  if (y.dim() == 1) full.push_back(1);
  const Tensor wide = detail::alias(out[0], full, contiguous_strides(full), 0);
  detail::matrix_product(as_matrix(x, true), as_matrix(y, false), wide);
  detail::finish_rows(out[0], done);
}

Tensors Matmul::vjp(const Saved& s, const Tensor& dy) const {
  const bool x1 = s.shape(0).size() == 1, y1 = s.shape(1).size() == 1;
  Tensor dx, dw;
  if (x1 && y1) {
    if (s.needs(0)) dx = dy * s.in(1);
    if (s.needs(1)) dw = dy * s.in(0);
    return {dx, dw};
  }
  Tensor g = dy;
  if (x1) g = unsqueeze(g, -2);
  if (y1) g = unsqueeze(g, -1);
  const Tensor x = x1 ? unsqueeze(s.in(0), 0) : s.in(0);
  const Tensor y = y1 ? unsqueeze(s.in(1), -1) : s.in(1);
  if (s.needs(0)) {
    dx = sum_to(matmul(g, transpose(y, -1, -2)), x.shape());
    if (x1) dx = squeeze(dx, 0);
  }
  if (s.needs(1)) {
    // A shared right factor sums over all rows: one product instead of a sum of products.
    const bool shared = y.dim() == 2 && x.dim() > 2;
    dw = shared ? matmul(transpose(detail::merge_rows(x), 0, 1), detail::merge_rows(g))
                : sum_to(matmul(transpose(x, -1, -2), g), y.shape());
    if (y1) dw = squeeze(dw, -1);
  }
  return {dx, dw};
}

Samples<Matmul> Matmul::samples() {
  return {
      .ok = {{{}, {{{3, 5}}, {{5, 4}}}},
             {{}, {{{4, 8}}, {{8, 8}}}},
             {{}, {sample::strided({3, 5}), sample::strided({5, 4})}},
             {{}, {{{5}}, {{5}}}},
             {{}, {{{5}}, {{5, 3}}}},
             {{}, {{{3, 5}}, {{5}}}},
             {{}, {{{2, 3, 5}}, {{5, 4}}}},
             {{}, {{{2, 3, 5}}, {{5}}}},
             {{}, {{{5}}, {{2, 5, 3}}}},
             {{}, {{{3, 5}}, {{2, 5, 4}}}},
             {{}, {{{2, 1, 3, 5}}, {{4, 5, 2}}}},
             {{}, {sample::strided({2, 3, 4}), sample::strided({2, 4, 3})}},
             {{}, {{{0, 5}}, {{5, 2}}}},
             {{}, {{{3, 0}}, {{0, 2}}}},
             {{}, {{{2, 0, 3}}, {{3, 4}}}},
             {{}, {{{33, 65}}, {{65, 17}}}},
             {{}, {{{3, 5}, i64}, {{5, 2}, i64}}},
             {{}, {{{2, 3, 5}, i32}, {{5, 2}, i32}}},
             {{}, {{{3, 5}, u8}, {{5, 2}, u8}}}},
      .errors = {
          {{},
           {{{3, 2}}, {{3, 2}}},
           "matmul(): shapes [3, 2] and [3, 2] cannot be multiplied: 2 != 3"},
          {{}, {{{}}, {{3}}}, "matmul(): shapes [] and [3]: each needs at least one axis"},
          {{},
           {{{2, 3, 4}}, {{5, 4, 1}}},
           "matmul(): leading axes [2] and [5] of shapes [2, 3, 4] and [5, 4, 1] do not broadcast"},
          {{},
           {{{3, 2}, f32}, {{2, 2}, i64}},
           "matmul(): dtypes f32 and i64 differ; cast one of them"},
          {{},
           {sample::mask({2, 2}), sample::mask({2, 2})},
           "matmul(): booleans have no matrix product; cast them"}}};
}

Spec Bmm::infer(Specs in) const {
  const Shape &x = in[0].shape, &y = in[1].shape;
  check<ShapeError>(x.size() == 3 && y.size() == 3, *this, "shapes ", x, " and ", y,
                    ": each needs 3 axes");
  detail::check_product_dtypes(*this, in[0].dtype, in[1].dtype);
  check<ShapeError>(detail::may_equal(x[0], y[0]), *this, "shapes ", x, " and ", y,
                    " have different lengths: ", x[0], " != ", y[0]);
  check<ShapeError>(detail::may_equal(x[2], y[1]), *this, "shapes ", x, " and ", y,
                    " cannot be multiplied: ", x[2], " != ", y[1]);
  return {{x[0], x[1], y[2]}, in[0].dtype, in[0].device};
}

void Bmm::cpu(Inputs in, Outputs out) const { detail::matrix_product(in[0], in[1], out[0]); }

Tensors Bmm::vjp(const Saved& s, const Tensor& dy) const {
  return {s.needs(0) ? bmm(dy, transpose(s.in(1), 1, 2)) : Tensor(),
          s.needs(1) ? bmm(transpose(s.in(0), 1, 2), dy) : Tensor()};
}

Samples<Bmm> Bmm::samples() {
  return {
      .ok = {{{}, {{{2, 3, 5}}, {{2, 5, 4}}}},
             {{}, {sample::strided({2, 3, 4}), sample::strided({2, 4, 3})}},
             {{}, {{{0, 3, 5}}, {{0, 5, 4}}}},
             {{}, {{{2, 3, 0}}, {{2, 0, 4}}}},
             {{}, {{{2, 3, 5}, i64}, {{2, 5, 4}, i64}}}},
      .errors = {{{}, {{{3, 2}}, {{2, 3}}}, "bmm(): shapes [3, 2] and [2, 3]: each needs 3 axes"},
                 {{},
                  {{{2, 3, 4}}, {{1, 4, 2}}},
                  "bmm(): shapes [2, 3, 4] and [1, 4, 2] have different lengths: 2 != 1"},
                 {{},
                  {{{2, 3, 4}}, {{2, 3, 4}}},
                  "bmm(): shapes [2, 3, 4] and [2, 3, 4] cannot be multiplied: 4 != 3"}}};
}

Tensor mm(const Tensor& x, const Tensor& y) {
  require<ShapeError>(x.dim() == 2 && y.dim() == 2, "mm(): shapes ", x.shape(), " and ", y.shape(),
                      ": each needs 2 axes");
  return matmul(x, y);
}

}  // namespace tandem
