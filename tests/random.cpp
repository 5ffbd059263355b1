// Random numbers: Philox against its authors' known answers, the numbers of a draw against a plain
// reading of its definition, and independence of the number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "tandem/autograd/autograd.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/random.h"

namespace {

using namespace tandem;

/// Word `word` of block `block` of a draw.
uint32_t philox(uint64_t seed, uint64_t offset, uint64_t block, int word) {
  uint32_t c[4] = {uint32_t(block), uint32_t(block >> 32), uint32_t(offset),
                   uint32_t(offset >> 32)};
  Philox::block(seed, c);
  return c[word];
}

// kat_vectors of Random123 1.14: philox4x32, 10 rounds.
TEST(Random, PhiloxKnownAnswers) {
  struct Known {
    uint32_t counter[4];
    uint64_t key;
    uint32_t want[4];
  } known[] = {
      {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       0x299f31d0a4093822ull,
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (Known& k : known) {
    Philox::block(k.key, k.counter);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(k.counter[i], k.want[i]);
  }
}

TEST(Random, ElementsAreWhatTheirDefinitionSays) {
  Generator g(12345678901234567ull);
  rand({3}, f32, g);
  const auto u = rand({2000}, f32, g).to_vector<float>();    // offset 1
  const auto n = randn({2000}, f32, g).to_vector<float>();   // offset 2
  const auto d = rand({2000}, f64, g).to_vector<double>();   // offset 3
  const auto m = randn({2000}, f64, g).to_vector<double>();  // offset 4
  constexpr double turn = 2 * std::numbers::pi;
  for (uint64_t i = 0; i < 2000; ++i) {
    const uint64_t lane = i % 16;
    auto word = [&](uint64_t offset, uint64_t group, uint64_t w) {
      return philox(g.seed(), offset, group * 16 + lane, int(w));
    };
    const uint64_t q = i / 16 % 4, half = i / 16 % 2;
    EXPECT_EQ(u[i], float(word(1, i / 64, q) >> 8) * 0x1p-24f);
    const double r = std::sqrt(-2 * std::log(((word(2, i / 64, q & 2) >> 8) + 1) * 0x1p-24));
    const double a = word(2, i / 64, (q & 2) + 1) * 0x1p-32 * turn;
    EXPECT_NEAR(n[i], r * (q & 1 ? std::sin(a) : std::cos(a)), 2e-6);
    const uint64_t wide = uint64_t(word(3, i / 32, 2 * half)) << 32 | word(3, i / 32, 2 * half + 1);
    EXPECT_EQ(d[i], double(wide >> 11) * 0x1p-53);
    const uint64_t first = uint64_t(word(4, i / 32, 0)) << 32 | word(4, i / 32, 1);
    const double s = std::sqrt(-2 * std::log((double(first >> 11) + 1) * 0x1p-53));
    const double b = word(4, i / 32, 2) * 0x1p-32 * turn;
    EXPECT_NEAR(m[i], s * (half ? std::sin(b) : std::cos(b)), 1e-14);
  }
}

TEST(Random, SameNumbersForAnyNumberOfThreads) {
  auto draw = [] {
    manual_seed(9);
    std::vector<double> all;
    for (const Tensor& t : {rand({70001}), randn({70001}, f64), randint(-5, 5, {70001}),
                            bernoulli(full({70001}, 0.3)), dropout(ones({70001}), 0.4)}) {
      const auto v = t.to_vector<double>();
      all.insert(all.end(), v.begin(), v.end());
    }
    return all;
  };
  cpu::set_num_threads(1);
  const auto one = draw();
  cpu::set_num_threads(4);
  const auto four = draw();
  cpu::set_num_threads(0);
  EXPECT_EQ(one, four);
}

TEST(Random, Moments) {
  manual_seed(1);
  for (DType type : {f32, f64, f16, bf16}) {
    const auto v = randn({200000}, type).to_vector<double>();
    double mean = 0, square = 0;
    for (double x : v) mean += x, square += x * x;
    EXPECT_NEAR(mean / 200000, 0, 0.01) << name(type);
    EXPECT_NEAR(square / 200000, 1, 0.02) << name(type);
    const auto u = rand({200000}, type).to_vector<double>();
    EXPECT_NEAR(std::accumulate(u.begin(), u.end(), 0.0) / 200000, 0.5, 0.005) << name(type);
    EXPECT_GE(*std::min_element(u.begin(), u.end()), 0) << name(type);
    EXPECT_LT(*std::max_element(u.begin(), u.end()), 1) << name(type);
  }
}

TEST(Random, StateRepeatsWhatFollows) {
  Generator g(5);
  randn({10}, f32, g);
  const Tensor state = g.state();
  const auto a = rand({10}, f32, g).to_vector<float>();
  g.set_state(state);
  EXPECT_EQ(rand({10}, f32, g).to_vector<float>(), a);
  EXPECT_NE(rand({10}, f32, g).to_vector<float>(), a);
  EXPECT_THROW(g.set_state(zeros({3}, i64)), ShapeError);
}

TEST(Random, PermutationsAndChoices) {
  manual_seed(2);
  auto p = randperm(1000).to_vector<int64_t>();
  std::vector<int64_t> sorted = p, want(1000);
  std::sort(sorted.begin(), sorted.end());
  std::iota(want.begin(), want.end(), 0);
  EXPECT_EQ(sorted, want);
  EXPECT_NE(p, want);
  const Tensor w = tensor({0.f, 1.f, 3.f});
  const auto c = multinomial(w, 40000, true).to_vector<int64_t>();
  EXPECT_EQ(std::count(c.begin(), c.end(), 0), 0);
  EXPECT_NEAR(double(std::count(c.begin(), c.end(), 2)) / 40000, 0.75, 0.01);
  auto two = multinomial(w, 2).to_vector<int64_t>();
  std::sort(two.begin(), two.end());
  EXPECT_EQ(two, (std::vector<int64_t>{1, 2}));
}

TEST(Random, LikeAnotherTensorAndOverOne) {
  manual_seed(4);
  const Tensor like = randint_like(zeros({500, 2}, i32), -2, 3);
  EXPECT_EQ(like.spec(), (Spec{{500, 2}, i32, {}}));
  const auto drawn = like.to_vector<int32_t>();
  const auto [least, most] = std::minmax_element(drawn.begin(), drawn.end());
  EXPECT_EQ(*least, -2);
  EXPECT_EQ(*most, 2);
  const Tensor t = full({40000}, 7.0);
  bernoulli_(t, 0.25);
  const auto v = t.to_vector<float>();
  const auto hits = std::count(v.begin(), v.end(), 1.f);
  EXPECT_EQ(hits + std::count(v.begin(), v.end(), 0.f), 40000);
  EXPECT_NEAR(double(hits) / 40000, 0.25, 0.01);
}

TEST(Random, DropoutKeepsTheMeanAndItsGradientTheMask) {
  manual_seed(3);
  Tensor x = full({100000}, 2.0);
  x.requires_grad_();
  const Tensor y = dropout(x, 0.25);
  y.backward(ones({100000}));
  const auto v = y.to_vector<float>(), g = x.grad().to_vector<float>();
  double sum = 0;
  for (size_t i = 0; i < v.size(); ++i) {
    EXPECT_EQ(v[i], 2 * g[i]);
    sum += v[i];
  }
  EXPECT_NEAR(sum / 100000, 2, 0.02);
  EXPECT_TRUE(dropout(x, 0.25, false).is_same(x));
}

}  // namespace
