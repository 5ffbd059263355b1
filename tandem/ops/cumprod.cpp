#include "tandem/ops/cumprod.h"

#include <algorithm>
#include <vector>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/slice.h"

namespace tandem {

TANDEM_OP(Cumprod)
TANDEM_OP(LinearRecurrence)
namespace {

/// Calls step(place) for each place along the axis in turn, with the rows beside it at once.
template <class F>
void along(const detail::AxisSplit& s, const F& step) {
  cpu::parallel_for(s.outer, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, s.n * s.inner)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t o = begin; o < end; ++o)
                        for (int64_t j = 0; j < s.n; ++j) step((o * s.n + j) * s.inner, j == 0);
                    });
}

/// The numbers moved one place back along the axis, the first of them `first`.
Tensor moved(const Tensor& x, int axis, double first) {
  Shape one = x.shape();
  one[axis] = 1;
  return slice(cat({full(one, first, x.dtype()), x}, axis), axis, 0, x.size(axis));
}

}  // namespace

Spec Cumprod::infer(Specs in) const {
  check_axis(*this, axis, in[0].shape);
  const DType d = in[0].dtype;
  return {in[0].shape, is_floating(d) ? d : i64, in[0].device};
}

void Cumprod::cpu(Inputs in, Outputs out) const {
  const DType d = out[0].dtype();
  const DType compute = d == f16 || d == bf16 ? f32 : d;
  const Tensor x = detail::as_contiguous(in[0], compute);
  const Tensor y = d == compute ? out[0] : empty(out[0].shape(), compute);
  const detail::AxisSplit s(x.shape(), check_axis(*this, axis, x.shape()));
  auto run = [&]<class T, class P>(const T* from, T* to, P) {
    along(s, [&](int64_t at, bool first) {
      for (int64_t i = at; i < at + s.inner; ++i)
        to[i] = first ? from[i] : T(P(to[i - s.inner]) * P(from[i]));
    });
  };
  if (compute == f64) run(x.data<double>(), y.data<double>(), 0.0);
  else if (compute == f32) run(x.data<float>(), y.data<float>(), 0.0f);
  else run(x.data<int64_t>(), y.data<int64_t>(), uint64_t(0));  // wraps around
  if (d != compute) detail::copy_data(out[0], y);
}

/// dx[i] = (product before i) (dy[i] + x[i + 1] (dy[i + 1] + x[i + 2] (...))), right at zeros too.
Tensors Cumprod::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor& x = s.in(0);
  if (x.dim() == 0) return {dy};
  const int a = check_axis(*this, axis, x.shape());
  const Tensor before = moved(cumprod(x, a), a, 1);
  const Tensor behind = flip(moved(flip(x, {a}), a, 0), {a});  // x[i + 1]
  const Tensor sums = flip(linear_recurrence(flip(behind, {a}), flip(dy, {a}), a), {a});
  return {before * sums};
}

Samples<Cumprod> Cumprod::samples() {
  return {.ok = {{{}, {{{5}}}},
                 {{.axis = 1}, {{{3, 5}}}},
                 {{.axis = -2}, {sample::strided({3, 4, 2})}},
                 {{}, {{{}}}},
                 {{.axis = 1}, {{{2, 0}}}},
                 {{.axis = 0}, {sample::listed({6}, {2, 0, 3, -1, 0, 5})}},
                 {{}, {{{70}, i32}}},
                 {{}, {sample::mask({7})}}},
          .errors = {{{.axis = 2},
                      {{{3, 5}}},
                      "cumprod(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"}}};
}

Spec LinearRecurrence::infer(Specs in) const {
  check_axis(*this, axis, in[0].shape);
  check<DTypeError>(is_floating(in[0].dtype) && in[0].dtype == in[1].dtype, *this,
                    "a and b must be floating and of one dtype, got ", in[0].dtype, " and ",
                    in[1].dtype);
  check<ShapeError>(detail::may_equal(in[0].shape, in[1].shape), *this, "shapes ", in[0].shape,
                    " and ", in[1].shape, " differ");
  return in[0];
}

void LinearRecurrence::cpu(Inputs in, Outputs out) const {
  const DType d = out[0].dtype(), compute = d == f64 ? f64 : f32;
  const Tensor a = detail::as_contiguous(in[0], compute), b = detail::as_contiguous(in[1], compute);
  const Tensor y = d == compute ? out[0] : empty(out[0].shape(), compute);
  const detail::AxisSplit s(a.shape(), check_axis(*this, axis, a.shape()));
  auto run = [&]<class T>(const T* p, const T* q, T* to) {
    along(s, [&](int64_t at, bool first) {
      for (int64_t i = at; i < at + s.inner; ++i)
        to[i] = first ? q[i] : p[i] * to[i - s.inner] + q[i];
    });
  };
  if (compute == f64) run(a.data<double>(), b.data<double>(), y.data<double>());
  else run(a.data<float>(), b.data<float>(), y.data<float>());
  if (d != compute) detail::copy_data(out[0], y);
}

/// The gradient runs the other way: db[n] = dy[n] + a[n + 1] db[n + 1], da[n] = db[n] y[n - 1].
Tensors LinearRecurrence::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor& a = s.in(0);
  if (a.dim() == 0) return {zeros_like(dy), dy};
  const int at = check_axis(*this, axis, a.shape());
  const Tensor db = flip(linear_recurrence(moved(flip(a, {at}), at, 0), flip(dy, {at}), at), {at});
  if (!s.needs(0)) return {Tensor(), db};
  // The first a is read by nothing: its gradient is 0, whatever flows there.
  const Tensor next = flip(moved(flip(db, {at}), at, 0), {at});
  return {moved(next * s.out(), at, 0), db};
}

Samples<LinearRecurrence> LinearRecurrence::samples() {
  return {.ok = {{{}, {{{5}}, {{5}}}},
                 {{.axis = 1}, {{{3, 5}}, {{3, 5}}}},
                 {{.axis = -2}, {sample::strided({3, 4, 2}), {{3, 4, 2}}}},
                 {{}, {{{}}, {{}}}},
                 {{.axis = 1}, {{{2, 0}}, {{2, 0}}}}},
          .errors = {{{}, {{{3}}, {{4}}}, "linear_recurrence(axis=0): shapes [3] and [4] differ"},
                     {{},
                      {{{3}, i64}, {{3}}},
                      "linear_recurrence(axis=0): a and b must be floating and of one dtype, got "
                      "i64 and f64"}}};
}

}  // namespace tandem
