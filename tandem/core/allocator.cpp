#include "tandem/core/allocator.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "tandem/core/error.h"

namespace tandem {
namespace detail {

namespace {

/// Neither gives nor takes a block, so that a thread's first and last requests reach the slow path.
constinit SmallCache closed_cache = [] {
  SmallCache c;
  for (FreeList& list : c.lists) list.count = max_cached_blocks;
  return c;
}();

}  // namespace

constinit thread_local SmallCache* small_cache = &closed_cache;

namespace {

constexpr size_t huge_page = size_t(2) << 20;
constexpr size_t slab_bytes = 64 << 10;
constexpr int64_t cache_slack = int64_t(256) << 20;  // unused bytes that are always kept
constexpr int small_classes = int(small_limit / block_align) + 1;

/// Sizes above 4 KiB are rounded up: quarter steps of a power of two, then whole 2 MiB pages.
size_t round_large(size_t bytes) {
  if (bytes >= huge_page) return (bytes + huge_page - 1) / huge_page * huge_page;
  size_t power = small_limit;
  while (power * 2 < bytes) power *= 2;
  const size_t step = power / 4;
  return (bytes + step - 1) / step * step;
}

/// Everything that threads share. Never destroyed: blocks may come back while the program ends.
struct Central {
  std::mutex mutex;
  FreeList small[small_classes] = {};         ///< blocks of threads that ended or had too many
  std::multimap<size_t, void*> cached_large;  ///< by size
  int64_t in_use = 0, peak = 0, reserved = 0, allocations = 0, limit = 0;
};
Central& central() {
  static Central& c = *new Central;
  return c;
}

void push(FreeList& list, void* p) {
  *static_cast<void**>(p) = list.head;
  list.head = p;
  ++list.count;
}
void* pop(FreeList& list) {
  void* p = list.head;
  list.head = *static_cast<void**>(p);
  --list.count;
  return p;
}

/// A thread's lists; at its end the blocks go to the other threads.
struct OwnCache {
  SmallCache cache;
  OwnCache() { small_cache = &cache; }
  ~OwnCache() {
    small_cache = &closed_cache;
    Central& c = central();
    std::lock_guard lock(c.mutex);
    for (int i = 0; i < small_classes; ++i)
      while (cache.lists[i].head) push(c.small[i], pop(cache.lists[i]));
  }
};
void open_cache() { static thread_local OwnCache own; }

void free_system(void* p, size_t bytes) {
  if (bytes >= huge_page) munmap(p, bytes);
  else std::free(p);
}

void drop_cached(Central& c) {
  for (auto& [bytes, p] : c.cached_large) {
    free_system(p, bytes);
    c.reserved -= int64_t(bytes);
  }
  c.cached_large.clear();
}

/// Sizes that never come again, as of batches of varying length, must not pile up: unused blocks
/// beyond twice what was ever in use at once go back, largest first.
void trim(Central& c) {
  const int64_t allowed = 2 * c.peak + cache_slack;
  while (c.reserved - c.in_use > allowed && !c.cached_large.empty()) {
    const auto last = std::prev(c.cached_large.end());
    free_system(last->second, last->first);
    c.reserved -= int64_t(last->first);
    c.cached_large.erase(last);
  }
}

/// Memory from the system, with the lock held. A mapping of 2 MiB or more is aligned to huge pages
/// and asks for them: a fault of a 4 KiB page costs more than most arithmetic on it.
void* take_from_system(Central& c, size_t bytes) {
  if (c.limit && c.reserved + int64_t(bytes) > c.limit) drop_cached(c);
  require<OutOfMemory>(!c.limit || c.reserved + int64_t(bytes) <= c.limit, "allocate: ", bytes,
                       " bytes on top of ", c.reserved, " would pass the limit of ", c.limit,
                       " bytes (set_memory_limit)");
  for (int attempt = 0; attempt < 2; ++attempt) {
    void* p = nullptr;
    if (bytes >= huge_page) {
      void* raw = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (raw != MAP_FAILED) {
        const auto at = reinterpret_cast<uintptr_t>(raw);
        const uintptr_t aligned = (at + huge_page - 1) / huge_page * huge_page;
        if (aligned > at) munmap(raw, aligned - at);
        const uintptr_t tail = at + huge_page - aligned;
        if (tail) munmap(reinterpret_cast<void*>(aligned + bytes), tail);
        p = reinterpret_cast<void*>(aligned);
        madvise(p, bytes, MADV_HUGEPAGE);
      }
    } else {
      p = std::aligned_alloc(block_align, (bytes + block_align - 1) / block_align * block_align);
    }
    if (p) {
      c.reserved += int64_t(bytes);
      return p;
    }
    drop_cached(c);
  }
  throw OutOfMemory(
      cat("allocate: the system has no ", bytes, " bytes left, ", c.reserved, " are held"));
}

void count_use(Central& c, int64_t bytes) {
  ++c.allocations;
  c.in_use += bytes;
  if (c.in_use > c.peak) c.peak = c.in_use;
}

void* allocate_small(size_t bytes) {
  const size_t cls = (bytes + block_align - 1) / block_align;
  const size_t size = cls ? cls * block_align : block_align;
  if (small_cache == &closed_cache) open_cache();
  Central& c = central();
  std::lock_guard lock(c.mutex);
  if (c.small[cls].head) return pop(c.small[cls]);
  auto* slab = static_cast<char*>(take_from_system(c, slab_bytes));
  count_use(c, slab_bytes);
  for (size_t at = size; at + size <= slab_bytes; at += size) push(c.small[cls], slab + at);
  if (small_cache != &closed_cache)
    std::swap(c.small[cls], small_cache->lists[cls]);  // the slab is this thread's
  return slab;
}

void* allocate_large(size_t bytes) {
  const size_t size = round_large(bytes);
  Central& c = central();
  std::lock_guard lock(c.mutex);
  auto it = c.cached_large.find(size);
  if (it != c.cached_large.end()) {
    void* p = it->second;
    c.cached_large.erase(it);
    count_use(c, int64_t(size));
    return p;
  }
  void* p = take_from_system(c, size);
  count_use(c, int64_t(size));
  return p;
}

}  // namespace

void* allocate_slow(size_t bytes) {
  if (!TANDEM_POOLS) {
    const size_t size = bytes > small_limit ? round_large(bytes) : bytes;
    Central& c = central();
    std::lock_guard lock(c.mutex);
    void* p = take_from_system(c, size ? size : 1);
    count_use(c, int64_t(size));
    return p;
  }
  return bytes <= small_limit ? allocate_small(bytes) : allocate_large(bytes);
}

void release_slow(void* p, size_t bytes) noexcept {
  Central& c = central();
  std::lock_guard lock(c.mutex);
  if (!TANDEM_POOLS) {
    const size_t size = bytes > small_limit ? round_large(bytes) : bytes;
    free_system(p, size);
    c.reserved -= int64_t(size);
    c.in_use -= int64_t(size);
    return;
  }
  if (bytes <= small_limit) {
    push(c.small[(bytes + block_align - 1) / block_align], p);
    return;
  }
  const size_t size = round_large(bytes);
  c.in_use -= int64_t(size);
  try {
    c.cached_large.emplace(size, p);
  } catch (...) {  // no memory for the list's own entry
    free_system(p, size);
    c.reserved -= int64_t(size);
  }
  trim(c);
}

}  // namespace detail

MemoryStats memory_stats() {
  auto& c = detail::central();
  std::lock_guard lock(c.mutex);
  return {c.in_use, c.peak, c.reserved, c.allocations, c.limit};
}

void reset_peak_memory() {
  auto& c = detail::central();
  std::lock_guard lock(c.mutex);
  c.peak = c.in_use;
}

void set_memory_limit(int64_t bytes) {
  require(bytes >= 0, "set_memory_limit(bytes=", bytes, "): bytes must not be negative");
  auto& c = detail::central();
  std::lock_guard lock(c.mutex);
  c.limit = bytes;
}

void empty_cache() {
  auto& c = detail::central();
  std::lock_guard lock(c.mutex);
  detail::drop_cached(c);
}

}  // namespace tandem
