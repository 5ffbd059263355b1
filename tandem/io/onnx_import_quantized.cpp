// ONNX's products and convolutions of small integers, by records that keep exact sums.
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_quantized.h"
#include "tandem/io/detail/onnx_windows.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/div.h"
#include "tandem/ops/int8_conv2d.h"
#include "tandem/ops/int8_product.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"

namespace tandem::detail {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

Tensor int8_product(I& n, Tensor x, Tensor y, const Tensor& x_zero, const Tensor& y_zero) {
  auto bytes = [](const Tensor& t) { return t.dtype() == i8 || t.dtype() == u8; };
  n.need(bytes(x) && bytes(y), "takes i8 and u8, got ", x.dtype(), " and ", y.dtype());
  const bool row = x.dim() == 1, column = y.dim() == 1;
  n.need(x.dim() > 0 && y.dim() > 0, "takes matrices, got shapes ", x.shape(), " and ", y.shape());
  if (row) x = unsqueeze(x, 0);
  if (column) y = unsqueeze(y, 1);
  // One product of a long matrix, and not many of short ones.
  const Shape s = x.shape();
  const bool many =
      x.dim() > 2 && y.dim() == 2 && x.numel() > 0 && (!x_zero.defined() || x_zero.numel() == 1);
  if (many) x = reshape(x, {-1, s.back()});
  Tensor z = int8_matmul(x, y, x_zero, y_zero);
  if (many) {
    Shape back = s;
    back[back.size() - 1] = z.size(1);
    z = reshape(z, back);
  }
  if (column) z = squeeze(z, z.dim() - 1);
  if (row) z = squeeze(z, z.dim() - (column ? 1 : 2));
  return z;
}

namespace {

bool is_byte(const Tensor& t) { return t.dtype() == i8 || t.dtype() == u8; }

/// A zero point of one element, or of one axis; undefined when it was left out.
Tensor zero_point(I& n, int i) {
  const Tensor t = n.in_or_none(i);
  if (!t.defined() || t.numel() == 1) return t;
  n.need(t.numel() > 0, "zero point ", i, " is empty");
  return reshape(t, {t.numel()});
}
Tensor product(I& n, int a, int b, int a_zero, int b_zero) {
  return int8_product(n, n.in(a), n.in(b), zero_point(n, a_zero), zero_point(n, b_zero));
}

/// Sums as elements of the zero point's dtype. The scale is one number, or one for each index of
/// the axis.
Tensor stored_sums(I& n, const Tensor& sums, const Tensor& scale, const Tensor& zero, int axis) {
  n.need(is_byte(zero), "a result of ", zero.dtype());
  return requantize(sums, scale, zero, {}, zero.dtype(), axis);
}

Tensors matmul_integer(I& n) { return {product(n, 0, 1, 2, 3)}; }

/// Sums of products in units of the result's scale: both operands' scales, by rows and columns.
Tensors matmul_quantized(I& n) {
  const Tensor sums = product(n, 0, 3, 2, 5), zero = n.in(7);
  const Tensor a = cast(n.in(1), f32), b = cast(n.in(4), f32), y = cast(n.in(6), f32);
  if (a.numel() == 1 && y.numel() == 1 && zero.numel() == 1) {
    const Tensor factor =
        reshape(a, {}) * (b.numel() == 1 ? reshape(b, {}) : reshape(b, {b.numel()}));
    return {stored_sums(n, sums, factor / reshape(y, {}), zero, sums.dim() - 1)};
  }
  const Tensor scale = along_scale(n, a, n.in(0), -2) * along_scale(n, b, n.in(3), -1);
  const Tensor steps = cast(sums, f32) * (scale / along_scale(n, y, sums, -2));
  n.need(is_byte(zero), "a result of ", zero.dtype());
  const bool is_signed = zero.dtype() == i8;
  return {stored_steps(steps, cast(along_scale(n, zero, sums, -2), f32), is_signed ? -128 : 0,
                       is_signed ? 127 : 255, zero.dtype())};
}

/// The convolution of input 0 with input `w`: i32. Lines are planes of one row.
Tensor convolution(I& n, int w, int x_zero, int w_zero) {
  Tensor x = n.in(0), weight = n.in(w);
  n.need(is_byte(x) && is_byte(weight), "takes i8 and u8, got ", x.dtype(), " and ",
         weight.dtype());
  OnnxWindows v = onnx_windows(n, conv_kernel(n, weight));
  const int64_t groups = n.integer("group", 1);
  if (v.kernel.size() > 2) n.unsupported(v.kernel.size(), " axes of space");
  const bool line = v.kernel.size() == 1;
  if (line) {
    x = unsqueeze(x, 2);
    weight = unsqueeze(weight, 2);
    for (Ints* list : {&v.before, &v.after}) list->insert(list->begin(), 0);
    for (Ints* list : {&v.stride, &v.dilation}) list->insert(list->begin(), 1);
  }
  const Tensor y = int8_conv2d(x, weight, zero_point(n, x_zero), zero_point(n, w_zero),
                               {.stride = to_shape(v.stride),
                                .padding = {v.before[0], v.before[1], v.after[0], v.after[1]},
                                .dilation = to_shape(v.dilation),
                                .groups = groups});
  return line ? squeeze(y, 2) : y;
}

Tensors conv_integer(I& n) { return {convolution(n, 1, 2, 3)}; }

Tensors conv_quantized(I& n) {
  const Tensor sums = convolution(n, 3, 2, 5), zero = n.in(7);
  n.need(is_byte(zero), "a result of ", zero.dtype());
  const Tensor ws = cast(n.in(4), f32);
  const Tensor factor = reshape(cast(n.in(1), f32), {}) *
                        (ws.numel() == 1 ? reshape(ws, {}) : reshape(ws, {ws.numel()}));
  return {requantize(sums, factor / reshape(cast(n.in(6), f32), {}), zero, n.in_or_none(8),
                     zero.dtype(), 1)};
}

}  // namespace

void add_quantized_imports(OnnxImports& t) {
  t.insert({{"MatMulInteger", matmul_integer},
            {"ConvInteger", conv_integer},
            {"QLinearMatMul", matmul_quantized},
            {"QLinearConv", conv_quantized}});
}

}  // namespace tandem::detail
