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
#include "tandem/core/number.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/random.h"
#include "tests/support/errors.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;

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

/// Roundings of the last numbers below the end lead to it in f32 from width 1000 on, in f16 always.
TEST(Random, DrawsNeverReachTheOpenEnd) {
  manual_seed(0);
  struct Range {
    double low, high;
  };
  for (DType d : {f32, f64, f16, bf16})
    for (const Range& r : {Range{0, 1},
                           {1000, 1001},
                           {-1, 0},
                           {-1001, -1000},
                           {0, 3},
                           {1000, 1002},
                           {0.1, 0.3},
                           {65000, 65100},
                           {-1e-40, 1e-40}}) {
      Tensor u = empty({200000}, d);
      uniform_(u, r.low, r.high);
      const double low = full({}, r.low, d).item<double>(),
                   high = full({}, r.high, d).item<double>();
      EXPECT_GE(amin(u).item<double>(), low) << name(d) << " " << r.low;
      if (low < high) EXPECT_LT(amax(u).item<double>(), high) << name(d) << " " << r.high;
      else EXPECT_EQ(amax(u).item<double>(), low);
    }
  EXPECT_EQ(uniform_(empty({3}), 2, 2).to_vector<float>(), (std::vector<float>{2, 2, 2}));
  // Integers that the dtype cannot tell from the end.
  struct Whole {
    DType dtype;
    int64_t low, high;
  };
  const int64_t big = int64_t(1) << 25;
  for (const Whole& w : {Whole{f32, 0, big},
                         {f32, -big - 1, big + 1},
                         {f32, big - 1, big + 3},
                         {f16, -60000, 65505},
                         {f16, 2047, 2052},
                         {bf16, 0, 1000},
                         {bf16, -1000, 7},
                         {f64, INT64_MIN, INT64_MAX},
                         {i64, INT64_MIN, INT64_MAX},
                         {u8, 0, 256},
                         {i8, -128, 128}}) {
    const auto v = randint(w.low, w.high, {100000}, w.dtype).to_vector<double>();
    const auto [least, most] = std::minmax_element(v.begin(), v.end());
    EXPECT_GE(*least, double(w.low)) << name(w.dtype) << " " << w.low;
    EXPECT_LT(*most, double(w.high) + (w.dtype == i64)) << name(w.dtype) << " " << w.high;
  }
}

TEST(Random, EndsThatADtypeDoesNotHave) {
  EXPECT_EQ(error_of<ValueError>([] { randint(0, 300, {2}, u8); }),
            "random_int(shape=[2], dtype=u8, low=0, high=300): 299 is out of the range of u8");
  EXPECT_THROW(randint(-1, 3, {2}, u8), ValueError);
  EXPECT_THROW(randint(0, 70000, {2}, f16), ValueError);
  const int64_t odd = (int64_t(1) << 24) + 1;
  EXPECT_EQ(
      error_of<ValueError>([=] { randint(odd, odd + 1, {2}, f32); }),
      "random_int(shape=[2], dtype=f32, low=16777217, high=16777218): no number of f32 lies in "
      "the range");
  for (const auto& [low, high] :
       {std::pair(0.0, HUGE_VAL), {-3e38, 3e38}, {double(NAN), 1.0}, {0.0, double(NAN)}})
    EXPECT_THROW(uniform_(empty({2}), low, high), ValueError) << low << " " << high;
  EXPECT_THROW(uniform_(empty({2}, f16), 0, 70000), ValueError);
  EXPECT_THROW(normal_(empty({2}), 0, NAN), ValueError);
}

TEST(Random, WeightsThatSayNothing) {
  for (bool replacement : {true, false}) {
    auto draw = [=](std::vector<double> w, Shape shape, int64_t n = 1) {
      return error_of<Error>(
          [&] { multinomial(wrap(std::vector<double>(w), shape), n, replacement); });
    };
    EXPECT_NE(draw({0, 0}, {2}), "no error");
    EXPECT_NE(draw({1, -1}, {2}), "no error");
    EXPECT_NE(draw({1, NAN}, {2}), "no error");
    EXPECT_NE(draw({1, HUGE_VAL}, {2}), "no error");
    EXPECT_NE(draw({1, 1, 0, 0}, {2, 2}), "no error");
    EXPECT_NE(draw({}, {0}), "no error");
    EXPECT_NE(draw({}, {2, 0}), "no error");
    EXPECT_EQ(draw({}, {0, 3}), "no error");
    EXPECT_EQ(draw({1e308, 1e308}, {2}), "no error");
    EXPECT_EQ(draw({1e-320, 0}, {2}), "no error");
  }
  EXPECT_EQ(error_of<ValueError>([] { multinomial(zeros({0}), 4, true); }),
            "multinomial(num_samples=4, replacement=true): there are no weights to draw from");
  EXPECT_THROW(bernoulli(tensor({0.5f, NAN})), ValueError);
  // Sums of large weights, and the last weight, which may be zero.
  manual_seed(1);
  const auto c =
      multinomial(tensor({1e308, 1e308, 0.0, 1e308, 0.0}, f64), 3000, true).to_vector<int64_t>();
  for (int64_t k : {0, 1, 3}) EXPECT_NEAR(double(std::count(c.begin(), c.end(), k)), 1000, 120);
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
