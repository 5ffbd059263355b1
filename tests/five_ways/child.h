#pragma once
// Programs run in child processes: a crash, a hang or a request for all memory is a finding, not
// the end.
#include <atomic>
#include <functional>
#include <string>

namespace tandem::five_ways {

/// Memory that a child shares with its parent: what it does right now.
struct Board {
  std::atomic<uint64_t> ticks{0};    ///< grows whenever something begins
  std::atomic<int64_t> program{-1};  ///< which one of those that it was given
  char doing[128] = {};

  static Board* make();
  void begin(int64_t number) {
    program = number;
    ++ticks;
  }
  void announce(const std::string& what);
};

struct Limits {
  int64_t bytes = int64_t(6) << 30;  ///< of address space
  double seconds = 5;                ///< that one thing may take
};

struct Ending {
  std::string output;   ///< all that the child wrote
  std::string failure;  ///< "" or "crash: Segmentation fault", "hang: ..."
  bool failed() const { return !failure.empty(); }
};

/// Runs `body(write)` in a child; what it writes is the output.
using Write = std::function<void(const std::string&)>;
Ending in_child(Board& board, const Limits& limits, const std::function<void(const Write&)>& body);

}  // namespace tandem::five_ways
