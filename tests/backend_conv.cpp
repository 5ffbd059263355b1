// Convolutions of the CPU backend, every algorithm by itself and the choice among them, against
// plain loops in f64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tandem/backend/cpu/conv.h"
#include "tandem/backend/cpu/conv_blocked.h"
#include "tandem/backend/cpu/conv_direct.h"
#include "tandem/backend/cpu/conv_im2col.h"
#include "tandem/backend/cpu/conv_onednn.h"
#include "tandem/backend/cpu/conv_winograd.h"
#include "tandem/backend/cpu/threads.h"
#include "tandem/core/autotune.h"

namespace {

using tandem::autotune;
using tandem::set_autotune;

using namespace tandem::cpu;
using Values = std::vector<double>;

const std::vector<ConvShape>& shapes() {
  // n c h w oc kh kw | stride pad dilation (h, w) groups
  static const std::vector<ConvShape> all = {
      {1, 1, 1, 1, 1, 1, 1},
      {2, 3, 5, 7, 4, 3, 3, 1, 1, 1, 1},
      {1, 1, 9, 20, 3, 3, 3},
      {4, 1, 28, 28, 32, 3, 3},
      {3, 1, 28, 28, 6, 5, 5, 1, 1, 2, 2},
      {2, 3, 33, 37, 20, 7, 7, 2, 2, 3, 3},
      {2, 6, 14, 14, 16, 5, 5},
      {1, 32, 16, 18, 40, 3, 3, 1, 1, 1, 1},
      {2, 33, 13, 11, 35, 3, 3, 1, 1, 0, 0},
      {2, 64, 12, 12, 48, 3, 3, 2, 2, 1, 1},
      {2, 32, 15, 15, 32, 1, 1},
      {2, 32, 15, 15, 32, 1, 1, 2, 2},
      {2, 8, 13, 17, 12, 3, 3, 1, 1, 2, 3, 2, 3},
      {2, 5, 19, 18, 7, 2, 4, 3, 2, 1, 0, 2, 3},
      {2, 12, 9, 9, 18, 3, 3, 1, 1, 1, 1, 1, 1, 3},
      {2, 32, 14, 14, 64, 3, 3, 2, 1, 1, 1, 1, 1, 4},
      {2, 17, 14, 14, 17, 3, 3, 1, 1, 1, 1, 1, 1, 17},
      {2, 16, 15, 40, 16, 5, 3, 2, 2, 2, 1, 1, 1, 16},
      {1, 20, 23, 21, 20, 3, 3, 3, 2, 1, 2, 2, 1, 20},
      {1, 19, 7, 7, 19, 3, 3, 1, 1, 0, 0, 1, 2, 19},
      {3, 16, 1, 300, 24, 1, 5, 1, 1, 0, 2},
      {2, 4, 3, 3, 5, 3, 3, 1, 1, 4, 4},
      {2, 10, 12, 12, 10, 4, 4, 2, 2, 1, 1},
      {1, 3, 8, 8, 2, 3, 3, 4, 5, 0, 1},
      {6, 32, 28, 28, 32, 3, 3, 1, 1, 1, 1},
      {9, 17, 10, 26, 40, 3, 3, 1, 1, 2, 0},
      {3, 24, 5, 3, 20, 3, 3},
      {1, 64, 30, 70, 33, 3, 3, 1, 1, 0, 1},
      {3, 66, 176, 3, 272, 3, 3, 1, 1, 1, 0},
  };
  return all;
}

std::string name(const ConvShape& s) {
  std::string text;
  for (const int64_t v : {s.n, s.c, s.h, s.w, s.oc, s.kh, s.kw, s.stride_h, s.stride_w, s.pad_h,
                          s.pad_w, s.dil_h, s.dil_w, s.groups}) {
    text += std::to_string(v) + " ";
  }
  return text;
}

// Visits every product x[i] * w[j] that goes into y[k].
template <class F>
void each_product(const ConvShape& s, F&& visit) {
  const int64_t oh = s.out_h(), ow = s.out_w(), cg = s.c / s.groups, og = s.oc / s.groups;
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t o = 0; o < s.oc; ++o) {
      for (int64_t c = 0; c < cg; ++c) {
        for (int64_t p = 0; p < s.kh; ++p) {
          for (int64_t q = 0; q < s.kw; ++q) {
            const int64_t wi = ((o * cg + c) * s.kh + p) * s.kw + q;
            for (int64_t i = 0; i < oh; ++i) {
              const int64_t h = i * s.stride_h + p * s.dil_h - s.pad_h;
              if (h < 0 || h >= s.h) continue;
              for (int64_t j = 0; j < ow; ++j) {
                const int64_t w = j * s.stride_w + q * s.dil_w - s.pad_w;
                if (w < 0 || w >= s.w) continue;
                visit(static_cast<size_t>(((n * s.c + o / og * cg + c) * s.h + h) * s.w + w),
                      static_cast<size_t>(wi),
                      static_cast<size_t>(((n * s.oc + o) * oh + i) * ow + j));
              }
            }
          }
        }
      }
    }
  }
}

Values random_values(int64_t n, unsigned seed) {
  std::mt19937 gen(seed);
  std::uniform_real_distribution<float> dist(-1, 1);
  Values v(static_cast<size_t>(n));
  for (double& x : v) x = static_cast<double>(dist(gen));
  return v;
}

template <class T>
std::vector<T> cast(const Values& v) {
  return std::vector<T>(v.begin(), v.end());
}

struct Problem {
  ConvShape s;
  Values x, w, bias, dy;         // inputs
  Values y, y_bias, dx, dw, db;  // what is right

  /// `change` changes the inputs before anything is computed from them.
  explicit Problem(const ConvShape& shape, void (*change)(Problem&) = nullptr) : s(shape) {
    const int64_t area = s.out_h() * s.out_w();
    x = random_values(s.n * s.c * s.h * s.w, 1);
    w = random_values(s.oc * (s.c / s.groups) * s.kh * s.kw, 2);
    bias = random_values(s.oc, 3);
    dy = random_values(s.n * s.oc * area, 4);
    if (change != nullptr) change(*this);
    y.assign(dy.size(), 0);
    dx.assign(x.size(), 0);
    dw.assign(w.size(), 0);
    each_product(s, [&](size_t i, size_t j, size_t k) {
      y[k] += x[i] * w[j];
      dx[i] += dy[k] * w[j];
      dw[j] += dy[k] * x[i];
    });
    db.assign(bias.size(), 0);
    y_bias = y;
    for (size_t k = 0; k < dy.size(); ++k) {
      const size_t o = k / static_cast<size_t>(area) % bias.size();
      db[o] += dy[k];
      y_bias[k] += bias[o];
    }
  }
};

template <class T>
double tolerance(const Values& want) {
  double largest = 0;
  for (const double v : want)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  return (largest + 1) * (sizeof(T) == 8 ? 1e-13 : 1e-5);
}

template <class T>
void expect_near(const std::vector<T>& got, const Values& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  const double most = tolerance<T>(want);
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(std::abs(static_cast<double>(got[i]) - want[i]) <= most)
        << what << " at " << i << ": " << got[i] << " not " << want[i];
  }
}

template <class T>
std::vector<T> nans(size_t n) {
  return std::vector<T>(n, std::numeric_limits<T>::quiet_NaN());
}

template <class T>
void check_public(const Problem& p, const std::string& how) {
  const auto x = cast<T>(p.x), w = cast<T>(p.w), bias = cast<T>(p.bias), dy = cast<T>(p.dy);
  const std::string what = how + " " + name(p.s);
  for (int round = 0; round < 2; ++round) {
    auto y = nans<T>(p.y.size()), dx = nans<T>(p.x.size()), dw = nans<T>(p.w.size());
    auto db = nans<T>(p.bias.size());
    conv_forward(p.s, x.data(), w.data(), static_cast<const T*>(nullptr), y.data());
    expect_near(y, p.y, what + "forward");
    conv_forward(p.s, x.data(), w.data(), bias.data(), y.data());
    expect_near(y, p.y_bias, what + "forward with bias");
    conv_backward_data(p.s, dy.data(), w.data(), dx.data());
    expect_near(dx, p.dx, what + "backward data");
    conv_backward_weights(p.s, x.data(), dy.data(), dw.data(), static_cast<T*>(nullptr));
    expect_near(dw, p.dw, what + "backward weights");
    std::fill(dw.begin(), dw.end(), std::numeric_limits<T>::quiet_NaN());
    conv_backward_weights(p.s, x.data(), dy.data(), dw.data(), db.data());
    expect_near(dw, p.dw, what + "backward weights with bias");
    expect_near(db, p.db, what + "bias gradient");
  }
}

// Puts the switches back.
struct Switches {
  bool measures = autotune(), winograd = conv_winograd();
  int threads = num_threads();
  ~Switches() {
    set_autotune(measures);
    set_conv_winograd(winograd);
    set_num_threads(threads);
  }
};

template <class T>
void expect_same_class(const std::vector<T>& got, const Values& want, const std::string& what) {
  const double most = tolerance<T>(want);
  for (size_t i = 0; i < want.size(); ++i) {
    const auto g = static_cast<double>(got[i]), w = want[i];
    const bool same = std::isnan(w)   ? std::isnan(g)
                      : std::isinf(w) ? g == w
                                      : std::abs(g - w) <= most;
    ASSERT_TRUE(same) << what << " at " << i << ": " << g << " not " << w;
  }
}

// An infinity reaches what its windows hold and nothing else, neither through the zeros around an
// image nor through a Winograd tile.
TEST(BackendConv, InfinitiesReachOnlyTheirWindows) {
  const Switches keep;
  void (*const changes[])(Problem&) = {
      [](Problem& p) { p.x[p.x.size() / 2] = HUGE_VAL; },
      [](Problem& p) { p.x[0] = -HUGE_VAL; },
      [](Problem& p) { p.w[0] = HUGE_VAL; },
      [](Problem& p) { p.w[p.w.size() - 1] = -HUGE_VAL; },
      [](Problem& p) { p.dy[0] = HUGE_VAL; },
      [](Problem& p) { p.dy[p.dy.size() / 2] = -HUGE_VAL; },
  };
  for (const ConvShape& s : shapes()) {
    if (s.n * s.oc * s.out_h() * s.out_w() * s.c / s.groups > 1'000'000) continue;
    for (const auto change : changes) {
      const Problem p(s, change);
      const auto run = [&]<class T>(const std::string& how) {
        const auto x = cast<T>(p.x), w = cast<T>(p.w), bias = cast<T>(p.bias), dy = cast<T>(p.dy);
        const std::string what = how + " " + name(p.s);
        auto y = nans<T>(p.y.size()), dx = nans<T>(p.x.size()), dw = nans<T>(p.w.size());
        conv_forward(p.s, x.data(), w.data(), bias.data(), y.data());
        expect_same_class(y, p.y_bias, what + "forward");
        conv_backward_data(p.s, dy.data(), w.data(), dx.data());
        expect_same_class(dx, p.dx, what + "backward data");
        conv_backward_weights(p.s, x.data(), dy.data(), dw.data(), static_cast<T*>(nullptr));
        expect_same_class(dw, p.dw, what + "backward weights");
      };
      for (const bool autotune : {false, true}) {
        for (const bool winograd : {false, true}) {
          set_autotune(autotune);
          set_conv_winograd(winograd);
          run.template operator()<float>(autotune ? "tuned" : "by the rule");
        }
      }
      run.template operator()<double>("f64");
    }
  }
}

// Our own kernels one by one, NaN among the numbers as well.
TEST(BackendConv, OwnKernelsKeepNanInItsWindows) {
  const Switches keep;
  set_autotune(false);
  const ConvShape tiles{1, 64, 20, 20, 64, 3, 3, 1, 1, 1, 1};
  for (const double v : {HUGE_VAL, double(NAN)}) {
    static double value;
    value = v;
    const Problem p(tiles, [](Problem& q) {
      q.x[q.x.size() / 3] = value;
      q.dy[q.dy.size() / 5] = value;
    });
    const auto x = cast<float>(p.x), w = cast<float>(p.w), dy = cast<float>(p.dy);
    auto y = nans<float>(p.y.size()), dx = nans<float>(p.x.size()), dw = nans<float>(p.w.size());
    for (const bool winograd : {false, true}) {
      set_conv_winograd(winograd);
      conv_forward(tiles, x.data(), w.data(), static_cast<const float*>(nullptr), y.data());
      expect_same_class(y, p.y, "forward");
      conv_backward_data(tiles, dy.data(), w.data(), dx.data());
      expect_same_class(dx, p.dx, "backward data");
      conv_backward_weights(tiles, x.data(), dy.data(), dw.data(), static_cast<float*>(nullptr));
      expect_same_class(dw, p.dw, "backward weights");
    }
  }
}

TEST(BackendConv, PublicCallsEqualPlainLoops) {
  const Switches keep;
  for (const ConvShape& s : shapes()) {
    const Problem p(s);
    set_autotune(true);
    check_public<float>(p, "autotuned");
    set_autotune(false);
    check_public<float>(p, "by rule");
    set_conv_winograd(false);
    check_public<float>(p, "direct");
    set_conv_winograd(true);
    check_public<double>(p, "f64");
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(BackendConv, OneAndManyThreads) {
  const Switches keep;
  const Problem p(shapes()[3]), q(shapes()[7]);
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    check_public<float>(p, "threads");
    check_public<float>(q, "threads");
    check_public<double>(q, "threads f64");
  }
}

TEST(BackendConv, EveryLayoutOfOneDnn) {
  for (const ConvShape& s : shapes()) {
    const Problem p(s);
    const auto x = cast<float>(p.x), w = cast<float>(p.w), bias = cast<float>(p.bias),
               dy = cast<float>(p.dy);
    for (const ConvLayout layout : {ConvLayout::plain, ConvLayout::channels_last,
                                    ConvLayout::blocked, ConvLayout::winograd}) {
      const std::string what = name(s) + "layout " + std::to_string(static_cast<int>(layout));
      auto y = nans<float>(p.y.size()), dx = nans<float>(p.x.size()), dw = nans<float>(p.w.size());
      auto db = nans<float>(p.bias.size());
      if (const auto conv = OneDnnConv::make(ConvPass::forward, layout, s, true)) {
        conv->run({x.data(), w.data(), y.data(), bias.data()});
        expect_near(y, p.y_bias, what + " forward");
      }
      if (const auto conv = OneDnnConv::make(ConvPass::backward_data, layout, s, false)) {
        conv->run({dy.data(), w.data(), dx.data()});
        expect_near(dx, p.dx, what + " backward data");
      }
      if (const auto conv = OneDnnConv::make(ConvPass::backward_weights, layout, s, true)) {
        conv->run({x.data(), dy.data(), dw.data(), nullptr, db.data()});
        expect_near(dw, p.dw, what + " backward weights");
        expect_near(db, p.db, what + " bias gradient");
      }
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// Filters packed for oneDNN's Winograd by our own code, in the orders that it takes for these.
TEST(BackendConv, PackedFiltersOfWinograd) {
  const int64_t b = channel_block();
  if (b == 0) GTEST_SKIP() << "no kernels in blocks";
  int shapes = 0;
  for (const auto& [blocks, outputs, side] :
       {std::tuple{1, 1, 5}, {2, 3, 8}, {4, 4, 14}, {8, 4, 20}, {8, 16, 7}, {16, 16, 2}})
    for (const int64_t n : {1, 4}) {
      const Problem p({n, blocks * b, side, side, outputs * b, 3, 3, 1, 1, 1, 1});
      const auto w = cast<float>(p.w), plain = cast<float>(p.x);
      auto x = nans<float>(p.x.size()), blocked = nans<float>(p.y.size()), y = blocked;
      to_blocked(n, p.s.c, p.s.h * p.s.w, plain.data(), x.data());
      const auto conv = BlockedConv::make({.shape = p.s, .winograd = true});
      if (!conv) continue;
      auto packed = nans<float>(static_cast<size_t>(conv->packed_size()));
      conv->pack(w.data(), packed.data());
      conv->run(x.data(), packed.data(), nullptr, nullptr, blocked.data());
      from_blocked(n, p.s.oc, p.s.out_h() * p.s.out_w(), blocked.data(), y.data());
      expect_near(y, p.y, name(p.s) + "packed");
      ++shapes;
    }
  EXPECT_GE(shapes, 12);
}

TEST(BackendConv, OwnKernelsWhereTheyApply) {
  int direct_forward = 0, direct_data = 0, depthwise = 0, tiled = 0;
  for (const ConvShape& s : shapes()) {
    const Problem p(s);
    const auto x = cast<float>(p.x), w = cast<float>(p.w), bias = cast<float>(p.bias),
               dy = cast<float>(p.dy);
    auto y = nans<float>(p.y.size()), dx = nans<float>(p.x.size()), dw = nans<float>(p.w.size());
    im2col::forward(s, x.data(), w.data(), bias.data(), y.data());
    expect_near(y, p.y_bias, name(s) + "im2col forward");
    im2col::backward_data(s, dy.data(), w.data(), dx.data());
    expect_near(dx, p.dx, name(s) + "im2col backward data");
    im2col::backward_weights(s, x.data(), dy.data(), dw.data());
    expect_near(dw, p.dw, name(s) + "im2col backward weights");
    if (direct::is_depthwise(s)) {
      ++depthwise;
      direct::depthwise_forward(s, x.data(), w.data(), bias.data(), y.data());
      expect_near(y, p.y_bias, name(s) + "depthwise forward");
      direct::depthwise_backward_data(s, dy.data(), w.data(), dx.data());
      expect_near(dx, p.dx, name(s) + "depthwise backward data");
      direct::depthwise_backward_weights(s, x.data(), dy.data(), dw.data());
      expect_near(dw, p.dw, name(s) + "depthwise backward weights");
    }
    if (s.groups == 1) {
      ++direct_forward;
      direct::forward(s, x.data(), w.data(), bias.data(), y.data());
      expect_near(y, p.y_bias, name(s) + "direct forward");
      direct::backward_weights(s, x.data(), dy.data(), dw.data());
      expect_near(dw, p.dw, name(s) + "direct backward weights");
    }
    if (direct::has_transpose(s)) {
      ++direct_data;
      direct::backward_data(s, dy.data(), w.data(), dx.data());
      expect_near(dx, p.dx, name(s) + "direct backward data");
    }
    if (winograd::applies(s)) {
      ++tiled;
      winograd::forward(s, x.data(), w.data(), bias.data(), y.data());
      expect_near(y, p.y_bias, name(s) + "winograd forward");
      winograd::forward(s, x.data(), w.data(), nullptr, y.data());
      expect_near(y, p.y, name(s) + "winograd forward without bias");
      winograd::backward_data(s, dy.data(), w.data(), dx.data());
      expect_near(dx, p.dx, name(s) + "winograd backward data");
      winograd::backward_weights(s, x.data(), dy.data(), dw.data());
      expect_near(dw, p.dw, name(s) + "winograd backward weights");
    }
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GE(tiled, 8);
  EXPECT_GE(direct_forward, 10);
  EXPECT_GE(direct_data, 5);
  EXPECT_GE(depthwise, 4);
}

TEST(BackendConv, EmptyTensors) {
  ConvShape s{0, 3, 8, 8, 4, 3, 3};
  std::vector<float> w(4 * 3 * 9, 1.0f), dw(w.size(), 7.0f), db(4, 7.0f), bias{1, 2, 3, 4};
  conv_forward(s, nullptr, w.data(), bias.data(), static_cast<float*>(nullptr));
  conv_backward_data(s, nullptr, w.data(), static_cast<float*>(nullptr));
  conv_backward_weights(s, nullptr, nullptr, dw.data(), db.data());
  EXPECT_EQ(dw, std::vector<float>(dw.size(), 0.0f));
  EXPECT_EQ(db, std::vector<float>(4, 0.0f));
  s.n = 1;
  s.c = 0;
  std::vector<float> y(4 * 36, 9.0f);
  conv_forward(s, nullptr, nullptr, bias.data(), y.data());
  for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], bias[i / 36]);
}

TEST(BackendConv, ManyCallersAtOnce) {
  const ConvShape s{2, 32, 14, 14, 32, 3, 3, 1, 1, 1, 1};
  const Problem p(s);
  const auto x = cast<float>(p.x), w = cast<float>(p.w);
  std::vector<std::vector<float>> results(4, nans<float>(p.y.size()));
  std::vector<std::thread> callers;
  for (auto& y : results) {
    callers.emplace_back([&] {
      for (int i = 0; i < 5; ++i) conv_forward(s, x.data(), w.data(), nullptr, y.data());
    });
  }
  for (auto& caller : callers) caller.join();
  for (const auto& y : results) expect_near(y, p.y, "concurrent");
}

}  // namespace
