#pragma once
// Sixteen floats of an AVX-512 register, for point functors that look values up in tables: the
// compiler would vectorise table[i] by gathering. Included by an op's .cpp only.
#include <cstdint>
#include <cstring>

#include "tandem/op/kernel.h"

#if TANDEM_X86 && defined(__GNUC__) && !defined(__clang__)
#define TANDEM_VECTOR16 1
#else
#define TANDEM_VECTOR16 0
#endif

#if TANDEM_VECTOR16
namespace tandem::detail {

// Functions of these types are inlined into one for AVX-512 and never called. The warning comes at
// the end of the file.
#pragma GCC diagnostic ignored "-Wpsabi"

using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));

TANDEM_FN Ints to_bits(const Floats& x) { return Ints(x); }
TANDEM_FN Floats abs(const Floats& x) { return Floats(Ints(x) & 0x7fffffff); }
TANDEM_FN Floats select(const Ints& m, const Floats& a, const Floats& b) { return m ? a : b; }
TANDEM_FN Floats select(const Ints& m, float a, const Floats& b) { return m ? Floats{} + a : b; }
TANDEM_FN Floats select(const Ints& m, const Floats& a, float b) { return m ? a : Floats{} + b; }
/// table[i & 31]
TANDEM_FN Floats look_up(const float* table, const Ints& i) {
  Floats low, high;
  std::memcpy(&low, table, sizeof low);
  std::memcpy(&high, table + 16, sizeof high);
  return __builtin_shuffle(low, high, i);
}

template <class O>
TANDEM_FN Floats point_of(const O& o, const Floats& a, const Floats& b) {
  if constexpr (point_arity<O, Floats>() == 2) return o.point(a, b);
  else return (void)b, o.point(a);
}
/// The kernel of a functor of one or two operands, which it takes by reference.
template <class O>
void vector16_kernel(const void* op, const void* const* in, void* out, int64_t n) {
  simd_avx512([=] {
    const O o = *static_cast<const O*>(op);
    const float* const a = static_cast<const float*>(in[0]);
    const float* const b = static_cast<const float*>(in[point_arity<O, Floats>() - 1]);
    float* const y = static_cast<float*>(out);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      Floats v, w;
      std::memcpy(&v, a + i, sizeof v);
      std::memcpy(&w, b + i, sizeof w);
      v = point_of(o, v, w);
      std::memcpy(y + i, &v, sizeof v);
    }
    if (i == n) return;
    Floats v{}, w{};
    const size_t rest = size_t(n - i) * sizeof(float);
    std::memcpy(&v, a + i, rest);
    std::memcpy(&w, b + i, rest);
    v = point_of(o, v, w);
    std::memcpy(y + i, &v, rest);
  });
}

}  // namespace tandem::detail
#endif
