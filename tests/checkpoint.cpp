// A run that is killed at any step and resumed gives the same weights, bit for bit, as one that was
// never stopped.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "tandem/core/factory.h"
#include "tandem/core/threads.h"
#include "tandem/data/loader.h"
#include "tandem/io/checkpoint.h"
#include "tandem/io/safetensors.h"
#include "tandem/nn/container.h"
#include "tandem/nn/linear.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mse_loss.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/random.h"
#include "tandem/ops/relu.h"
#include "tandem/optim/adam.h"
#include "tandem/optim/schedule.h"
#include "tests/support/folder.h"

namespace {

using namespace tandem;
using tandem::testing::TemporaryFolder;
struct Net : nn::Module<Net> {
  nn::Linear in{6, 8}, out{8, 2};
  nn::Dropout drop{0.3};
  static constexpr auto fields =
      std::tuple{field("in", &Net::in), field("out", &Net::out), field("drop", &Net::drop)};
  Tensor forward(const Tensor& x) const { return out(drop(relu(in(x)))); }
};

constexpr int64_t epochs = 3, samples = 21;

/// Trains to the end, going on from `path` where there is one and saving there after each step.
/// `kill_at` is the step at which the process kills itself, before or after the save.
NamedTensors train(const std::string& path, int64_t kill_at = -1, bool after_save = false) {
  Generator fixed(5);
  const data::TensorDataset dataset(randn({samples, 6}, f32, fixed),
                                    randn({samples, 2}, f32, fixed));
  manual_seed(3);
  Net model;
  optim::Adam optimizer(model, {.lr = 1e-2});
  optim::CosineAnnealingLR scheduler(optimizer, 20);
  data::DataLoader loader(dataset, {.batch_size = 4, .shuffle = true, .threads = 1, .seed = 8});
  int64_t step = 0;
  double loss_sum = 0;
  std::string note = "start";
  Tensor last = zeros({});
  Checkpoint checkpoint;
  checkpoint.add("model", model).add("optimizer", optimizer).add("scheduler", scheduler);
  checkpoint.add("loader", loader).add("random", default_generator()).add("step", step);
  checkpoint.add("loss_sum", loss_sum).add("note", note).add("last", last);
  checkpoint.load_if_exists(path);
  for (int64_t epoch = loader.epoch(); epoch < epochs; ++epoch)
    for (auto& [x, y] : loader) {
      const Tensor loss = mse_loss(model(x + 0.1 * randn_like(x)), y);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      scheduler.step();
      loss_sum += loss.item<double>();
      last = loss.detach();
      note = cat("step ", ++step, " of epoch ", epoch);
      if (step == kill_at && !after_save) ::kill(::getpid(), SIGKILL);
      if (!path.empty()) checkpoint.save(path);
      if (step == kill_at && after_save) ::kill(::getpid(), SIGKILL);
    }
  NamedTensors result = model.state_dict();
  for (const auto& [name, t] : optimizer.state_dict()) result.emplace_back("optimizer." + name, t);
  for (const auto& [name, t] : scheduler.state_dict()) result.emplace_back("scheduler." + name, t);
  result.emplace_back("loss_sum", full({}, loss_sum, f64));
  result.emplace_back("last", last);
  result.emplace_back("step", full({}, step, i64));
  result.emplace_back("random", default_generator().state());
  return result;
}

void expect_same_bits(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(a[i].first);
    ASSERT_EQ(a[i].first, b[i].first);
    ASSERT_EQ(a[i].second.spec(), b[i].second.spec());
    const auto bytes = size_t(a[i].second.numel() * itemsize(a[i].second.dtype()));
    EXPECT_EQ(std::memcmp(a[i].second.raw_data(), b[i].second.raw_data(), bytes), 0);
  }
}

TEST(Checkpoint, AKilledRunGoesOnBitForBit) {
  // One thread: a fork takes no pool of threads along.
  set_num_threads(1);
  const NamedTensors expected = train("");
  EXPECT_EQ(find(expected, "step").item<int64_t>(), epochs * 6);
  const TemporaryFolder folder;
  data::Random random(1, 0);
  for (int round = 0; round < 12; ++round) {
    const std::string path = cat(folder.path, "/run", round, ".safetensors");
    int64_t at = 0;
    while ((at += 1 + random.below(7)) <= epochs * 6) {  // several kills a run
      const bool after_save = random.chance(0.5);
      const pid_t child = fork();
      if (child == 0) {
        train(path, at, after_save);
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "step " << at;
    }
    expect_same_bits(train(path), expected);
  }
  set_num_threads(0);
}

TEST(Checkpoint, NamesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const std::string path = folder.path + "/c.safetensors";
  int64_t step = 7;
  double rate = 0.1;
  Checkpoint full_one;
  full_one.add("step", step).add("rate", rate).save(path);
  EXPECT_THROW(full_one.add("step", step), ValueError);
  EXPECT_THROW(full_one.add("a/b", step), ValueError);

  step = 0;
  std::string note;
  Checkpoint other;
  other.add("step", step).add("note", note);
  try {
    other.load(path);
    FAIL();
  } catch (const ValueError& e) {
    EXPECT_EQ(std::string(e.what()), cat("Checkpoint::load(", path,
                                         "); the file has no part note; the file's part rate was "
                                         "not added"));
  }
  EXPECT_EQ(step, 0);  // nothing changed
  EXPECT_FALSE(other.load_if_exists(folder.path + "/missing"));
  save_safetensors(folder.path + "/plain", {{"step/value", zeros({})}});
  EXPECT_THROW(other.load(folder.path + "/plain"), IOError);
  full_one.load(path);
  EXPECT_EQ(step, 7);
  EXPECT_EQ(rate, 0.1);
}

}  // namespace
