#include "tandem/core/allocator.h"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "tandem/backend/cpu/scratch.h"
#include "tandem/core/factory.h"
#include "tandem/core/memory_room.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/matmul.h"
#include "tests/support/folder.h"
#include "tests/support/sanitizer.h"

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
  if (TANDEM_TEST_SANITIZER) GTEST_SKIP() << "the sanitizer keeps what was freed";
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

// --- What the machine has -------------------------------------------------------------------

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const OutOfMemory& e) {
    return e.what();
  }
  return "granted";
}

TEST(Allocator, NothingIsGrantedThatTheMachineCannotBack) {
  const std::string text = refusal([] { empty({int64_t(1) << 40}); });
  EXPECT_NE(text.find("allocate: 4398046511104 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("limit"), std::string::npos) << text;
  // The op, its attributes, and what it wanted.
  const Tensor x = empty({1 << 20, 1}), y = empty({1, 1 << 20});
  const std::string product = refusal([&] { matmul(x, y); });
  EXPECT_EQ(product.substr(0, 35), "matmul(): allocate: 4398046511104 b") << product;
  EXPECT_EQ(refusal([] { zeros({int64_t(1) << 58}, u8); }).substr(0, 39),
            "zeros([288230376151711744]): allocate: ");
}

TEST(Allocator, MemoryThatNobodyHasWrittenToIsOwed) {
  empty_cache();
  const int64_t room = detail::memory_room().bytes;
  ASSERT_GT(room, 0);
  if (room > int64_t(1) << 45) GTEST_SKIP() << "this system does not tell what it has";
  const Tensor most = empty({room / 10 * 7}, u8);
  EXPECT_NE(refusal([&] { empty({room / 10 * 7}, u8); }), "granted");
}

/// A folder that looks like / to memory_room().
struct FakeRoot : testing::TemporaryFolder {
  void put(const std::string& name, const std::string& text) const {
    const std::filesystem::path at = *this / name;
    std::filesystem::create_directories(at.parent_path());
    std::ofstream(at) << text;
  }
  detail::MemoryRoom room() const { return detail::memory_room(path.c_str()); }
};
constexpr int64_t kib = 1024;

TEST(MemoryRoom, OfTheMachine) {
  const FakeRoot root;
  EXPECT_EQ(root.room().bytes, INT64_MAX);
  root.put("proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    600 kB\nSwapFree: 50 kB\n");
  EXPECT_EQ(root.room().bytes, 650 * kib);
  EXPECT_EQ(root.room().limit, 1000 * kib);
  EXPECT_STREQ(root.room().what, "the machine");
  root.put("proc/self/status", "Name:\tx\nRssAnon:\t     152 kB\n");
  EXPECT_EQ(detail::resident_bytes(root.path.c_str()), 152 * kib);
}

TEST(MemoryRoom, OfGroupsOfVersionTwo) {
  const FakeRoot root;
  root.put("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 600000 kB\nSwapFree: 100 kB\n");
  root.put("proc/self/cgroup", "0::/a/b\n");
  root.put("sys/fs/cgroup/a/b/memory.max", "max\n");
  root.put("sys/fs/cgroup/a/b/memory.current", "1000\n");
  EXPECT_EQ(root.room().bytes, 600100 * kib);
  // The group above binds as well; copies of files count as free.
  root.put("sys/fs/cgroup/a/memory.max", "1048576\n");
  root.put("sys/fs/cgroup/a/memory.current", "524288\n");
  root.put("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 1000\nactive_file 24\n");
  root.put("sys/fs/cgroup/a/memory.swap.max", "0\n");
  EXPECT_EQ(root.room().bytes, 524288 + 1024);
  EXPECT_EQ(root.room().limit, 1048576);
  EXPECT_STREQ(root.room().what, "the control group");
  root.put("sys/fs/cgroup/a/memory.swap.max", "4096\n");
  root.put("sys/fs/cgroup/a/memory.swap.current", "1096\n");
  EXPECT_EQ(root.room().bytes, 524288 + 1024 + 3000);
  // A container that sees its own group as the root.
  root.put("proc/self/cgroup", "0::/elsewhere/on/the/host\n");
  root.put("sys/fs/cgroup/memory.max", "2000000\n");
  root.put("sys/fs/cgroup/memory.current", "1999000\n");
  root.put("sys/fs/cgroup/memory.swap.max", "0\n");
  EXPECT_EQ(root.room().bytes, 1000);
}

TEST(MemoryRoom, OfGroupsOfVersionOne) {
  const FakeRoot root;
  root.put("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 600000 kB\nSwapFree: 0 kB\n");
  root.put("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job/7\n0::/\n");
  const std::string group = "sys/fs/cgroup/memory/job/7/";
  root.put(group + "memory.limit_in_bytes", "9223372036854771712\n");  // none
  root.put(group + "memory.usage_in_bytes", "4096\n");
  EXPECT_EQ(root.room().bytes, 600000 * kib);
  root.put(group + "memory.limit_in_bytes", "8192\n");
  root.put(group + "memory.stat",
           "inactive_file 1\ntotal_inactive_file 10\ntotal_active_file 90\n");
  EXPECT_EQ(root.room().bytes, 4196);
  root.put(group + "memory.usage_in_bytes", "9999\n");  // beyond its limit
  root.put(group + "memory.stat", "");
  EXPECT_EQ(root.room().bytes, 0);
}

TEST(Allocator, TheLimitOfTheAddressSpaceIsNamed) {
  if (TANDEM_TEST_SANITIZER) GTEST_SKIP() << "the sanitizer has all of the address space";
  const pid_t child = fork();
  if (child == 0) {
    const rlimit small{rlim_t(3) << 30, rlim_t(3) << 30};
    setrlimit(RLIMIT_AS, &small);
    const std::string text = refusal([] { empty({int64_t(4) << 30}, u8); });
    { const Tensor works = zeros({1 << 20}); }
    _exit(text.find("the limit of the address space is 3221225472 bytes") != text.npos ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Allocator, EmptyCacheDropsWorkingMemoryOfAllThreads) {
  std::atomic<int> stage{0};
  std::thread other([&] {
    { const cpu::Scratch held(size_t(16) << 20); }
    stage = 1;
    while (stage != 2) std::this_thread::yield();
  });
  { const cpu::Scratch mine(size_t(8) << 20); }
  while (stage != 1) std::this_thread::yield();
  const int64_t before = memory_stats().reserved;
  const cpu::Scratch used(size_t(4) << 20);  // stays
  std::memset(used.as<char>(), 1, size_t(4) << 20);
  empty_cache();
  // Without pools, under a sanitizer, idle memory is not kept in the first place.
  EXPECT_LE(memory_stats().reserved,
            TANDEM_TEST_SANITIZER ? before + (4 << 20) : before - (16 << 20));
  for (size_t i = 0; i < size_t(4) << 20; ++i) ASSERT_EQ(used.as<char>()[i], 1);
  stage = 2;
  other.join();
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
