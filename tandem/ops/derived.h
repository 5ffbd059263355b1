#pragma once
#include <optional>
#include <string_view>

#include "tandem/core/tensor.h"

namespace tandem {

// Functions that are made of other ops.

/// The logarithm to base 2, or 10.
TANDEM_API Tensor log2(const Tensor& x);
TANDEM_API Tensor log10(const Tensor& x);
/// (sum |x|^p)^(1/p) over `axes` (none given: all): also p = infinity, -infinity (the largest, the
/// smallest |x|) and 0 (how many are not zero). Its gradient at zero is zero. DTypeError unless x
/// is floating.
TANDEM_API Tensor norm(const Tensor& x, double p = 2, const Shape& axes = {}, bool keepdim = false);
/// Whether |x - y| <= atol + rtol |y|, element by element; equal infinities are close, and NaN with
/// NaN if `equal_nan`. Errors: DTypeError for different dtypes.
TANDEM_API Tensor isclose(const Tensor& x, const Tensor& y, const Tolerance& tolerance = {});
/// Whether that holds for all elements. Reads the data.
TANDEM_API bool allclose(const Tensor& x, const Tensor& y, const Tolerance& tolerance = {});
/// The different elements in order, NaN each for itself. Reads the data.
TANDEM_API Tensor unique(const Tensor& x);
/// Each element along `axis` (none: of the flattened tensor) `repeats` times, or as often as the
/// integers of the 1-d tensor `repeats` say, which is read. Errors: ShapeError, ValueError for
/// negative numbers.
TANDEM_API Tensor repeat_interleave(const Tensor& x, int64_t repeats, std::optional<int> axis = {});
TANDEM_API Tensor repeat_interleave(const Tensor& x, const Tensor& repeats,
                                    std::optional<int> axis = {});
/// x with the elements where `mask` holds replaced by the first ones of `source`, in order. Reads
/// the mask. Errors: ShapeError when `source` has too few.
TANDEM_API Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& source);
/// The sum of products of two tensors of one axis. Errors: ShapeError.
TANDEM_API Tensor dot(const Tensor& x, const Tensor& y);
/// `axis` as several, of the given lengths; one of them may be -1. Errors: ShapeError, IndexError.
TANDEM_API Tensor unflatten(const Tensor& x, int axis, const Shape& lengths);
/// Quadratic within `delta` of the target, linear beyond with slope `delta` (Huber 1964). Errors:
/// as smooth_l1_loss, ValueError unless delta is positive.
TANDEM_API Tensor huber_loss(const Tensor& x, const Tensor& target,
                             std::string_view reduction = "mean", double delta = 1);

}  // namespace tandem
