// The memory of plans: however many shapes a function has met, it takes that of the largest, and
// what plans prepare is there once.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tandem/core/memory_room.h"
#include "tandem/tandem.h"
#include "tests/support/sanitizer.h"

namespace {

using namespace tandem;

constexpr int64_t mib = 1 << 20;

/// A training step on `n` rows.
struct Mlp {
  nn::Sequential net{nn::Linear(64, 2000), nn::GELU(), nn::Linear(2000, 1)};
  optim::SGD optimizer{net, {.lr = 1e-3}};
  Tensor step(const Tensor& x) {
    Tensor y = square(net(x)).mean();
    optimizer.zero_grad();
    y.backward();
    optimizer.step();
    return y.detach();
  }
};

/// What f gives, run in a process of its own.
template <class F>
int64_t in_process(F&& f) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const int64_t value = f();
    const bool whole = write(ends[1], &value, sizeof value) == sizeof value;
    _exit(whole ? 0 : 1);
  }
  close(ends[1]);
  int64_t value = -1;
  EXPECT_EQ(read(ends[0], &value, sizeof value), ssize_t(sizeof value));
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return value;
}

TEST(PlanMemory, ManyShapesTakeWhatEagerCodeTakes) {
  if (TANDEM_TEST_SANITIZER) GTEST_SKIP() << "the sanitizer keeps what was freed";
  const char* full = std::getenv("TANDEM_FULL");
  const int64_t shapes = full ? 20000 : 300;
  const auto most_resident = [&](bool compiled) {
    return in_process([&] {
      Mlp mlp;
      auto fast = compile([&](const Tensor& x) { return mlp.step(x); });
      int64_t most = 0;
      for (int64_t i = 0; i < shapes; ++i) {
        // No length comes twice, and they come in no order.
        const Tensor x = zeros({1 + i * 7919 % (2 * shapes) % (full ? 20000 : 2000), 64});
        compiled ? fast(x) : mlp.step(x);
        if (i % 20 == 19) most = std::max(most, detail::resident_bytes());
      }
      return most;
    });
  };
  const int64_t eager = most_resident(false), compiled = most_resident(true);
  EXPECT_LE(double(compiled), 1.2 * double(eager)) << eager / mib << " MiB eagerly";
}

TEST(PlanMemory, OneArenaServesAllPlansOfAThread) {
  Mlp mlp;
  auto fast = compile([&](const Tensor& x) { return mlp.step(x); });
  fast(zeros({600, 64}));
  const MemoryStats one = memory_stats();
  for (int64_t n = 500; n < 564; ++n) fast(zeros({n, 64}));
  const MemoryStats many = memory_stats();
  EXPECT_LE(many.in_use, one.in_use + mib);
  EXPECT_LE(many.reserved, one.reserved + 4 * mib);
  // It is idle between the calls.
  empty_cache();
  EXPECT_LE(memory_stats().reserved, many.in_use + 2 * mib);
  fast(zeros({550, 64}));
}

TEST(PlanMemory, PackedWeightsAreThereOnce) {
  nn::Sequential net{nn::Conv2d(3, 64, 3, {.padding = 1}), nn::ReLU(),
                     nn::Conv2d(64, 256, 3, {.padding = 1}), nn::ReLU(),
                     nn::Conv2d(256, 256, 3, {.padding = 1})};
  net.eval();
  const NoGrad guard;
  auto fast = compile([&](const Tensor& x) { return net(x); });
  const auto close_to_eager = [&](int64_t n) {
    const Tensor x = randn({n, 3, 16, 16});
    EXPECT_LT((fast(x) - net(x)).abs().max().item<float>(), 1e-4) << n;
  };
  close_to_eager(4);
  close_to_eager(5);
  const int64_t before = memory_stats().in_use;
  for (int64_t n = 6; n < 20; ++n) close_to_eager(n);
  // 740,000 weights are 12 MiB of Winograd's coefficients; oneDNN may want another order of them
  // for larger batches, but not one for each of 14.
  EXPECT_LE(memory_stats().in_use, before + 25 * mib);
  // A write counts for all of them, and empty_cache() takes nothing that is not made again.
  Tensor weight = net.parameters()[2];
  weight *= 2.0;
  for (int64_t n : {4, 5, 19}) close_to_eager(n);
  empty_cache();
  for (int64_t n : {4, 19}) close_to_eager(n);
  std::vector<std::thread> threads;
  for (int64_t n : {4, 5, 6, 7})
    threads.emplace_back([&, n] {
      const NoGrad off;
      for (int i = 0; i < 5; ++i) close_to_eager(n);
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace
