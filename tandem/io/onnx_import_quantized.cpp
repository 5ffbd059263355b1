// ONNX's products and convolutions of small integers.
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_quantized.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/div.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

/// x minus its zero point, exactly, in a wider dtype.
Tensor centred(I& n, const Tensor& x, int zero, int64_t axis, DType wide) {
  const Tensor y = cast(x, wide);
  return n.has(zero) ? y - cast(along_scale(n, n.in(zero), x, axis), wide) : y;
}
/// The numbers, in steps of the scale, as elements of `to`; those beyond become its limits.
Tensor stored(I& n, const Tensor& steps, const Tensor& zero, DType to) {
  if (to != u8 && to != i8) n.unsupported("a result of ", to);
  return stored_steps(steps, zero.defined() ? cast(zero, steps.dtype()) : zero, to == u8 ? 0 : -128,
                      to == u8 ? 255 : 127, to);
}

/// Sums of products of small integers are exact in f64.
Tensor product(I& n, int b, int a_zero, int b_zero) {
  const Tensor a = n.in(0);
  Tensor x = cast(a, f64);
  if (n.has(a_zero)) x = x - cast(along_scale(n, n.in(a_zero), a, -2), f64);
  return matmul(x, centred(n, n.in(b), b_zero, -1, f64));
}
Tensors matmul_integer(I& n) { return {cast(product(n, 1, 2, 3), i32)}; }
Tensors conv_integer(I& n) {
  const Tensor w = centred(n, n.in(1), 3, 0, f64);
  return {cast(import_conv(n, centred(n, n.in(0), 2, 1, f64), w, {}), i32)};
}
Tensors matmul_quantized(I& n) {
  const Tensor y = cast(product(n, 3, 2, 5), f32), zero = n.in(7);
  const Tensor scale = along_scale(n, n.in(1), n.in(0), -2) * along_scale(n, n.in(4), n.in(3), -1);
  return {stored(n, y * (scale / along_scale(n, n.in(6), y, -2)), along_scale(n, zero, y, -2),
                 zero.dtype())};
}
Tensors conv_quantized(I& n) {
  const Tensor x = centred(n, n.in(0), 2, 1, f64), w = centred(n, n.in(3), 5, 0, f64);
  const Tensor y = import_conv(n, x, w, n.has(8) ? cast(n.in(8), f64) : Tensor());
  const Tensor scale = reshape(n.in(1), {}) * along_scale(n, n.in(4), y, 1), zero = n.in(7);
  return {
      stored(n, cast(y, f32) * (scale / reshape(n.in(6), {})), reshape(zero, {}), zero.dtype())};
}

}  // namespace

void add_quantized_imports(OnnxImports& t) {
  t.insert({{"MatMulInteger", matmul_integer},
            {"ConvInteger", conv_integer},
            {"QLinearMatMul", matmul_quantized},
            {"QLinearConv", conv_quantized}});
}

}  // namespace tandem::detail
