// ONNX Runtime's own operators ("com.microsoft") on integers that stand for real numbers.
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_quantized.h"
#include "tandem/io/detail/onnx_windows.h"
#include "tandem/ops/add.h"
#include "tandem/ops/bitwise.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/div.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/int8_product.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

// --- Real functions of stored integers ----------------------------------------------------------

/// One number, input `i`.
Tensor one_in(I& n, int i) { return cast(reshape(n.in(i), {}), f32); }
/// Input x in steps of its scale, without the zero point behind it, which may be missing.
Tensor steps_in(I& n, int x) {
  const Tensor whole = cast(n.in(x), f32);
  return n.has(x + 2) ? whole - one_in(n, x + 2) : whole;
}
Tensor real_in(I& n, int x) { return steps_in(n, x) * one_in(n, x + 1); }
/// Steps of the scale before input `zero` as integers of the dtype.
Tensor stored(I& n, const Tensor& steps, int zero, DType dtype) {
  n.need(dtype == i8 || dtype == u8, "a result of ", dtype);
  return stored_steps(steps, n.has(zero) ? one_in(n, zero) : Tensor(), dtype == i8 ? -128 : 0,
                      dtype == i8 ? 127 : 255, dtype);
}
/// Real numbers by inputs `scale` and the one behind it, as integers like input 0.
Tensors stored_by(I& n, const Tensor& y, int scale) {
  return {stored(n, y / one_in(n, scale), scale + 1, n.in(0).dtype())};
}
/// Means of input 0, in steps of its scale.
Tensors stored_means(I& n, const Tensor& means) {
  return {stored(n, means * (one_in(n, 1) / one_in(n, 3)), 4, n.in(0).dtype())};
}

Tensors add(I& n) { return stored_by(n, real_in(n, 0) + real_in(n, 3), 6); }
Tensors multiply(I& n) { return stored_by(n, real_in(n, 0) * real_in(n, 3), 6); }
Tensors sigmoid_(I& n) { return stored_by(n, sigmoid(real_in(n, 0)), 3); }
Tensors leaky(I& n) { return stored_by(n, leaky_relu(real_in(n, 0), n.real("alpha", 0.01f)), 3); }
Tensors softmax_(I& n) {
  const Tensor x = real_in(n, 0);
  const int axis = axis_of(n, n.integer("axis", -1), x.dim());
  if (n.integer("opset", 13) >= 13) return stored_by(n, softmax(x, axis), 3);
  // Older ones flatten to a matrix first.
  int64_t rows = 1;
  for (int i = 0; i < axis; ++i) rows *= x.size(i);
  const int64_t columns = rows ? int64_t(x.numel()) / rows : 1;
  return stored_by(n, reshape(softmax(reshape(x, {rows, columns}), 1), x.shape()), 3);
}
Tensors global_average(I& n) {
  const Tensor x = steps_in(n, 0);
  const bool last = n.flag("channels_last", false);
  n.need(x.dim() > 2, "input 0 has shape ", x.shape());
  Shape axes;
  for (int i = 2; i < x.dim(); ++i) axes.push_back(last ? i - 1 : i);
  return stored_means(n, mean(x, axes, true));
}
Tensors average(I& n) {
  if (n.flag("channels_last", false)) n.unsupported("channels_last");
  return stored_means(n, average_pool(n, steps_in(n, 0)));
}
Tensors concat(I& n) {
  n.need(n.inputs() >= 5 && n.inputs() % 3 == 2, n.inputs(), " inputs");
  std::vector<Tensor> all;
  for (int i = 2; i < n.inputs(); i += 3) all.push_back(real_in(n, i));
  const Tensor y = cat(all, axis_of(n, n.integer("axis", 0), all[0].dim()));
  return {stored(n, y / one_in(n, 0), 1, n.in(2).dtype())};
}
Tensors where_(I& n) {
  const Tensor y = where(n.in(0), real_in(n, 1), real_in(n, 4));
  return {stored(n, y / one_in(n, 7), 8, n.in(1).dtype())};
}

// --- Products -----------------------------------------------------------------------------------

Tensor zero_in(I& n, int i) {
  const Tensor t = n.in_or_none(i);
  return t.defined() && t.numel() > 1 ? reshape(t, {t.numel()}) : t;
}
/// A scale of one number, or one a column.
Tensor scale_in(I& n, int i) {
  const Tensor t = cast(n.in(i), f32);
  return reshape(t, t.numel() == 1 ? Shape{} : Shape{t.numel()});
}
Tensor with_bias(I& n, const Tensor& y, int bias) {
  return n.has(bias) ? y + cast(n.in(bias), y.dtype()) : y;
}

Tensors gemm(I& n) {
  Tensor a = n.in(0), b = n.in(3);
  n.need(a.dim() == 2 && b.dim() == 2, "takes matrices, got shapes ", a.shape(), " and ",
         b.shape());
  if (n.flag("transA", false)) a = transpose(a, 0, 1);
  if (n.flag("transB", false)) b = transpose(b, 0, 1);
  const Tensor sums = with_bias(n, int8_product(n, a, b, zero_in(n, 2), zero_in(n, 5)), 6);
  const Tensor scale = scale_in(n, 1) * scale_in(n, 4) * n.real("alpha", 1);
  if (!n.has(8)) return {cast(sums, f32) * scale};
  const Tensor zero = n.in(8);
  n.need(zero.dtype() == i8 || zero.dtype() == u8, "a result of ", zero.dtype());
  return {requantize(sums, scale / scale_in(n, 7), zero, {}, zero.dtype(), 1)};
}
Tensors integer_to_float(I& n) {
  const Tensor sums = int8_product(n, n.in(0), n.in(1), zero_in(n, 4), zero_in(n, 5));
  return {with_bias(n, cast(sums, f32) * (scale_in(n, 2) * scale_in(n, 3)), 6)};
}
/// The left operand is stored by its own range at every run.
Tensors dynamic_product(I& n) {
  const QuantizedTensor q = quantized_by_range(cast(n.in(0), f32));
  const Tensor sums = int8_product(n, q.values, n.in(1), q.zero, zero_in(n, 3));
  return {with_bias(n, cast(sums, f32) * (q.scale * scale_in(n, 2)), 4)};
}

/// Numbers of 2, 4 or 8 bits, the lowest bits first, as one byte each: [..., n] gives [..., n * 8 /
/// bits].
Tensor unpacked(const Tensor& packed, int64_t bits) {
  if (bits == 8) return packed;
  std::vector<Tensor> parts;
  for (int64_t shift = 0; shift < 8; shift += bits)
    parts.push_back(bitwise_and(bitwise_right_shift(packed, full({}, double(shift), u8)),
                                full({}, double((1 << bits) - 1), u8)));
  Shape s = packed.shape();
  s[s.size() - 1] = s.back() * (8 / bits);
  return reshape(stack(parts, packed.dim()), s);
}
/// x W^T, W stored in blocks of few bits with a scale each.
Tensors product_of_bits(I& n) {
  const Tensor x = n.in(0), scale = cast(n.in(2), f32);
  const int64_t k = n.integer("K", 0), rows = n.integer("N", 0), bits = n.integer("bits", 4),
                block = n.integer("block_size", 0);
  if (n.has(4)) n.unsupported("g_idx");
  n.need((bits == 2 || bits == 4 || bits == 8) && block > 0 && block % 8 == 0 && k > 0 &&
             rows > 0 && k < (int64_t{1} << 31) && rows < (int64_t{1} << 31) &&
             block < (int64_t{1} << 31),
         "bits=", bits, ", block_size=", block, ", K=", k, ", N=", rows);
  const int64_t blocks = (k + block - 1) / block;
  const Shape groups{rows, blocks, 1};
  const Tensor packed = n.in(1);
  n.need(packed.dtype() == u8 && packed.shape() == Shape{rows, blocks, block * bits / 8},
         "a weight of ", packed.dtype(), packed.shape());
  n.need(scale.numel() == rows * blocks, "scales of shape ", scale.shape());
  Tensor w = cast(unpacked(packed, bits), f32);
  if (n.has(3)) {
    Tensor zero = n.in(3);
    if (zero.dtype() == u8) {
      const int64_t bytes = (blocks * bits + 7) / 8;
      n.need(zero.numel() == rows * bytes, "zero points of shape ", zero.shape());
      zero = slice(unpacked(reshape(zero, {rows, bytes}), bits), 1, 0, blocks);
    }
    n.need(zero.numel() == rows * blocks, "zero points of shape ", zero.shape());
    w = w - reshape(cast(zero, f32), groups);
  } else {
    w = w - double(int64_t{1} << (bits - 1));
  }
  w = slice(reshape(w * reshape(scale, groups), {rows, blocks * block}), 1, 0, k);
  return {linear(x, cast(w, x.dtype()), n.in_or_none(5))};
}

}  // namespace

void add_microsoft_int8_imports(OnnxImports& t) {
  t.insert({{"com.microsoft.QLinearAdd", add},
            {"com.microsoft.QLinearMul", multiply},
            {"com.microsoft.QLinearSigmoid", sigmoid_},
            {"com.microsoft.QLinearLeakyRelu", leaky},
            {"com.microsoft.QLinearSoftmax", softmax_},
            {"com.microsoft.QLinearGlobalAveragePool", global_average},
            {"com.microsoft.QLinearAveragePool", average},
            {"com.microsoft.QLinearConcat", concat},
            {"com.microsoft.QLinearWhere", where_},
            {"com.microsoft.QGemm", gemm},
            {"com.microsoft.MatMulIntegerToFloat", integer_to_float},
            {"com.microsoft.DynamicQuantizeMatMul", dynamic_product},
            {"com.microsoft.MatMulNBits", product_of_bits}});
}

}  // namespace tandem::detail
