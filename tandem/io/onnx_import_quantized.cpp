// ONNX's operators on integers that stand for real numbers: scale * (x - zero point).
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/round.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

/// A scale or zero point for `x`: one number, or one for each index of `axis`.
Tensor along(I& n, const Tensor& t, const Tensor& x, int64_t axis) {
  if (t.numel() == 1) return reshape(t, {});
  if (axis < 0) axis += x.dim();
  n.need(axis >= 0 && axis < x.dim() && t.dim() == 1 && t.size(0) == x.size(int(axis)),
         "a scale or zero point of shape ", t.shape(), " for axis ", axis, " of shape ", x.shape());
  return reshape(t, along_axis(x.dim() - int(axis), 0, t.size(0)));
}
/// x minus its zero point, exactly, in a wider dtype.
Tensor centred(I& n, const Tensor& x, int zero, int64_t axis, DType wide) {
  const Tensor y = cast(x, wide);
  return n.has(zero) ? y - cast(along(n, n.in(zero), x, axis), wide) : y;
}
/// The numbers, in steps of the scale, as elements of `to`; those beyond become its limits.
Tensor stored(I& n, const Tensor& steps, const Tensor& zero, DType to) {
  if (to != u8 && to != i8) n.unsupported("a result of ", to);
  const Tensor rounded = round(steps);
  const Tensor y = zero.defined() ? rounded + cast(zero, steps.dtype()) : rounded;
  return cast(to == u8 ? clamp(y, 0.0, 255.0) : clamp(y, -128.0, 127.0), to);
}

Tensors dequantize(I& n) {
  if (n.integer("block_size", 0)) n.unsupported("block_size");
  const Tensor x = n.in(0), scale = n.in(1);
  const int64_t axis = n.integer("axis", 1);
  return {cast(centred(n, x, 2, axis, i32), scale.dtype()) * along(n, scale, x, axis)};
}
Tensors quantize(I& n) {
  if (n.integer("block_size", 0)) n.unsupported("block_size");
  const Tensor x = n.in(0), scale = n.in(1);
  const int64_t axis = n.integer("axis", 1), type = n.integer("output_dtype", 0);
  const Tensor zero = n.has(2) ? along(n, n.in(2), x, axis) : Tensor();
  const auto asked = type ? onnx::to_dtype(onnx::ElementType(type)) : std::optional(u8);
  if (!asked) n.unsupported("elements of ", onnx::name(onnx::ElementType(type)));
  return {stored(n, cast(x, scale.dtype()) / along(n, scale, x, axis), zero,
                 zero.defined() ? zero.dtype() : *asked)};
}
/// To u8 by the smallest and largest element, 0 among them.
Tensors dynamic_quantize(I& n) {
  const Tensor x = n.in(0);
  const Tensor low = clamp(amin(x), {}, 0.0), high = clamp(amax(x), 0.0);
  const Tensor scale = (high - low) / 255.0;
  const Tensor divisor = where(scale == 0.0, full({}, 1, x.dtype()), scale);
  const Tensor zero = round(clamp(-low / divisor, 0.0, 255.0));
  return {stored(n, x / divisor, zero, u8), scale, cast(zero, u8)};
}

/// Sums of products of small integers are exact in f64.
Tensor product(I& n, int b, int a_zero, int b_zero) {
  const Tensor a = n.in(0);
  Tensor x = cast(a, f64);
  if (n.has(a_zero)) x = x - cast(along(n, n.in(a_zero), a, -2), f64);
  return matmul(x, centred(n, n.in(b), b_zero, -1, f64));
}
Tensors matmul_integer(I& n) { return {cast(product(n, 1, 2, 3), i32)}; }
Tensors conv_integer(I& n) {
  const Tensor w = centred(n, n.in(1), 3, 0, f64);
  return {cast(import_conv(n, centred(n, n.in(0), 2, 1, f64), w, {}), i32)};
}
Tensors matmul_quantized(I& n) {
  const Tensor y = cast(product(n, 3, 2, 5), f32), zero = n.in(7);
  const Tensor scale = along(n, n.in(1), n.in(0), -2) * along(n, n.in(4), n.in(3), -1);
  return {stored(n, y * (scale / along(n, n.in(6), y, -2)), along(n, zero, y, -2), zero.dtype())};
}
Tensors conv_quantized(I& n) {
  const Tensor x = centred(n, n.in(0), 2, 1, f64), w = centred(n, n.in(3), 5, 0, f64);
  const Tensor y = import_conv(n, x, w, n.has(8) ? cast(n.in(8), f64) : Tensor());
  const Tensor scale = reshape(n.in(1), {}) * along(n, n.in(4), y, 1), zero = n.in(7);
  return {
      stored(n, cast(y, f32) * (scale / reshape(n.in(6), {})), reshape(zero, {}), zero.dtype())};
}

}  // namespace

void add_quantized_imports(OnnxImports& t) {
  t.insert({{"QuantizeLinear", quantize},
            {"DequantizeLinear", dequantize},
            {"DynamicQuantizeLinear", dynamic_quantize},
            {"MatMulInteger", matmul_integer},
            {"ConvInteger", conv_integer},
            {"QLinearMatMul", matmul_quantized},
            {"QLinearConv", conv_quantized}});
}

}  // namespace tandem::detail
