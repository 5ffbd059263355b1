// Instruction sets chosen at run time. The library is compiled for the baseline of the target;
// functions that carry one of the target attributes below are reached only through `isa()`.
#pragma once

#include "tandem/core/export.h"

#if defined(__x86_64__)
#define TANDEM_X86 1
#define TANDEM_AVX2_FEATURES "avx,avx2,fma,f16c"
#define TANDEM_AVX512_FEATURES TANDEM_AVX2_FEATURES ",avx512f,avx512bw,avx512dq,avx512vl"
#define TANDEM_TARGET_AVX2 __attribute__((target(TANDEM_AVX2_FEATURES)))
#define TANDEM_TARGET_AVX512 __attribute__((target(TANDEM_AVX512_FEATURES)))
#else
#define TANDEM_X86 0
#endif

/// Bodies marked so melt into a wrapper with a target attribute and are vectorised for it there.
#define TANDEM_ALWAYS_INLINE inline __attribute__((always_inline))

namespace tandem::cpu {

enum class Isa { baseline, avx2, avx512 };

/// The best instruction set of this machine; TANDEM_ISA=baseline|avx2 in the environment lowers it.
TANDEM_API Isa isa() noexcept;

}  // namespace tandem::cpu
