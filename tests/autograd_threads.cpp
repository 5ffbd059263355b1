// Passes of several threads that meet in one graph. The thread sanitizer runs this file too.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"
#include "tests/support/leaf.h"
#include "tests/support/sanitizer.h"

namespace tandem {
namespace {

using testing::Doubles;
using testing::leaf;
using testing::values;

constexpr int rounds = TANDEM_TEST_SANITIZER ? 100 : 1000;

/// Runs f(thread) on `n` threads that start together.
template <class F>
void together(int n, F f) {
  std::atomic<int> waiting{n};
  std::vector<std::thread> threads;
  for (int t = 0; t < n; ++t)
    threads.emplace_back([&, t] {
      --waiting;
      while (waiting.load() > 0) std::this_thread::yield();
      f(t);
    });
  for (std::thread& t : threads) t.join();
}

/// True when it ran, false when it said that the graph was or is being freed.
template <class F>
bool ran(F f) {
  try {
    f();
    return true;
  } catch (const GradientError& e) {
    const std::string text = e.what();
    EXPECT_TRUE(text.find("was freed by an earlier pass") != text.npos ||
                text.find("is being freed by a pass of another thread") != text.npos)
        << text;
    return false;
  }
}

/// y = sum exp(x^2) x four times over: a few dozen nodes that save tensors.
Tensor tower(const Tensor& x) {
  Tensor y = x;
  for (int i = 0; i < 8; ++i) y = exp(y * y * 0.1) * x;
  return y;
}

TEST(SharedGraph, OneOfManyFreeingPassesGetsIt) {
  const Doubles start{0.1, -0.2};
  const Tensor reference = leaf(start);
  tower(reference).sum().backward();
  const Doubles want = values(reference.grad());
  for (int r = 0; r < rounds; ++r) {
    const Tensor x = leaf(start);
    const Tensor y = tower(x).sum();
    std::atomic<int> successes{0};
    together(3, [&](int) { successes += ran([&] { y.backward(); }); });
    ASSERT_EQ(successes.load(), 1);
    ASSERT_EQ(values(x.grad()), want);
    EXPECT_FALSE(ran([&] { y.backward(); }));
  }
}

TEST(SharedGraph, ReadersAndAFreeingPass) {
  const Tensor x = leaf({0.1, -0.2});
  const Doubles want = values(grad(tower(x).sum(), x));
  for (int r = 0; r < rounds; ++r) {
    const Tensor y = tower(x).sum();
    std::atomic<int> successes{0};
    together(3, [&](int t) {
      successes += ran([&] {
        const Tensor g = grad(y, x, {.retain_graph = t != 0});
        EXPECT_EQ(values(g), want);
      });
    });
    ASSERT_GE(successes.load(), 1);
  }
}

TEST(SharedGraph, SeveralRootsOverOneSharedPart) {
  const Tensor x = leaf({0.1, -0.2});
  const Doubles want = values(grad((tower(x) * 2.0).sum(), x));
  for (int r = 0; r < rounds; ++r) {
    const Tensor shared = tower(x);
    const Tensor roots[] = {(shared * 2.0).sum(), ((shared + shared) * 1.0).sum()};
    std::atomic<int> successes{0};
    together(2, [&](int t) {
      successes += ran([&] {
        const Doubles got = values(grad(roots[t], x));
        for (size_t k = 0; k < want.size(); ++k)
          EXPECT_NEAR(got[k], want[k], 1e-12 * std::abs(want[k]));
      });
    });
    ASSERT_EQ(successes.load(), 1);
  }
}

TEST(SharedGraph, WritesBesideAPass) {
  const Tensor x = leaf({0.1, -0.2});
  const Doubles want = values(grad(tower(x).sum(), x));
  for (int r = 0; r < rounds; ++r) {
    const Tensor y = tower(x);
    const Tensor total = y.sum();
    together(2, [&](int t) {
      if (t == 0) {
        EXPECT_EQ(values(grad(total, x, {.retain_graph = true})), want);
        return;
      }
      Tensor out = zeros({3, 2}, f64);
      for (int i = 0; i < 3; ++i) {
        Tensor row = out.select(0, i);
        row += y;
      }
      const Doubles got = values(grad(out.sum(), x, {.retain_graph = true}));
      for (size_t k = 0; k < want.size(); ++k)
        EXPECT_NEAR(got[k], 3 * want[k], 1e-12 * std::abs(want[k]));
    });
  }
}

// --- A pass inside a pass -----------------------------------------------------------------------

TEST(NestedPasses, AHookMayDifferentiateTheGraphThatIsRunning) {
  const Tensor x = leaf({0.1, -0.2});
  const Tensor shared = exp(x * x), y = shared * 3.0, other = (shared * 5.0).sum();
  Doubles inner;
  register_hook(y, [&](const Tensor&) { inner = values(grad(other, x, {.retain_graph = true})); });
  y.sum().backward();
  const Doubles one = values(x.grad());
  ASSERT_EQ(inner.size(), 2u);
  for (size_t k = 0; k < 2; ++k) EXPECT_NEAR(inner[k] / 5, one[k] / 3, 1e-15);
}

TEST(NestedPasses, AFailedPassLeavesTheGraphUsable) {
  const Tensor x = leaf({0.1, -0.2});
  const Tensor y = exp(x * x);
  const Tensor z = y * 3.0;
  bool fail = true;
  register_hook(y, [&](const Tensor&) {
    if (fail) throw ValueError("hook failed");
  });
  const Tensor total = z.sum();
  EXPECT_THROW(total.backward({}, true), ValueError);
  fail = false;
  total.backward();
  const Tensor again = leaf({0.1, -0.2});
  (exp(again * again) * 3.0).sum().backward();
  EXPECT_EQ(values(x.grad()), values(again.grad()));
}

}  // namespace
}  // namespace tandem
