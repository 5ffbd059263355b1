#pragma once
#include <cstddef>

#include "tandem/core/allocator.h"

#if !TANDEM_POOLS
// Of the address sanitizer's runtime.
extern "C" void __asan_poison_memory_region(const volatile void* p, size_t bytes);
extern "C" void __asan_unpoison_memory_region(const volatile void* p, size_t bytes);
#endif

namespace tandem::detail {

/// Whether the address sanitizer can be told of memory that nobody may touch.
inline constexpr bool poisons = !TANDEM_POOLS;

inline void poison([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
#if !TANDEM_POOLS
  __asan_poison_memory_region(p, bytes);
#endif
}
inline void unpoison([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes) {
#if !TANDEM_POOLS
  __asan_unpoison_memory_region(p, bytes);
#endif
}

}  // namespace tandem::detail
