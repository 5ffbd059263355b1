#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "tandem/backend/cpu/conv.h"
#include "tandem/core/set_data.h"
#include "tandem/graph/compile.h"
#include "tandem/graph/conv_records.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/op/recorder.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

namespace tandem::graph {
namespace {

using testing::count;
using testing::same_bits;

const int64_t block = cpu::channel_block();

#define NEEDS_BLOCKS() \
  if (block == 0) GTEST_SKIP() << "this processor has no kernels for blocks of channels"

/// Direct sums while it lives, whatever the clock would say.
struct Direct {
  Direct() { cpu::set_conv_winograd(false); }
  ~Direct() { cpu::set_conv_winograd(true); }
};

template <class F>
std::shared_ptr<Graph> graph_of(const Tensors& examples, F f) {
  const NoGrad guard;
  std::vector<Spec> specs;
  for (const Tensor& t : examples) specs.push_back(t.spec());
  return testing::graph_of(specs, f);
}

/// Largest difference over largest value.
double distance(const Tensor& a, const Tensor& b) {
  return abs(a - b).max().item<double>() / std::max(1e-30, abs(b).max().item<double>());
}

/// What roundings may change, of the largest value: sums in another order, and Winograd's, which
/// either side may use.
constexpr double bound = 1e-5;

/// Runs the pass, and expects the plan's results to be those of the separate records within the
/// bound. `scale` is the largest value in front of the activation, 0: the largest result.
std::shared_ptr<Graph> expect_equal(const std::shared_ptr<Graph>& g, const Tensors& in,
                                    double scale = 0) {
  auto fused = g->clone();
  eliminate_dead_code(*fused);
  block_convolutions(*fused);
  verify(*fused);
  const Tensors want = g->run(in);
  const std::string text = to_string(*fused);
  const auto back = parse(text);
  verify(*back);
  EXPECT_EQ(to_string(*back), text);
  Plan plan(fused);
  for (int round = 0; round < 2; ++round) {
    const Tensors got = plan.run(in);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].spec(), want[i].spec());
      const double largest = std::max(scale, abs(want[i]).max().item<double>());
      EXPECT_LT(abs(got[i] - want[i]).max().item<double>(), bound * largest)
          << "result " << i << "\n"
          << text;
    }
  }
  return fused;
}

/// A text with <B> for the channels of a block, and <C> for how many blocks 64 of them are.
std::string with_blocks(std::string s) {
  auto replace = [&](std::string_view what, const std::string& by) {
    for (size_t at = s.find(what); at != s.npos; at = s.find(what, at + by.size()))
      s.replace(at, what.size(), by);
  };
  replace("<B>", cat(block));
  replace("<C>", cat(64 / block));
  return s;
}

/// Text before the pass, and after, with <A> for the attributes of the convolution.
void expect_pass(std::string_view before, std::string after, std::string_view attributes) {
  const Direct direct;
  const auto g = parse(before);
  verify(*g);
  block_convolutions(*g);
  eliminate_dead_code(*g);
  verify(*g);
  for (size_t at = after.find("<A>"); at != after.npos; at = after.find("<A>"))
    after.replace(at, 3, attributes);
  EXPECT_EQ(to_string(*g), with_blocks(after));
}

TEST(BlockConvolutions, NormSumAndActivationJoin) {
  NEEDS_BLOCKS();
  expect_pass(
      R"(graph(%x: f32[1, 64, 8, 8])
  %1: f32[64, 64, 3, 3] = state()
  %2: f32[64] = state()
  %3: f32[64] = state()
  %4: f32[64] = state()
  %5: f32[64] = state()
  %6: f32[1, 64, 8, 8] = conv2d(%x, %1, none, stride=[1], padding=[1], dilation=[1], groups=1)
  %7: f32[1, 64, 8, 8], %8: f32[64], %9: f32[64] = batch_norm(%6, %2, %3, %4, %5, eps=1e-05)
  %10: f32[1, 64, 8, 8] = add(%7, %x)
  %11: f32[1, 64, 8, 8] = relu(%10)
  return %11
)",
      R"(graph(%x: f32[1, 64, 8, 8])
  %5: f32[64] = state()
  %13: f64[] = constant(1e-05)
  %14: f32[64] = add(%5, %13)
  %15: f32[64] = rsqrt(%14)
  %2: f32[64] = state()
  %16: f32[64] = mul(%15, %2)
  %4: f32[64] = state()
  %17: f32[64] = mul(%4, %16)
  %3: f32[64] = state()
  %18: f32[64] = sub(%3, %17)
  %19: f32[64, 1, 1, 1] = reshape(%16, shape=[64, 1, 1, 1])
  %1: f32[64, 64, 3, 3] = state()
  %20: f32[64, 64, 3, 3] = mul(%1, %19)
  %21: f32[36864] = pack_conv2d(%20, <A>)
  %22: f32[1, <C>, 8, 8, <B>] = to_blocked(%x, block=<B>)
  %23: f32[1, <C>, 8, 8, <B>] = fused_conv2d(%22, %21, %18, %22, <A>)
  %11: f32[1, 64, 8, 8] = from_blocked(%23)
  return %11
)",
      "x=[1, 64, 8, 8], weight=[64, 64, 3, 3], stride=[1, 1], padding=[1, 1], dilation=[1, 1], "
      "groups=1, block=<B>, algorithm=direct, bias=true, residual=true, activation=relu, low=0, "
      "high=0");
}

TEST(BlockConvolutions, ValuesThatOthersReadStay) {
  NEEDS_BLOCKS();
  expect_pass(
      R"(graph(%x: f32[1, 64, 8, 8])
  %1: f32[64, 64, 1, 1] = state()
  %2: f32[1, 64, 8, 8] = conv2d(%x, %1, none, stride=[1], padding=[0], dilation=[1], groups=1)
  %3: f32[1, 64, 8, 8] = relu(%2)
  %4: f32[1, 64, 8, 8] = exp(%2)
  %5: f32[1, 64] = sum(%4, axes=[2, 3], keepdim=false)
  return %3, %5
)",
      R"(graph(%x: f32[1, 64, 8, 8])
  %1: f32[64, 64, 1, 1] = state()
  %7: f32[4096] = pack_conv2d(%1, <A>)
  %8: f32[1, <C>, 8, 8, <B>] = to_blocked(%x, block=<B>)
  %9: f32[1, <C>, 8, 8, <B>] = fused_conv2d(%8, %7, none, none, <A>)
  %10: f32[1, <C>, 8, 8, <B>] = relu(%9)
  %11: f32[1, <C>, 8, 8, <B>] = exp(%9)
  %4: f32[1, 64, 8, 8] = from_blocked(%11)
  %5: f32[1, 64] = sum(%4, axes=[2, 3], keepdim=false)
  %3: f32[1, 64, 8, 8] = from_blocked(%10)
  return %3, %5
)",
      "x=[1, 64, 8, 8], weight=[64, 64, 1, 1], stride=[1, 1], padding=[0, 0], dilation=[1, 1], "
      "groups=1, block=<B>, algorithm=direct, bias=false, residual=false, activation=none, low=0, "
      "high=0");
}

TEST(BlockConvolutions, WeightsThatTheRunWritesStayOut) {
  const std::string_view text = R"(graph(%x: f32[1, 64, 8, 8])
  %1: f32[64, 64, 1, 1] = state()
  %2: f32[1, 64, 8, 8] = conv2d(%x, %1, none, stride=[1], padding=[0], dilation=[1], groups=1)
  %3: f32[64, 64, 1, 1] = mul(%1, %1)
  %1 <- %3
  return %2
)";
  const auto g = parse(text);
  const std::string before = to_string(*g);
  block_convolutions(*g);
  EXPECT_EQ(to_string(*g), before);
}

TEST(BlockConvolutions, Refusals) {
  NEEDS_BLOCKS();
  const auto refusal = [](const std::string& text) -> std::string {
    try {
      verify(*parse(with_blocks(text)));
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  };
  EXPECT_EQ(refusal("graph(%x: f32[1, 60, 8, 8])\n"
                    "  %1: f32[1, 4, 8, 8, 15] = to_blocked(%x, block=15)\n"),
            with_blocks("to_blocked(block=15): this processor has blocks of <B>"));
  EXPECT_EQ(refusal("graph(%x: f32[4])\n  %1: f32[4] = from_blocked(%x)\n"),
            "from_blocked(): x has shape [4]; blocks are [n, c / b, h, w, b]");
  EXPECT_EQ(refusal("graph(%x: f32[1, 64, 8, 8], %w: f32[4096])\n"
                    "  %1: f32[1, <C>, 8, 8, <B>] = fused_conv2d(%x, %w, none, none, x=[1, 64, 8, "
                    "8], weight=[64, 64, 1, 1], block=<B>, activation=cosine)\n"),
            "fused_conv2d(): no activation is called cosine");
}

// --- Numbers ----------------------------------------------------------------------------------

struct Case {
  const char* name;
  Shape x, weight;
  Conv2dOptions options;
};

TEST(BlockConvolutions, EveryShapeAndEpilogue) {
  NEEDS_BLOCKS();
  const Case cases[] = {
      {"3 x 3", {2, 32, 13, 17}, {48, 32, 3, 3}, {.padding = 1}},
      {"3 x 3, wide", {1, 64, 28, 28}, {64, 64, 3, 3}, {.padding = 1}},
      {"no padding", {1, 32, 9, 9}, {32, 32, 3, 3}, {}},
      {"1 x 1", {3, 16, 7, 5}, {64, 16, 1, 1}, {}},
      {"1 x 1, stride 2", {1, 32, 14, 15}, {16, 32, 1, 1}, {.stride = 2}},
      {"5 x 3, uneven",
       {1, 16, 20, 12},
       {32, 16, 5, 3},
       {.stride = {2, 1}, .padding = {2, 0}, .dilation = {1, 2}}},
      {"a picture", {2, 3, 33, 29}, {32, 3, 7, 7}, {.stride = 2, .padding = 3}},
      {"one channel", {4, 1, 28, 28}, {32, 1, 3, 3}, {}},
      {"depthwise", {2, 48, 15, 15}, {48, 1, 3, 3}, {.padding = 1, .groups = 48}},
      {"depthwise, stride 2",
       {1, 32, 16, 16},
       {32, 1, 5, 5},
       {.stride = 2, .padding = 2, .groups = 32}},
  };
  using Function = Tensor (*)(const Tensor&, const Tensor&);
  const std::pair<const char*, Function> epilogues[] = {
      {"nothing", [](const Tensor& y, const Tensor&) { return y; }},
      {"relu", [](const Tensor& y, const Tensor&) { return relu(y); }},
      {"leaky", [](const Tensor& y, const Tensor&) { return leaky_relu(y, 0.2); }},
      {"clamp", [](const Tensor& y, const Tensor&) { return clamp(y, -0.25, 0.5); }},
      {"relu6", [](const Tensor& y, const Tensor&) { return hardtanh(y, 0.0, 6.0); }},
      {"silu", [](const Tensor& y, const Tensor&) { return silu(y); }},
      {"sigmoid", [](const Tensor& y, const Tensor&) { return sigmoid(y); }},
      {"sum", [](const Tensor& y, const Tensor& r) { return r + y; }},
      {"sum, relu", [](const Tensor& y, const Tensor& r) { return relu(y + r); }},
      {"sum, silu", [](const Tensor& y, const Tensor& r) { return silu(y + r); }},
  };
  const NoGrad guard;
  manual_seed(1);
  int norm = 0;
  for (const Case& c : cases) {
    const Tensor x = randn(c.x),
                 w = randn(c.weight) *
                     (1 / std::sqrt(double(c.weight.numel()) / double(c.weight[0])));
    const int64_t oc = c.weight[0];
    const Tensor b = randn({oc}), mean = randn({oc}), var = rand({oc}) + 0.5, scale = randn({oc});
    const Shape ys = conv2d(x, w, b, c.options).shape();
    const Tensor r = randn(ys);
    for (const auto& [name, after] : epilogues) {
      norm = (norm + 1) % 3;
      SCOPED_TRACE(cat(c.name, ", ", name, ", norm ", norm));
      auto before = [&](const Tensor& image) {
        Tensor y = conv2d(image, w, norm == 1 ? Tensor() : b, c.options);
        if (norm == 1) y = batch_norm(y, mean, var, {.weight = scale, .bias = b});
        if (norm == 2) y = batch_norm(y, mean, var);
        return y;
      };
      const auto g = graph_of({x, r}, [&, after = after](const Tensors& v) -> Tensors {
        return {after(before(v[0]), v[1])};
      });
      const auto fused = expect_equal(g, {x, r}, abs(before(x)).max().item<double>());
      EXPECT_EQ(count(*fused, "conv2d") + count(*fused, "batch_norm"), 0) << to_string(*fused);
      EXPECT_EQ(count(*fused, "add") - (norm ? 1 : 0), 0);
    }
  }
}

TEST(BlockConvolutions, ChainsStayInBlocks) {
  NEEDS_BLOCKS();
  const NoGrad guard;
  manual_seed(2);
  const Tensor x = randn({2, 3, 37, 41});
  const Tensor w1 = randn({32, 3, 3, 3}) * 0.2, w2 = randn({32, 32, 3, 3}) * 0.06;
  const auto g = graph_of({x}, [&](const Tensors& in) -> Tensors {
    const Tensor stem =
        max_pool2d(relu(conv2d(in[0], w1, {}, {.padding = 1})), 3, {.stride = 2, .padding = 1});
    const Tensor a = conv2d(stem, w2, {}, {.padding = 1}), b = conv2d(stem, w2, {}, {.padding = 1});
    const Tensor joint = cat({tanh(a) * 0.5 + sigmoid(b), stem}, 1);
    const Tensor y = conv2d(joint, cat({w2, w2}, 1), {}, {.stride = 2, .padding = 1});
    return {flatten(adaptive_avg_pool2d(relu(y + 1.0), 1), 1),
            max_pool2d(a, 2, {.stride = 2, .ceil_mode = true})};
  });
  const auto fused = expect_equal(g, {x});
  EXPECT_EQ(count(*fused, "to_blocked"), 0) << to_string(*fused);
  EXPECT_EQ(count(*fused, "from_blocked"), 1) << to_string(*fused);
  EXPECT_EQ(count(*fused, "blocked_max_pool2d"), 2) << to_string(*fused);
}

TEST(BlockConvolutions, SumsTakeThePlaceOfWhatIsAdded) {
  NEEDS_BLOCKS();
  const NoGrad guard;
  manual_seed(6);
  const Tensor x = randn({2, 32, 12, 12}), w = randn({32, 32, 3, 3}) * 0.06;
  const auto conv = [&](const Tensor& t) { return conv2d(t, w, {}, {.padding = 1}); };
  // The first block's input is read once more by the second.
  const auto g = graph_of({x}, [&](const Tensors& in) -> Tensors {
    const Tensor a = relu(conv(in[0])), b = relu(conv(relu(conv(a))) + a);
    const Tensor c = relu(conv(b) + a), d = relu(conv(relu(conv(c))) + c);
    return {conv(d)};
  });
  const auto fused = expect_equal(g, {x});
  EXPECT_EQ(count(*fused, "add"), 0) << to_string(*fused);
  const std::string text = Plan(fused).explain();
  int in_place = 0;
  for (size_t at = text.find(" in place"); at != text.npos; at = text.find(" in place", at + 1))
    ++in_place;
  EXPECT_EQ(in_place, 2) << text;
}

TEST(BlockConvolutions, PoolingKeepsNaN) {
  NEEDS_BLOCKS();
  const NoGrad guard;
  Tensor x = ones({1, block, 6, 6});
  x.data<float>()[14] = std::numeric_limits<float>::quiet_NaN();
  x.data<float>()[36 + 1] = -std::numeric_limits<float>::infinity();
  const Tensor w = ones({block, 1, 1, 1});
  const Direct direct;
  auto fast = compile([&](const Tensor& t) {
    return max_pool2d(conv2d(t, w, {}, {.groups = block}), 3, {.stride = 2, .padding = 1});
  });
  const std::vector<float> got = fast(x).to_vector<float>();
  const std::vector<float> want = max_pool2d(x, 3, {.stride = 2, .padding = 1}).to_vector<float>();
  ASSERT_NE(fast.explain().find("blocked_max_pool2d"), std::string::npos) << fast.explain();
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_TRUE(got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))) << i;
}

bool same_or_nan(float a, float b, double within) {
  return std::isnan(a) ? std::isnan(b) : a == b || std::abs(a - b) <= within;
}

/// NaN in the picture, in what is added, in the weight, and made of infinities. With Winograd it
/// spreads over a tile of the result, as there without a fused activation.
TEST(BlockConvolutions, ActivationsKeepNaN) {
  NEEDS_BLOCKS();
  using Function = Tensor (*)(const Tensor&, const Tensor&);
  const std::pair<const char*, Function> epilogues[] = {
      {"relu", [](const Tensor& y, const Tensor&) { return relu(y); }},
      {"leaky", [](const Tensor& y, const Tensor&) { return leaky_relu(y, 0.2); }},
      {"clamp", [](const Tensor& y, const Tensor&) { return clamp(y, -0.25, 0.5); }},
      {"relu6", [](const Tensor& y, const Tensor&) { return hardtanh(y, 0.0, 6.0); }},
      {"silu", [](const Tensor& y, const Tensor&) { return silu(y); }},
      {"sigmoid", [](const Tensor& y, const Tensor&) { return sigmoid(y); }},
      {"sum, relu", [](const Tensor& y, const Tensor& r) { return relu(y + r); }},
      {"sum, in place", [](const Tensor& y, const Tensor& r) { return relu(y + relu(r * 3.0)); }},
      {"sum, sigmoid", [](const Tensor& y, const Tensor& r) { return sigmoid(y + r); }},
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const NoGrad guard;
  const Direct direct;
  manual_seed(8);
  for (const auto& [name, after] : epilogues)
    for (const char* where : {"nowhere", "x", "residual", "weight", "infinities", "negative"}) {
      SCOPED_TRACE(cat(name, ", ", where));
      const std::string_view at = where;
      const Tensor x = randn({2, 32, 9, 11}), r = randn({2, 32, 9, 11});
      const Tensor w = randn({32, 32, 3, 3}) * 0.06;
      if (at == "x") x.data<float>()[7 * 99 + 40] = nan;
      if (at == "residual") r.data<float>()[35 * 99 + 3] = nan, r.data<float>()[50] = inf;
      // In the middle of a filter: whether padding is multiplied depends on the algorithm.
      if (at == "weight") w.data<float>()[5 * 288 + 9 + 4] = nan;
      if (at == "infinities") {
        x.data<float>()[2 * 99 + 50] = inf;
        x.data<float>()[3 * 99 + 50] = inf;
        r.data<float>()[20] = -inf;
      }
      if (at == "negative") x.data<float>()[98] = -inf;
      const auto f = [&, after = after](const Tensor& a, const Tensor& b) {
        return after(conv2d(a, w, {}, {.padding = 1}), b);
      };
      auto fast = compile(f);
      const std::vector<float> want = f(x, r).to_vector<float>();
      for (int round = 0; round < 2; ++round) {
        const std::vector<float> got = fast(x, r).to_vector<float>();
        int wrong = 0, lost = 0;
        for (size_t i = 0; i < want.size(); ++i) {
          wrong += !same_or_nan(got[i], want[i], 1e-5);
          lost += std::isnan(want[i]);
        }
        EXPECT_EQ(wrong, 0);
        EXPECT_TRUE(lost == 0 || at != "nowhere");
        EXPECT_TRUE(lost > 0 || (at != "x" && at != "weight"));
      }
      ASSERT_NE(fast.explain().find("fused_conv2d"), std::string::npos) << fast.explain();
    }
}

TEST(BlockConvolutions, ActivationsKeepNaNOfWinogradsTiles) {
  NEEDS_BLOCKS();
  const NoGrad guard;
  manual_seed(9);
  const cpu::BlockedConvSpec plain{.shape = {1, 64, 28, 28, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1},
                                   .winograd = true};
  cpu::BlockedConvSpec spec = plain;
  spec.residual = true;
  spec.activation = cpu::ConvActivation::relu;
  const auto fused = cpu::BlockedConv::make(spec), sums = cpu::BlockedConv::make(plain);
  if (!fused || !sums) GTEST_SKIP() << "oneDNN has no Winograd convolution for this processor";
  const Tensor x = randn({1, 64, 28, 28}), w = randn({64, 64, 3, 3}) * 0.05;
  const Tensor r = randn({1, 64, 28, 28}), y = r.clone(), part = empty_like(r);
  x.data<float>()[12345] = std::numeric_limits<float>::quiet_NaN();
  const Tensor packed = empty({fused->packed_size()});
  fused->pack(w.data<float>(), packed.data<float>());
  fused->run(x.data<float>(), packed.data<float>(), nullptr, y.data<float>(), y.data<float>());
  sums->run(x.data<float>(), packed.data<float>(), nullptr, nullptr, part.data<float>());
  const Tensor want = relu(part + r);
  int lost = 0;
  for (int64_t i = 0; i < y.numel(); ++i) {
    ASSERT_TRUE(same_or_nan(y.data<float>()[i], want.data<float>()[i], 1e-4)) << i;
    lost += std::isnan(want.data<float>()[i]);
  }
  EXPECT_GT(lost, 0);
  EXPECT_LT(lost, y.numel() / 4);
}

struct Net : nn::Module<Net> {
  nn::Conv2d first{3, 32, 3, {.stride = 2, .padding = 1, .bias = false}};
  nn::BatchNorm2d norm{32};
  nn::Conv2d second{32, 32, 3, {.padding = 1}};
  nn::Linear head{32, 5};
  static constexpr auto fields =
      std::tuple{field("first", &Net::first), field("norm", &Net::norm),
                 field("second", &Net::second), field("head", &Net::head)};
  Tensor forward(const Tensor& x) const {
    const Tensor y = relu(norm(first(x)));
    return head(flatten(adaptive_avg_pool2d(relu(second(y) + y), 1), 1));
  }
};

TEST(BlockConvolutions, ParametersFromOutsideCount) {
  NEEDS_BLOCKS();
  manual_seed(3);
  Net net;
  net(randn({4, 3, 16, 16}));
  net.eval();
  const NoGrad guard;
  auto f = [&](const Tensor& x) { return net(x); };
  auto fast = compile(f);
  const Tensor x = randn({2, 3, 16, 16});
  const auto agree = [&] { return distance(fast(x), f(x)) < bound; };
  EXPECT_TRUE(agree());
  ASSERT_NE(fast.explain().find("pack_conv2d"), std::string::npos) << fast.explain();
  // What is packed is kept: a write through data() is not seen until it is told of.
  const Tensor before = fast(x);
  float* w = net.first.weight.data<float>();
  const float old = *w;
  *w = 100;
  EXPECT_TRUE(same_bits(fast(x), before));
  net.first.weight.bump_version();
  EXPECT_FALSE(same_bits(fast(x), before));
  EXPECT_TRUE(agree());
  *w = old;
  net.first.weight.bump_version();
  net.first.weight.copy_(net.first.weight * 1.5);
  EXPECT_TRUE(agree());
  net.norm.running_var.fill_(2.0);
  EXPECT_TRUE(agree());
  net.norm.bias.copy_(net.norm.bias + 1.0);
  EXPECT_TRUE(agree());
  net.second.bias.copy_(randn({32}));
  EXPECT_TRUE(agree());
  detail::set_data(net.second.weight, randn({32, 32, 3, 3}));
  EXPECT_TRUE(agree());
  EXPECT_EQ(fast.captures(), 1);
  // Training between two evaluations.
  {
    const EnableGrad on;
    optim::SGD opt(net.parameters(), {.lr = 0.1});
    square(net(x)).mean().backward();
    opt.step();
  }
  EXPECT_FALSE(same_bits(fast(x), before));
  EXPECT_TRUE(agree());
}

TEST(BlockConvolutions, DeterministicIsTheEagerCode) {
  manual_seed(4);
  Net net;
  net.eval();
  const NoGrad guard;
  auto f = [&](const Tensor& x) { return net(x); };
  auto exact = compile(f, {.deterministic = true});
  const Tensor x = randn({2, 3, 16, 16});
  EXPECT_TRUE(same_bits(exact(x), f(x)));
  EXPECT_EQ(exact.explain().find("fused_conv2d"), std::string::npos);
}

TEST(BlockConvolutions, ThreadsShareAFunction) {
  manual_seed(5);
  Net net;
  net.eval();
  auto fast = compile([&](const Tensor& x) {
    const NoGrad guard;
    return net(x);
  });
  Tensors x, want;
  for (int i = 0; i < 4; ++i) {
    const NoGrad guard;
    x.push_back(randn({2, 3, 16, 16}));
    want.push_back(net(x.back()));
  }
  fast(x[0]);
  std::vector<double> worst(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) worst[t] = std::max(worst[t], distance(fast(x[t]), want[t]));
    });
  for (std::thread& t : threads) t.join();
  for (double d : worst) EXPECT_LT(d, bound);
}

}  // namespace
}  // namespace tandem::graph
