#include "tandem/backend/cpu/invalid_flag.h"

#ifdef __SSE2__
#include <xmmintrin.h>

#include <atomic>

#include "tandem/backend/cpu/threads.h"
#endif

namespace tandem::cpu {

#ifdef __SSE2__
namespace {
bool take_own() noexcept {
  constexpr unsigned invalid = 1;  // MXCSR.IE, Intel SDM volume 1, 10.2.3
  const unsigned now = _mm_getcsr();
  if (!(now & invalid)) return false;
  _mm_setcsr(now & ~invalid);
  return true;
}
}  // namespace

bool take_invalid_flags() noexcept {
  const int threads = usable_threads();
  if (threads == 1) return take_own();
  std::atomic<bool> any{false};
#pragma omp parallel num_threads(threads)
  if (take_own()) any.store(true, std::memory_order_relaxed);
  return any.load(std::memory_order_relaxed);
}
#else
bool take_invalid_flags() noexcept { return true; }
#endif

}  // namespace tandem::cpu
