#include "tandem/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/any.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/logsumexp.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/tril.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(ScaledDotProductAttention)
TANDEM_OP(ScaledDotProductAttentionGrad)

namespace {

constexpr int64_t query_block = 64, key_block = 256;
constexpr double infinity = std::numeric_limits<double>::infinity();

DType compute_type(DType d) { return d == f64 ? f64 : f32; }

Shape leading(const Shape& s, int last = 2) {
  Shape out = s;
  out.resize(s.size() - last);
  return out;
}

Shape with(Shape lead, Length a, Length b) {
  lead.push_back(a);
  lead.push_back(b);
  return lead;
}

template <class N>
struct SizesOf {
  Shape lead;
  N l, s, e, ev;
};
using Sizes = SizesOf<int64_t>;

/// Checks q, k, v and the mask at input `mask`.
template <class O>
SizesOf<Length> check_attention(const O& op, Specs in, int mask) {
  const Shape &q = in[0].shape, &k = in[1].shape, &v = in[2].shape;
  check<ShapeError>(q.size() >= 2 && k.size() >= 2 && v.size() >= 2, op, "q, k and v have shapes ",
                    q, ", ", k, " and ", v, "; each needs at least 2 axes");
  const DType d = in[0].dtype;
  check<DTypeError>(is_floating(d) && in[1].dtype == d && in[2].dtype == d, op, "q, k and v are ",
                    d, ", ", in[1].dtype, " and ", in[2].dtype,
                    "; they must be of one floating type");
  const int n = q.size() - 1;
  SizesOf<Length> z{{}, q[n - 1], k[k.size() - 2], q[n], v.back()};
  check<ShapeError>(detail::may_equal(k.back(), z.e), op, "q of shape ", q, " and k of shape ", k,
                    " have different widths: ", z.e, " != ", k.back());
  check<ShapeError>(detail::may_equal(v[v.size() - 2], z.s), op, "k of shape ", k,
                    " and v of shape ", v, " have different lengths: ", z.s,
                    " != ", v[v.size() - 2]);
  Shape qk;
  check<ShapeError>(broadcast(leading(q), leading(k), qk) && broadcast(qk, leading(v), z.lead), op,
                    "the leading axes of q, k and v, of shapes ", q, ", ", k, " and ", v,
                    ", do not broadcast");
  if (in.has(mask)) {
    check(!op.is_causal, op, "takes attn_mask or is_causal, not both");
    const Shape want = with(z.lead, z.l, z.s);
    Shape wide;
    check<ShapeError>(broadcast(in[mask].shape, want, wide) && detail::may_equal(wide, want), op,
                      "attn_mask of shape ", in[mask].shape, " does not broadcast to ", want);
    check<DTypeError>(in[mask].dtype == boolean || in[mask].dtype == d, op, "attn_mask is ",
                      in[mask].dtype, "; it must be bool or ", d);
  }
  return z;
}
/// The same for operands that are there.
template <class O>
Sizes sizes_of(const O& op, Inputs in, size_t mask) {
  const Tensor specs[] = {in[0], in[1], in[2], in.size() > mask ? in[mask] : Tensor()};
  const auto z = check_attention(op, Specs(specs, 4), 3);
  return {z.lead, z.l, z.s, z.e, z.ev};
}

/// A stack of matrices whose rows are contiguous, read in place where the strides allow it.
template <class T>
struct Matrices {
  Tensor kept;
  T* p;
  int64_t ld;
  Shape lead;
  Strides strides;

  Matrices(const Tensor& t, const Shape& lead) : lead(lead) {
    const int n = t.dim();
    const bool fits = t.dtype() == dtype_of<T> &&
                      (t.strides()[n - 1] == 1 || t.shape()[n - 1] <= 1) &&
                      t.strides()[n - 2] >= t.shape()[n - 1];
    kept = fits ? t : detail::as_contiguous(t, dtype_of<T>);
    p = kept.data<T>();
    ld = std::max<int64_t>(kept.strides()[n - 2], 1);
    strides = broadcast_strides(leading(kept.shape()), leading(kept.strides()), lead);
  }
  T* operator[](int64_t b) const {
    int64_t at = 0;
    for (int i = lead.size() - 1; i >= 0; --i) {
      at += b % lead[i] * strides[i];
      b /= lead[i];
    }
    return p + at;
  }
};

/// The additive mask, [..., l, s] by strides; hidden keys hold minus infinity.
template <class T>
struct Mask {
  Tensor kept;
  Shape lead;
  Strides strides;
  int64_t row = 0, column = 0;

  Mask(Inputs in, size_t i, const Sizes& z) : lead(z.lead) {
    if (i >= in.size() || !in[i].defined()) return;
    Tensor m = in[i];
    if (m.dtype() == boolean) {
      const Tensor flags = detail::as_contiguous(m);
      m = empty(m.shape(), dtype_of<T>);
      const bool* f = flags.data<bool>();
      for (int64_t k = 0; k < m.numel(); ++k) m.data<T>()[k] = f[k] ? T(0) : T(-infinity);
    }
    kept = detail::as_contiguous(m, dtype_of<T>);
    strides = broadcast_strides(kept.shape(), kept.strides(), with(lead, z.l, z.s));
    row = strides[lead.size()];
    column = strides[lead.size() + 1];
  }
  const T* operator[](int64_t b) const {
    if (!kept.defined()) return nullptr;
    int64_t at = 0;
    for (int i = lead.size() - 1; i >= 0; --i) {
      at += b % lead[i] * strides[i];
      b /= lead[i];
    }
    return kept.data<T>() + at;
  }
};

template <class T>
void product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda,
             const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
  cpu::gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/// Adds the mask to a tile of scores and hides what follows the query.
template <class T>
TANDEM_FN void hide(T* scores, int64_t rows, int64_t cols, int64_t ld, int64_t q0, int64_t k0,
                    const T* mask, int64_t row, int64_t column, bool causal) {
  for (int64_t i = 0; i < rows; ++i) {
    T* s = scores + i * ld;
    if (mask) {
      const T* m = mask + (q0 + i) * row + k0 * column;
      for (int64_t j = 0; j < cols; ++j) s[j] += m[j * column];
    }
    if (causal)
      for (int64_t j = std::max<int64_t>(0, q0 + i + 1 - k0); j < cols; ++j) s[j] = T(-infinity);
  }
}

template <class T>
void forward(const ScaledDotProductAttention& op, Inputs in, Outputs out) {
  const Sizes z = sizes_of(op, in, 3);
  const Matrices<T> q(in[0], z.lead), k(in[1], z.lead), v(in[2], z.lead);
  const Mask<T> masks(in, 3, z);
  const bool direct = out[0].dtype() == dtype_of<T>;
  const Tensor y_kept = direct ? out[0] : empty(out[0].shape(), dtype_of<T>);
  T *y = y_kept.data<T>(), *lse = out[1].data<T>();
  const T scale = T(op.scale ? double(*op.scale) : 1 / std::sqrt(double(z.e)));
  const int64_t blocks = (z.l + query_block - 1) / query_block;
  const int64_t width = std::min(key_block, z.s);
  cpu::parallel_for(z.lead.numel() * blocks, 1, [&](int64_t begin, int64_t end) {
    const Tensor scratch = empty({query_block * (width + 2)}, dtype_of<T>);
    T *scores = scratch.data<T>(), *top = scores + query_block * width, *total = top + query_block;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / blocks, q0 = task % blocks * query_block;
      const int64_t rows = std::min(query_block, z.l - q0);
      const T *qb = q[b] + q0 * q.ld, *kb = k[b], *vb = v[b], *mask = masks[b];
      T* yb = y + (b * z.l + q0) * z.ev;
      std::fill_n(yb, rows * z.ev, T(0));
      std::fill_n(top, rows, T(-infinity));
      std::fill_n(total, rows, T(0));
      const int64_t visible = op.is_causal ? std::min(z.s, q0 + rows) : z.s;
      for (int64_t k0 = 0; k0 < visible; k0 += width) {
        const int64_t cols = std::min(width, visible - k0);
        product<T>(false, true, rows, cols, z.e, scale, qb, q.ld, kb + k0 * k.ld, k.ld, T(0),
                   scores, width);
        simd([&] {
          const CpuTeam team;
          if (mask || (op.is_causal && k0 + cols > q0))
            hide(scores, rows, cols, width, q0, k0, mask, masks.row, masks.column, op.is_causal);
          for (int64_t i = 0; i < rows; ++i) {
            T* s = scores + i * width;
            const T here = team.max(cols, [=](int64_t j) { return s[j]; });
            const T most = here > top[i] ? here : top[i];
            // Rows without a visible key so far stay zero.
            const T base = most == T(-infinity) ? T(0) : most;
            const T sum = team.sum(cols, [=](int64_t j) {
              const T p = math::exp(s[j] - base);
              s[j] = p;
              return p;
            });
            const T keep = math::exp(top[i] - base);
            total[i] = total[i] * keep + sum;
            top[i] = most;
            T* row = yb + i * z.ev;
            if (k0 > 0) team.each(z.ev, [=](int64_t j) { row[j] *= keep; });
          }
        });
        product<T>(false, false, rows, z.ev, cols, T(1), scores, width, vb + k0 * v.ld, v.ld, T(1),
                   yb, z.ev);
      }
      for (int64_t i = 0; i < rows; ++i) {
        T* row = yb + i * z.ev;
        // 0 times infinity is NaN.
        const T inverse = total[i] == 0 && !(op.nan_rows && z.s > 0) ? T(0) : 1 / total[i];
        for (int64_t j = 0; j < z.ev; ++j) row[j] *= inverse;
        lse[b * z.l + q0 + i] = top[i] + std::log(total[i]);
      }
    }
  });
  if (!direct) detail::copy_data(out[0], y_kept);
}

/// What the rows of a block of queries know of all their keys.
template <class T>
struct RowState {
  T top[query_block], total[query_block], delta[query_block];
};

/// Takes a tile of scores and of dP = dy v^T into account; delta holds sum(exp(s - top) dP).
template <class T>
TANDEM_FN void absorb(RowState<T>& r, const T* p, const T* dp, int64_t rows, int64_t cols,
                      int64_t ld) {
  const CpuTeam team;
  for (int64_t i = 0; i < rows; ++i) {
    const T *s = p + i * ld, *d = dp + i * ld;
    const T here = team.max(cols, [=](int64_t j) { return s[j]; });
    const T most = here > r.top[i] ? here : r.top[i];
    const T base = most == T(-infinity) ? T(0) : most;
    const T keep = math::exp(r.top[i] - base);
    r.total[i] =
        r.total[i] * keep + team.sum(cols, [=](int64_t j) { return math::exp(s[j] - base); });
    r.delta[i] = r.delta[i] * keep +
                 team.sum(cols, [=](int64_t j) { return math::exp(s[j] - base) * d[j]; });
    r.top[i] = most;
  }
}

/// Turns scores into weights P and dP into the gradient of the scores, P (dP - delta). Row i sees
/// `first` + i keys and no more than `cols`; those behind have no part in it, not even where the
/// row is not a number.
template <class T>
TANDEM_FN void weigh(const RowState<T>& r, T* p, T* dp, int64_t rows, int64_t cols, int64_t first,
                     int64_t ld) {
  const CpuTeam team;
  for (int64_t i = 0; i < rows; ++i) {
    const T base = r.top[i] == T(-infinity) ? T(0) : r.top[i];
    const T inverse = r.total[i] == 0 ? T(0) : 1 / r.total[i], delta = r.delta[i];
    T *s = p + i * ld, *d = dp + i * ld;
    const int64_t seen = std::clamp<int64_t>(first + i, 0, cols);
    for (int64_t j = seen; j < cols; ++j) s[j] = d[j] = 0;
    team.each(seen, [=](int64_t j) {
      const T w = math::exp(s[j] - base) * inverse;
      s[j] = w;
      d[j] = w * (d[j] - delta);
    });
  }
}

template <class T>
void backward(const ScaledDotProductAttentionGrad& op, Inputs in, Outputs out) {
  const Sizes z = sizes_of(op, in, 5);
  const Matrices<T> q(in[0], z.lead), k(in[1], z.lead), v(in[2], z.lead), dy(in[3], z.lead);
  const Mask<T> masks(in, 5, z);
  const Tensor dlse_kept = detail::as_contiguous(in[4], dtype_of<T>);
  const T* dlse = dlse_kept.data<T>();
  Tensor results[3];
  T* d[3];
  for (int i = 0; i < 3; ++i) {
    results[i] = out[size_t(i)].dtype() == dtype_of<T> ? out[size_t(i)]
                                                       : empty(out[size_t(i)].shape(), dtype_of<T>);
    d[i] = results[i].data<T>();
    std::fill_n(d[i], results[i].numel(), T(0));
  }
  const T scale = T(op.scale ? double(*op.scale) : 1 / std::sqrt(double(z.e)));
  const int64_t width = std::min(2 * key_block, z.s);
  cpu::parallel_for(z.lead.numel(), 1, [&](int64_t begin, int64_t end) {
    const Tensor scratch = empty({query_block * 2 * width}, dtype_of<T>);
    T *p = scratch.data<T>(), *dp = p + query_block * width;
    RowState<T> state;
    for (int64_t b = begin; b < end; ++b) {
      T *dq = d[0] + b * z.l * z.e, *dk = d[1] + b * z.s * z.e, *dv = d[2] + b * z.s * z.ev;
      const T* mask = masks[b];
      for (int64_t q0 = 0; q0 < z.l; q0 += query_block) {
        const int64_t rows = std::min(query_block, z.l - q0);
        const T *qb = q[b] + q0 * q.ld, *gb = dy[b] + q0 * dy.ld;
        const int64_t visible = op.is_causal ? std::min(z.s, q0 + rows) : z.s;
        auto tiles = [&](int64_t k0, int64_t cols) {
          product<T>(false, true, rows, cols, z.e, scale, qb, q.ld, k[b] + k0 * k.ld, k.ld, T(0), p,
                     width);
          product<T>(false, true, rows, cols, z.ev, T(1), gb, dy.ld, v[b] + k0 * v.ld, v.ld, T(0),
                     dp, width);
          if (mask || (op.is_causal && k0 + cols > q0))
            hide(p, rows, cols, width, q0, k0, mask, masks.row, masks.column, op.is_causal);
        };
        for (int64_t i = 0; i < rows; ++i)
          state.top[i] = T(-infinity), state.total[i] = state.delta[i] = 0;
        for (int64_t k0 = 0; k0 < visible; k0 += width) {
          const int64_t cols = std::min(width, visible - k0);
          tiles(k0, cols);
          simd([&] { absorb(state, p, dp, rows, cols, width); });
        }
        for (int64_t i = 0; i < rows; ++i)
          state.delta[i] = (state.total[i] == 0 ? T(0) : state.delta[i] / state.total[i]) -
                           dlse[b * z.l + q0 + i];
        for (int64_t k0 = 0; k0 < visible; k0 += width) {
          const int64_t cols = std::min(width, visible - k0);
          if (visible > width) tiles(k0, cols);  // a single tile is still there
          const int64_t first = op.is_causal ? q0 + 1 - k0 : cols;
          simd([&] { weigh(state, p, dp, rows, cols, first, width); });
          product<T>(false, false, rows, z.e, cols, scale, dp, width, k[b] + k0 * k.ld, k.ld, T(1),
                     dq + q0 * z.e, z.e);
          product<T>(true, false, cols, z.e, rows, scale, dp, width, qb, q.ld, T(1), dk + k0 * z.e,
                     z.e);
          product<T>(true, false, cols, z.ev, rows, T(1), p, width, gb, dy.ld, T(1), dv + k0 * z.ev,
                     z.ev);
        }
      }
    }
  });
  for (int i = 0; i < 3; ++i)
    if (!results[i].is_same(out[size_t(i)])) detail::copy_data(out[size_t(i)], results[i]);
}

// --- The meaning in public ops -------------------------------------------------------------------

template <class O>
Tensor scores_in_ops(const O& op, const Tensor& q, const Tensor& k, const Tensor& mask) {
  const Number scale = op.scale ? *op.scale : 1.0 / sqrt(q.shape().back());
  Tensor s = matmul(q, transpose(k, -1, -2)) * Tensor(scale);
  const Tensor hidden(-infinity);
  if (op.is_causal) {
    const int n = s.dim();
    const Tensor seen = tril(ones({s.shape()[n - 2], s.shape()[n - 1]}, boolean));
    s = where(seen, s, hidden);
  }
  if (mask.defined()) s = mask.dtype() == boolean ? where(mask, s, hidden) : s + mask;
  return s;
}

/// Softmax whose rows without a visible key are zero, and so are their gradients.
Tensor weights_in_ops(const Tensor& scores) {
  const Tensor hidden = eq(scores, Tensor(-infinity));
  const Tensor p = softmax(where(all(hidden, {-1}, true), Tensor(0), scores), -1);
  return where(hidden, Tensor(0), p);
}

}  // namespace

std::array<Spec, 2> ScaledDotProductAttention::infer(Specs in) const {
  const auto z = check_attention(*this, in, 3);
  Shape rows = z.lead;
  rows.push_back(z.l);
  return {Spec{with(z.lead, z.l, z.ev), in[0].dtype, in[0].device},
          Spec{rows, compute_type(in[0].dtype), in[0].device}};
}

void ScaledDotProductAttention::cpu(Inputs in, Outputs out) const {
  if (out[1].numel() == 0) return;
  if (in[0].dtype() == f64) forward<double>(*this, in, out);
  else forward<float>(*this, in, out);
}

Tensors ScaledDotProductAttention::vjp(const Saved& s, const Tensors& dy) const {
  if (nan_rows)
    return detail::vjp_through(
        {s.in(0), s.in(1), s.in(2), s.in(3)}, {dy[0], dy[1]}, [&](const Tensors& v) {
          const Tensor scores = scores_in_ops(*this, v[0], v[1], v[3]), p = softmax(scores, -1);
          const Tensor lse = logsumexp(scores, {-1});
          return Tensors{matmul(p, v[2]), cast(lse, dy[1].dtype())};
        });
  const Shape lead = leading(dy[0].shape());
  auto whole = [&](const Tensor& t) {
    const int n = t.dim();
    return detail::must_equal(leading(t.shape()), lead)
               ? t
               : expand(t, with(lead, t.shape()[n - 2], t.shape()[n - 1]));
  };
  const Tensors d =
      apply_all(ScaledDotProductAttentionGrad{is_causal, scale},
                {whole(s.in(0)), whole(s.in(1)), whole(s.in(2)), dy[0], dy[1], s.in(3)});
  Tensors dx(4);
  for (int i = 0; i < 3; ++i) dx[size_t(i)] = sum_to(d[size_t(i)], s.shape(i));
  if (!s.needs(3)) return dx;
  // The gradient of the scores, P (dP - delta), in the type of the kernel.
  const DType t = compute_type(dy[0].dtype());
  const Tensor p =
      weights_in_ops(scores_in_ops(*this, cast(s.in(0), t), cast(s.in(1), t), cast(s.in(3), t)));
  const Tensor dp = matmul(cast(dy[0], t), transpose(cast(s.in(2), t), -1, -2));
  const Tensor delta = sum(p * dp, {-1}, true) - unsqueeze(cast(dy[1], t), -1);
  dx[3] = cast(sum_to(p * (dp - delta), s.shape(3)), s.spec(3).dtype);
  return dx;
}

Samples<ScaledDotProductAttention> ScaledDotProductAttention::samples() {
  const InputSpec none = sample::absent();
  const std::string op =
      "scaled_dot_product_attention(is_causal=false, scale=none, nan_rows=false): ";
  return {
      .ok = {{{}, {{{2, 3, 5, 4}}, {{2, 3, 6, 4}}, {{2, 3, 6, 7}}, none}},
             {{.is_causal = true}, {{{2, 5, 4}}, {{2, 5, 4}}, {{2, 5, 4}}, none}},
             {{.is_causal = true, .scale = 0.3}, {{{3, 4}}, {{6, 4}}, {{6, 2}}, none}},
             {{}, {{{2, 3, 4}}, {{2, 5, 4}}, {{2, 5, 4}}, {{3, 5}}}},
             {{},
              {{{2, 3, 4}},
               {{2, 5, 4}},
               {{2, 5, 4}},
               sample::listed({2, 1, 5}, {1, 0, 1, 1, 0, 0, 1}, boolean)}},
             {{},
              {{{3, 4}}, {{4, 4}}, {{4, 4}}, sample::listed({3, 4}, {0.5, -HUGE_VAL, -1, 0, 2})}},
             {{}, {{{2, 1, 3, 4}}, {{2, 5, 4}}, {{5, 4}}, none}},
             {{}, {sample::strided({2, 3, 4}), sample::strided({2, 5, 4}), {{2, 5, 3}}, none}},
             {{}, {{{1, 70, 8}}, {{1, 300, 8}}, {{1, 300, 8}}, none}, false},
             {{}, {{{2, 0, 4}}, {{2, 5, 4}}, {{2, 5, 4}}, none}},
             {{},
              {{{2, 4}}, {{2, 4}}, {{2, 4}}, sample::listed({2, 2}, {0, 0, 1, 0}, boolean)},
              false},
             {{.nan_rows = true},
              {{{2, 4}}, {{2, 4}}, {{2, 4}}, sample::listed({2, 2}, {0, 1, 1, 1}, boolean)}}},
      .errors = {{{},
                  {{{3, 4}}, {{5, 3}}, {{5, 4}}, none},
                  op + "q of shape [3, 4] and k of shape [5, 3] have different widths: 4 != 3"},
                 {{},
                  {{{3, 4}}, {{5, 4}}, {{6, 4}}, none},
                  op + "k of shape [5, 4] and v of shape [6, 4] have different lengths: 5 != 6"},
                 {{.is_causal = true},
                  {{{3, 4}}, {{5, 4}}, {{5, 4}}, {{3, 5}}},
                  "scaled_dot_product_attention(is_causal=true, scale=none, nan_rows=false): takes "
                  "attn_mask or is_causal, not both"},
                 {{},
                  {{{3, 4}}, {{5, 4}}, {{5, 4}}, {{4, 5}}},
                  op + "attn_mask of shape [4, 5] does not broadcast to [3, 5]"}}};
}

std::array<Spec, 3> ScaledDotProductAttentionGrad::infer(Specs in) const {
  const auto z = check_attention(*this, in, 5);
  const Shape rows = with(z.lead, z.l, z.ev);
  check<ShapeError>(detail::may_equal(in[3].shape, rows), *this, "dy has shape ", in[3].shape,
                    ", not ", rows);
  check<ShapeError>(detail::may_equal(in[4].shape, leading(rows, 1)), *this, "dlse has shape ",
                    in[4].shape, ", not ", leading(rows, 1));
  for (int i = 0; i < 3; ++i)
    check<ShapeError>(detail::may_equal(leading(in[i].shape), z.lead), *this,
                      "q, k and v must have the same leading axes");
  return {in[0], in[1], in[2]};
}

void ScaledDotProductAttentionGrad::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) backward<double>(*this, in, out);
  else backward<float>(*this, in, out);
}

Tensors ScaledDotProductAttentionGrad::vjp(const Saved& s, const Tensors& g) const {
  Tensors in;
  for (int i = 0; i < 6; ++i) in.push_back(s.in(i));
  const DType d = compute_type(g[0].dtype());
  return detail::vjp_through(in, g, [&](const Tensors& given) {
    Tensors v;  // in the compute type, as in the kernel
    for (const Tensor& t : given)
      v.push_back(t.defined() && is_floating(t.dtype()) ? cast(t, d) : t);
    const Number by = scale ? *scale : 1.0 / sqrt(v[0].shape().back());
    const Tensor p = weights_in_ops(scores_in_ops(*this, v[0], v[1], v[5]));
    const Tensor dp = matmul(v[3], transpose(v[2], -1, -2));
    const Tensor delta = sum(p * dp, {-1}, true) - unsqueeze(v[4], -1);
    const Tensor ds = p * (dp - delta) * Tensor(by);
    return Tensors{cast(matmul(ds, v[1]), g[0].dtype()),
                   cast(matmul(transpose(ds, -1, -2), v[0]), g[1].dtype()),
                   cast(matmul(transpose(p, -1, -2), v[3]), g[2].dtype())};
  });
}

Samples<ScaledDotProductAttentionGrad> ScaledDotProductAttentionGrad::samples() {
  const InputSpec none = sample::absent();
  return {.ok = {{{}, {{{2, 3, 4}}, {{2, 5, 4}}, {{2, 5, 6}}, {{2, 3, 6}}, {{2, 3}}, none}},
                 {{.is_causal = true, .scale = 0.5},
                  {{{4, 3}}, {{5, 3}}, {{5, 3}}, {{4, 3}}, {{4}}, none}},
                 {{}, {{{3, 4}}, {{5, 4}}, {{5, 4}}, {{3, 4}}, {{3}}, {{3, 5}}}},
                 {{}, {{{70, 4}}, {{600, 4}}, {{600, 4}}, {{70, 4}}, {{70}}, none}, false}},
          .errors = {{{},
                      {{{3, 4}}, {{5, 4}}, {{5, 4}}, {{3, 4}}, {{4}}, none},
                      "scaled_dot_product_attention_grad(is_causal=false, scale=none): dlse has "
                      "shape [4], not [3]"}}};
}

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const ScaledDotProductAttentionOptions& o) {
  const double dropout_p = o.dropout_p;
  require(dropout_p >= 0 && dropout_p <= 1, "scaled_dot_product_attention(): dropout_p=", dropout_p,
          " must lie in [0, 1]");
  const ScaledDotProductAttention op{.is_causal = o.is_causal, .scale = o.scale};
  if (dropout_p == 0) return apply_all(op, {q, k, v, o.attn_mask})[0];
  const Tensor checked[] = {q, k, v, o.attn_mask};
  op.infer(Specs(checked, 4));
  return matmul(dropout(weights_in_ops(scores_in_ops(op, q, k, o.attn_mask)), dropout_p), v);
}

}  // namespace tandem
