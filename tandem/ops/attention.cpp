#include "tandem/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/tril.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(ScaledDotProductAttention)
TANDEM_OP(ScaledDotProductAttentionGrad)

namespace {

constexpr int64_t block_rows = 64;

double scale_of(const std::optional<double>& given, int64_t width) {
  return given.value_or(1 / std::sqrt(double(std::max<int64_t>(width, 1))));
}

Shape leading(const Shape& s) {
  Shape out = s;
  out.resize(s.size() - 2);
  return out;
}

template <class O>
void check_qkv(const O& op, Specs in, int mask) {
  const Shape &q = in[0].shape, &k = in[1].shape, &v = in[2].shape;
  check<DTypeError>(is_floating(in[0].dtype) && in[1].dtype == in[0].dtype &&
                        in[2].dtype == in[0].dtype,
                    op, "needs one floating dtype, got ", in[0].dtype, ", ", in[1].dtype, " and ",
                    in[2].dtype);
  const bool fits = q.size() >= 2 && k.size() == q.size() && v.size() == q.size() &&
                    leading(q) == leading(k) && leading(q) == leading(v) && q.back() == k.back() &&
                    k[k.size() - 2] == v[v.size() - 2];
  check<ShapeError>(fits, op, "q ", q, ", k ", k, " and v ", v,
                    " do not fit [..., L, E], [..., S, E], [..., S, V]");
  if (!in.has(mask)) return;
  Shape weights = leading(q), both;
  weights.push_back(q[q.size() - 2]);
  weights.push_back(k[k.size() - 2]);
  check<ShapeError>(broadcast(weights, in[mask].shape, both) && both == weights, op,
                    "attn_mask of shape ", in[mask].shape, " does not broadcast to ", weights);
}

/// The formula in public ops.
Tensor composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                bool is_causal, double scale, double dropout_p = 0) {
  Tensor scores = matmul(q * scale, transpose(k, -2, -1));
  if (mask.defined()) {
    if (mask.dtype() == boolean)
      scores = where(mask, scores, Tensor(-std::numeric_limits<double>::infinity()));
    else scores = scores + mask;
  }
  if (is_causal) {
    const Tensor seen = tril(ones({q.size(-2), k.size(-2)}, boolean));
    scores = where(seen, scores, Tensor(-std::numeric_limits<double>::infinity()));
  }
  Tensor weights = softmax(scores, -1);
  if (dropout_p > 0) weights = dropout(weights, dropout_p);
  return matmul(weights, v);
}

/// One call on row-major memory: `batch` products of L x E, S x E and S x V.
template <class T>
struct Attention {
  int64_t batch, rows, keys, width, out_width;
  T scale;
  bool causal;
  const T *q, *k, *v, *mask;  ///< mask: additive, or null
  Strides mask_strides;       ///< of [..., L, S]
  Shape mask_shape;

  int64_t mask_offset(int64_t b, int64_t row) const {
    int64_t at = row * mask_strides[mask_shape.size() - 2];
    for (int i = mask_shape.size() - 3; i >= 0; --i) {
      at += b % mask_shape[i] * mask_strides[i];
      b /= mask_shape[i];
    }
    return at;
  }

  /// scale q k^T + mask for `n` query rows from `first`.
  void scores(int64_t b, int64_t first, int64_t n, T* s) const {
    const T low = -std::numeric_limits<T>::infinity();
    cpu::gemm(false, true, n, keys, width, scale, q + (b * rows + first) * width, width,
              k + b * keys * width, width, T(0), s, keys);
    for (int64_t r = 0; r < n; ++r) {
      T* row = s + r * keys;
      if (mask) {
        const T* m = mask + mask_offset(b, first + r);
        const int64_t step = mask_strides.back();
        for (int64_t j = 0; j < keys; ++j) row[j] += m[j * step];
      }
      if (causal) std::fill(row + std::min(keys, first + r + 1), row + keys, low);
    }
  }

  void forward(T* y, T* row_sum) const {
    const int64_t blocks = (rows + block_rows - 1) / block_rows;
    cpu::parallel_for(batch * blocks, 1, [&](int64_t lo, int64_t hi) {
      const Tensor scratch = empty({block_rows * std::max<int64_t>(keys, 1)}, dtype_of<T>);
      T* s = scratch.data<T>();
      for (int64_t i = lo; i < hi; ++i) {
        const int64_t b = i / blocks, first = i % blocks * block_rows;
        const int64_t n = std::min(block_rows, rows - first);
        scores(b, first, n, s);
        for (int64_t r = 0; r < n; ++r)
          row_sum[b * rows + first + r] = softmax_row(s + r * keys);
        cpu::gemm(false, false, n, out_width, keys, T(1), s, keys, v + b * keys * out_width,
                  out_width, T(0), y + (b * rows + first) * out_width, out_width);
      }
    });
  }

  /// Weights over scores, in place; gives log(sum(exp(scores))).
  T softmax_row(T* s) const {
    const T low = -std::numeric_limits<T>::infinity();
    const int64_t n = keys;
    T result = low;
    simd([&] {
      T top = low;
      bool nan = false;
      for (int64_t j = 0; j < n; ++j) {
        top = s[j] > top ? s[j] : top;
        nan |= s[j] != s[j];
      }
      if (top == low && !nan) {  // nothing to look at
        for (int64_t j = 0; j < n; ++j) s[j] = T(0);
        return;
      }
      const T total = CpuTeam{}.sum(n, [=](int64_t j) {
        const T e = math::exp(s[j] - top);
        s[j] = e;
        return e;
      });
      const T inverse = T(1) / total;
      for (int64_t j = 0; j < n; ++j) s[j] *= inverse;
      result = top + std::log(total);
    });
    return result;
  }

  void backward(const T* y, const T* row_sum, const T* dy, T* dq, T* dk, T* dv) const {
    std::fill_n(dk, batch * keys * width, T(0));
    std::fill_n(dv, batch * keys * out_width, T(0));
    cpu::parallel_for(batch, 1, [&](int64_t lo, int64_t hi) {
      const Tensor scratch = empty({2 * block_rows * std::max<int64_t>(keys, 1)}, dtype_of<T>);
      T *p = scratch.data<T>(), *dp = p + block_rows * keys;
      for (int64_t b = lo; b < hi; ++b)
        for (int64_t first = 0; first < rows; first += block_rows)
          backward_block(b, first, std::min(block_rows, rows - first), p, dp, y, row_sum, dy, dq, dk,
                         dv);
    });
  }

  void backward_block(int64_t b, int64_t first, int64_t n, T* p, T* dp, const T* y,
                      const T* row_sum, const T* dy, T* dq, T* dk, T* dv) const {
    const T* g = dy + (b * rows + first) * out_width;
    const T *kb = k + b * keys * width, *vb = v + b * keys * out_width;
    scores(b, first, n, p);
    cpu::gemm(false, true, n, keys, out_width, T(1), g, out_width, vb, out_width, T(0), dp, keys);
    for (int64_t r = 0; r < n; ++r) {
      const T* out = y + (b * rows + first + r) * out_width;
      T dot = 0;
      for (int64_t j = 0; j < out_width; ++j) dot += out[j] * g[r * out_width + j];
      const T sum = row_sum[b * rows + first + r];
      T *s = p + r * keys, *d = dp + r * keys;
      const bool blind = sum == -std::numeric_limits<T>::infinity();
      const int64_t count = keys;
      simd([=] {
        for (int64_t j = 0; j < count; ++j) {
          const T w = blind ? T(0) : math::exp(s[j] - sum);
          s[j] = w;
          d[j] = w * (d[j] - dot);
        }
      });
    }
    cpu::gemm(true, false, keys, out_width, n, T(1), p, keys, g, out_width, T(1),
              dv + b * keys * out_width, out_width);
    cpu::gemm(false, false, n, width, keys, scale, dp, keys, kb, width, T(0),
              dq + (b * rows + first) * width, width);
    cpu::gemm(true, false, keys, width, n, scale, dp, keys, q + (b * rows + first) * width, width,
              T(1), dk + b * keys * width, width);
  }
};

/// Keeps the row-major operands alive while the kernel runs.
template <class T>
struct Prepared {
  Tensor q, k, v, mask;
  Attention<T> a;

  Prepared(Inputs in, const Tensor& given_mask, bool causal, const std::optional<double>& scale)
      : q(detail::as_contiguous(in[0], dtype_of<T>)),
        k(detail::as_contiguous(in[1], dtype_of<T>)),
        v(detail::as_contiguous(in[2], dtype_of<T>)) {
    Shape weights = leading(q.shape());
    const int64_t batch = weights.numel();
    weights.push_back(q.size(-2));
    weights.push_back(k.size(-2));
    a = {batch,    q.size(-2), k.size(-2), q.size(-1), v.size(-1), T(scale_of(scale, q.size(-1))),
         causal,   q.data<T>(), k.data<T>(), v.data<T>(), nullptr, {}, weights};
    if (!given_mask.defined()) return;
    mask = detail::as_contiguous(given_mask, dtype_of<T>);
    if (given_mask.dtype() == boolean) {
      mask = mask.is_same(given_mask) ? tandem::clone(mask) : mask;
      for (T& m : mask.template span<T>())
        m = m != T(0) ? T(0) : -std::numeric_limits<T>::infinity();
    }
    a.mask = mask.data<T>();
    a.mask_strides = broadcast_strides(mask.shape(), mask.strides(), weights);
  }
};

template <class T>
void run_forward(const ScaledDotProductAttention& op, Inputs in, Outputs out) {
  const Prepared<T> ready(in, in.size() > 3 ? in[3] : Tensor(), op.is_causal, op.scale);
  Tensor y = out[0].dtype() == dtype_of<T> ? out[0] : empty(out[0].shape(), dtype_of<T>);
  Tensor sums = out[1].dtype() == dtype_of<T> ? out[1] : empty(out[1].shape(), dtype_of<T>);
  ready.a.forward(y.data<T>(), sums.data<T>());
  if (!y.is_same(out[0])) detail::copy_data(out[0], y);
  if (!sums.is_same(out[1])) detail::copy_data(out[1], sums);
}

template <class T>
void run_backward(const ScaledDotProductAttentionGrad& op, Inputs in, Outputs out) {
  const Prepared<T> ready(in, in.size() > 6 ? in[6] : Tensor(), op.is_causal, op.scale);
  Tensor d[3], rest[3];
  for (size_t i = 0; i < 3; ++i) {
    d[i] = out[i].dtype() == dtype_of<T> ? out[i] : empty(out[i].shape(), dtype_of<T>);
    rest[i] = detail::as_contiguous(in[3 + i], dtype_of<T>);
  }
  ready.a.backward(rest[0].data<T>(), rest[1].data<T>(), rest[2].data<T>(), d[0].data<T>(),
                   d[1].data<T>(), d[2].data<T>());
  for (size_t i = 0; i < 3; ++i)
    if (!d[i].is_same(out[i])) detail::copy_data(out[i], d[i]);
}

}  // namespace

std::array<Spec, 2> ScaledDotProductAttention::infer(Specs in) const {
  check_qkv(*this, in, 3);
  Spec y = in[0], sums = in[0];
  y.shape[y.shape.size() - 1] = in[2].shape.back();
  sums.shape.resize(sums.shape.size() - 1);
  if (sums.dtype != f64) sums.dtype = f32;
  return {y, sums};
}

void ScaledDotProductAttention::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) run_forward<double>(*this, in, out);
  else run_forward<float>(*this, in, out);
}

Tensors ScaledDotProductAttention::vjp(const Saved& s, const Tensors& dy) const {
  const Tensor mask = s.size() > 3 ? s.in(3) : Tensor();
  const double factor = scale_of(scale, s.shape(0).back());
  if (s.needs(3))
    return detail::vjp_through({s.in(0), s.in(1), s.in(2), mask}, {dy[0]}, [&](const Tensors& x) {
      return Tensors{composed(x[0], x[1], x[2], x[3], is_causal, factor)};
    });
  return apply_all(ScaledDotProductAttentionGrad{is_causal, scale},
                   {s.in(0), s.in(1), s.in(2), s.out(0).detach(), s.out(1).detach(), dy[0], mask});
}

Samples<ScaledDotProductAttention> ScaledDotProductAttention::samples() {
  using namespace sample;
  const InputSpec q({2, 3, 5, 4}), k({2, 3, 7, 4}), v({2, 3, 7, 6});
  return {.ok = {{{}, {q, k, v}},
                 {{.is_causal = true}, {{{5, 4}}, {{5, 4}}, {{5, 4}}}},
                 {{.is_causal = false, .scale = 0.3}, {strided({5, 4}), {{7, 4}}, {{7, 2}}}},
                 {{}, {q, k, v, {{3, 5, 7}}}},
                 {{}, {q, k, v, mask({2, 1, 5, 7})}, false},
                 {{}, {{{70, 8}}, {{70, 8}}, {{70, 8}}}, false}},
          .errors = {{{},
                      {{{5, 4}}, {{7, 3}}, {{7, 2}}},
                      "scaled_dot_product_attention(is_causal=false, scale=none): q [5, 4], k "
                      "[7, 3] and v [7, 2] do not fit [..., L, E], [..., S, E], [..., S, V]"}}};
}

std::array<Spec, 3> ScaledDotProductAttentionGrad::infer(Specs in) const {
  check_qkv(*this, in, 6);
  return {in[0], in[1], in[2]};
}

void ScaledDotProductAttentionGrad::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) run_backward<double>(*this, in, out);
  else run_backward<float>(*this, in, out);
}

Tensors ScaledDotProductAttentionGrad::vjp(const Saved& s, const Tensors& g) const {
  const Tensor mask = s.size() > 6 ? s.in(6) : Tensor();
  const double factor = scale_of(scale, s.shape(0).back());
  const Tensors d = detail::vjp_of_gradient(
      {s.in(0), s.in(1), s.in(2)}, {s.in(5)}, g, [&](const Tensors& x) {
        return Tensors{composed(x[0], x[1], x[2], mask, is_causal, factor)};
      });
  return {d[0], d[1], d[2], Tensor(), Tensor(), d[3], Tensor()};
}

Samples<ScaledDotProductAttentionGrad> ScaledDotProductAttentionGrad::samples() {
  const InputSpec q({2, 5, 4}), k({2, 7, 4}), v({2, 7, 6}), y({2, 5, 6});
  return {.ok = {{{}, {q, k, v, y, sample::scaled({2, 5}, 0.1, 4), y}, false}}, .errors = {}};
}

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& attn_mask, double dropout_p, bool is_causal,
                                    std::optional<double> scale) {
  const ScaledDotProductAttention op{is_causal, scale};
  check(dropout_p >= 0 && dropout_p < 1, op, "dropout_p ", dropout_p, " is out of range [0, 1)");
  check(!(is_causal && attn_mask.defined()), op, "is_causal and attn_mask exclude each other");
  if (dropout_p > 0)
    return composed(q, k, v, attn_mask, is_causal, scale_of(scale, q.size(-1)), dropout_p);
  // Leading axes broadcast, as they do in matmul.
  Shape common;
  const bool deep = q.dim() >= 2 && k.dim() >= 2 && v.dim() >= 2;
  if (deep && !(leading(q.shape()) == leading(k.shape()) &&
                leading(q.shape()) == leading(v.shape()))) {
    Shape two;
    const bool fits = broadcast(leading(q.shape()), leading(k.shape()), two) &&
                      broadcast(two, leading(v.shape()), common);
    check<ShapeError>(fits, op, "leading axes of q ", q.shape(), ", k ", k.shape(), " and v ",
                      v.shape(), " do not broadcast");
    auto spread = [&](const Tensor& t) {
      Shape s = common;
      s.push_back(t.size(-2));
      s.push_back(t.size(-1));
      return expand(t, s);
    };
    return apply_all(op, {spread(q), spread(k), spread(v), attn_mask})[0];
  }
  return apply_all(op, {q, k, v, attn_mask})[0];
}

}  // namespace tandem
