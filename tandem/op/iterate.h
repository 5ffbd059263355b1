#pragma once
#include <array>
#include <span>

#include "tandem/core/tensor.h"

namespace tandem::detail {

/// The loop nest over one shape that several strided operands share: axes of length one are
/// dropped, neighbours that step as one are merged, the innermost axis comes last.
struct LoopNest {
  static constexpr int max_operands = 6;
  Shape sizes;
  std::array<Strides, max_operands> strides;  ///< in elements
  int operands = 0;

  /// Every operand is seen as broadcast to `shape`.
  LoopNest(const Shape& shape, std::span<const Tensor* const> tensors);
  int64_t inner() const { return sizes.empty() ? 1 : int64_t(sizes.back()); }
  int64_t outer() const;
  int64_t inner_stride(int k) const {
    return sizes.empty() ? 0 : int64_t(strides[size_t(k)].back());
  }
  /// Element offset of every operand at the start of the `row`-th innermost run.
  void offsets(int64_t row, int64_t* out) const;
};

}  // namespace tandem::detail
