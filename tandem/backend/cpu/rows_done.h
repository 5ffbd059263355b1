#pragma once
#include <algorithm>

#include "tandem/backend/cpu/threads.h"

namespace tandem::cpu {

/// What is done with rows [begin, end) of a result when they are final: on the thread that computed
/// them, where it can be, while they are in its cache. Threads call it at once; a row comes once.
struct RowsDone {
  void (*fn)(const void* self, int64_t begin, int64_t end) = nullptr;
  const void* self = nullptr;
  /// The kernel is the one that would run without this, so that its bits are the same.
  bool same_kernel = false;

  /// Nothing when there is nothing to do.
  void operator()(int64_t begin, int64_t end) const {
    if (fn) fn(self, begin, end);
  }
};

/// Tells of all `rows` of `width` elements, when the result is whole.
inline void finish_rows(int64_t rows, int64_t width, const RowsDone& done) {
  if (done.fn)
    parallel_for(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)),
                 [&](int64_t begin, int64_t end) { done.fn(done.self, begin, end); });
}

}  // namespace tandem::cpu
