#include "tandem/core/allocator.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>

#include "tandem/core/error.h"
#include "tandem/core/memory_room.h"
#include "tandem/core/short_text.h"

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
constexpr size_t most_bytes = size_t(1) << 62;
constexpr int small_classes = int(small_limit / block_align) + 1;
constexpr int most_droppers = 8;

/// Sizes above 4 KiB are rounded up: quarter steps of a power of two, then whole 2 MiB pages.
/// Sanitizers get every size as it is, so that they see the byte behind it.
size_t round_large(size_t bytes) {
  if (!TANDEM_POOLS) return bytes;
  if (bytes >= huge_page) return (bytes + huge_page - 1) / huge_page * huge_page;
  size_t power = small_limit;
  while (power * 2 < bytes) power *= 2;
  const size_t step = power / 4;
  return (bytes + step - 1) / step * step;
}

using Clock = std::chrono::steady_clock;

/// Everything that threads share. Never destroyed: blocks may come back while the program ends.
struct Central {
  std::mutex mutex;
  FreeList small[small_classes] = {};         ///< blocks of threads that ended or had too many
  std::multimap<size_t, void*> cached_large;  ///< by size
  int64_t in_use = 0, peak = 0, reserved = 0, allocations = 0, limit = 0;
  /// What may be taken before the system is asked again what it has: asking takes some 50 us.
  int64_t granted = int64_t(64) << 20;
  Clock::time_point asked = {};
};
Central& central() {
  static Central& c = *new Central;
  return c;
}

std::atomic<void (*)() noexcept> droppers[most_droppers];

/// Without the lock: what is dropped comes back through give_block().
void drop_idle() {
  for (const auto& entry : droppers)
    if (const auto drop = entry.load(std::memory_order_acquire)) drop();
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
  if (TANDEM_POOLS && bytes >= huge_page) munmap(p, bytes);
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

/// A mapping of 2 MiB or more is aligned to huge pages and asks for them: a fault of a 4 KiB page
/// costs more than most arithmetic on it. Null when the system refuses.
void* map_system(size_t bytes) {
  void* p = nullptr;
  if (!TANDEM_POOLS || bytes < huge_page)
    return posix_memalign(&p, block_align, bytes) == 0 ? p : nullptr;
  void* raw =
      mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto at = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (at + huge_page - 1) / huge_page * huge_page;
  if (aligned > at) munmap(raw, aligned - at);
  const uintptr_t tail = at + huge_page - aligned;
  if (tail) munmap(reinterpret_cast<void*>(aligned + bytes), tail);
  p = reinterpret_cast<void*>(aligned);
  madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

/// Whether the system can back so much more. A mapping says nothing: Linux grants far more than
/// there is, and kills whoever writes to it. What was taken and never written to is owed already.
bool affordable(Central& c, int64_t bytes, MemoryRoom& room) {
  constexpr auto valid = std::chrono::milliseconds(100);
  const auto now = Clock::now();
  if (bytes <= c.granted && (c.asked == Clock::time_point() || now - c.asked < valid)) {
    c.granted -= bytes;
    return true;
  }
  room = memory_room();
  const int64_t owed = std::max<int64_t>(c.reserved - resident_bytes(), 0);
  room.bytes = std::max<int64_t>(room.bytes - owed, 0);
  c.asked = now;
  c.granted = 0;
  if (bytes > room.bytes) return false;
  c.granted = (room.bytes - bytes) / 4;
  return true;
}

[[noreturn, gnu::cold]] void throw_no_memory(const Central& c, int64_t bytes,
                                             const MemoryRoom& room) {
  if (c.limit && c.reserved + bytes > c.limit)
    throw OutOfMemory(ShortText("allocate: ", bytes, " bytes on top of ", c.reserved,
                                " would pass the limit of ", c.limit, " bytes (set_memory_limit)")
                          .view());
  if (bytes > room.bytes)
    throw OutOfMemory(ShortText("allocate: ", bytes, " bytes on top of ", c.reserved, ", and ",
                                room.what, " has ", room.bytes, " left of its limit of ",
                                room.limit, " bytes")
                          .view());
  rlimit space{};
  const bool limited = getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY;
  throw OutOfMemory(ShortText("allocate: the system refuses ", bytes, " bytes on top of ",
                              c.reserved, limited ? "; the limit of the address space is " : "",
                              limited ? ShortText(int64_t(space.rlim_cur)).view() : "",
                              limited ? " bytes" : "")
                        .view());
}

/// Memory from the system; `lock` is held, and let go while others give back what they keep.
void* take_from_system(Central& c, std::unique_lock<std::mutex>& lock, size_t bytes) {
  MemoryRoom room;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const bool allowed = !c.limit || c.reserved + int64_t(bytes) <= c.limit;
    if (allowed && affordable(c, int64_t(bytes), room)) {
      if (void* p = map_system(bytes)) {
        c.reserved += int64_t(bytes);
        return p;
      }
    }
    if (attempt) break;
    drop_cached(c);
    lock.unlock();
    drop_idle();
    lock.lock();
  }
  throw_no_memory(c, int64_t(bytes), room);
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
  std::unique_lock lock(c.mutex);
  if (c.small[cls].head) return pop(c.small[cls]);
  auto* slab = static_cast<char*>(take_from_system(c, lock, slab_bytes));
  count_use(c, slab_bytes);
  for (size_t at = size; at + size <= slab_bytes; at += size) push(c.small[cls], slab + at);
  if (small_cache->lists[cls].count < max_cached_blocks)
    std::swap(c.small[cls], small_cache->lists[cls]);  // the slab is this thread's
  return slab;
}

void* allocate_large(size_t bytes) {
  const size_t size = round_large(bytes);
  Central& c = central();
  std::unique_lock lock(c.mutex);
  auto it = c.cached_large.find(size);
  if (it != c.cached_large.end()) {
    void* p = it->second;
    c.cached_large.erase(it);
    count_use(c, int64_t(size));
    return p;
  }
  void* p = take_from_system(c, lock, size);
  count_use(c, int64_t(size));
  return p;
}

void check_size(size_t bytes) {
  if (bytes > most_bytes)
    throw OutOfMemory(ShortText("allocate: more bytes than an address can have").view());
}

}  // namespace

void* allocate_slow(size_t bytes) {
  check_size(bytes);
  if (!TANDEM_POOLS) {
    Central& c = central();
    std::unique_lock lock(c.mutex);
    void* p = take_from_system(c, lock, bytes ? bytes : 1);
    count_use(c, int64_t(bytes ? bytes : 1));
    return p;
  }
  return bytes <= small_limit ? allocate_small(bytes) : allocate_large(bytes);
}

void release_slow(void* p, size_t bytes) noexcept {
  Central& c = central();
  std::lock_guard lock(c.mutex);
  if (!TANDEM_POOLS) {
    const size_t size = bytes ? bytes : 1;
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
    // In front of its equals: what was used last is still in a processor's cache.
    c.cached_large.emplace_hint(c.cached_large.lower_bound(size), size, p);
  } catch (...) {  // no memory for the list's own entry
    free_system(p, size);
    c.reserved -= int64_t(size);
  }
  trim(c);
}

void* take_block(size_t bytes) {
  check_size(bytes);
  Central& c = central();
  std::unique_lock lock(c.mutex);
  return take_from_system(c, lock, round_large(bytes));
}

void give_block(void* p, size_t bytes) noexcept {
  const size_t size = round_large(bytes);
  Central& c = central();
  std::lock_guard lock(c.mutex);
  free_system(p, size);
  c.reserved -= int64_t(size);
}

void on_empty_cache(void (*drop)() noexcept) {
  for (auto& entry : droppers) {
    void (*nobody)() noexcept = nullptr;
    if (entry.compare_exchange_strong(nobody, drop)) return;
  }
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
  detail::drop_idle();
  auto& c = detail::central();
  std::lock_guard lock(c.mutex);
  detail::drop_cached(c);
}

}  // namespace tandem
