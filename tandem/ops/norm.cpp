#include "tandem/ops/norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/partials.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/row_parts.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(LayerNorm)
TANDEM_OP(LayerNormGrad)
TANDEM_OP(GroupNorm)
TANDEM_OP(GroupNormGrad)

namespace {

constexpr int64_t grain = 16384;  // elements
constexpr int64_t lanes_bytes = 128;

/// Partial sums over lanes: nearly the error of pairwise summation, and the loop vectorises.
template <class T, class V>
TANDEM_FN T lane_sum(int64_t n, V value) {
  constexpr int lanes = lanes_bytes / sizeof(T);
  T part[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
#pragma omp simd
    for (int k = 0; k < lanes; ++k) part[k] += value(i + k);
  for (; i < n; ++i) part[i % lanes] += value(i);
  for (int w = lanes / 2; w; w /= 2)
    for (int k = 0; k < w; ++k) part[k] += part[k + w];
  return part[0];
}

template <class T>
struct Moments {
  T mean, rstd;
};
/// In double: for rows whose squares are too large for floats, and those that are not finite.
[[gnu::noinline]] Moments<float> wide_moments(const float* x, int64_t n, double eps) {
  double mean = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) mean += double(x[i]) / double(n);
  for (int64_t i = 0; i < n; ++i) squares += (double(x[i]) - mean) * (double(x[i]) - mean);
  return {float(mean), float(1 / std::sqrt(squares / double(n) + eps))};
}
/// Two passes over a row that lies in cache: exact for means far from zero.
template <class T>
TANDEM_FN Moments<T> moments(const T* x, int64_t n, double eps) {
  const T mean = lane_sum<T>(n, [=](int64_t i) { return x[i]; }) / T(n);
  const T var = lane_sum<T>(n,
                            [=](int64_t i) {
                              const T d = x[i] - mean;
                              return d * d;
                            }) /
                T(n);
  if constexpr (sizeof(T) == 4)
    if (!(var - var == 0)) [[unlikely]]
      return wide_moments(x, n, eps);
  return {mean, T(1 / std::sqrt(double(var) + eps))};
}

/// Optional parameters in the compute type; null when absent.
template <class T>
struct Parameter {
  Tensor kept;
  const T* p = nullptr;
  Parameter(Inputs in, size_t i) {
    if (i >= in.size() || !in[i].defined()) return;
    kept = detail::as_contiguous(in[i], dtype_of<T>);
    p = kept.data<T>();
  }
};

/// The result in the compute type, copied to its own at the end.
template <class T>
struct Result {
  Tensor to, kept;
  explicit Result(const Tensor& out)
      : to(out), kept(out.dtype() == dtype_of<T> ? out : empty(out.shape(), dtype_of<T>)) {}
  T* data() const { return kept.data<T>(); }
  void finish() const {
    if (!kept.is_same(to)) detail::copy_data(to, kept);
  }
};

/// The sums of `blocks` partial rows of n, in order: the same for any number of threads.
template <class T>
void sum_blocks(const T* partial, int64_t blocks, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = 0;
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t i = 0; i < n; ++i) out[i] += partial[b * n + i];
}

template <class O>
void check_affine(const O& op, Specs in, int i, std::string_view what, const Shape& want) {
  if (!in.has(i)) return;
  check<ShapeError>(detail::may_equal(in[i].shape, want), op, what, " has shape ", in[i].shape,
                    ", not ", want);
  check<DTypeError>(is_floating(in[i].dtype), op, what, " is ", in[i].dtype,
                    ", it must be floating");
}

template <class O>
void check_dy(const O& op, Specs in) {
  check<ShapeError>(detail::may_equal(in[1].shape, in[0].shape), op, "x has shape ", in[0].shape,
                    " and dy ", in[1].shape, "; they must be equal");
}

DType compute_type(DType d) { return d == f64 ? f64 : f32; }

// --- layer_norm ----------------------------------------------------------------------------------

template <class O>
void check_layer_norm(const O& op, const Spec& x) {
  check<DTypeError>(is_floating(x.dtype), op, "x is ", x.dtype, ", it must be floating");
  const Shape& s = op.normalized_shape;
  const int extra = x.shape.size() - s.size();
  bool ends = !s.empty() && extra >= 0;
  for (int i = 0; ends && i < s.size(); ++i) ends = detail::may_equal(x.shape[extra + i], s[i]);
  check<ShapeError>(ends, op, "x of shape ", x.shape, " does not end in ", s);
}

template <class T>
void layer_forward(const LayerNorm& op, Inputs in, const Tensor& out) {
  const int64_t n = op.normalized_shape.numel(), rows = out.numel() / n;
  const Tensor kept = detail::as_contiguous(in[0], dtype_of<T>);
  const Result<T> result(out);
  const Parameter<T> weight(in, 1), bias(in, 2);
  const T *x = kept.data<T>(), *w = weight.p, *b = bias.p;
  T* y = result.data();
  cpu::parallel_for(rows, std::max<int64_t>(1, grain / n), [&](int64_t begin, int64_t end) {
    simd([&] {
      for (int64_t r = begin; r < end; ++r) {
        const T* xr = x + r * n;
        T* yr = y + r * n;
        const Moments<T> m = moments(xr, n, op.eps);
        const CpuTeam team;
        if (w && b)
          team.each(n, [=](int64_t i) { yr[i] = (xr[i] - m.mean) * m.rstd * w[i] + b[i]; });
        else if (w) team.each(n, [=](int64_t i) { yr[i] = (xr[i] - m.mean) * m.rstd * w[i]; });
        else if (b) team.each(n, [=](int64_t i) { yr[i] = (xr[i] - m.mean) * m.rstd + b[i]; });
        else team.each(n, [=](int64_t i) { yr[i] = (xr[i] - m.mean) * m.rstd; });
      }
    });
  });
  result.finish();
}

template <class T>
void layer_backward_rows(double eps, int64_t n, int64_t rows, const T* x, const T* g, const T* w,
                         T* dx, T* dw, T* db) {
  simd([=] {
    for (int64_t r = 0; r < rows; ++r) {
      const T *xr = x + r * n, *gr = g + r * n;
      T* dr = dx + r * n;
      const Moments<T> m = moments(xr, n, eps);
      T c1, c2;
      if (w) {
        c1 = lane_sum<T>(n, [=](int64_t i) { return gr[i] * w[i]; });
        c2 = lane_sum<T>(n, [=](int64_t i) { return gr[i] * w[i] * (xr[i] - m.mean); });
      } else {
        c1 = lane_sum<T>(n, [=](int64_t i) { return gr[i]; });
        c2 = lane_sum<T>(n, [=](int64_t i) { return gr[i] * (xr[i] - m.mean); });
      }
      c1 /= T(n);
      c2 *= m.rstd / T(n);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const T hat = (xr[i] - m.mean) * m.rstd;
        dw[i] += gr[i] * hat;
        db[i] += gr[i];
        dr[i] = m.rstd * ((w ? gr[i] * w[i] : gr[i]) - c1 - hat * c2);
      }
    }
  });
}

template <class T>
void layer_backward(const LayerNormGrad& op, Inputs in, Outputs out) {
  const int64_t n = op.normalized_shape.numel(), rows = n ? int64_t(out[0].numel()) / n : 0;
  const Tensor x_kept = detail::as_contiguous(in[0], dtype_of<T>);
  const Tensor g_kept = detail::as_contiguous(in[1], dtype_of<T>);
  const Result<T> dx_result(out[0]), dw_result(out[1]), db_result(out[2]);
  const Parameter<T> weight(in, 2);
  const T *x = x_kept.data<T>(), *g = g_kept.data<T>();
  T* dx = dx_result.data();
  const int64_t blocks = detail::layer_norm_grad_parts(rows, n);
  const Tensor partial = empty({2, blocks, n}, dtype_of<T>);
  T *dw = partial.data<T>(), *db = dw + blocks * n;
  cpu::parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) {
      T *dwk = dw + k * n, *dbk = db + k * n;
      for (int64_t i = 0; i < n; ++i) dwk[i] = dbk[i] = 0;
      const int64_t begin = rows * k / blocks, end = rows * (k + 1) / blocks;
      layer_backward_rows(op.eps, n, end - begin, x + begin * n, g + begin * n, weight.p,
                          dx + begin * n, dwk, dbk);
    }
  });
  sum_blocks(dw, blocks, n, dw_result.data());
  sum_blocks(db, blocks, n, db_result.data());
  dx_result.finish();
  dw_result.finish();
  db_result.finish();
}

// --- group_norm ----------------------------------------------------------------------------------

template <class O>
void check_group_norm(const O& op, const Spec& x) {
  check<DTypeError>(is_floating(x.dtype), op, "x is ", x.dtype, ", it must be floating");
  check<ShapeError>(x.shape.size() >= 2, op, "x has shape ", x.shape,
                    "; it needs at least 2 axes, channels on axis 1");
  check(op.num_groups >= 1 && detail::may_equal(x.shape[1] % op.num_groups, 0), op, "x of shape ",
        x.shape, ": ", x.shape[1], " channels are not a multiple of num_groups");
}

template <class N>
struct GroupsOf {
  N n, groups, channels, inner;  ///< channels of a group
  GroupsOf(const Shape& x, int64_t groups) : n(x[0]), groups(groups), channels(x[1] / groups) {
    inner = 1;
    for (int i = 2; i < x.size(); ++i) inner *= x[i];
  }
  N size() const { return channels * inner; }
};
using Groups = GroupsOf<int64_t>;

template <class T>
void group_forward(const GroupNorm& op, Inputs in, const Tensor& out) {
  const Groups l(out.shape(), op.num_groups);
  const Tensor kept = detail::as_contiguous(in[0], dtype_of<T>);
  const Result<T> result(out);
  const Parameter<T> weight(in, 1), bias(in, 2);
  const T *x = kept.data<T>(), *w = weight.p, *b = bias.p;
  T* y = result.data();
  const int64_t size = l.size();
  cpu::parallel_for(l.n * l.groups, std::max<int64_t>(1, grain / size),
                    [&](int64_t begin, int64_t end) {
                      simd([&] {
                        for (int64_t r = begin; r < end; ++r) {
                          const Moments<T> m = moments(x + r * size, size, op.eps);
                          for (int64_t k = 0; k < l.channels; ++k) {
                            const int64_t c = r % l.groups * l.channels + k;
                            const T* xr = x + r * size + k * l.inner;
                            T* yr = y + r * size + k * l.inner;
                            const T scale = w ? m.rstd * w[c] : m.rstd, shift = b ? b[c] : T(0);
#pragma omp simd
                            for (int64_t i = 0; i < l.inner; ++i)
                              yr[i] = (xr[i] - m.mean) * scale + shift;
                          }
                        }
                      });
                    });
  result.finish();
}

template <class T>
void group_backward(const GroupNormGrad& op, Inputs in, Outputs out) {
  const Groups l(out[0].shape(), op.num_groups);
  const int64_t size = l.size(), all = l.groups * l.channels;
  const Tensor x_kept = detail::as_contiguous(in[0], dtype_of<T>);
  const Tensor g_kept = detail::as_contiguous(in[1], dtype_of<T>);
  const Result<T> dx_result(out[0]), dw_result(out[1]), db_result(out[2]);
  const Parameter<T> weight(in, 2);
  const T *x = x_kept.data<T>(), *g = g_kept.data<T>(), *w = weight.p;
  T* dx = dx_result.data();
  const Tensor partial = empty({2, l.n, all}, dtype_of<T>);
  T *dw = partial.data<T>(), *db = dw + l.n * all;
  cpu::parallel_for(l.n * l.groups, std::max<int64_t>(1, grain / std::max<int64_t>(1, size)),
                    [&](int64_t begin, int64_t end) {
                      simd([&] {
                        for (int64_t r = begin; r < end; ++r) {
                          const Moments<T> m = moments(x + r * size, size, op.eps);
                          T c1 = 0, c2 = 0;
                          for (int64_t k = 0; k < l.channels; ++k) {
                            const int64_t at = r * l.channels + k;
                            const T *xr = x + at * l.inner, *gr = g + at * l.inner;
                            const T wc = w ? w[at % all] : T(1);
                            const T s1 = lane_sum<T>(l.inner, [=](int64_t i) { return gr[i]; });
                            const T s2 = lane_sum<T>(
                                l.inner, [=](int64_t i) { return gr[i] * (xr[i] - m.mean); });
                            db[at] = s1;
                            dw[at] = s2 * m.rstd;
                            c1 += wc * s1;
                            c2 += wc * dw[at];
                          }
                          c1 /= T(size);
                          c2 /= T(size);
                          for (int64_t k = 0; k < l.channels; ++k) {
                            const int64_t at = r * l.channels + k;
                            const T *xr = x + at * l.inner, *gr = g + at * l.inner;
                            T* dr = dx + at * l.inner;
                            const T wc = w ? w[at % all] : T(1);
#pragma omp simd
                            for (int64_t i = 0; i < l.inner; ++i)
                              dr[i] = m.rstd * (gr[i] * wc - c1 - (xr[i] - m.mean) * m.rstd * c2);
                          }
                        }
                      });
                    });
  sum_blocks(dw, l.n, all, dw_result.data());
  sum_blocks(db, l.n, all, db_result.data());
  dx_result.finish();
  dw_result.finish();
  db_result.finish();
}

/// The gradients of y = (x - mean) rstd weight + bias in public ops. `rows` is x as [rows, n].
Tensor norm_input_gradient(const Tensor& rows, const Tensor& weighted, double eps, Tensor& hat) {
  const Tensor centered = rows - mean(rows, {1}, true);
  const Tensor rstd = rsqrt(mean(centered * centered, {1}, true) + Tensor(eps));
  hat = centered * rstd;
  return rstd * (weighted - mean(weighted, {1}, true) - hat * mean(weighted * hat, {1}, true));
}

}  // namespace

namespace detail {

int64_t layer_norm_grad_parts(int64_t rows, int64_t n) {
  return std::clamp<int64_t>(rows * n / grain, 1, std::clamp<int64_t>(rows, 1, 64));
}

void layer_norm_grad_rows(const LayerNormGrad& op, DType dtype, int64_t rows, const void* x,
                          const void* dy, const void* weight, void* dx, void* dweight,
                          void* dbias) {
  const int64_t n = op.normalized_shape.numel();
  auto run = [&]<class T>() {
    layer_backward_rows(op.eps, n, rows, static_cast<const T*>(x), static_cast<const T*>(dy),
                        static_cast<const T*>(weight), static_cast<T*>(dx),
                        static_cast<T*>(dweight), static_cast<T*>(dbias));
  };
  if (dtype == f64) run.template operator()<double>();
  else run.template operator()<float>();
}

void layer_norm_grad_sum(DType dtype, const void* sums, int64_t parts, int64_t n, void* out) {
  if (dtype == f64)
    sum_blocks(static_cast<const double*>(sums), parts, n, static_cast<double*>(out));
  else sum_blocks(static_cast<const float*>(sums), parts, n, static_cast<float*>(out));
}

}  // namespace detail

Spec LayerNorm::infer(Specs in) const {
  check_layer_norm(*this, in[0]);
  check_affine(*this, in, 1, "weight", normalized_shape);
  check_affine(*this, in, 2, "bias", normalized_shape);
  return in[0];
}

void LayerNorm::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  if (in[0].dtype() == f64) layer_forward<double>(*this, in, out[0]);
  else layer_forward<float>(*this, in, out[0]);
}

Tensors LayerNorm::vjp(const Saved& s, const Tensor& dy) const {
  return apply_all(LayerNormGrad{normalized_shape, eps}, {s.in(0), dy, s.in(1)});
}

Samples<LayerNorm> LayerNorm::samples() {
  const InputSpec none = sample::absent();
  return {.ok = {{{.normalized_shape = {5}}, {{{3, 5}}, {{5}}, {{5}}}},
                 {{.normalized_shape = {3, 4}, .eps = 0.01}, {{{2, 3, 4}}, {{3, 4}}, none}},
                 {{.normalized_shape = {70}}, {{{2, 2, 70}}, none, {{70}}}},
                 {{.normalized_shape = {6}}, {{{6}}, none, none}},
                 {{.normalized_shape = {4}}, {sample::strided({3, 4}), {{4}}, {{4}}}},
                 {{.normalized_shape = {4}}, {{{0, 4}}, {{4}}, {{4}}}},
                 {{.normalized_shape = {40}}, {sample::scaled({3, 40}, 1, 30), none, none}, false}},
          .errors = {{{.normalized_shape = {4}},
                      {{{3, 5}}, none, none},
                      "layer_norm(normalized_shape=[4], eps=1e-05): x of shape [3, 5] does not end "
                      "in [4]"},
                     {{.normalized_shape = {5}},
                      {{{3, 5}}, {{3}}, none},
                      "layer_norm(normalized_shape=[5], eps=1e-05): weight has shape [3], not "
                      "[5]"}}};
}

std::array<Spec, 3> LayerNormGrad::infer(Specs in) const {
  check_layer_norm(*this, in[0]);
  check_dy(*this, in);
  check_affine(*this, in, 2, "weight", normalized_shape);
  const Spec w{normalized_shape, in.has(2) ? in[2].dtype : in[0].dtype, in[0].device};
  return {in[0], w, w};
}

void LayerNormGrad::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) layer_backward<double>(*this, in, out);
  else layer_backward<float>(*this, in, out);
}

Tensors LayerNormGrad::vjp(const Saved& s, const Tensors& g) const {
  const Shape shape = s.shape(0);
  const DType d = compute_type(s.spec(0).dtype);
  const Length n = normalized_shape.numel();
  const Shape flat{shape.numel() / max(1, n), n};
  return detail::vjp_through({s.in(0), s.in(1), s.in(2)}, g, [&](const Tensors& v) {
    const Tensor rows = reshape(cast(v[0], d), flat), dy = reshape(cast(v[1], d), flat);
    const Tensor weighted = v[2].defined() ? dy * cast(reshape(v[2], {n}), d) : dy;
    Tensor hat;
    const Tensor dx = norm_input_gradient(rows, weighted, eps, hat);
    return Tensors{cast(reshape(dx, shape), g[0].dtype()),
                   cast(reshape(sum(dy * hat, {0}), normalized_shape), g[1].dtype()),
                   cast(reshape(sum(dy, {0}), normalized_shape), g[2].dtype())};
  });
}

Samples<LayerNormGrad> LayerNormGrad::samples() {
  return {.ok = {{{.normalized_shape = {5}}, {{{3, 5}}, {{3, 5}}, {{5}}}},
                 {{.normalized_shape = {3, 4}}, {{{2, 3, 4}}, {{2, 3, 4}}, sample::absent()}},
                 {{.normalized_shape = {40}}, {{{7, 40}}, sample::strided({7, 40}), {{40}}}}},
          .errors = {{{.normalized_shape = {5}},
                      {{{3, 5}}, {{2, 5}}, sample::absent()},
                      "layer_norm_grad(normalized_shape=[5], eps=1e-05): x has shape [3, 5] and "
                      "dy [2, 5]; they must be equal"}}};
}

Spec GroupNorm::infer(Specs in) const {
  check_group_norm(*this, in[0]);
  check_affine(*this, in, 1, "weight", {in[0].shape[1]});
  check_affine(*this, in, 2, "bias", {in[0].shape[1]});
  return in[0];
}

void GroupNorm::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  if (in[0].dtype() == f64) group_forward<double>(*this, in, out[0]);
  else group_forward<float>(*this, in, out[0]);
}

Tensors GroupNorm::vjp(const Saved& s, const Tensor& dy) const {
  return apply_all(GroupNormGrad{num_groups, eps}, {s.in(0), dy, s.in(1)});
}

Samples<GroupNorm> GroupNorm::samples() {
  const InputSpec none = sample::absent();
  const std::string op = "group_norm(num_groups=2, eps=1e-05): ";
  return {.ok = {{{.num_groups = 2}, {{{3, 4, 5}}, {{4}}, {{4}}}},
                 {{.num_groups = 3, .eps = 0.01}, {{{2, 6, 2, 3}}, {{6}}, none}},
                 {{.num_groups = 1}, {{{2, 6}}, none, {{6}}}},
                 {{.num_groups = 4}, {{{2, 4, 9}}, none, none}},
                 {{.num_groups = 2}, {sample::strided({2, 4, 3}), {{4}}, {{4}}}},
                 {{.num_groups = 2}, {{{0, 4, 3}}, {{4}}, {{4}}}}},
          .errors = {{{.num_groups = 2},
                      {{{3, 5, 2}}, none, none},
                      op + "x of shape [3, 5, 2]: 5 channels are not a multiple of num_groups"},
                     {{.num_groups = 2},
                      {{{4}}, none, none},
                      op + "x has shape [4]; it needs at least 2 axes, channels on axis 1"}}};
}

std::array<Spec, 3> GroupNormGrad::infer(Specs in) const {
  check_group_norm(*this, in[0]);
  check_dy(*this, in);
  check_affine(*this, in, 2, "weight", {in[0].shape[1]});
  const Spec w{{in[0].shape[1]}, in.has(2) ? in[2].dtype : in[0].dtype, in[0].device};
  return {in[0], w, w};
}

void GroupNormGrad::cpu(Inputs in, Outputs out) const {
  if (in[0].dtype() == f64) group_backward<double>(*this, in, out);
  else group_backward<float>(*this, in, out);
}

Tensors GroupNormGrad::vjp(const Saved& s, const Tensors& g) const {
  const Shape shape = s.shape(0);
  const DType d = compute_type(s.spec(0).dtype);
  const GroupsOf<Length> l(shape, num_groups);
  const Shape by_channel{l.n, shape[1], l.inner}, by_group{l.n * l.groups, l.size()};
  return detail::vjp_through({s.in(0), s.in(1), s.in(2)}, g, [&](const Tensors& v) {
    const Tensor dy = reshape(cast(v[1], d), by_channel);
    const Tensor weighted = v[2].defined() ? dy * cast(reshape(v[2], {shape[1], 1}), d) : dy;
    Tensor hat;
    const Tensor dx = norm_input_gradient(reshape(cast(v[0], d), by_group),
                                          reshape(weighted, by_group), eps, hat);
    return Tensors{cast(reshape(dx, shape), g[0].dtype()),
                   cast(sum(dy * reshape(hat, by_channel), {0, 2}), g[1].dtype()),
                   cast(sum(dy, {0, 2}), g[2].dtype())};
  });
}

Samples<GroupNormGrad> GroupNormGrad::samples() {
  return {.ok = {{{.num_groups = 2}, {{{3, 4, 5}}, {{3, 4, 5}}, {{4}}}},
                 {{.num_groups = 3}, {{{2, 6, 2, 3}}, {{2, 6, 2, 3}}, sample::absent()}}},
          .errors = {{{.num_groups = 2},
                      {{{3, 4}}, {{2, 4}}, sample::absent()},
                      "group_norm_grad(num_groups=2, eps=1e-05): x has shape [3, 4] and dy "
                      "[2, 4]; they must be equal"}}};
}

}  // namespace tandem
