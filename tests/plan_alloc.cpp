// Counts the heap allocations and the locks of a running plan: malloc and its kin and
// pthread_mutex_lock are those of this file.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "tandem/graph/compile.h"
#include "tandem/graph/plan_check.h"
#include "tandem/tandem.h"
#include "tests/support/sanitizer.h"

#if TANDEM_TEST_SANITIZER || !defined(__GLIBC__)
#define TANDEM_TEST_COUNTS 0
#else
#define TANDEM_TEST_COUNTS 1
#endif

namespace {
std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0}, locks{0};

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1);
}
}  // namespace

#if TANDEM_TEST_COUNTS
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t n) {
  count();
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  count();
  return __libc_realloc(p, n);
}
void* memalign(size_t align, size_t n) {
  count();
  return __libc_memalign(align, n);
}
void* aligned_alloc(size_t align, size_t n) {
  count();
  return __libc_memalign(align, n);
}
int pthread_mutex_lock(pthread_mutex_t* m) noexcept {
  static const auto real =
      reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  if (counting.load(std::memory_order_relaxed)) locks.fetch_add(1);
  return real(m);
}
int posix_memalign(void** p, size_t align, size_t n) {
  count();
  *p = __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}
}
#endif

namespace tandem {
namespace {

template <class F>
int64_t allocations_of(F f, int calls) {
  allocations = 0;
  locks = 0;
  counting = true;
  for (int i = 0; i < calls; ++i) f();
  counting = false;
  return allocations.load();
}

class PlanAllocations : public testing::Test {
 protected:
  void SetUp() override {
    if (!TANDEM_TEST_COUNTS) GTEST_SKIP() << "a sanitizer, or another C library, owns malloc";
    if (graph::plans_are_checked()) GTEST_SKIP() << "what verifies each step asks for memory";
    // The counter itself must work.
    ASSERT_EQ(allocations_of([] { std::free(std::malloc(32)); }, 3), 3);
    ASSERT_GE(allocations_of([] { delete new std::string(100, 'x'); }, 1), 2);
  }
};

// Products of some size are oneDNN's, whose calls allocate: the widths here are those of the
// library's own kernels.

/// A training step by compile(): forward, backward, update; the loss is dropped.
template <class Optimizer, class... Options>
int64_t mlp_allocations(const Shape& widths, int64_t n, Options... options) {
  nn::Sequential net;
  for (int i = 0; i + 1 < widths.size(); ++i) {
    if (i) net.push_back(nn::ReLU());
    net.push_back(nn::Linear(widths[i], widths[i + 1]));
  }
  Optimizer opt(net.parameters(), options...);
  auto step = compile([&](const Tensor& x, const Tensor& y) {
    Tensor loss = mse_loss(net(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  });
  const Tensor x = randn({n, widths[0]}), y = randn({n, widths.back()});
  for (int i = 0; i < 3; ++i) step(x, y);
  return allocations_of([&] { step(x, y); }, 10);
}

TEST_F(PlanAllocations, NoneInAnMlpStep) {
  EXPECT_EQ(mlp_allocations<optim::SGD>({4, 8, 8, 4}, 4, optim::SGDOptions{.lr = 1e-3}), 0);
}
TEST_F(PlanAllocations, NoneInAStepWithAdam) {
  EXPECT_EQ(mlp_allocations<optim::Adam>({4, 8, 8, 4}, 4, optim::AdamOptions{.lr = 1e-3}), 0);
}
TEST_F(PlanAllocations, NoneInAFusedChain) {
  const Tensor x = randn({16, 64}), w = randn({64}), b = randn({64}), res = randn({16, 64});
  auto f = compile([](const Tensor& in, const Tensor& scale, const Tensor& shift,
                      const Tensor& by) { return gelu(in * scale + shift) * by + 1.0; });
  for (int i = 0; i < 3; ++i) f(x, w, b, res);
  EXPECT_EQ(allocations_of([&] { f(x, w, b, res); }, 10), 0);
}

TEST_F(PlanAllocations, NoneInABatchOfAnySize) {
  auto f = compile([](const Tensor& x) { return softmax(relu(x) * 2.0, -1); });
  const Tensor few = randn({3, 5}), more = randn({7, 5});
  for (int i = 0; i < 3; ++i) {
    f(few);
    f(more);
  }
  EXPECT_EQ(f.captures(), 1);
  EXPECT_EQ(allocations_of(
                [&] {
                  f(few);
                  f(more);
                },
                10),
            0);
}
TEST_F(PlanAllocations, NoLockAfterTheFirstRun) {
  std::mutex counted;
  allocations_of([&] { const std::lock_guard lock(counted); }, 2);
  ASSERT_EQ(locks.load(), 2);
  const Tensor w = randn({5, 5});
  auto f = compile([&](const Tensor& x) { return softmax(relu(matmul(x, w)) * 2.0, -1); });
  const Tensor few = randn({3, 5}), more = randn({7, 5});
  for (int i = 0; i < 3; ++i) {
    f(few);
    f(more);
  }
  allocations_of(
      [&] {
        f(few);
        f(more);
      },
      10);
  EXPECT_EQ(locks.load(), 0);
}
TEST_F(PlanAllocations, NoneInDropoutAndBatchNorm) {
  nn::Sequential net{nn::BatchNorm1d(8), nn::Dropout(0.5)};
  auto f = compile([&](const Tensor& x) { return net(x).sum(); });
  const Tensor x = randn({6, 8});
  for (int i = 0; i < 3; ++i) f(x);
  EXPECT_EQ(allocations_of([&] { f(x); }, 10), 0);
}

}  // namespace
}  // namespace tandem
