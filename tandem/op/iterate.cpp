#include "tandem/op/iterate.h"

#include <limits>
#include <utility>

namespace tandem::detail {

LoopNest::LoopNest(const Shape& shape, std::span<const Tensor* const> tensors)
    : operands(int(tensors.size())) {
  std::array<Strides, max_operands> all;
  for (int k = 0; k < operands; ++k)
    all[size_t(k)] =
        broadcast_strides(tensors[size_t(k)]->shape(), tensors[size_t(k)]->strides(), shape);
  // Axes in memory order of the first operand, so that a transposed result is walked along memory;
  // the next operands break ties. An operand that does not move along an axis wants it outside.
  const auto step = [&](int k, int axis) {
    const int64_t s = all[size_t(k)][axis];
    return s ? s : std::numeric_limits<int64_t>::max();
  };
  int order[max_dims], n = 0;
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) order[n++] = i;
  const auto outside = [&](int a, int b) {
    for (int k = 0; k < operands; ++k) {
      const int64_t x = step(k, a), y = step(k, b);
      if (x != y) return x > y;
    }
    return false;
  };
  // Eight axes at most, mostly in order already; std::stable_sort would ask for memory.
  for (int i = 1; i < n; ++i)
    for (int j = i; j > 0 && outside(order[j], order[j - 1]); --j)
      std::swap(order[j], order[j - 1]);
  for (int j = 0; j < n; ++j) {
    const int axis = order[j];
    bool merge = !sizes.empty();
    for (int k = 0; merge && k < operands; ++k)
      merge = strides[size_t(k)].back() == all[size_t(k)][axis] * shape[axis];
    if (merge) {
      sizes[sizes.size() - 1] *= shape[axis];
      for (int k = 0; k < operands; ++k)
        strides[size_t(k)][sizes.size() - 1] = all[size_t(k)][axis];
    } else {
      sizes.push_back(shape[axis]);
      for (int k = 0; k < operands; ++k) strides[size_t(k)].push_back(all[size_t(k)][axis]);
    }
  }
}

int64_t LoopNest::outer() const {
  int64_t n = 1;
  for (int i = 0; i + 1 < sizes.size(); ++i) n *= sizes[i];
  return n;
}

void LoopNest::offsets(int64_t row, int64_t* out) const {
  for (int k = 0; k < operands; ++k) out[k] = 0;
  for (int i = sizes.size() - 2; i >= 0; --i) {
    const int64_t at = row % sizes[i];
    row /= sizes[i];
    for (int k = 0; k < operands; ++k) out[k] += at * strides[size_t(k)][i];
  }
}

}  // namespace tandem::detail
