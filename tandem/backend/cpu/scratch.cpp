#include "tandem/backend/cpu/scratch.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "tandem/core/error.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tandem::cpu {
namespace {

constexpr size_t huge_page = size_t{2} << 20;

struct Block {
  void* data;
  size_t bytes;
  bool busy;
};

/// One thread's blocks. A lease ends on the thread that took it.
struct Shelf {
  std::vector<Block*> blocks;
  ~Shelf() {
    for (Block* b : blocks)
      if (!b->busy) drop(b);
  }
  static void drop(Block* b) {
    std::free(b->data);
    delete b;
  }
};

Shelf& shelf() {
  static thread_local Shelf s;
  return s;
}

Block* new_block(size_t bytes) {
  const size_t page = bytes >= huge_page ? huge_page : 4096;
  const size_t size = (std::max<size_t>(bytes, 1) + page - 1) / page * page;
  void* p = std::aligned_alloc(page == huge_page ? page : 64, size);
  if (p == nullptr)
    throw OutOfMemory(cat("cpu scratch: cannot get ", size, " bytes of working memory"));
#ifdef __linux__
  if (page == huge_page) madvise(p, size, MADV_HUGEPAGE);
#endif
  return new Block{p, size, true};
}

}  // namespace

Scratch::Scratch(size_t bytes) {
  auto& blocks = shelf().blocks;
  Block* best = nullptr;
  Block* small = nullptr;  // the largest idle block that will not do
  for (Block* b : blocks) {
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
      std::erase(blocks, small);
      Shelf::drop(small);
    }
    best = new_block(bytes);
    blocks.push_back(best);
  }
  best->busy = true;
  data_ = best->data;
  block_ = best;
}

Scratch::~Scratch() { static_cast<Block*>(block_)->busy = false; }

}  // namespace tandem::cpu
