#include "tandem/backend/cpu/scratch.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "tandem/core/error.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tandem::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kAlign = 64;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

void* system_alloc(size_t bytes) {
  const size_t align = bytes >= kHugePage ? kHugePage : kAlign;
  void* p = std::aligned_alloc(align, round_up(bytes, align));
#ifdef __linux__
  if (p != nullptr && align == kHugePage) madvise(p, round_up(bytes, align), MADV_HUGEPAGE);
#endif
  return p;
}

void system_free(void* p, size_t) { std::free(p); }

struct Block {
  void* data;
  size_t bytes;
  void (*free)(void*, size_t);
  bool busy;
};

// One thread's blocks. The mutex is for release_scratch() from another thread: it is free
// nearly always.
struct Shelf {
  std::mutex mutex;
  std::vector<Block*> blocks;

  Shelf();
  ~Shelf();
  void drop_idle();
};

struct State {
  std::mutex mutex;
  std::vector<Shelf*> shelves;
  std::atomic<void* (*)(size_t)> alloc{&system_alloc};
  std::atomic<void (*)(void*, size_t)> free{&system_free};
  std::atomic<size_t> held{0};
};

// Never destroyed: worker threads may end after static destructors have run.
State& state() {
  static State* const s = new State;
  return *s;
}

Block* new_block(size_t bytes) {
  const size_t size = round_up(std::max(bytes, kAlign), bytes >= kHugePage ? kHugePage : 4096);
  void* p = state().alloc.load(std::memory_order_relaxed)(size);
  if (p == nullptr) {
    throw OutOfMemory(cat("cpu scratch: cannot get ", size, " bytes of working memory"));
  }
  state().held.fetch_add(size, std::memory_order_relaxed);
  return new Block{p, size, state().free.load(std::memory_order_relaxed), true};
}

void delete_block(Block* block) {
  block->free(block->data, block->bytes);
  state().held.fetch_sub(block->bytes, std::memory_order_relaxed);
  delete block;
}

Shelf::Shelf() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().shelves.push_back(this);
}

Shelf::~Shelf() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  std::erase(state().shelves, this);
  drop_idle();
}

void Shelf::drop_idle() {
  const std::lock_guard<std::mutex> lock(mutex);
  std::erase_if(blocks, [](Block* block) {
    if (block->busy) return false;
    delete_block(block);
    return true;
  });
}

Shelf& shelf() {
  static thread_local Shelf s;
  return s;
}

}  // namespace

void set_scratch_hooks(ScratchHooks hooks) noexcept {
  state().alloc.store(hooks.alloc ? hooks.alloc : &system_alloc, std::memory_order_relaxed);
  state().free.store(hooks.free ? hooks.free : &system_free, std::memory_order_relaxed);
}

void release_scratch() noexcept {
  const std::lock_guard<std::mutex> lock(state().mutex);
  for (Shelf* s : state().shelves) s->drop_idle();
}

size_t scratch_bytes() noexcept { return state().held.load(std::memory_order_relaxed); }

Scratch::Scratch(size_t bytes) {
  Shelf& s = shelf();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Block* best = nullptr;
  Block* small = nullptr;  // the largest idle block that will not do
  for (Block* b : s.blocks) {
    if (b->busy) continue;
    if (b->bytes >= bytes) {
      if (best == nullptr || b->bytes < best->bytes) best = b;
    } else if (small == nullptr || b->bytes > small->bytes) {
      small = b;
    }
  }
  if (best == nullptr) {
    // Grown, not added to: without this a run over many shapes would keep a block for each.
    if (small != nullptr) {
      std::erase(s.blocks, small);
      delete_block(small);
    }
    best = new_block(bytes);
    s.blocks.push_back(best);
  }
  best->busy = true;
  data_ = best->data;
  block_ = best;
}

// A lease ends on the thread that took it.
Scratch::~Scratch() {
  const std::lock_guard<std::mutex> lock(shelf().mutex);
  static_cast<Block*>(block_)->busy = false;
}

}  // namespace tandem::cpu
