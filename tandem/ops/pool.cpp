#include "tandem/ops/pool.h"

#include <algorithm>
#include <limits>

#include "tandem/backend/cpu/pool.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/reshape.h"

namespace tandem {

TANDEM_OP(MaxPool2d)
TANDEM_OP(MaxPool2dGrad)
TANDEM_OP(AvgPool2d)
TANDEM_OP(AvgPool2dGrad)
TANDEM_OP(AdaptiveAvgPool2d)
TANDEM_OP(AdaptiveAvgPool2dGrad)

namespace {

Length along(const Shape& s, int i) { return s[s.size() == 1 ? 0 : i]; }
const Shape& stride_of(const Shape& stride, const Shape& kernel) {
  return stride.empty() ? kernel : stride;
}
template <class O>
Length dilation_of(const O& op, int i) {
  if constexpr (requires { op.dilation; }) return along(op.dilation, i);
  else return 1;
}

template <class O>
void check_pair(const O& op, std::string_view what, const Shape& s, int64_t least) {
  check(s.size() == 1 || s.size() == 2, op, what, " takes one number or 2");
  for (Length v : s) check(detail::may_fit(least, v), op, what, " must be at least ", least);
}
template <class O>
void check_planes(const O& op, std::string_view what, const Spec& x) {
  check<ShapeError>(x.shape.size() == 3 || x.shape.size() == 4, op, what, " has shape ", x.shape,
                    "; it needs 3 or 4 axes");
  check<DTypeError>(x.dtype != boolean, op, "booleans have no windows; cast them");
}

/// The size along `axis` after pooling; PyTorch's rule: no window starts in the padding beyond.
Length pooled(Length size, Length kernel, Length stride, Length padding, Length dilation,
              bool ceil_mode) {
  const Length room = size + 2 * padding - dilation * (kernel - 1) - 1;
  if (!ceil_mode) return detail::must_be_less(room, 0) ? Length(0) : room / stride + 1;
  if (detail::must_be_less(room + stride - 1, 0)) return 0;
  // The last window must start before the end of x and the padding in front.
  return min((room + stride - 1) / stride + 1, (size + padding + stride - 1) / stride);
}

template <class O>
Shape pooled_shape(const O& op, const Shape& x) {
  check_pair(op, "kernel_size", op.kernel_size, 1);
  if (!op.stride.empty()) check_pair(op, "stride", op.stride, 1);
  check_pair(op, "padding", op.padding, 0);
  if constexpr (requires { op.dilation; }) check_pair(op, "dilation", op.dilation, 1);
  Shape out = x;
  for (int i = 0; i < 2; ++i) {
    const int at = x.size() - 2 + i;
    const Length k = along(op.kernel_size, i), p = along(op.padding, i), d = dilation_of(op, i);
    check(2 * p <= d * (k - 1) + 1, op, "padding must be at most half of the kernel's reach");
    out[at] = pooled(x[at], k, along(stride_of(op.stride, op.kernel_size), i), p, d, op.ceil_mode);
    check<ShapeError>(detail::may_be_less(0, out[at]), op, "a window reaches over ",
                      d * (k - 1) + 1, " elements of axis ", at, ", the padded x of shape ", x,
                      " has ", x[at] + 2 * p);
  }
  return out;
}

template <class O>
cpu::PoolShape pool_shape(const O& op, const Shape& x, const Shape& y) {
  const int n = x.size();
  const Shape& s = stride_of(op.stride, op.kernel_size);
  cpu::PoolShape p{1,
                   x[n - 2],
                   x[n - 1],
                   y[n - 2],
                   y[n - 1],
                   along(op.kernel_size, 0),
                   along(op.kernel_size, 1)};
  for (int i = 0; i < n - 2; ++i) p.planes *= x[i];
  p.stride_h = along(s, 0), p.stride_w = along(s, 1);
  p.pad_h = along(op.padding, 0), p.pad_w = along(op.padding, 1);
  p.dil_h = dilation_of(op, 0), p.dil_w = dilation_of(op, 1);
  return p;
}

/// Calls f<T>(input, result) with row-major memory of T, and brings the result into its own type.
template <class T, class F>
void compute_as(const Tensor& in, const Tensor& out, F&& f) {
  const DType d = dtype_of<T>;
  const Tensor x = detail::as_contiguous(in, d);
  const Tensor y = out.dtype() == d ? out : empty(out.shape(), d);
  f.template operator()<T>(x.data<T>(), y.data<T>());
  if (!y.is_same(out)) detail::copy_data(out, y);
}

/// T is the compute type; gradients are never of integers.
template <class F>
void compute(const Tensor& in, const Tensor& out, F&& f) {
  if (in.dtype() == f64) compute_as<double>(in, out, f);
  else if (is_floating(in.dtype())) compute_as<float>(in, out, f);
  else compute_as<int64_t>(in, out, f);
}
template <class F>
void compute_gradient(const Tensor& in, const Tensor& out, F&& f) {
  if (in.dtype() == f64) compute_as<double>(in, out, f);
  else compute_as<float>(in, out, f);
}

Shape plane_size(const Shape& s) { return {s[s.size() - 2], s[s.size() - 1]}; }

/// dy's shape with planes of `size`.
template <class O>
Spec grad_spec(const O& op, Specs in) {
  check_planes(op, "dy", in[0]);
  check<DTypeError>(is_floating(in[0].dtype), op, "dy is ", in[0].dtype, ", it must be floating");
  check_pair(op, "size", op.size, 1);
  Spec out = in[0];
  for (int i = 0; i < 2; ++i) out.shape[out.shape.size() - 2 + i] = along(op.size, i);
  return out;
}

}  // namespace

std::array<Spec, 2> MaxPool2d::infer(Specs in) const {
  check_planes(*this, "x", in[0]);
  const Shape y = pooled_shape(*this, in[0].shape);
  return {Spec{y, in[0].dtype, in[0].device}, Spec{y, i64, in[0].device}};
}

void MaxPool2d::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const cpu::PoolShape s = pool_shape(*this, in[0].shape(), out[0].shape());
  int64_t* const indices = out[1].data<int64_t>();
  compute(in[0], out[0], [&]<class T>(const T* x, T* y) { cpu::max_pool2d<T>(s, x, y, indices); });
  if (is_floating(in[0].dtype())) return;
  // The least i64 of a window without elements is not the least number of a smaller type.
  visit(out[0].dtype(), [&]<class T>() {
    T* to = static_cast<T*>(out[0].raw_data());
    for (int64_t i = 0; i < out[0].numel(); ++i)
      if (indices[i] < 0) to[i] = std::numeric_limits<T>::lowest();
  });
}

Tensors MaxPool2d::vjp(const Saved& s, const Tensors& dy) const {
  return {apply(MaxPool2dGrad{plane_size(s.shape(0))}, {dy[0], s.out(1)})};
}

Samples<MaxPool2d> MaxPool2d::samples() {
  using sample::distinct;
  const std::string end = ", padding=[0], dilation=[1], ceil_mode=false): ";
  return {
      .ok = {{{.kernel_size = {2}}, {distinct({2, 3, 4, 6})}},
             {{.kernel_size = {3, 2}, .stride = {2, 1}, .padding = {1, 0}},
              {distinct({1, 2, 5, 4})}},
             {{.kernel_size = {2}, .stride = {1}, .dilation = {2}}, {distinct({2, 5, 4})}},
             {{.kernel_size = {3}, .stride = {2}, .padding = {1}, .ceil_mode = true},
              {distinct({1, 2, 6, 7})}},
             {{.kernel_size = {2}}, {sample::strided({2, 4, 4})}, false},
             {{.kernel_size = {2}}, {distinct({0, 3, 4, 4})}},
             {{.kernel_size = {2}}, {distinct({1, 1, 4, 4}, i64)}},
             {{.kernel_size = {3}, .stride = {1}},
              {sample::listed({1, 1, 4, 5}, {1, 2, 2, 1, NAN, 0, 2, -INFINITY, 1, 1, INFINITY})},
              false},
             {{.kernel_size = {4}, .ceil_mode = true}, {distinct({1, 2, 3, 2})}}},
      .errors = {{{.kernel_size = {3}},
                  {{{1, 1, 2, 5}}},
                  "max_pool2d(kernel_size=[3], stride=[]" + end +
                      "a window reaches over 3 elements of axis 2, the padded x of shape "
                      "[1, 1, 2, 5] has 2"},
                 {{.kernel_size = {2}},
                  {{{4, 4}}},
                  "max_pool2d(kernel_size=[2], stride=[]" + end +
                      "x has shape [4, 4]; it needs 3 or 4 axes"},
                 {{.kernel_size = {2}, .padding = {2}},
                  {{{1, 1, 4, 4}}},
                  "max_pool2d(kernel_size=[2], stride=[], padding=[2], dilation=[1], "
                  "ceil_mode=false): padding must be at most half of the kernel's reach"}}};
}

Spec MaxPool2dGrad::infer(Specs in) const {
  check<ShapeError>(detail::may_equal(in[0].shape, in[1].shape), *this, "dy has shape ",
                    in[0].shape, " and indices ", in[1].shape, "; they must be equal");
  check<DTypeError>(in[1].dtype == i64, *this, "indices are ", in[1].dtype, ", not i64");
  return grad_spec(*this, in);
}

void MaxPool2dGrad::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const Shape &y = in[0].shape(), &x = out[0].shape();
  const int n = x.size();
  const Tensor indices = detail::as_contiguous(in[1]);
  const int64_t* at = indices.data<int64_t>();
  const int64_t plane = x[n - 2] * x[n - 1];
  cpu::PoolShape s{out[0].numel() / plane, x[n - 2], x[n - 1], y[n - 2], y[n - 1], 1, 1};
  int64_t bad = -1;
  compute_gradient(in[0], out[0], [&]<class T>(const T* dy, T* dx) {
    bad = cpu::max_pool2d_backward<T>(s, dy, at, dx);
  });
  check<IndexError>(bad < 0, *this, "index ", at[std::max<int64_t>(bad, 0)],
                    " is out of range [0, ", plane - 1, "]");
}

Tensors MaxPool2dGrad::vjp(const Saved& s, const Tensor& g) const {
  const Tensor& at = s.in(1);
  const Tensor inside = clamp(at, 0);
  const Tensor picked = gather(flatten(g, -2, -1), -1, flatten(inside, -2, -1));
  return {masked_fill(reshape(picked, at.shape()), at < 0, 0.0), {}};
}

Samples<MaxPool2dGrad> MaxPool2dGrad::samples() {
  return {.ok = {{{.size = {4, 5}}, {{{2, 3, 2, 2}}, sample::index({2, 3, 2, 2}, 20)}},
                 {{.size = {1, 3}}, {{{1, 2, 2}}, sample::listed({1, 2, 2}, {-1, 2, 0, -1}, i64)}},
                 {{.size = {4}}, {{{3, 2, 2}}, sample::index({3, 2, 2}, 16)}}},
          .errors = {{{.size = {2}},
                      {{{1, 1, 1, 1}}, sample::listed({1, 1, 1, 1}, {4}, i64)},
                      "max_pool2d_grad(size=[2]): index 4 is out of range [0, 3]"},
                     {{.size = {2}},
                      {{{1, 2, 1}}, sample::index({1, 1, 1}, 4)},
                      "max_pool2d_grad(size=[2]): dy has shape [1, 2, 1] and indices [1, 1, 1]; "
                      "they must be equal"}}};
}

Spec AvgPool2d::infer(Specs in) const {
  check_planes(*this, "x", in[0]);
  check(divisor_override != 0, *this, "divisor_override must not be zero");
  return {pooled_shape(*this, in[0].shape), in[0].dtype, in[0].device};
}

void AvgPool2d::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const cpu::PoolShape s = pool_shape(*this, in[0].shape(), out[0].shape());
  compute(in[0], out[0], [&]<class T>(const T* x, T* y) {
    cpu::avg_pool2d<T>(s, count_include_pad, divisor_override.value_or(0), x, y);
  });
}

Tensors AvgPool2d::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(AvgPool2dGrad{plane_size(s.shape(0)), kernel_size, stride, padding, ceil_mode,
                              count_include_pad, divisor_override},
                {dy})};
}

Samples<AvgPool2d> AvgPool2d::samples() {
  return {.ok = {{{.kernel_size = {2}}, {{{2, 3, 4, 6}}}},
                 {{.kernel_size = {3, 2}, .stride = {2, 1}, .padding = {1, 0}}, {{{1, 2, 5, 4}}}},
                 {{.kernel_size = {3}, .stride = {2}, .padding = {1}, .ceil_mode = true},
                  {{{1, 2, 6, 7}}}},
                 {{.kernel_size = {3},
                   .stride = {2},
                   .padding = {1},
                   .ceil_mode = true,
                   .count_include_pad = false},
                  {{{2, 6, 7}}}},
                 {{.kernel_size = {2}, .stride = {1}, .divisor_override = 3}, {{{2, 4, 4}}}},
                 {{.kernel_size = {2}}, {sample::strided({2, 4, 4})}},
                 {{.kernel_size = {2}}, {{{0, 3, 4, 4}}}}},
          .errors = {{{.kernel_size = {2}, .divisor_override = 0},
                      {{{1, 1, 4, 4}}},
                      "avg_pool2d(kernel_size=[2], stride=[], padding=[0], ceil_mode=false, "
                      "count_include_pad=true, divisor_override=0): divisor_override must not be "
                      "zero"}}};
}

Spec AvgPool2dGrad::infer(Specs in) const {
  const Spec out = grad_spec(*this, in);
  const Shape y = pooled_shape(*this, out.shape);
  check<ShapeError>(detail::may_equal(y, in[0].shape), *this, "planes of ", size,
                    " give a result of shape ", y, ", dy has ", in[0].shape);
  return out;
}

void AvgPool2dGrad::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const cpu::PoolShape s = pool_shape(*this, out[0].shape(), in[0].shape());
  compute_gradient(in[0], out[0], [&]<class T>(const T* dy, T* dx) {
    cpu::avg_pool2d_backward<T>(s, count_include_pad, divisor_override.value_or(0), dy, dx);
  });
}

Tensors AvgPool2dGrad::vjp(const Saved&, const Tensor& g) const {
  return {
      apply(AvgPool2d{kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override},
            {g})};
}

Samples<AvgPool2dGrad> AvgPool2dGrad::samples() {
  return {.ok = {{{.size = {4, 6}, .kernel_size = {2}}, {{{2, 3, 2, 3}}}},
                 {{.size = {6, 7},
                   .kernel_size = {3},
                   .stride = {2},
                   .padding = {1},
                   .ceil_mode = true,
                   .count_include_pad = false},
                  {{{2, 4, 4}}}}},
          .errors = {{{.size = {4}, .kernel_size = {2}},
                      {{{1, 1, 3, 3}}},
                      "avg_pool2d_grad(size=[4], kernel_size=[2], stride=[], padding=[0], "
                      "ceil_mode=false, count_include_pad=true, divisor_override=none): planes of "
                      "[4] give a result of shape [1, 1, 2, 2], dy has [1, 1, 3, 3]"}}};
}

Spec AdaptiveAvgPool2d::infer(Specs in) const {
  check_planes(*this, "x", in[0]);
  check_pair(*this, "output_size", output_size, -1);
  Spec out = in[0];
  for (int i = 0; i < 2; ++i) {
    Length& to = out.shape[out.shape.size() - 2 + i];
    const Length want = along(output_size, i);
    check<ShapeError>(detail::may_be_less(0, to) || !detail::must_be_less(0, want), *this,
                      "x of shape ", in[0].shape, " has nothing to average");
    if (!want.is_known() || want >= 0) to = want;
  }
  return out;
}

void AdaptiveAvgPool2d::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const Shape x = plane_size(in[0].shape()), y = plane_size(out[0].shape());
  const int64_t planes = out[0].numel() / y.numel();
  compute(in[0], out[0], [&]<class T>(const T* from, T* to) {
    cpu::adaptive_avg_pool2d<T>(planes, x[0], x[1], y[0], y[1], from, to);
  });
}

Tensors AdaptiveAvgPool2d::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(AdaptiveAvgPool2dGrad{plane_size(s.shape(0))}, {dy})};
}

Samples<AdaptiveAvgPool2d> AdaptiveAvgPool2d::samples() {
  return {.ok = {{{.output_size = {1}}, {{{2, 3, 4, 6}}}},
                 {{.output_size = {3, 2}}, {{{1, 2, 5, 7}}}},
                 {{.output_size = {4, -1}}, {{{2, 3, 5}}}},
                 {{.output_size = {2}}, {sample::strided({2, 4, 4})}},
                 {{.output_size = {2}}, {{{0, 3, 4, 4}}}}},
          .errors = {{{.output_size = {2, 2, 2}},
                      {{{1, 1, 4, 4}}},
                      "adaptive_avg_pool2d(output_size=[2, 2, 2]): output_size takes one number "
                      "or 2"},
                     {{.output_size = {2}},
                      {{{1, 1, 0, 4}}},
                      "adaptive_avg_pool2d(output_size=[2]): x of shape [1, 1, 0, 4] has nothing "
                      "to average"}}};
}

Spec AdaptiveAvgPool2dGrad::infer(Specs in) const { return grad_spec(*this, in); }

void AdaptiveAvgPool2dGrad::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const Shape y = plane_size(in[0].shape()), x = plane_size(out[0].shape());
  const int64_t planes = out[0].numel() / x.numel();
  compute_gradient(in[0], out[0], [&]<class T>(const T* dy, T* dx) {
    cpu::adaptive_avg_pool2d_backward<T>(planes, x[0], x[1], y[0], y[1], dy, dx);
  });
}

Tensors AdaptiveAvgPool2dGrad::vjp(const Saved& s, const Tensor& g) const {
  return {adaptive_avg_pool2d(g, plane_size(s.shape(0)))};
}

Samples<AdaptiveAvgPool2dGrad> AdaptiveAvgPool2dGrad::samples() {
  return {.ok = {{{.size = {4, 6}}, {{{2, 3, 2, 4}}}}, {{.size = {5}}, {{{2, 3, 3}}}}},
          .errors = {{{.size = {4}},
                      {{{3, 3}}},
                      "adaptive_avg_pool2d_grad(size=[4]): dy has shape [3, 3]; it needs 3 or 4 "
                      "axes"}}};
}

}  // namespace tandem
