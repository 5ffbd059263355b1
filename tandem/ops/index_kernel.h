#pragma once
// What the ops share that read or write at indices.
#include <type_traits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/op.h"

namespace tandem::detail {

template <class O>
void check_index_dtype(const O& op, DType d) {
  check<DTypeError>(d == i64 || d == i32, op, "an index must be i64 or i32, got ", d);
}

template <class O>
void check_integer_index(const O& op, DType d) {
  check<DTypeError>(is_integral(d), op, "an index must be an integer tensor, got ", d);
}

template <class O>
[[noreturn]] __attribute__((noinline, cold)) void bad_index(const O& op, int64_t i, int64_t low,
                                                            int64_t n, int axis,
                                                            const Shape& shape) {
  throw IndexError(cat(print(op), ": index ", i, " is out of range [", low, ", ", n - 1,
                       "] for axis ", axis, " of shape ", shape));
}

/// Calls f.template operator()<U>() with the unsigned type of that size: to move elements.
template <class F>
void visit_bytes(int64_t item, F&& f) {
  if (item == 4) f.template operator()<uint32_t>();
  else if (item == 8) f.template operator()<uint64_t>();
  else if (item == 2) f.template operator()<uint16_t>();
  else f.template operator()<uint8_t>();
}

/// a + b as the type itself; integers wrap around; booleans: or.
template <class T>
[[gnu::always_inline]] inline T plus(T a, T b) {
  if constexpr (std::is_same_v<T, bool>) return a | b;
  else if constexpr (std::is_integral_v<T>) return T(uint64_t(a) + uint64_t(b));
  else return T(a + b);
}

/// Calls f.template operator()<T, S>(sums) for elements of type T, whose sums are of type S. Halves
/// have too few digits to add up many of them: their sums are kept in f32 and rounded at the end.
template <class F>
void accumulate(const Tensor& out, F&& f) {
  visit(out.dtype(), [&]<class T>() {
    if constexpr (std::is_class_v<T>) {
      const Tensor sums = empty(out.shape(), f32);
      f.template operator()<T, float>(sums);
      copy_data(out, sums);
    } else {
      f.template operator()<T, T>(out);
    }
  });
}

/// Geometry of x[outer, n, inner] around `axis`; a 0-d tensor is [1, 1, 1].
struct AxisSplit {
  int64_t outer = 1, n = 1, inner = 1;
  AxisSplit(const Shape& s, int axis) {
    for (int i = 0; i < s.size(); ++i) (i < axis ? outer : i == axis ? n : inner) *= s[i];
  }
};

}  // namespace tandem::detail
