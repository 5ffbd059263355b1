// The one thread pool of the library: OpenMP's, which oneDNN uses as well.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "tandem/core/export.h"

namespace tandem::cpu {

/// Threads that one call may use: the last `set_num_threads`, else TANDEM_NUM_THREADS, else
/// OMP_NUM_THREADS, else the physical cores this process may run on. Safe from any thread.
///
/// Pinning cannot be changed once the OpenMP runtime has started, and a worker starts on its
/// parent's core: set OMP_PROC_BIND=true in the environment for steady multi-core timings.
TANDEM_API int num_threads() noexcept;

/// Binds every later call, from any thread, to `n` threads; n < 1 returns to the default.
TANDEM_API void set_num_threads(int n) noexcept;

namespace detail {

using ChunkFn = void (*)(void* body, int64_t begin, int64_t end);

/// False inside a parallel region and when only one thread is allowed.
TANDEM_API bool may_fork() noexcept;

/// Runs [0, n) as dynamically claimed chunks; rethrows the first exception of a chunk.
TANDEM_API void run_chunks(int64_t n, int64_t grain, ChunkFn fn, void* body);

}  // namespace detail

/// Threads that a call started here would get: 1 inside a parallel region, else num_threads().
inline int usable_threads() noexcept { return detail::may_fork() ? num_threads() : 1; }

/// Calls body(begin, end) on disjoint ranges that cover [0, n). Serial (one call) when n <= grain,
/// inside a parallel region, or with one thread; else about eight chunks a thread, claimed
/// dynamically so that a core that is busy elsewhere does not hold up the others. The first
/// exception thrown by body reaches the caller; chunks not yet begun are then left out.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& body) {
  if (n <= 0) return;
  if (n <= grain || !detail::may_fork()) {
    body(int64_t{0}, n);
    return;
  }
  using Body = std::remove_reference_t<F>;
  detail::run_chunks(
      n, grain, [](void* p, int64_t begin, int64_t end) { (*static_cast<Body*>(p))(begin, end); },
      const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

/// For its lifetime OpenMP regions started by this thread (oneDNN's) get usable_threads() threads.
/// The number is per thread in OpenMP, so that it is put back for the sake of the user's own
/// regions.
class TANDEM_API OmpScope {
 public:
  OmpScope() noexcept;
  ~OmpScope();
  OmpScope(const OmpScope&) = delete;
  OmpScope& operator=(const OmpScope&) = delete;

 private:
  int before_;  // 0: nothing to put back
};

}  // namespace tandem::cpu
