#include "tandem/backend/cpu/scratch.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "tandem/core/allocator.h"

namespace tandem::cpu {
namespace {

constexpr size_t huge_page = size_t{2} << 20;

struct Block {
  void* data;
  size_t bytes;
  std::atomic<bool> busy;
};

class Shelf;

/// The shelves of all threads, for empty_cache(). Never destroyed: threads may end after it.
struct Shelves {
  std::mutex mutex;
  std::vector<Shelf*> all;
};
Shelves& shelves() {
  static Shelves& s = *new Shelves;
  return s;
}

/// One thread's blocks. A lease ends on the thread that took it; other threads only drop what is
/// idle.
class Shelf {
 public:
  Shelf() {
    on_empty_cache_once();
    Shelves& s = shelves();
    const std::lock_guard lock(s.mutex);
    s.all.push_back(this);
  }
  ~Shelf() {
    {
      Shelves& s = shelves();
      const std::lock_guard lock(s.mutex);
      std::erase(s.all, this);
    }
    drop_idle();
  }

  /// An idle block that is large enough, the smallest of these, or null.
  Block* take(size_t bytes) {
    const Lock lock(*this);
    Block* best = nullptr;
    for (Block* b : blocks_)
      if (!b->busy.load(std::memory_order_relaxed) && b->bytes >= bytes &&
          (best == nullptr || b->bytes < best->bytes))
        best = b;
    if (best) best->busy.store(true, std::memory_order_relaxed);
    return best;
  }

  /// A new block in place of the largest idle one that was too small: without that a run over many
  /// shapes would keep a block for each.
  Block* grow(size_t bytes) {
    {
      const Lock lock(*this);
      Block* small = nullptr;
      for (Block* b : blocks_)
        if (!b->busy.load(std::memory_order_relaxed) && (!small || b->bytes > small->bytes))
          small = b;
      if (small) remove(small);
      blocks_.reserve(blocks_.size() + 1);
    }
    const size_t page = bytes >= huge_page ? huge_page : 4096;
    const size_t size = (std::max<size_t>(bytes, 1) + page - 1) / page * page;
    Block* b = new_block(size);
    const Lock lock(*this);
    blocks_.push_back(b);
    return b;
  }

  void drop_idle() noexcept {
    const Lock lock(*this);
    for (size_t i = blocks_.size(); i-- > 0;)
      if (!blocks_[i]->busy.load(std::memory_order_acquire)) remove(blocks_[i]);
  }

  static Block* new_block(size_t size) {
    auto* b = new Block{nullptr, size, true};
    try {
      b->data = tandem::detail::take_block(size);
    } catch (...) {
      delete b;
      throw;
    }
    return b;
  }
  static void drop(Block* b) noexcept {
    tandem::detail::give_block(b->data, b->bytes);
    delete b;
  }

 private:
  /// Nobody waits for long: others come only from empty_cache().
  class Lock {
   public:
    explicit Lock(Shelf& s) : s_(s) {
      while (s_.locked_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
    }
    ~Lock() { s_.locked_.store(false, std::memory_order_release); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    Shelf& s_;
  };

  static void on_empty_cache_once() {
    static const bool done = [] {
      tandem::detail::on_empty_cache([]() noexcept {
        Shelves& s = shelves();
        const std::lock_guard lock(s.mutex);
        for (Shelf* shelf : s.all) shelf->drop_idle();
      });
      return true;
    }();
    (void)done;
  }
  void remove(Block* b) noexcept {
    std::erase(blocks_, b);
    drop(b);
  }

  std::vector<Block*> blocks_;
  std::atomic<bool> locked_{false};
};

Shelf& shelf() {
  static thread_local Shelf s;
  return s;
}

}  // namespace

Scratch::Scratch(size_t bytes) {
  Block* b = nullptr;
  if (TANDEM_POOLS) {
    Shelf& mine = shelf();
    b = mine.take(bytes);
    if (b == nullptr) b = mine.grow(bytes);
  } else {
    b = Shelf::new_block(std::max<size_t>(bytes, 1));  // to the byte, for the sanitizer
  }
  data_ = b->data;
  block_ = b;
}

Scratch::~Scratch() {
  auto* const b = static_cast<Block*>(block_);
  if (TANDEM_POOLS) b->busy.store(false, std::memory_order_release);
  else Shelf::drop(b);
}

}  // namespace tandem::cpu
