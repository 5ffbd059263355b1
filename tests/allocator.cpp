#include "tandem/core/allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "tandem/core/factory.h"
#include "tandem/core/tensor.h"

namespace tandem {
namespace {

constexpr int64_t mib = 1 << 20;

TEST(Allocator, CountsLargeBlocks) {
  { const Tensor warm = empty({4 * mib}); }  // small blocks are counted by slab
  empty_cache();
  const MemoryStats before = memory_stats();
  {
    const Tensor t = empty({4 * mib});
    const MemoryStats now = memory_stats();
    EXPECT_GE(now.in_use - before.in_use, 16 * mib);
    EXPECT_GE(now.reserved, now.in_use);
    EXPECT_GT(now.allocations, before.allocations);
    EXPECT_GE(now.peak_in_use, now.in_use);
  }
  EXPECT_EQ(memory_stats().in_use, before.in_use);
}

TEST(Allocator, ReusesLargeBlocks) {
  empty_cache();
  const void* first = empty({4 * mib}).raw_data();
  const int64_t reserved = memory_stats().reserved;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(empty({4 * mib}).raw_data(), first);
  EXPECT_EQ(memory_stats().reserved, reserved);
}

TEST(Allocator, EmptyCacheGivesBack) {
  { const Tensor t = empty({8 * mib}); }
  const int64_t kept = memory_stats().reserved;
  empty_cache();
  // Without pools, under a sanitizer, nothing is kept.
  EXPECT_LE(memory_stats().reserved, std::max<int64_t>(kept - 32 * mib, 0));
}

TEST(Allocator, PeakIsReset) {
  { const Tensor t = empty({4 * mib}); }
  reset_peak_memory();
  EXPECT_EQ(memory_stats().peak_in_use, memory_stats().in_use);
}

TEST(Allocator, TheLimitIsHardAndRecoverable) {
  empty_cache();
  set_memory_limit(memory_stats().reserved + 32 * mib);
  std::string text;
  try {
    const Tensor t = empty({64 * mib});
  } catch (const OutOfMemory& e) {
    text = e.what();
  }
  EXPECT_NE(text, "");
  EXPECT_NE(text.find("limit"), std::string::npos) << text;
  {
    const Tensor small = zeros({mib});  // others still work
    EXPECT_EQ(small.data<float>()[mib - 1], 0);
  }
  {
    // Cached blocks make room before the limit strikes.
    { const Tensor t = empty({5 * mib}); }
    const Tensor t = empty({6 * mib});
  }
  EXPECT_EQ(memory_stats().limit > 0, true);
  set_memory_limit(0);
  const Tensor t = empty({64 * mib});
  EXPECT_TRUE(t.defined());
}

TEST(Allocator, AnImpossibleSizeIsAnError) {
  EXPECT_THROW(empty({int64_t(1) << 60}), Error);
  EXPECT_THROW(empty({int64_t(1) << 40, int64_t(1) << 40}), Error);
}

TEST(Allocator, BlocksAreAlignedAndDoNotOverlap) {
  std::vector<Tensor> kept;
  for (int64_t n : {1, 7, 16, 100, 1000, 1024, 5000, 100000, 3000000})
    for (int k = 0; k < 3; ++k) {
      kept.push_back(empty({n}, u8));
      if (n > 1024) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(kept.back().raw_data()) % 64, 0u) << n;
      }
      std::memset(kept.back().raw_data(), int(kept.size()), size_t(n));
    }
  for (size_t i = 0; i < kept.size(); ++i)
    for (int64_t j = 0; j < kept[i].numel(); ++j)
      ASSERT_EQ(kept[i].data<uint8_t>()[j], uint8_t(i + 1));
}

TEST(Allocator, SizesThatNeverComeAgainGoBack) {
  // 80 GiB in all, never touched, one block at a time.
  for (int64_t i = 1; i <= 200; ++i) empty({i << 22}, u8);
  const MemoryStats m = memory_stats();
  EXPECT_LE(m.reserved - m.in_use, 2 * m.peak_in_use + (int64_t(256) << 20));
}

TEST(Allocator, BlocksMoveBetweenThreads) {
  constexpr int rounds = 2000;
  std::vector<Tensor> slots(8);
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; ++t)
      threads.emplace_back([&slots, t, round] {
        // Each thread frees what another made in the round before.
        const size_t mine = (t + size_t(round)) % 4;
        for (int i = 0; i < rounds; ++i) {
          slots[2 * mine] = full({1 + i % 300}, double(i % 100));
          slots[2 * mine + 1] = full({5000}, 3.0);
          ASSERT_EQ(slots[2 * mine].data<float>()[0], float(i % 100));
        }
      });
    for (std::thread& t : threads) t.join();
  }
  for (const Tensor& t : slots) EXPECT_TRUE(t.defined());
}

}  // namespace
}  // namespace tandem
