#include "tandem/ops/conv.h"

#include <algorithm>
#include <cstring>

#include "tandem/backend/cpu/conv.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/matmul_kernel.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Conv2d)
TANDEM_OP(Conv2dInputGrad)
TANDEM_OP(Conv2dWeightGrad)
TANDEM_OP(Conv1d)
TANDEM_OP(ConvTranspose2d)

namespace {

using cpu::ConvShape;

/// Attribute `s` along spatial axis `i` of `axes`.
Length along(const Shape& s, int i) { return s[s.size() == 1 ? 0 : i]; }

template <class O>
void check_per_axis(const O& op, std::string_view what, const Shape& s, int axes, int64_t least) {
  check(s.size() == 1 || s.size() == axes, op, what, " takes one number or ", axes);
  for (Length v : s) check(detail::may_fit(least, v), op, what, " must be at least ", least);
}

template <class O>
void check_attributes(const O& op, int axes) {
  check_per_axis(op, "stride", op.stride, axes, 1);
  check_per_axis(op, "padding", op.padding, axes, 0);
  check_per_axis(op, "dilation", op.dilation, axes, 1);
  check(op.groups >= 1, op, "groups must be at least 1");
}

/// `with` counts the axes of a batch: one more than a single image has.
template <class O>
void check_axes(const O& op, std::string_view what, const Shape& s, int with, bool single = true) {
  check<ShapeError>(
      s.size() == with || (single && s.size() == with - 1), op, what, " has shape ", s,
      "; it needs ", [&] { return single ? cat(with - 1, " or ", with) : cat(with); }, " axes");
}

template <class O>
void check_conv_dtypes(const O& op, Specs in) {
  const DType d = in[0].dtype;
  for (int i = 1; i < in.size(); ++i)
    if (in.has(i))
      check<DTypeError>(in[i].dtype == d, op, "dtypes ", d, " and ", in[i].dtype,
                        " differ; cast one of them");
  check<DTypeError>(d != boolean, op, "booleans have no convolution; cast them");
}

template <class O>
void check_bias(const O& op, Specs in, Length channels) {
  if (in.has(2))
    check<ShapeError>(detail::may_equal(in[2].shape, Shape{channels}), op, "bias has shape ",
                      in[2].shape, "; ", channels, " output channels take [", channels, "]");
}

/// The shape rule of forward convolutions over `axes` spatial axes.
template <class O>
Spec conv_infer(const O& op, Specs in, int axes) {
  const Shape &x = in[0].shape, &w = in[1].shape;
  check_attributes(op, axes);
  check_axes(op, "x", x, axes + 2);
  check_axes(op, "weight", w, axes + 2, false);
  check_conv_dtypes(op, in);
  const int channels = x.size() - axes - 1;
  check<ShapeError>(detail::may_equal(x[channels], w[1] * op.groups), op, "x of shape ", x, " has ",
                    x[channels], " channels; weight of shape ", w, " and groups=", op.groups,
                    " take ", w[1] * op.groups);
  check<ShapeError>(detail::may_equal(w[0] % op.groups, 0), op, "weight of shape ", w, ": ", w[0],
                    " output channels are not a multiple of groups=", op.groups);
  check_bias(op, in, w[0]);
  Spec out{x, in[0].dtype, in[0].device};
  out.shape[channels] = w[0];
  for (int i = 0; i < axes; ++i) {
    const int at = channels + 1 + i;
    const Length padded = x[at] + 2 * along(op.padding, i);
    const Length reach = along(op.dilation, i) * (w[2 + i] - 1) + 1;
    check<ShapeError>(detail::may_be_less(0, w[2 + i]) && detail::may_fit(reach, padded), op,
                      "weight of shape ", w, " reaches over ", reach, " elements of axis ", at,
                      ", the padded x of shape ", x, " has ", padded);
    out.shape[at] = (padded - reach) / along(op.stride, i) + 1;
  }
  return out;
}

/// `s` as [n, c, h, w]: a missing batch or height is 1.
Shape as_images(Shape s, int axes) {
  if (s.size() == axes + 1) s.insert(0, 1);
  if (axes == 1) s.insert(2, 1);
  return s;
}

template <class O>
ConvShape conv_shape(const O& op, const Shape& x, const Shape& w, int axes) {
  const Shape a = as_images(x, axes), k = as_images(w, axes);
  auto h = [&](const Shape& s, Length flat) { return axes == 1 ? flat : along(s, 0); };
  auto v = [&](const Shape& s) { return along(s, axes - 1); };
  ConvShape s{a[0],           a[1],
              a[2],           a[3],
              k[0],           k[2],
              k[3],           h(op.stride, 1),
              v(op.stride),   h(op.padding, 0),
              v(op.padding),  h(op.dilation, 1),
              v(op.dilation), op.groups};
  // Numbers that change nothing are kept small: no kernel calculates with large ones.
  if (s.kh == 1) s.dil_h = 1;
  if (s.kw == 1) s.dil_w = 1;
  s.stride_h = std::min(s.stride_h, std::max<int64_t>(1, s.h + 2 * s.pad_h));
  s.stride_w = std::min(s.stride_w, std::max<int64_t>(1, s.w + 2 * s.pad_w));
  return s;
}

/// Sums run in f64 for f64, in i64 for integers, where they wrap around, else in f32.
DType compute_type(DType d) { return is_integral(d) ? i64 : d == f64 ? f64 : f32; }

/// Calls f<T>(result, done) with memory of the compute type and moves the result to `out`.
template <class F>
void compute_into(const Tensor& out, const cpu::RowsDone& done, F&& f) {
  const DType d = compute_type(out.dtype());
  const bool moves = out.dtype() != d;
  const Tensor to = moves ? empty(out.shape(), d) : out;
  const cpu::RowsDone inner = moves ? cpu::RowsDone{} : done;
  if (d == f64) f.template operator()<double>(to.data<double>(), inner);
  else if (d == i64) f.template operator()<int64_t>(to.data<int64_t>(), inner);
  else f.template operator()<float>(to.data<float>(), inner);
  if (!moves) return;
  detail::copy_data(out, to);
  detail::finish_rows(out, done);
}

template <class O>
void conv_cpu(const O& op, Inputs in, Outputs out, int axes, const cpu::RowsDone& done = {}) {
  if (out[0].numel() == 0) return;
  const ConvShape s = conv_shape(op, in[0].shape(), in[1].shape(), axes);
  compute_into(out[0], done, [&]<class T>(T* y, const cpu::RowsDone& told) {
    const DType d = dtype_of<T>;
    const Tensor x = detail::as_contiguous(in[0], d), w = detail::as_contiguous(in[1], d);
    const bool has_bias = in.size() > 2 && in[2].defined();
    const Tensor b = has_bias ? detail::as_contiguous(in[2], d) : Tensor();
    cpu::conv_forward(s, x.data<T>(), w.data<T>(), has_bias ? b.data<T>() : nullptr, y, told);
  });
}

void fill_zero(const Tensor& t) {
  std::memset(t.raw_data(), 0, size_t(t.numel() * itemsize(t.dtype())));
}

/// The sum over everything but the channels.
Tensor bias_gradient(const Tensor& dy, int axes) {
  Shape others;
  for (int i = 0; i < dy.dim(); ++i)
    if (i != dy.dim() - axes - 1) others.push_back(i);
  return sum(dy, others);
}

Shape spatial(const Shape& s) { return {s[s.size() - 2], s[s.size() - 1]}; }

template <class O>
Tensor input_grad(const O& op, const Tensor& dy, const Tensor& weight, const Shape& size) {
  return apply(Conv2dInputGrad{size, op.stride, op.padding, op.dilation, op.groups}, {dy, weight});
}
template <class O>
Tensor weight_grad(const O& op, const Tensor& x, const Tensor& dy, const Shape& kernel) {
  return apply(Conv2dWeightGrad{kernel, op.stride, op.padding, op.dilation, op.groups}, {x, dy});
}
template <class O>
Tensor conv_like(const O& op, const Tensor& x, const Tensor& weight) {
  return apply(Conv2d{op.stride, op.padding, op.dilation, op.groups}, {x, weight});
}

/// True when convolving `size` gives the spatial size of `dy`.
template <class O>
bool gives(const O& op, const Shape& size, const Shape& kernel, const Shape& dy) {
  for (int i = 0; i < 2; ++i) {
    const Length reach = along(op.dilation, i) * (along(kernel, i) - 1) + 1;
    const Length room = along(size, i) + 2 * along(op.padding, i) - reach;
    if (detail::must_be_less(room, 0) ||
        !detail::may_equal(room / along(op.stride, i) + 1, dy[dy.size() - 2 + i]))
      return false;
  }
  return true;
}

}  // namespace

Spec Conv2d::infer(Specs in) const { return conv_infer(*this, in, 2); }
void Conv2d::cpu(Inputs in, Outputs out) const { conv_cpu(*this, in, out, 2); }
void Conv2d::cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const {
  conv_cpu(*this, in, out, 2, done);
}
Tensors Conv2d::vjp(const Saved& s, const Tensor& dy) const {
  Tensor dx, dw, db;
  if (s.needs(0)) dx = input_grad(*this, dy, s.in(1), spatial(s.shape(0)));
  if (s.needs(1)) dw = weight_grad(*this, s.in(0), dy, spatial(s.shape(1)));
  if (s.needs(2)) db = bias_gradient(dy, 2);
  return {dx, dw, db};
}

Samples<Conv2d> Conv2d::samples() {
  const InputSpec none = sample::absent();
  const std::string op = "conv2d(stride=[1], padding=[0], dilation=[1], groups=1): ";
  return {
      .ok = {{{}, {{{2, 3, 5, 6}}, {{4, 3, 3, 2}}, {{4}}}},
             {{.padding = {1}}, {{{1, 2, 4, 4}}, {{3, 2, 3, 3}}, none}},
             {{.stride = {2, 1}, .padding = {0, 2}, .dilation = {1, 2}},
              {{{2, 2, 7, 5}}, {{3, 2, 3, 3}}, {{3}}}},
             {{.padding = {1}, .groups = 2}, {{{1, 4, 5, 4}}, {{6, 2, 3, 3}}, {{6}}}},
             {{.padding = {1}, .groups = 3}, {{{2, 3, 4, 5}}, {{3, 1, 3, 3}}, none}},
             {{}, {{{3, 5, 6}}, {{4, 3, 3, 2}}, {{4}}}},
             {{}, {{{2, 3, 4, 4}}, {{5, 3, 1, 1}}, {{5}}}},
             {{}, {sample::strided({2, 3, 4, 4}), sample::strided({2, 3, 2, 2}), none}},
             {{}, {{{0, 3, 4, 4}}, {{2, 3, 2, 2}}, none}},
             {{.padding = {1}}, {{{2, 2, 4, 4}, i64}, {{3, 2, 3, 3}, i64}, {{3}, i64}}}},
      .errors = {
          {{},
           {{{2, 3, 5, 5}}, {{4, 2, 3, 3}}, none},
           op + "x of shape [2, 3, 5, 5] has 3 channels; weight of shape [4, 2, 3, 3] and "
                "groups=1 take 2"},
          {{},
           {{{2, 3, 2, 5}}, {{4, 3, 3, 3}}, none},
           op + "weight of shape [4, 3, 3, 3] reaches over 3 elements of axis 2, the padded x of "
                "shape [2, 3, 2, 5] has 2"},
          {{}, {{{3, 5}}, {{4, 3, 3, 3}}, none}, op + "x has shape [3, 5]; it needs 3 or 4 axes"},
          {{},
           {{{2, 3, 5, 5}}, {{4, 3, 3, 3}}, {{3}}},
           op + "bias has shape [3]; 4 output channels take [4]"},
          {{.stride = {0}},
           {{{2, 3, 5, 5}}, {{4, 3, 3, 3}}, none},
           "conv2d(stride=[0], padding=[0], dilation=[1], groups=1): stride must be at least 1"},
          {{},
           {sample::mask({2, 3, 5, 5}), sample::mask({4, 3, 3, 3}), none},
           op + "booleans have no convolution; cast them"}}};
}

Spec Conv2dInputGrad::infer(Specs in) const {
  const Shape &dy = in[0].shape, &w = in[1].shape;
  check_attributes(*this, 2);
  check_per_axis(*this, "size", size, 2, 0);
  check_axes(*this, "dy", dy, 4);
  check_axes(*this, "weight", w, 4, false);
  check_conv_dtypes(*this, in);
  check<ShapeError>(
      detail::may_equal(dy[dy.size() - 3], w[0]) && detail::may_equal(w[0] % groups, 0), *this,
      "dy of shape ", dy, " and weight of shape ", w, " disagree about the output channels");
  check<ShapeError>(gives(*this, size, spatial(w), dy), *this, "a convolution of size ", size,
                    " with a weight of shape ", w, " does not give a dy of shape ", dy);
  Spec out = in[0];
  const int n = dy.size();
  out.shape[n - 3] = w[1] * groups;
  out.shape[n - 2] = along(size, 0);
  out.shape[n - 1] = along(size, 1);
  return out;
}

void Conv2dInputGrad::cpu(Inputs in, Outputs out) const { cpu(in, out, {}); }

void Conv2dInputGrad::cpu(Inputs in, Outputs out, const cpu::RowsDone& done) const {
  if (out[0].numel() == 0) return;
  const ConvShape s = conv_shape(*this, out[0].shape(), in[1].shape(), 2);
  compute_into(out[0], done, [&]<class T>(T* dx, const cpu::RowsDone& told) {
    const Tensor dy = detail::as_contiguous(in[0], dtype_of<T>);
    const Tensor w = detail::as_contiguous(in[1], dtype_of<T>);
    cpu::conv_backward_data(s, dy.data<T>(), w.data<T>(), dx, told);
  });
}

Tensors Conv2dInputGrad::vjp(const Saved& s, const Tensor& g) const {
  return {s.needs(0) ? conv_like(*this, g, s.in(1)) : Tensor(),
          s.needs(1) ? weight_grad(*this, g, s.in(0), spatial(s.shape(1))) : Tensor()};
}

Samples<Conv2dInputGrad> Conv2dInputGrad::samples() {
  return {
      .ok = {{{.size = {5, 6}}, {{{2, 4, 3, 5}}, {{4, 3, 3, 2}}}},
             {{.size = {6, 5}, .stride = {2}, .padding = {1}}, {{{1, 3, 3, 3}}, {{3, 2, 3, 3}}}},
             {{.size = {4}, .padding = {1}, .groups = 2}, {{{4, 4, 4}}, {{4, 1, 3, 3}}}}},
      .errors = {{{.size = {9}},
                  {{{2, 4, 3, 3}}, {{4, 3, 3, 3}}},
                  "conv2d_input_grad(size=[9], stride=[1], padding=[0], dilation=[1], "
                  "groups=1): a convolution of size [9] with a weight of shape [4, 3, 3, 3] "
                  "does not give a dy of shape [2, 4, 3, 3]"}}};
}

Spec Conv2dWeightGrad::infer(Specs in) const {
  const Shape &x = in[0].shape, &dy = in[1].shape;
  check_attributes(*this, 2);
  check_per_axis(*this, "kernel", kernel, 2, 1);
  check_axes(*this, "x", x, 4);
  check_conv_dtypes(*this, in);
  check<ShapeError>(dy.size() == x.size() && (x.size() == 3 || detail::may_equal(x[0], dy[0])),
                    *this, "x of shape ", x, " and dy of shape ", dy, " disagree about the batch");
  const Length c = x[x.size() - 3], oc = dy[x.size() - 3];
  check<ShapeError>(detail::may_equal(c % groups, 0) && detail::may_equal(oc % groups, 0), *this,
                    "x of shape ", x, " and dy of shape ", dy,
                    " do not divide into groups=", groups);
  check<ShapeError>(gives(*this, spatial(x), kernel, dy), *this, "a kernel of size ", kernel,
                    " on x of shape ", x, " does not give a dy of shape ", dy);
  return {{oc, c / groups, along(kernel, 0), along(kernel, 1)}, in[0].dtype, in[0].device};
}

void Conv2dWeightGrad::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  if (in[1].numel() == 0) return fill_zero(out[0]);
  const ConvShape s = conv_shape(*this, in[0].shape(), out[0].shape(), 2);
  compute_into(out[0], {}, [&]<class T>(T* dw, const cpu::RowsDone&) {
    const Tensor x = detail::as_contiguous(in[0], dtype_of<T>);
    const Tensor dy = detail::as_contiguous(in[1], dtype_of<T>);
    cpu::conv_backward_weights(s, x.data<T>(), dy.data<T>(), dw, nullptr);
  });
}

Tensors Conv2dWeightGrad::vjp(const Saved& s, const Tensor& g) const {
  return {s.needs(0) ? input_grad(*this, s.in(1), g, spatial(s.shape(0))) : Tensor(),
          s.needs(1) ? conv_like(*this, s.in(0), g) : Tensor()};
}

Samples<Conv2dWeightGrad> Conv2dWeightGrad::samples() {
  return {.ok = {{{.kernel = {3, 2}}, {{{2, 3, 5, 6}}, {{2, 4, 3, 5}}}},
                 {{.kernel = {3}, .stride = {2}, .padding = {1}}, {{{1, 2, 6, 5}}, {{1, 3, 3, 3}}}},
                 {{.kernel = {3}, .padding = {1}, .groups = 2}, {{{2, 4, 4}}, {{4, 4, 4}}}},
                 {{.kernel = {3}}, {{{0, 2, 4, 4}}, {{0, 3, 2, 2}}}}},
          .errors = {{{.kernel = {4}},
                      {{{2, 3, 5, 5}}, {{2, 4, 3, 3}}},
                      "conv2d_weight_grad(kernel=[4], stride=[1], padding=[0], dilation=[1], "
                      "groups=1): a kernel of size [4] on x of shape [2, 3, 5, 5] does not give a "
                      "dy of shape [2, 4, 3, 3]"}}};
}

Spec Conv1d::infer(Specs in) const { return conv_infer(*this, in, 1); }
void Conv1d::cpu(Inputs in, Outputs out) const { conv_cpu(*this, in, out, 1); }
Tensors Conv1d::vjp(const Saved& s, const Tensor& dy) const {
  const Conv2d flat{{1, stride[0]}, {0, padding[0]}, {1, dilation[0]}, groups};
  const Tensor g = s.needs(0) || s.needs(1) ? unsqueeze(dy, -2) : dy;
  Tensor dx, dw, db;
  if (s.needs(0))
    dx = squeeze(input_grad(flat, g, unsqueeze(s.in(1), -2), {1, s.shape(0).back()}), -2);
  if (s.needs(1))
    dw = squeeze(weight_grad(flat, unsqueeze(s.in(0), -2), g, {1, s.shape(1).back()}), -2);
  if (s.needs(2)) db = bias_gradient(dy, 1);
  return {dx, dw, db};
}

Samples<Conv1d> Conv1d::samples() {
  const InputSpec none = sample::absent();
  return {
      .ok = {{{}, {{{2, 3, 7}}, {{4, 3, 3}}, {{4}}}},
             {{.stride = {2}, .padding = {2}, .dilation = {2}}, {{{2, 3, 9}}, {{4, 3, 3}}, none}},
             {{.padding = {1}, .groups = 2}, {{{1, 4, 6}}, {{2, 2, 3}}, {{2}}}},
             {{}, {{{3, 6}}, {{2, 3, 2}}, {{2}}}},
             {{}, {sample::strided({2, 3, 5}), {{2, 3, 2}}, none}}},
      .errors = {{{},
                  {{{2, 3, 2}}, {{4, 3, 3}}, none},
                  "conv1d(stride=[1], padding=[0], dilation=[1], groups=1): weight of shape "
                  "[4, 3, 3] reaches over 3 elements of axis 2, the padded x of shape "
                  "[2, 3, 2] has 2"},
                 {{.stride = {1, 2}},
                  {{{2, 3, 5}}, {{4, 3, 3}}, none},
                  "conv1d(stride=[1, 2], padding=[0], dilation=[1], groups=1): stride takes "
                  "one number or 1"}}};
}

Spec ConvTranspose2d::infer(Specs in) const {
  const Shape &x = in[0].shape, &w = in[1].shape;
  check_attributes(*this, 2);
  check_per_axis(*this, "output_padding", output_padding, 2, 0);
  check_axes(*this, "x", x, 4);
  check_axes(*this, "weight", w, 4, false);
  check_conv_dtypes(*this, in);
  const int n = x.size();
  check<ShapeError>(detail::may_equal(x[n - 3], w[0]), *this, "x of shape ", x, " has ", x[n - 3],
                    " channels; weight of shape ", w, " takes ", w[0]);
  check<ShapeError>(detail::may_equal(w[0] % groups, 0), *this, "weight of shape ", w, ": ", w[0],
                    " input channels are not a multiple of groups=", groups);
  check_bias(*this, in, w[1] * groups);
  Spec out = in[0];
  out.shape[n - 3] = w[1] * groups;
  for (int i = 0; i < 2; ++i) {
    const Length s = along(stride, i), d = along(dilation, i), extra = along(output_padding, i);
    check(extra < max(s, d), *this, "output_padding must be less than stride or dilation");
    check<ShapeError>(detail::may_be_less(0, w[2 + i]), *this, "weight of shape ", w,
                      " has no elements along axis ", 2 + i);
    const Length size =
        (x[n - 2 + i] - 1) * s - 2 * along(padding, i) + d * (w[2 + i] - 1) + extra + 1;
    check<ShapeError>(detail::may_fit(1, size), *this, "x of shape ", x, " and weight of shape ", w,
                      " give a result of size ", size, " along axis ", n - 2 + i);
    out.shape[n - 2 + i] = size;
  }
  return out;
}

namespace {

/// How much longer than x the convolution's result is along spatial axis `i`: an output_padding of
/// a stride or more makes room for further places, at which x counts as zero.
template <class O>
Length missing(const O& op, const Shape& x, const Shape& w, const Shape& y, int i) {
  const Length reach = along(op.dilation, i) * (w[2 + i] - 1) + 1;
  const Length room = y[y.size() - 2 + i] + 2 * along(op.padding, i) - reach;
  return room / along(op.stride, i) + 1 - x[x.size() - 2 + i];
}

}  // namespace

void ConvTranspose2d::cpu(Inputs in, Outputs out) const {
  if (out[0].numel() == 0) return;
  const ConvShape s = conv_shape(*this, out[0].shape(), in[1].shape(), 2);
  const bool has_bias = in.size() > 2 && in[2].defined();
  Tensor from = in[0];
  Shape full = from.shape();
  for (int i = 0; i < 2; ++i)
    full[full.size() - 2 + i] += missing(*this, in[0].shape(), in[1].shape(), out[0].shape(), i);
  if (!(full == from.shape())) {
    const Tensor padded = empty(full, from.dtype());
    fill_zero(padded);
    detail::copy_data(detail::alias(padded, from.shape(), padded.strides(), 0), from);
    from = padded;
  }
  compute_into(out[0], {}, [&]<class T>(T* y, const cpu::RowsDone&) {
    const Tensor x = detail::as_contiguous(from, dtype_of<T>);
    const Tensor w = detail::as_contiguous(in[1], dtype_of<T>);
    if (x.numel() > 0) cpu::conv_backward_data(s, x.data<T>(), w.data<T>(), y);
    else std::fill_n(y, out[0].numel(), T(0));
    if (!has_bias) return;
    const Tensor b = detail::as_contiguous(in[2], dtype_of<T>);
    const int64_t plane = s.h * s.w;
    for (int64_t p = 0; p < s.n * s.c; ++p) {
      const T add = b.data<T>()[p % s.c];
      for (int64_t i = 0; i < plane; ++i) y[p * plane + i] = math::add(y[p * plane + i], add);
    }
  });
}

Tensors ConvTranspose2d::vjp(const Saved& s, const Tensor& dy) const {
  const Shape &x = s.shape(0), &w = s.shape(1);
  const Length h = missing(*this, x, w, dy.shape(), 0), v = missing(*this, x, w, dy.shape(), 1);
  const bool more_h = detail::may_be_less(0, h), more_v = detail::may_be_less(0, v);
  Tensor dx, dw, db;
  if (s.needs(0)) {
    dx = conv_like(*this, dy, s.in(1));
    if (more_h) dx = narrow(dx, -2, 0, x[x.size() - 2]);
    if (more_v) dx = narrow(dx, -1, 0, x[x.size() - 1]);
  }
  if (s.needs(1)) {
    const Tensor from = more_h || more_v ? pad(s.in(0), {0, v, 0, h}) : s.in(0);
    dw = weight_grad(*this, dy, from, spatial(w));
  }
  if (s.needs(2)) db = bias_gradient(dy, 2);
  return {dx, dw, db};
}

Samples<ConvTranspose2d> ConvTranspose2d::samples() {
  const InputSpec none = sample::absent();
  const std::string op =
      "conv_transpose2d(stride=[1], padding=[0], output_padding=[0], groups=1, dilation=[1]): ";
  return {.ok = {{{}, {{{2, 3, 4, 5}}, {{3, 2, 3, 2}}, {{2}}}},
                 {{.stride = {2}, .padding = {1}, .output_padding = {1}},
                  {{{1, 3, 3, 4}}, {{3, 2, 3, 3}}, none}},
                 {{.stride = {2, 1}, .groups = 2, .dilation = {1, 2}},
                  {{{1, 4, 3, 3}}, {{4, 2, 2, 3}}, {{4}}}},
                 {{}, {{{3, 4, 5}}, {{3, 2, 3, 2}}, {{2}}}},
                 {{}, {sample::strided({2, 3, 4, 4}), {{3, 2, 2, 2}}, none}},
                 {{}, {{{0, 3, 4, 4}}, {{3, 2, 2, 2}}, none}},
                 {{.stride = {3, 2}, .padding = {1, 2}, .output_padding = {2, 3}, .dilation = {4}},
                  {{{1, 2, 3, 3}}, {{2, 1, 2, 3}}, {{1}}}}},
          .errors = {{{},
                      {{{2, 3, 4, 4}}, {{2, 3, 3, 3}}, none},
                      op + "x of shape [2, 3, 4, 4] has 3 channels; weight of shape "
                           "[2, 3, 3, 3] takes 2"},
                     {{},
                      {{{2, 3, 4, 4}}, {{3, 2, 3, 0}}, none},
                      op + "weight of shape [3, 2, 3, 0] has no elements along axis 3"},
                     {{.output_padding = {1}},
                      {{{2, 3, 4, 4}}, {{3, 2, 3, 3}}, none},
                      "conv_transpose2d(stride=[1], padding=[0], output_padding=[1], groups=1, "
                      "dilation=[1]): output_padding must be less than stride or dilation"}}};
}

}  // namespace tandem
