#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem::graph {

/// What the steps in front of a plan have made, packed weights above all. Plans whose steps in
/// front do the same share it, as those of one function for many batch sizes, and of many threads.
struct Prepared {
  /// One state that was read, as it was then.
  struct Seen {
    const Storage* storage = nullptr;
    const char* data = nullptr;
    uint32_t version = 0;
    friend bool operator==(const Seen&, const Seen&) = default;
  };

  /// A mutex that may be tried by the thread that holds it: who prepares may run out of memory, and
  /// then everything idle is dropped.
  class Lock {
   public:
    void lock() {
      while (taken_.test_and_set(std::memory_order_acquire)) taken_.wait(true);
    }
    bool try_lock() { return !taken_.test_and_set(std::memory_order_acquire); }
    void unlock() {
      taken_.clear(std::memory_order_release);
      taken_.notify_one();
    }

   private:
    std::atomic_flag taken_;
  };

  Lock lock;      ///< held while it is looked at, or made
  Tensor memory;  ///< replaced, not overwritten: a run may still read the old one
  std::vector<Seen> seen;

  /// That of all plans with this text. Nothing is kept of what no plan has any more.
  static std::shared_ptr<Prepared> of(const std::string& text);
};

}  // namespace tandem::graph
