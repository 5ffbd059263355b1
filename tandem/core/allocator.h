#pragma once
#include <cstddef>
#include <cstdint>

#include "tandem/core/export.h"

namespace tandem {

/// What the caching allocator of the CPU holds, in bytes.
struct MemoryStats {
  int64_t in_use = 0;       ///< handed out and not yet given back
  int64_t peak_in_use = 0;  ///< the most `in_use` has been since start or `reset_peak_memory()`
  int64_t reserved = 0;     ///< taken from the system: in use or kept for reuse
  int64_t allocations = 0;  ///< requests served so far
  int64_t limit = 0;        ///< the hard cap on `reserved`; 0 means none
};

/// Large and small blocks together. Small blocks of running threads are counted by slab.
TANDEM_API MemoryStats memory_stats();
TANDEM_API void reset_peak_memory();
/// Requests that would take `reserved` above `bytes` throw OutOfMemory; 0 lifts the cap.
TANDEM_API void set_memory_limit(int64_t bytes);
/// Gives back to the system what no run needs: cached large blocks, the working memory that threads
/// keep for their kernels, and the memory in which compiled functions and sessions ran.
TANDEM_API void empty_cache();

namespace detail {

inline constexpr size_t small_limit = 4096;
inline constexpr size_t block_align = 64;

/// 64-byte aligned memory; thread-local freelists up to 4 KiB, a shared cache above. OutOfMemory
/// when the system has not that much, or the limit is reached.
TANDEM_API void* allocate_slow(size_t bytes);
TANDEM_API void release_slow(void* p, size_t bytes) noexcept;

/// Memory straight from the system for those who keep it themselves: it counts as reserved, not as
/// in use. `bytes` is at least 1.
TANDEM_API void* take_block(size_t bytes);
TANDEM_API void give_block(void* p, size_t bytes) noexcept;
/// Has empty_cache() and a request that finds no memory call `drop`, which gives back what is idle.
/// It must not throw.
TANDEM_API void on_empty_cache(void (*drop)() noexcept);

struct FreeList {
  void* head = nullptr;
  uint32_t count = 0;
};
/// One list a multiple of 64 bytes.
struct SmallCache {
  FreeList lists[small_limit / block_align + 1];
};
/// This thread's lists; before the first use the closed ones below. A pointer, so that the library
/// takes few bytes of static thread-local memory and reading it is one instruction.
extern TANDEM_API constinit thread_local SmallCache* small_cache
    __attribute__((tls_model("initial-exec")));

#if defined(__SANITIZE_ADDRESS__)
#define TANDEM_POOLS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TANDEM_POOLS 0
#endif
#endif
#ifndef TANDEM_POOLS
#define TANDEM_POOLS 1  // sanitizers see every block, so pools would hide its misuse
#endif

/// `bytes` must fit int64_t.
inline void* allocate(size_t bytes) {
  if (TANDEM_POOLS && bytes <= small_limit) {
    FreeList& list = small_cache->lists[(bytes + block_align - 1) / block_align];
    if (void* p = list.head) [[likely]] {
      list.head = *static_cast<void**>(p);
      --list.count;
      return p;
    }
  }
  return allocate_slow(bytes);
}

inline constexpr uint32_t max_cached_blocks = 1024;

/// `bytes` must be what was asked for.
inline void release(void* p, size_t bytes) noexcept {
  if (TANDEM_POOLS && bytes <= small_limit) {
    FreeList& list = small_cache->lists[(bytes + block_align - 1) / block_align];
    if (list.count < max_cached_blocks) [[likely]] {
      *static_cast<void**>(p) = list.head;
      list.head = p;
      ++list.count;
      return;
    }
  }
  release_slow(p, bytes);
}

}  // namespace detail
}  // namespace tandem
