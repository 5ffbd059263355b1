#include "tandem/backend/cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if TANDEM_X86
#include <cpuid.h>
#endif

namespace tandem::cpu {
namespace {

#if TANDEM_X86
// clang 14's __builtin_cpu_supports does not know the name.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1u);
}
#endif

Isa of_machine() {
#if TANDEM_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
    return Isa::baseline;
  }
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide ? Isa::avx512 : Isa::avx2;
#else
  return Isa::baseline;
#endif
}

Isa detect() {
  const Isa best = of_machine();
  const char* cap = std::getenv("TANDEM_ISA");
  if (cap == nullptr) return best;
  if (std::strcmp(cap, "baseline") == 0) return Isa::baseline;
  if (std::strcmp(cap, "avx2") == 0) return std::min(best, Isa::avx2);
  return best;
}

}  // namespace

Isa isa() noexcept {
  static const Isa found = detect();
  return found;
}

}  // namespace tandem::cpu
