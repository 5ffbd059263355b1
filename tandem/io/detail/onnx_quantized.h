#pragma once
#include "tandem/io/detail/onnx_import.h"

namespace tandem::detail {

/// A scale or zero point for `x`: one number, or one for each index of `axis`. Errors: ValueError.
Tensor along_scale(OnnxImporter& n, const Tensor& t, const Tensor& x, int64_t axis);
/// Numbers in steps of a scale as stored integers: rounded, moved by the zero point, if there is
/// one, and limited to [low, high].
Tensor stored_steps(const Tensor& steps, const Tensor& zero, double low, double high, DType to);

/// u8 values that stand for scale * (values - zero).
struct QuantizedTensor {
  Tensor values, scale, zero;
};
/// By the smallest and the largest element, 0 among them.
QuantizedTensor quantized_by_range(const Tensor& x);
/// x y of i8 and u8 without their zero points, as i32 (MatMul's shapes). A zero point may be
/// undefined or have one element a row of x, a column of y. Errors: ValueError.
Tensor int8_product(OnnxImporter& n, Tensor x, Tensor y, const Tensor& x_zero,
                    const Tensor& y_zero);

}  // namespace tandem::detail
