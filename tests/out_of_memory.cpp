// Every request for memory of a training step fails in turn, one a run: the step throws
// tandem::OutOfMemory or comes through, and taken again it gives the bits of a step that nothing
// disturbed. malloc, operator new and mmap are those of this file; requests to Tandem's allocator
// pass through it by the linker's --wrap. What oneDNN, OpenMP and the C library ask for is left
// alone: they end the program.
#include <execinfo.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "tandem/tandem.h"
#include "tests/support/sanitizer.h"

#if TANDEM_TEST_SANITIZER || !defined(__GLIBC__)
#define TANDEM_TEST_FAILS 0
#else
#define TANDEM_TEST_FAILS 1
#endif

namespace {

enum class Level { none, heap, allocator };
std::atomic<Level> armed{Level::none};
std::atomic<int64_t> left{0};      // requests until the one that fails
std::atomic<bool> lasting{false};  // and all after it
std::atomic<bool> fired{false};

bool fails(Level level) {
  if (armed.load(std::memory_order_relaxed) != level) return false;
  const int64_t before = left.fetch_sub(1);
  if (before > 0 || (before < 0 && !lasting)) return false;
  if (before < 0) return true;
  fired = true;
  if (std::getenv("TANDEM_TRACE")) {  // where it was
    armed = Level::none;
    void* at[48];
    backtrace_symbols_fd(at, backtrace(at, 48), 2);
    armed = level;
  }
  return true;
}

#if TANDEM_TEST_FAILS
struct Range {
  uintptr_t begin, end;
};
Range others[8];
int n_others = 0;

/// Where the libraries lie whose requests are not ours.
int find_library(dl_phdr_info* info, size_t, void*) {
  const char* names[] = {"libgomp", "libdnnl", "libc.so", "ld-linux", "libgcc"};
  for (const char* name : names) {
    if (!info->dlpi_name || !std::strstr(info->dlpi_name, name) || n_others == 8) continue;
    Range r{~uintptr_t(0), 0};
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& h = info->dlpi_phdr[i];
      if (h.p_type != PT_LOAD) continue;
      const uintptr_t at = info->dlpi_addr + h.p_vaddr;
      r.begin = std::min(r.begin, at);
      r.end = std::max(r.end, at + h.p_memsz);
    }
    others[n_others++] = r;
  }
  return 0;
}
bool ours(const void* caller) {
  const auto at = reinterpret_cast<uintptr_t>(caller);
  for (int i = 0; i < n_others; ++i)
    if (others[i].begin <= at && at < others[i].end) return false;
  return true;
}
#endif

}  // namespace

#if TANDEM_TEST_FAILS
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

#define TANDEM_MAY_FAIL                                                                            \
  if (armed.load(std::memory_order_relaxed) == Level::heap && ours(__builtin_return_address(0)) && \
      fails(Level::heap)) {                                                                        \
    errno = ENOMEM;                                                                                \
    return nullptr;                                                                                \
  }

void* malloc(size_t n) {
  TANDEM_MAY_FAIL
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  TANDEM_MAY_FAIL
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  TANDEM_MAY_FAIL
  return __libc_realloc(p, n);
}
void* aligned_alloc(size_t align, size_t n) {
  TANDEM_MAY_FAIL
  return __libc_memalign(align, n);
}
int posix_memalign(void** p, size_t align, size_t n) {
  if (ours(__builtin_return_address(0)) && fails(Level::heap)) return ENOMEM;
  *p = __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}
void* mmap(void* at, size_t n, int protection, int flags, int fd, off_t offset) noexcept {
  if (ours(__builtin_return_address(0)) && fails(Level::heap)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return reinterpret_cast<void*>(syscall(SYS_mmap, at, n, protection, flags, fd, offset));
}

void* __real__ZN6tandem6detail13allocate_slowEm(size_t bytes);
void* __wrap__ZN6tandem6detail13allocate_slowEm(size_t bytes) {
  if (fails(Level::allocator)) throw tandem::OutOfMemory("allocate: for the test");
  return __real__ZN6tandem6detail13allocate_slowEm(bytes);
}
void* __real__ZN6tandem6detail10take_blockEm(size_t bytes);
void* __wrap__ZN6tandem6detail10take_blockEm(size_t bytes) {
  if (fails(Level::allocator)) throw tandem::OutOfMemory("allocate: for the test");
  return __real__ZN6tandem6detail10take_blockEm(bytes);
}
}

// The library's would hide who asks.
[[gnu::noinline]] void* operator new(size_t n) {
  void* p = ours(__builtin_return_address(0)) && fails(Level::heap) ? nullptr : __libc_malloc(n);
  if (!p) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void* operator new(size_t n, const std::nothrow_t&) noexcept {
  return ours(__builtin_return_address(0)) && fails(Level::heap) ? nullptr : __libc_malloc(n);
}
[[gnu::noinline]] void* operator new(size_t n, std::align_val_t align) {
  void* p = ours(__builtin_return_address(0)) && fails(Level::heap)
                ? nullptr
                : __libc_memalign(size_t(align), n);
  if (!p) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void* operator new(size_t n, std::align_val_t align,
                                     const std::nothrow_t&) noexcept {
  return ours(__builtin_return_address(0)) && fails(Level::heap)
             ? nullptr
             : __libc_memalign(size_t(align), n);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(p);
}
#endif

namespace {

using namespace tandem;

/// What a step is made of: all of it begins anew for each failure.
struct Subject {
  std::function<void()> step;
  std::function<std::vector<Tensor>()> state;
  std::function<void()> restore;  ///< what the user has to put back before he tries again
};

std::string bytes_of(const std::vector<Tensor>& tensors) {
  std::string s;
  for (const Tensor& t : tensors) {
    const Tensor c = t.contiguous();
    s.append(static_cast<const char*>(c.raw_data()), size_t(c.numel() * itemsize(c.dtype())));
  }
  return s;
}

/// No block of Tandem's small lists is at hand: each request reaches the wrapped function.
class NoLists {
 public:
  NoLists() : before_(detail::small_cache) {
    for (detail::FreeList& list : lists_.lists) list.count = detail::max_cached_blocks;
    detail::small_cache = &lists_;
  }
  ~NoLists() { detail::small_cache = before_; }

 private:
  detail::SmallCache lists_;
  detail::SmallCache* before_;
};

/// True when a request failed meanwhile and the step said so.
bool step_fails(Subject& subject, Level level, int64_t at) {
  fired = false;
  left = at;
  bool threw = false;
  armed = level;
  try {
    subject.step();
    armed = Level::none;
  } catch (const OutOfMemory& e) {
    armed = Level::none;
    threw = true;
    EXPECT_STRNE(e.what(), "");
  } catch (const std::exception& e) {
    armed = Level::none;
    ADD_FAILURE() << "request " << at << ": " << e.what();
  }
  return threw;
}

void fail_each(const char* what, const std::function<Subject()>& make) {
  if (!TANDEM_TEST_FAILS) GTEST_SKIP() << "the sanitizer owns malloc";
#if TANDEM_TEST_FAILS
  if (n_others == 0) dl_iterate_phdr(find_library, nullptr);
#endif
  // Both steps once undisturbed: oneDNN and OpenMP have what they need, and this is what is right.
  std::string first, second;
  {
    Subject subject = make();
    subject.step();
    first = bytes_of(subject.state());
    subject.step();
    second = bytes_of(subject.state());
  }
  for (const Level level : {Level::heap, Level::allocator})
    for (const bool all_after : {false, true}) {
      lasting = all_after;
      int64_t at = 0;
      for (;; ++at) {
        Subject subject = make();
        bool threw;
        if (level == Level::allocator) {
          const NoLists lists;
          threw = step_fails(subject, level, at);
        } else {
          threw = step_fails(subject, level, at);
        }
        if (!fired) break;
        SCOPED_TRACE(cat(what, ": request ", at, level == Level::heap ? " to the heap" : "",
                         all_after ? " and all after it" : "",
                         threw ? " threw" : " did not throw"));
        if (threw) {
          if (subject.restore) subject.restore();
          subject.step();
        }
        ASSERT_TRUE(bytes_of(subject.state()) == first);
        subject.step();
        ASSERT_TRUE(bytes_of(subject.state()) == second);
      }
      EXPECT_GT(at, 5) << what;
      std::printf("%s: %d requests%s\n", what, int(at), level == Level::heap ? " to the heap" : "");
    }
}

struct Net : nn::Module<Net> {
  nn::Conv2d conv{3, 8, 3, {.padding = 1}};
  nn::BatchNorm2d norm{8};
  nn::Dropout drop{0.25};
  nn::Linear out{8 * 16, 5};
  static constexpr auto fields = std::tuple{field("conv", &Net::conv), field("norm", &Net::norm),
                                            field("drop", &Net::drop), field("out", &Net::out)};
  Tensor forward(const Tensor& x) const {
    return out(flatten(max_pool2d(drop(relu(norm(conv(x)))), 2), 1));
  }
};

/// Parameters, buffers and the optimizer's state.
template <class O>
std::vector<Tensor> everything(const Net& net, const O& optimizer) {
  std::vector<Tensor> all;
  for (const auto& [name, t] : net.state_dict()) all.push_back(t);
  for (const auto& [name, t] : optimizer.state_dict()) all.push_back(t);
  all.push_back(default_generator().state());
  return all;
}

template <class O, class Options>
Subject eager_step(Options options) {
  manual_seed(7);
  auto net = std::make_shared<Net>();
  auto optimizer = std::make_shared<O>(*net, options);
  const Tensor x = randn({4, 3, 8, 8}), y = randint(0, 5, {4});
  NamedTensors before;
  for (const auto& [name, t] : net->state_dict()) before.emplace_back(name, t.clone());
  const Tensor key = default_generator().state();
  Subject s;
  s.step = [=] {
    const Tensor loss = cross_entropy((*net)(x), y);
    optimizer->zero_grad();
    loss.backward();
    optimizer->step();
  };
  s.state = [=] { return everything(*net, *optimizer); };
  // The ops that came through have drawn numbers and counted the batch; no parameter has moved.
  s.restore = [=] {
    for (const auto& [name, p] : net->named_parameters())
      EXPECT_EQ(bytes_of({p}) == bytes_of({find(before, name)}), true) << name;
    net->load_state_dict(before);
    default_generator().set_state(key);
  };
  return s;
}

TEST(OutOfMemory, EagerStepOfAdam) {
  fail_each("adam", [] { return eager_step<optim::Adam>(optim::AdamOptions{.lr = 1e-2}); });
}
TEST(OutOfMemory, EagerStepOfSgd) {
  fail_each("sgd",
            [] { return eager_step<optim::SGD>(optim::SGDOptions{.lr = 1e-2, .momentum = 0.9}); });
}

TEST(OutOfMemory, CompiledStep) {
  fail_each("compiled", [] {
    manual_seed(7);
    auto net = std::make_shared<Net>();
    auto optimizer = std::make_shared<optim::Adam>(*net, optim::AdamOptions{.lr = 1e-2});
    const Tensor x = randn({4, 3, 8, 8}), y = randint(0, 5, {4});
    auto body = [=](const Tensor& a, const Tensor& b) {
      Tensor loss = cross_entropy((*net)(a), b);
      optimizer->zero_grad();
      loss.backward();
      optimizer->step();
      return loss;
    };
    auto fast = std::make_shared<decltype(compile(body))>(compile(body));
    return Subject{[=] { (*fast)(x, y); }, [=] { return everything(*net, *optimizer); }, {}};
  });
}

TEST(OutOfMemory, SecondCompiledStep) {
  fail_each("compiled again", [] {
    manual_seed(7);
    auto net = std::make_shared<Net>();
    auto optimizer = std::make_shared<optim::SGD>(*net, optim::SGDOptions{.lr = 1e-2});
    const Tensor x = randn({4, 3, 8, 8}), y = randint(0, 5, {4});
    auto body = [=](const Tensor& a, const Tensor& b) {
      Tensor loss = cross_entropy((*net)(a), b);
      optimizer->zero_grad();
      loss.backward();
      optimizer->step();
      return loss;
    };
    auto fast = std::make_shared<decltype(compile(body))>(compile(body));
    (*fast)(x, y);
    empty_cache();  // its working memory is gone
    return Subject{[=] { (*fast)(x, y); }, [=] { return everything(*net, *optimizer); }, {}};
  });
}

TEST(OutOfMemory, SessionRun) {
  fail_each("session", [] {
    manual_seed(7);
    auto g = Graph::make();
    auto optimizer = std::make_shared<std::unique_ptr<optim::Adam>>();
    Tensor x, y, loss, train, w, init;
    {
      const GraphScope scope(g);
      x = placeholder("x", {-1, 6});
      y = placeholder("y", {-1, 3});
      w = variable("w", full({6, 3}, 0.25));
      loss = mse_loss(tanh(matmul(x, w)), y);
      *optimizer = std::make_unique<optim::Adam>(std::vector<Tensor>{w}, optim::AdamOptions{});
      train = minimize(**optimizer, loss);
      init = global_variables_initializer();
    }
    auto session = std::make_shared<Session>(g);
    session->run(init);
    const Tensor xs = randn({5, 6}), ys = randn({5, 3});
    return Subject{[=] {
                     session->run({train, loss}, {{x, xs}, {y, ys}});
                   },
                   [=] {
                     std::vector<Tensor> all{session->value(w).clone()};
                     for (const auto& [name, t] : (*optimizer)->state_dict()) all.push_back(t);
                     return all;
                   },
                   {}};
  });
}

TEST(OutOfMemory, BatchesOfALoader) {
  for (const int threads : {0, 1})
    fail_each("loader", [threads] {
      manual_seed(3);
      Generator fixed(5);
      const data::TensorDataset dataset(randn({24, 6}, f32, fixed), randn({24}, f32, fixed));
      using Loader = data::DataLoader<std::remove_const_t<decltype(dataset)>>;
      auto loader = std::make_shared<Loader>(
          dataset, data::LoaderOptions{.batch_size = 4, .shuffle = true, .threads = threads});
      auto seen = std::make_shared<std::vector<Tensor>>();
      seen->reserve(64);
      // A loop that was thrown out of goes on where it was.
      return Subject{[=] {
                       for (const auto& batch : *loader) {
                         seen->push_back(batch.x);
                         seen->push_back(batch.y);
                       }
                     },
                     [=] { return *seen; },
                     {}};
    });
}

}  // namespace
