#include <tuple>

#include "tandem/core/convert.h"
#include "tandem/op/copy.h"
#include "tandem/op/simd.h"

namespace tandem::detail {
namespace {

template <class From, class To>
void gather(const void* from, int64_t stride, void* to, int64_t n) {
  const From* __restrict x = static_cast<const From*>(from);
  To* __restrict y = static_cast<To*>(to);
  if (stride == 1)
    simd([=] {
      for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[i]);
    });
  else if (stride == 0)
    for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[0]);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[i * stride]);
}

template <class From, class To>
void scatter(const void* from, void* to, int64_t stride, int64_t n) {
  const From* __restrict x = static_cast<const From*>(from);
  To* __restrict y = static_cast<To*>(to);
  for (int64_t i = 0; i < n; ++i) y[i * stride] = convert<To>(x[i]);
}

/// The C++ types in the order of DType.
using Types = std::tuple<float, double, Half, BFloat16, int8_t, uint8_t, int32_t, int64_t, bool,
                         int16_t, uint16_t, uint32_t, uint64_t>;
static_assert(std::tuple_size_v<Types> == dtype_count);

struct Conversions {
  GatherFn gather_to[dtype_count][dtype_count];
  ScatterFn scatter_to[dtype_count][dtype_count];
  template <int I, int J>
  constexpr void fill() {
    if constexpr (J == dtype_count) {
      if constexpr (I + 1 < dtype_count) fill<I + 1, 0>();
    } else {
      using From = std::tuple_element_t<size_t(I), Types>;
      using To = std::tuple_element_t<size_t(J), Types>;
      gather_to[I][J] = gather<From, To>;
      scatter_to[I][J] = scatter<From, To>;
      fill<I, J + 1>();
    }
  }
  constexpr Conversions() : gather_to(), scatter_to() { fill<0, 0>(); }
};
constexpr Conversions conversions;

}  // namespace

GatherFn gather_fn(DType from, DType to) { return conversions.gather_to[int(from)][int(to)]; }
ScatterFn scatter_fn(DType from, DType to) { return conversions.scatter_to[int(from)][int(to)]; }

}  // namespace tandem::detail
