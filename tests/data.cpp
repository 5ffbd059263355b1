// Datasets, samplers, the loader and the transforms.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "tandem/core/factory.h"
#include "tandem/data/fashion_mnist.h"
#include "tandem/data/loader.h"
#include "tandem/data/transforms.h"
#include "tandem/op/copy.h"
#include "tandem/ops/index.h"
#include "tandem/ops/range.h"
#include "tests/support/errors.h"

namespace {

using namespace tandem;
using namespace tandem::data;
using tandem::testing::error_of;

/// x[i] = {i, -i}, y[i] = 10 i.
TensorDataset<> counting(int64_t n) {
  std::vector<float> x;
  std::vector<int64_t> y;
  for (int64_t i = 0; i < n; ++i) {
    x.push_back(float(i));
    x.push_back(float(-i));
    y.push_back(10 * i);
  }
  return {wrap(std::move(x), {n, 2}), wrap(std::move(y), {n})};
}

template <class D, class F>
std::vector<std::vector<int64_t>> labels_of(DataLoader<D, F>& loader) {
  std::vector<std::vector<int64_t>> out;
  for (auto& [x, y] : loader) out.push_back(y.template to_vector<int64_t>());
  return out;
}

/// A sample of its own kind, made slowly and with random numbers.
struct Noisy {
  int64_t n = 40;
  int64_t size() const { return n; }
  Example get(int64_t i, Random& random) const {
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(200)));
    return {full({3}, random.uniform()), full({}, i, i64)};
  }
};

TEST(Dataset, TensorDatasetGivesRows) {
  const TensorDataset<> d = counting(5);
  EXPECT_EQ(d.size(), 5);
  EXPECT_EQ(d.get(3).x.to_vector<float>(), (std::vector<float>{3, -3}));
  EXPECT_EQ(d.get(3).y.item<int64_t>(), 30);
  const int64_t picks[] = {4, 0, 4};
  EXPECT_EQ(d.get_batch(picks).x.to_vector<float>(), (std::vector<float>{4, -4, 0, 0, 4, -4}));
  EXPECT_THROW(d.get(5), IndexError);
  EXPECT_THROW(d.get(-1), IndexError);
  try {
    TensorDataset(zeros({3, 2}), zeros({4}));
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(),
                 "TensorDataset: the first axes must be equal, got shapes [3, 2] and [4] of "
                 "tensors 0 and 1");
  }
}

TEST(Dataset, TensorDatasetTakesAnyNumberOfTensors) {
  const Tensor a = arange(0, 6).reshape({3, 2}), b = arange(10, 13), c = arange(20, 23);
  DataLoader alone(TensorDataset{a}, {.batch_size = 2});
  std::vector<std::vector<int64_t>> rows;
  for (const Tensor& x : alone) rows.push_back(x.to_vector<int64_t>());
  EXPECT_EQ(rows, (std::vector<std::vector<int64_t>>{{0, 1, 2, 3}, {4, 5}}));

  const TensorDataset three(a, b, c[all]);
  EXPECT_EQ(three.size(), 3);
  rows.clear();
  // By whole batches, and sample by sample through the default collate.
  DataLoader whole(three, {.batch_size = 2});
  DataLoader single(transformed(three, [](const auto& s) { return s; }), {.batch_size = 2});
  for (const auto& [x, y, z] : whole)
    for (const Tensor& t : {x, y, z}) rows.push_back(t.to_vector<int64_t>());
  for (const auto& [x, y, z] : single)
    for (const Tensor& t : {x, y, z}) rows.push_back(t.to_vector<int64_t>());
  const std::vector<std::vector<int64_t>> once{{0, 1, 2, 3}, {10, 11}, {20, 21},
                                               {4, 5},       {12},     {22}};
  auto twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  EXPECT_EQ(rows, twice);

  const Subset last(three, {2});
  Random random(0, 0);
  EXPECT_EQ(last.get(0, random)[1].item<int64_t>(), 12);
  const TensorDataset copy(three);
  EXPECT_EQ(copy.size(), 3);
  EXPECT_EQ(error_of<ShapeError>([&] { TensorDataset(a, b, arange(0, 2)); }),
            "TensorDataset: the first axes must be equal, got shapes [3, 2] and [2] of tensors 0 "
            "and 2");
  EXPECT_EQ(error_of<ShapeError>([&] { TensorDataset(a, Tensor(1.f)); }),
            "TensorDataset: tensor 1 is 0-d and has no rows");
}

TEST(Dataset, SubsetsAndSplitsPartitionTheData) {
  const TensorDataset<> d = counting(10);
  const Subset some(d, {7, 2});
  Random random(0, 0);
  EXPECT_EQ(some.get(1, random).y.item<int64_t>(), 20);
  EXPECT_THROW(Subset(d, {10}), IndexError);
  EXPECT_THROW(some.get(2, random), IndexError);

  for (const auto& parts : {random_split(d, {7, 3}, 5), random_split(d, {0.7, 0.3}, 5)}) {
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(parts[0].size(), 7);
    std::set<int64_t> seen(parts[0].indices().begin(), parts[0].indices().end());
    seen.insert(parts[1].indices().begin(), parts[1].indices().end());
    EXPECT_EQ(seen.size(), 10u);
  }
  EXPECT_EQ(random_split(d, {0.5, 0.5}, 1)[0].indices(), random_split(d, {5, 5}, 1)[0].indices());
  EXPECT_NE(random_split(d, {5, 5}, 1)[0].indices(), random_split(d, {5, 5}, 2)[0].indices());
  // Fractions that do not divide: the rest goes to the first parts, as PyTorch's random_split does.
  const auto thirds = random_split(d, {1.0 / 3, 1.0 / 3, 1.0 / 3});
  EXPECT_EQ(thirds[0].size(), 4);
  EXPECT_EQ(thirds[2].size(), 3);
  EXPECT_THROW(random_split(d, {5, 6}), ValueError);
  EXPECT_THROW(random_split(d, {0.5, 0.4}), ValueError);

  const ConcatDataset both(std::vector<TensorDataset<>>{counting(3), counting(4)});
  EXPECT_EQ(both.size(), 7);
  EXPECT_EQ(both.get(2, random).y.item<int64_t>(), 20);
  EXPECT_EQ(both.get(3, random).y.item<int64_t>(), 0);
  EXPECT_THROW(both.get(7, random), IndexError);
}

TEST(Sampler, RandomOrdersDifferByEpochAndSeed) {
  const SamplerPtr s = random_sampler(1000);
  std::vector<int64_t> sorted = s->order(1, 0);
  EXPECT_EQ(sorted, s->order(1, 0));
  EXPECT_NE(sorted, s->order(1, 1));
  EXPECT_NE(sorted, s->order(2, 0));
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, sequential_sampler(1000)->order(0, 0));
  // Every index lands everywhere alike: the mean position of index 0 over 2000 epochs is 4.5 of
  // 0..9 with a deviation of 2.87 / sqrt(2000) = 0.064.
  double sum = 0;
  for (int epoch = 0; epoch < 2000; ++epoch) {
    const auto order = random_sampler(10)->order(3, epoch);
    sum += double(std::find(order.begin(), order.end(), 0) - order.begin());
  }
  EXPECT_NEAR(sum / 2000, 4.5, 5 * 0.064);
}

TEST(Sampler, WeightsDecideHowOftenAnIndexComes) {
  const std::vector<double> weights{1, 0, 3, 6};
  std::vector<double> counts(4);
  for (const int64_t i : weighted_sampler(weights, 100000)->order(0, 0)) ++counts[size_t(i)];
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(counts[i] / 1e5, weights[i] / 10, 5 * 0.0016) << i;
  // Without replacement: no index twice; the first of two draws follows the weights.
  std::vector<double> first(4);
  for (int epoch = 0; epoch < 20000; ++epoch) {
    const auto order = weighted_sampler(weights, 3, false)->order(7, epoch);
    ASSERT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 3u);
    ++first[size_t(order[0])];
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(first[i] / 2e4, weights[i] / 10, 5 * 0.0036) << i;
  EXPECT_THROW(weighted_sampler(weights, 4, false), ValueError);
  EXPECT_THROW(weighted_sampler({0, 0}, 1), ValueError);
  EXPECT_THROW(weighted_sampler({1, -1}, 1), ValueError);
}

/// The last index with a weight stays the last, however the sum is rounded.
TEST(Sampler, WeightsOfZeroAreNeverDrawn) {
  const auto s = data::weighted_sampler({0.1, 0.2, 0.7, 0, 0}, 200000);
  for (int64_t i : s->order(3, 0)) ASSERT_LT(i, 3);
  EXPECT_THROW(data::weighted_sampler({0, 0}, 1), ValueError);
  EXPECT_THROW(data::weighted_sampler({}, 1), ValueError);
  EXPECT_THROW(data::weighted_sampler({1, NAN}, 1), ValueError);
  EXPECT_THROW(data::weighted_sampler({1e308, 1e308}, 1), ValueError);
}

TEST(Loader, CutsBatches) {
  DataLoader loader(counting(10), {.batch_size = 4});
  const std::vector<std::vector<int64_t>> all{{0, 10, 20, 30}, {40, 50, 60, 70}, {80, 90}};
  EXPECT_EQ(labels_of(loader), all);
  EXPECT_EQ(loader.size(), 3);
  DataLoader dropping(counting(10), {.batch_size = 4, .drop_last = true});
  EXPECT_EQ(labels_of(dropping).size(), 2u);
  EXPECT_EQ(dropping.size(), 2);
  DataLoader empty(counting(0), {.batch_size = 4, .threads = 2});
  EXPECT_EQ(labels_of(empty).size(), 0u);
  DataLoader weighted(counting(3), {.batch_size = 5, .sampler = weighted_sampler({0, 1, 0}, 5)});
  EXPECT_EQ(labels_of(weighted), (std::vector<std::vector<int64_t>>{{10, 10, 10, 10, 10}}));
  DataLoader ready(counting(9), {.batch_sampler = batch_sampler(sequential_sampler(9), 2, true)});
  EXPECT_EQ(labels_of(ready).size(), 4u);
  EXPECT_THROW(DataLoader(counting(3), {.batch_size = 0}), ValueError);
  EXPECT_THROW(DataLoader(counting(3), {.threads = -1}), ValueError);
  EXPECT_THROW(DataLoader(counting(3), {.shuffle = true, .sampler = sequential_sampler(3)}),
               ValueError);
}

TEST(Loader, ThreadsDoNotChangeBatches) {
  std::vector<std::vector<float>> expected;
  for (const int threads : {0, 1, 2, 5}) {
    DataLoader loader(Noisy{}, {.batch_size = 7, .shuffle = true, .threads = threads, .seed = 11});
    std::vector<std::vector<float>> got;
    for (int epoch = 0; epoch < 3; ++epoch)
      for (auto& [x, y] : loader) {
        got.push_back(x.to_vector<float>());
        got.push_back(y.to_vector<float>());
      }
    if (threads == 0) expected = got;
    EXPECT_EQ(got, expected) << threads << " threads";
  }
  EXPECT_EQ(expected.size(), 3 * 6 * 2u);
  EXPECT_NE(expected[1], expected[13]);       // epochs differ
  EXPECT_NE(expected[0][0], expected[0][3]);  // samples draw their own numbers
}

struct Failing {
  int64_t size() const { return 100; }
  Tensor get(int64_t i) const {
    if (i == 57) throw std::out_of_range("picture 57 is broken");
    return full({2}, i, f32);
  }
};

TEST(Loader, AnExceptionNamesItsSample) {
  for (const int threads : {0, 3}) {
    DataLoader loader(Failing{}, {.batch_size = 5, .threads = threads});
    int batches = 0;
    try {
      for (auto& x : loader) batches += x.size(0) == 5;
      FAIL();
    } catch (const LoaderError& e) {
      EXPECT_STREQ(e.what(), "DataLoader: sample 57 of epoch 0: picture 57 is broken");
      EXPECT_EQ(e.sample(), 57);
      EXPECT_THROW(std::rethrow_exception(e.cause()), std::out_of_range);
    }
    EXPECT_EQ(batches, 11);  // all batches before it were handed out
  }
}

struct Ragged {
  int64_t size() const { return 4; }
  Tensor get(int64_t i) const { return zeros({i < 3 ? 2 : 5}); }
};

TEST(Loader, OddSamplesAndOwnCollate) {
  DataLoader loader(Ragged{}, {.batch_size = 4, .threads = 1});
  try {
    for (auto& x : loader) FAIL() << x.numel();
  } catch (const LoaderError& e) {
    EXPECT_STREQ(e.what(),
                 "DataLoader: batch 0 of epoch 0: collate: sample 3 of the batch has "
                 "shape [5], the first has [2]");
    EXPECT_EQ(e.sample(), -1);
  }
  const auto longest = [](std::vector<Tensor>& samples) {
    int64_t n = 0;
    for (const Tensor& s : samples) n = std::max<int64_t>(n, s.numel());
    return n;
  };
  DataLoader own(Ragged{}, {.batch_size = 4, .threads = 2}, longest);
  for (int64_t& n : own) EXPECT_EQ(n, 5);
}

TEST(Loader, LeavingALoopEarlyNeverHangs) {
  for (int i = 0; i < 1000; ++i) {
    DataLoader loader(
        counting(64),
        {.batch_size = 2, .shuffle = true, .threads = 1 + i % 4, .prefetch = 1 + i % 3});
    int left = i % 5;
    for (auto& [x, y] : loader) {
      ASSERT_EQ(x.size(0), 2);
      if (left-- == 0) break;
    }
  }
  // The same loader again and again, also with slow samples under way.
  DataLoader loader(Noisy{}, {.batch_size = 4, .threads = 3});
  for (int i = 0; i < 50; ++i)
    for (auto& [x, y] : loader) {
      ASSERT_EQ(y.size(0), 4);
      break;
    }
  EXPECT_EQ(loader.epoch(), 49);
}

TEST(Loader, GoesOnWhereItStopped) {
  const LoaderOptions options{.batch_size = 3, .shuffle = true, .threads = 2, .seed = 4};
  DataLoader whole(counting(20), options);
  std::vector<std::vector<int64_t>> expected;
  for (int epoch = 0; epoch < 3; ++epoch)
    for (auto& batch : labels_of(whole)) expected.push_back(batch);
  for (size_t stop = 1; stop < expected.size(); ++stop) {
    DataLoader first(counting(20), options);
    std::vector<std::vector<int64_t>> got;
    NamedTensors state;
    while (state.empty())
      for (auto& [x, y] : first) {
        got.push_back(y.to_vector<int64_t>());
        if (got.size() < stop) continue;
        state = first.state_dict();
        break;
      }
    DataLoader second(counting(20), {.batch_size = 3, .shuffle = true});
    second.load_state_dict(state);
    for (int64_t epoch = second.epoch(); epoch < 3; ++epoch)
      for (auto& batch : labels_of(second)) got.push_back(batch);
    ASSERT_EQ(got, expected) << "stopped after " << stop;
  }
}

TEST(Loader, KnowsHowLongTheModelWaited) {
  struct Slow {
    int64_t size() const { return 4; }
    Tensor get(int64_t i) const {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      return full({1}, i, f32);
    }
  };
  DataLoader starved(Slow{}, {.batch_size = 1});
  for (auto& x : starved) EXPECT_EQ(x.numel(), 1);
  EXPECT_GT(starved.stats().wait_share(), 0.9);
  EXPECT_EQ(starved.stats().batches, 4);
  EXPECT_EQ(starved.stats().samples, 4);
  DataLoader fed(counting(4), {.batch_size = 1, .threads = 1});
  for (auto& batch : fed) {
    EXPECT_EQ(batch.x.size(0), 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LT(fed.stats().wait_share(), 0.5);
  EXPECT_GT(fed.stats().total_seconds, 0.08);
}

TEST(Transforms, MatchTheirFormulas) {
  std::vector<uint8_t> bytes(2 * 3 * 4);
  std::iota(bytes.begin(), bytes.end(), uint8_t(100));
  const Tensor image = wrap(std::vector<uint8_t>(bytes), {2, 3, 4});
  const Tensor scaled = ToFloat{}(image);
  EXPECT_EQ(scaled.dtype(), f32);
  EXPECT_EQ(scaled.data<float>()[5], 105.0f / 255.0f);
  const Tensor normal = Normalize{{0.5f, 0.25f}, {0.5f, 2.0f}}(scaled);
  EXPECT_EQ(normal.data<float>()[5], (105.0f / 255.0f - 0.5f) / 0.5f);
  EXPECT_EQ(normal.data<float>()[17], (117.0f / 255.0f - 0.25f) / 2.0f);
  EXPECT_THROW((Normalize{{0.5f}, {0.5f}}(image)), DTypeError);
  EXPECT_THROW((Normalize{{1, 2, 3}, {1}}(scaled)), ShapeError);

  int flipped = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    Random random(1, 0, i);
    const Tensor f = RandomHorizontalFlip{}(image, random);
    const bool is = f.data<uint8_t>()[0] == 103;
    EXPECT_EQ(f.data<uint8_t>()[23], is ? 120 : 123);
    flipped += is;
  }
  EXPECT_NEAR(flipped, 500, 5 * 16);

  std::map<int, int> corners;
  for (uint32_t i = 0; i < 1000; ++i) {
    Random random(2, 0, i);
    const Tensor c = RandomCrop{3, 4, 1}(image, random);
    EXPECT_EQ(c.shape(), image.shape());
    const auto v = c.to_vector<int64_t>();
    ++corners[int(v[5])];  // row 1, column 1: what the window moved there
    // Zeros come only from the border: neighbours inside differ by one.
    for (size_t at : {4u, 5u, 6u}) {
      if (v[at] && v[at + 1]) {
        EXPECT_EQ(v[at + 1], v[at] + 1);
      }
    }
  }
  EXPECT_EQ(corners.size(), 9u);  // three places down, three across
  for (const auto& [value, count] : corners) EXPECT_NEAR(count, 111, 60) << value;
  Random random(0, 0);
  EXPECT_THROW((RandomCrop{6, 6, 1}(image, random)), ShapeError);

  const auto both = compose(
      ToFloat{}, [](const Tensor& x) { return x; }, RandomHorizontalFlip{1.0});
  EXPECT_EQ(both(image, random).data<float>()[0], 103.0f / 255.0f);
}

TEST(Loader, TransformsDrawTheSameForAnyThreads) {
  const Tensor images = zeros({30, 1, 6, 6}, u8);
  for (int64_t i = 0; i < images.numel(); ++i) images.data<uint8_t>()[i] = uint8_t(i);
  const TensorDataset d(images, arange(30));
  std::vector<std::vector<float>> expected;
  for (const int threads : {0, 1, 3}) {
    DataLoader loader(
        transformed(d, compose(RandomCrop{6, 6, 2}, RandomHorizontalFlip{}, ToFloat{})),
        {.batch_size = 8, .shuffle = true, .threads = threads});
    manual_seed(3);
    std::vector<std::vector<float>> got;
    for (auto& [x, y] : loader) got.push_back(x.to_vector<float>());
    if (threads == 0) expected = got;
    EXPECT_EQ(got, expected);
  }
}

TEST(FashionMnist, HasItsKnownPictures) {
  try {
    const FashionMNIST train, test({.train = false});
    EXPECT_EQ(train.size(), 60000);
    EXPECT_EQ(test.size(), 10000);
    EXPECT_EQ(train.images().spec(), (Spec{{60000, 1, 28, 28}, u8, {}}));
    // Published facts: each class has 6,000 pictures, the mean of all pixels is 0.2860.
    std::vector<int> counts(10);
    for (int64_t label : train.labels().span<int64_t>()) ++counts[size_t(label)];
    for (int c : counts) EXPECT_EQ(c, 6000);
    double sum = 0;
    for (uint8_t v : train.images().span<uint8_t>()) sum += v;
    EXPECT_NEAR(sum / double(train.images().numel()) / 255, 0.2860, 5e-5);
    EXPECT_EQ(FashionMNIST::classes[size_t(train.get(0).y.item<int64_t>())], "ankle boot");
  } catch (const IOError& e) {
    if (std::string_view(e.what()).find("No such file") == std::string_view::npos) throw;
    GTEST_SKIP() << "Debian's package dataset-fashion-mnist is not installed";
  }
  EXPECT_THROW(FashionMNIST({.root = "/nowhere"}), IOError);
}

}  // namespace
