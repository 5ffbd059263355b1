#pragma once
// What records that take a random key share.
#include "tandem/backend/cpu/random_fill.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/op.h"

namespace tandem::detail {

template <class O>
void check_key(const O& op, const Spec& key) {
  if (key.dtype == i64 && key.shape == Shape{2}) [[likely]]
    return;
  const std::string got = to_string(key);
  check<DTypeError>(key.dtype == i64, op, "a random key is i64[2], got ", got);
  check<ShapeError>(false, op, "a random key is i64[2], got ", got);
}

inline cpu::RandomKey read_key(const Tensor& key) {
  const int64_t* p = key.data<int64_t>();
  return {uint64_t(p[0]), uint64_t(p[key.strides()[0]])};
}

/// Calls fill(first, n, C* to) for tiles of a row-major tensor in parallel and converts from C.
template <class C, class F>
void fill_random(Tensor& out, const F& fill) {
  constexpr int64_t tile = 1024;
  const int64_t n = out.numel(), item = itemsize(out.dtype());
  const ScatterFn convert = scatter_fn(dtype_of<C>, out.dtype());
  char* data = static_cast<char*>(out.raw_data());
  cpu::parallel_for((n + tile - 1) / tile, 8, [&](int64_t begin, int64_t end) {
    alignas(64) C buffer[tile];
    for (int64_t i = begin * tile; i < end * tile && i < n; i += tile) {
      const int64_t m = n - i < tile ? n - i : tile;
      if (m == tile && out.dtype() == dtype_of<C>) {
        fill(i, m, reinterpret_cast<C*>(data + i * item));
      } else {
        fill(i, m, buffer);
        convert(buffer, data + i * item, 1, m);
      }
    }
  });
}

}  // namespace tandem::detail
