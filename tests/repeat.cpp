// The same program, seed and number of threads give the same bits in every process, whatever else
// the machine is doing; and a run that was killed at any time goes on as if it had not been.
// TANDEM_KILLS=1000 kills so many times; ./test.sh --full does.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tandem/tandem.h"
#include "tests/support/folder.h"
#include "tests/support/sanitizer.h"

namespace {

using namespace tandem;
using tandem::testing::TemporaryFolder;

/// Runs `f` in a process of its own, where no thread has started yet; what it gives, as text. The
/// test itself must not compute: a fork takes no pool of threads along.
template <class F>
std::string in_process(int threads, F&& f) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    set_num_threads(threads);
    std::string text;
    try {
      text = f();
    } catch (const std::exception& e) {
      text = e.what();
    }
    const bool whole = write(ends[1], text.data(), text.size()) == ssize_t(text.size());
    _exit(whole ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, size_t(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "the process died: " + text;
}

/// FNV-1a of the bytes of all tensors.
std::string hash_of(const std::vector<Tensor>& tensors) {
  uint64_t h = 14695981039346656037u;
  for (const Tensor& t : tensors) {
    const Tensor c = t.contiguous();
    const auto* p = static_cast<const uint8_t*>(c.raw_data());
    for (int64_t i = 0; i < c.numel() * itemsize(c.dtype()); ++i) h = (h ^ p[i]) * 1099511628211u;
  }
  return cat(int64_t(h));
}

/// Busy threads of this process, which take the processors from the children now and then.
class Noise {
 public:
  Noise() {
    for (int i = 0; i < 2; ++i)
      threads_.emplace_back([this] {
        while (!stop_) {
          for (int k = 0; k < 200000 && !stop_; ++k) sink_ = sink_ + 1;
          usleep(500);
        }
      });
  }
  ~Noise() {
    stop_ = true;
    for (std::thread& t : threads_) t.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> sink_{0};
  std::vector<std::thread> threads_;
};

/// Convolutions of many sizes, forward, by data and by weights.
std::string convolutions() {
  manual_seed(1);
  std::vector<Tensor> all;
  for (int64_t c : {3, 8, 16, 32, 64})
    for (int64_t size : {4, 8, 16, 32})
      for (int64_t kernel : {1, 3, 5}) {
        Tensor x = randn({8, c, size, size});
        x.requires_grad_();
        nn::Conv2d conv(c, c + 13, kernel, {.stride = 1 + size / 32, .padding = kernel / 2});
        const Tensor y = conv(x);
        (y * randn(y.shape())).sum().backward();
        for (const Tensor& t : {y, x.grad(), conv.weight.grad(), conv.bias.grad()})
          all.push_back(t.detach());
      }
  return hash_of(all);
}

nn::Sequential make_net() {
  return nn::Sequential{nn::Conv2d(16, 32, 3, {.padding = 1}),
                        nn::BatchNorm2d(32),
                        nn::ReLU(),
                        nn::Conv2d(32, 64, 3, {.padding = 1}),
                        nn::ReLU(),
                        nn::MaxPool2d(2),
                        nn::Dropout(0.2),
                        nn::Conv2d(64, 64, 3, {.padding = 1}),
                        nn::Flatten(),
                        nn::Linear(1024, 4)};
}

enum class Way { eager, compiled, deterministic };

std::string train(Way way) {
  manual_seed(1);
  nn::Sequential net = make_net();
  optim::SGD optimizer(net, {.lr = 1e-2, .momentum = 0.9});
  auto step = [&](const Tensor& x, const Tensor& y) {
    Tensor loss = cross_entropy(net(x), y);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return loss.detach();
  };
  auto fast = compile(step, {.deterministic = way == Way::deterministic});
  for (int i = 0; i < 12; ++i) {
    const Tensor x = randn({16, 16, 8, 8}), y = randint(0, 4, {16});
    if (way == Way::eager) step(x, y);
    else fast(x, y);
  }
  std::vector<Tensor> all = net.parameters();
  for (const auto& [name, t] : net.state_dict()) all.push_back(t);
  return hash_of(all);
}

/// A convolutional net on images of several sizes without gradients: convolutions in blocks.
std::string infer() {
  manual_seed(2);
  nn::Sequential net{nn::Conv2d(3, 32, 3, {.padding = 1}),
                     nn::BatchNorm2d(32),
                     nn::ReLU(),
                     nn::Conv2d(32, 64, 3, {.padding = 1}),
                     nn::ReLU(),
                     nn::Conv2d(64, 128, 3, {.stride = 2, .padding = 1}),
                     nn::ReLU()};
  net.eval();
  auto fast = compile([&](const Tensor& x) { return net(x); });
  const NoGrad guard;
  std::vector<Tensor> all;
  for (int64_t size : {12, 20, 33}) all.push_back(fast(randn({1, 3, size, size})).clone());
  return hash_of(all);
}

/// Every op that sums over what several threads compute.
std::string sums() {
  manual_seed(3);
  std::vector<Tensor> all;
  Tensor x = randn({257, 33, 17}), w = randn({33, 17}), b = randn({33, 17});
  for (Tensor* t : {&x, &w, &b}) t->requires_grad_();
  layer_norm(x, {33, 17}, w, b).pow(3).sum().backward();
  for (const Tensor& t : {x.grad(), w.grad(), b.grad()}) all.push_back(t);
  Tensor table = randn({50, 64});
  table.requires_grad_();
  const Tensor index = randint(0, 50, {4000});
  (embedding(index, table) * randn({4000, 64})).sum().backward();
  all.push_back(table.grad());
  const Tensor big = randn({1 << 20});
  all.push_back(big.sum());
  all.push_back(big.mean());
  all.push_back(var(big));
  all.push_back(big.reshape({1024, 1024}).sum({0}));
  all.push_back(big.reshape({16, 64, 1024}).sum({0, 2}));
  all.push_back(matmul(big.reshape({1024, 1024}), big.reshape({1024, 1024})));
  Tensor image = randn({6, 24, 15, 15}), scale = ones({24}), shift = zeros({24});
  for (Tensor* t : {&image, &scale, &shift}) t->requires_grad_();
  nn::BatchNorm2d norm(24);
  norm(image).pow(2).sum().backward();
  for (const Tensor& t : {image.grad(), norm.weight.grad(), norm.running_var}) all.push_back(t);
  all.push_back(index_add(zeros({50}), 0, index, randn({4000})));
  return hash_of(all);
}

void expect_repeats(const char* what, std::string (*f)()) {
  const Noise noise;
  for (int threads : {1, 3}) {
    const std::string first = in_process(threads, f);
    ASSERT_EQ(first.find("died"), std::string::npos) << what << ": " << first;
    ASSERT_EQ(first.find_first_not_of("-0123456789"), std::string::npos) << what << ": " << first;
    for (int again = 0; again < 3; ++again)
      EXPECT_EQ(in_process(threads, f), first) << what << " on " << threads << " threads";
  }
}

TEST(Repeat, Convolutions) { expect_repeats("convolutions", convolutions); }
TEST(Repeat, TrainingEagerly) {
  expect_repeats("training", [] { return train(Way::eager); });
}
TEST(Repeat, TrainingCompiled) {
  expect_repeats("training", [] { return train(Way::compiled); });
}
TEST(Repeat, TrainingDeterministic) {
  expect_repeats("training", [] { return train(Way::deterministic); });
}
TEST(Repeat, DeterministicIsEager) {
  EXPECT_EQ(in_process(2, [] { return train(Way::eager); }),
            in_process(2, [] { return train(Way::deterministic); }));
}
TEST(Repeat, InferenceInBlocks) { expect_repeats("inference", infer); }
TEST(Repeat, SumsOverThreads) { expect_repeats("sums", sums); }

// --- A run that is killed ---------------------------------------------------------------------

constexpr int64_t epochs = 4, samples = 40;

/// Trains a small CNN to the end, going on from `path` and saving there after each step.
std::string train_on(const std::string& path) {
  Generator fixed(5);
  const data::TensorDataset dataset(randn({samples, 3, 12, 12}, f32, fixed),
                                    randint(0, 4, {samples}, i64, fixed));
  manual_seed(3);
  nn::Sequential net{nn::Conv2d(3, 16, 3, {.padding = 1}),
                     nn::BatchNorm2d(16),
                     nn::ReLU(),
                     nn::Conv2d(16, 24, 3, {.padding = 1}),
                     nn::ReLU(),
                     nn::Dropout(0.1),
                     nn::MaxPool2d(2),
                     nn::Flatten(),
                     nn::Linear(24 * 36, 4)};
  optim::Adam optimizer(net, {.lr = 1e-3});
  data::DataLoader loader(dataset, {.batch_size = 4, .shuffle = true, .threads = 1, .seed = 8});
  Checkpoint checkpoint;
  checkpoint.add("net", net).add("optimizer", optimizer).add("loader", loader);
  checkpoint.add("random", default_generator());
  if (!path.empty()) checkpoint.load_if_exists(path);
  for (int64_t epoch = loader.epoch(); epoch < epochs; ++epoch)
    for (auto& [x, y] : loader) {
      const Tensor loss = cross_entropy(net(x), y);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      if (!path.empty()) checkpoint.save(path);
    }
  std::vector<Tensor> all;
  for (const auto& [name, t] : net.state_dict()) all.push_back(t);
  for (const auto& [name, t] : optimizer.state_dict()) all.push_back(t);
  all.push_back(default_generator().state());
  return hash_of(all);
}

/// So many runs are killed, after a random time each, before one may end.
void kill_and_resume(int threads, int kills) {
  const std::string expected = in_process(threads, [] { return train_on(""); });
  ASSERT_EQ(expected.find("died"), std::string::npos) << expected;
  data::Random random(uint64_t(threads), 0);
  int killed = 0;
  while (killed < kills) {
    const TemporaryFolder folder;
    const std::string path = folder / "run.safetensors";
    for (int i = 0; i < 6 && killed < kills; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        set_num_threads(threads);
        train_on(path);
        _exit(0);
      }
      usleep(useconds_t(random.below(60000)));
      kill(child, SIGKILL);
      int status = 0;
      waitpid(child, &status, 0);
      if (WIFEXITED(status)) break;
      ++killed;
    }
    ASSERT_EQ(in_process(threads, [&] { return train_on(path); }), expected) << "kill " << killed;
    // Nothing stays but the checkpoint itself.
    EXPECT_EQ(folder.files(), std::set<std::string>{"run.safetensors"});
  }
}

int kills_wanted() {
  const char* text = std::getenv("TANDEM_KILLS");
  return text && !TANDEM_TEST_SANITIZER ? std::max(1, std::atoi(text)) : 6;
}

TEST(Repeat, AKilledRunOfACnnGoesOnBitForBit) {
  kill_and_resume(1, kills_wanted());
  kill_and_resume(2, kills_wanted());
}

}  // namespace
