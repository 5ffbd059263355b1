#pragma once
// For reductions that look at their elements more than once.
#include <algorithm>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/ops/reduce_shape.h"

namespace tandem::detail {

/// The input as row-major rows of the elements that belong together.
struct Rows {
  Tensor data;
  int64_t count, length;
};
template <class O>
Rows rows_of(const O& op, const Tensor& x, DType dtype) {
  const Shape reduced = reduced_axes(op, op.axes, x.shape());
  bool gone[max_dims] = {};
  for (int64_t a : reduced) gone[a] = true;
  Shape shape, strides;
  int64_t count = 1, length = 1;
  for (int pass = 0; pass < 2; ++pass)
    for (int i = 0; i < x.dim(); ++i) {
      if (gone[i] != (pass == 1)) continue;
      shape.push_back(x.shape()[i]);
      strides.push_back(x.strides()[i]);
      (pass ? length : count) *= x.shape()[i];
    }
  return {as_contiguous(alias(x, shape, strides, 0), dtype), count, length};
}

/// Calls f(row, first element, length, result) for all rows in parallel.
template <class T, class F>
void each_row(const Rows& rows, T* out, const F& f) {
  const T* data = static_cast<const T*>(rows.data.raw_data());
  cpu::parallel_for(rows.count, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, rows.length)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i)
                        out[i] = f(data + i * rows.length, rows.length);
                    });
}

}  // namespace tandem::detail
