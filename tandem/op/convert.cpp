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

template <int I>
struct type_at;
template <>
struct type_at<0> {
  using type = float;
};
template <>
struct type_at<1> {
  using type = double;
};
template <>
struct type_at<2> {
  using type = Half;
};
template <>
struct type_at<3> {
  using type = BFloat16;
};
template <>
struct type_at<4> {
  using type = int8_t;
};
template <>
struct type_at<5> {
  using type = uint8_t;
};
template <>
struct type_at<6> {
  using type = int32_t;
};
template <>
struct type_at<7> {
  using type = int64_t;
};
template <>
struct type_at<8> {
  using type = bool;
};

struct Conversions {
  GatherFn gather_to[dtype_count][dtype_count];
  ScatterFn scatter_to[dtype_count][dtype_count];
  template <int I, int J>
  constexpr void fill() {
    if constexpr (J == dtype_count) {
      if constexpr (I + 1 < dtype_count) fill<I + 1, 0>();
    } else {
      using From = typename type_at<I>::type;
      using To = typename type_at<J>::type;
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
