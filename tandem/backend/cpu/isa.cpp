#include "tandem/backend/cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace tandem::cpu {
namespace {

Isa of_machine() {
#if TANDEM_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c")) {
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
