#pragma once
#include <cstdint>

#include "tandem/core/export.h"

namespace tandem::detail {

/// What the system could still give to this process, and which of its limits says so.
struct MemoryRoom {
  int64_t bytes = INT64_MAX;  ///< beyond what is in use now
  int64_t limit = INT64_MAX;  ///< of the machine or the group of processes, as a whole
  const char* what = "";      ///< "the machine" or "the control group"
};

/// The least of what the machine and the control groups (version 1 and 2) that this process is in
/// could give; pages that hold copies of files count as free. Takes some 50 us and no memory. Where
/// nothing can be read there is no limit. `root` stands before /proc and /sys.
TANDEM_API MemoryRoom memory_room(const char* root = "");
/// Bytes of this process that lie in memory and belong to no file; 0 where nobody knows.
TANDEM_API int64_t resident_bytes(const char* root = "");

}  // namespace tandem::detail
