#include <gtest/gtest.h>

#include <cmath>

#include "tandem/backend/cpu/conv.h"
#include "tandem/graph/compile.h"
#include "tandem/graph/fused_product.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/op/recorder.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

// Products with epilogues, updates folded into weight gradients, results in place of operands.

namespace tandem::graph {
namespace {

using testing::count;
using testing::graph_of;
using testing::same_bits;

double relative_difference(const Tensor& a, const Tensor& b) {
  const double top = abs(b.to(f64)).max().item<double>();
  return abs(a.to(f64) - b.to(f64)).max().item<double>() / std::max(top, 1e-30);
}

Spec f(std::initializer_list<int64_t> shape, DType d = f32) { return {Shape(shape), d, {}}; }

TEST(FuseProducts, LinearAndRelu) {
  auto g = graph_of({f({8, 5}), f({3, 5}), f({3})},
                    [](const Tensors& x) -> Tensors { return {relu(linear(x[0], x[1], x[2]))}; });
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[8, 5], %x1: f32[3, 5], %x2: f32[3])\n"
            "  %3: f32[8, 3] = linear(%x0, %x1, %x2)\n"
            "  %y0: f32[8, 3] = relu(%3)\n"
            "  return %y0\n");
  fuse_products(*g, true);
  verify(*g);
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[8, 5], %x1: f32[3, 5], %x2: f32[3])\n"
            "  %y0: f32[8, 3] = fused_product(%x0, %x1, %x2, product=linear(), result=$0, "
            "program=$1 = relu($0), results=$1)\n"
            "  return %y0\n");
}

TEST(FuseProducts, AResultThatOthersReadStays) {
  auto g = graph_of({f({8, 5}), f({5, 3})}, [](const Tensors& x) -> Tensors {
    const Tensor p = matmul(x[0], x[1]);
    return {gelu(p), p.sum({0})};
  });
  fuse_products(*g, true);
  verify(*g);
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[8, 5], %x1: f32[5, 3])\n"
            "  %2: f32[8, 3], %y0: f32[8, 3] = fused_product(%x0, %x1, product=matmul(), "
            "result=$0 kept, program=$1 = gelu($0, approximate=none), results=$1)\n"
            "  %y1: f32[3] = sum(%2, axes=[0], keepdim=false)\n"
            "  return %y0, %y1\n");
}

TEST(FuseProducts, NotPastAnEarlierReader) {
  // The sum reads the product before the elementwise node and feeds it.
  auto g = graph_of({f({8, 5}), f({5, 3})}, [](const Tensors& x) -> Tensors {
    const Tensor p = matmul(x[0], x[1]);
    return {p - p.sum({0})};
  });
  const std::string before = to_string(*g);
  fuse_products(*g, true);
  EXPECT_EQ(to_string(*g), before);
}

struct Case {
  const char* name;
  std::vector<Spec> specs;
  Tensors (*f)(const Tensors&);
};

TEST(FuseProducts, BitForBit) {
  auto layer = [](const Tensors& x) -> Tensors {
    return {gelu(linear(x[0], x[1], x[2])) * 0.5 + 1.0};
  };
  auto residual = [](const Tensors& x) -> Tensors {
    return {x[2] + clamp(matmul(x[0], x[1]), -0.5, 0.75)};
  };
  auto both = [](const Tensors& x) -> Tensors {
    const Tensor p = linear(x[0], x[1], x[2]), y = tanh(p);
    return {y * sigmoid(p), p, y};
  };
  auto step = [](const Tensors& x) -> Tensors {
    Tensor w = x[1], v = x[2];
    w.requires_grad_();
    v.requires_grad_();
    silu(matmul(relu(matmul(x[0], w)), v)).sum().backward();
    return {w.grad(), v.grad()};
  };
  auto conv = [](const Tensors& x) -> Tensors {
    return {relu(conv2d(x[0], x[1], x[2], {.padding = 1}))};
  };
  auto grouped = [](const Tensors& x) -> Tensors {
    return {gelu(conv2d(x[0], x[1], x[2], {.padding = 1, .groups = x[0].size(1)})) + 1.0};
  };
  auto conv_step = [](const Tensors& x) -> Tensors {
    Tensor w = x[1], v = x[2];
    w.requires_grad_();
    v.requires_grad_();
    silu(conv2d(relu(conv2d(x[0], w)), v)).sum().backward();
    return {w.grad(), v.grad()};
  };
  const Case cases[] = {
      {"convolution of few channels", {f({3, 2, 9, 11}), f({5, 2, 3, 3}), f({5})}, conv},
      {"bands of an image", {f({1, 3, 90, 70}), f({20, 3, 3, 3}), f({20})}, conv},
      {"Winograd", {f({8, 32, 26, 27}), f({33, 32, 3, 3}), f({33})}, conv},
      {"oneDNN", {f({2, 32, 20, 20}), f({48, 32, 5, 5}), f({48})}, conv},
      {"one by one", {f({2, 24, 20, 20}), f({30, 24, 1, 1}), f({30})}, conv},
      {"depthwise", {f({2, 24, 20, 20}), f({24, 1, 3, 3}), f({24})}, grouped},
      {"convolution in f64", {f({2, 3, 9, 8}, f64), f({4, 3, 3, 3}, f64), f({4}, f64)}, conv},
      {"gradients of convolutions",
       {f({8, 3, 28, 28}), f({32, 3, 3, 3}), f({40, 32, 3, 3})},
       conv_step},
      {"tiny", {f({3, 5}), f({4, 5}), f({4})}, layer},
      {"one row", {f({1, 50}), f({70, 50}), f({70})}, layer},
      {"one column", {f({40, 50}), f({1, 50}), f({1})}, layer},
      {"small batch", {f({64, 600}), f({100, 600}), f({100})}, layer},
      {"large", {f({200, 300}), f({150, 300}), f({150})}, layer},
      {"three axes", {f({5, 30, 64}), f({48, 64}), f({48})}, layer},
      {"f64", {f({20, 30}, f64), f({40, 30}, f64), f({40}, f64)}, layer},
      {"residual", {f({33, 20}), f({20, 65}), f({33, 65})}, residual},
      {"column residual", {f({33, 20}), f({20, 65}), f({33, 1})}, residual},
      {"stacks", {f({3, 33, 20}), f({3, 20, 65}), f({65})}, residual},
      {"many threads", {f({300, 400}), f({400, 500}), f({300, 500})}, residual},
      {"several results", {f({64, 80}), f({96, 80}), f({96})}, both},
      {"gradients", {f({40, 50}), f({50, 60}), f({60, 30})}, step},
  };
  manual_seed(1);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto g = graph_of(c.specs, c.f);
    Tensors in;
    for (const Spec& s : c.specs) in.push_back(randn(s.shape).to(s.dtype));
    const Tensors want = g->run(in);
    for (bool same_kernel : {true, false}) {
      auto fused = g->clone();
      eliminate_dead_code(*fused);
      fuse_points(*fused);
      fuse_products(*fused, same_kernel);
      verify(*fused);
      EXPECT_GE(count(*fused, "fused_product"), 1) << to_string(*fused);
      Plan plan(fused);
      for (int round = 0; round < 2; ++round) {
        const Tensors got = plan.run(in);
        for (size_t i = 0; i < want.size(); ++i) {
          if (same_kernel) {
            EXPECT_TRUE(same_bits(got[i], want[i])) << i << "\n" << to_string(*fused);
          } else {
            EXPECT_LE(relative_difference(got[i], want[i]), 1e-5) << i;
          }
        }
      }
    }
  }
}

TEST(FusePatterns, AttentionWrittenOut) {
  auto g = graph_of({f({2, 5, 4}), f({2, 6, 4}), f({2, 6, 3}), f({5, 6})},
                    [](const Tensors& x) -> Tensors {
                      const Tensor scores = matmul(x[0], transpose(x[1], -1, -2)) * 0.5;
                      return {matmul(softmax(scores + x[3], -1), x[2])};
                    });
  const Tensors in{randn({2, 5, 4}), randn({2, 6, 4}), randn({2, 6, 3}), randn({5, 6})};
  const Tensor want = g->run(in)[0];
  fuse_patterns(*g);
  verify(*g);
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[2, 5, 4], %x1: f32[2, 6, 4], %x2: f32[2, 6, 3], %x3: f32[5, 6])\n"
            "  %y0: f32[2, 5, 3], %11: f32[2, 5] = scaled_dot_product_attention(%x0, %x1, %x2, "
            "%x3, is_causal=false, scale=0.5, nan_rows=true)\n"
            "  return %y0\n");
  EXPECT_LE(relative_difference(g->run(in)[0], want), 1e-6);
}

TEST(FusePatterns, AttentionToNothingStaysNan) {
  // softmax of minus infinities is NaN; the attention op would make zeros of such a row.
  auto g = graph_of({f({3, 4}), f({3, 4}), f({3, 2}), f({3, 3})}, [](const Tensors& x) -> Tensors {
    const Tensor scores = matmul(x[0], transpose(x[1], -1, -2)) * 0.5;
    return {matmul(softmax(scores + x[3], -1), x[2])};
  });
  const float none = -std::numeric_limits<float>::infinity();
  const Tensors in{randn({3, 4}), randn({3, 4}), randn({3, 2}),
                   wrap(std::vector<float>{0, none, 0, none, none, none, none, 0, none}, {3, 3})};
  const Tensor want = g->run(in)[0];
  fuse_patterns(*g);
  ASSERT_EQ(count(*g, "scaled_dot_product_attention"), 1) << to_string(*g);
  const Tensor got = g->run(in)[0],
               zeros = scaled_dot_product_attention(in[0], in[1], in[2], {.attn_mask = in[3]});
  for (int64_t i = 0; i < 6; ++i) {
    const bool hidden = i / 2 == 1;
    EXPECT_EQ(std::isnan(want.data<float>()[i]), hidden) << i;
    EXPECT_EQ(std::isnan(got.data<float>()[i]), hidden) << i;
    EXPECT_EQ(zeros.data<float>()[i] == 0, hidden) << i;
    if (!hidden) {
      EXPECT_NEAR(got.data<float>()[i], want.data<float>()[i], 1e-6) << i;
    }
  }
}

TEST(FusePatterns, AttentionThatMakesZerosOfNothing) {
  // As saved models have it.
  const float none = -std::numeric_limits<float>::infinity();
  auto g = graph_of({f({3, 4}), f({3, 4}), f({3, 2}), f({3, 3})}, [&](const Tensors& x) -> Tensors {
    const Tensor scores = matmul(x[0], transpose(x[1], -1, -2)) * 0.5 + x[3];
    const Tensor hidden = amax(scores, {-1}, true) == none;
    return {matmul(where(hidden, 0.0, softmax(scores, -1)), x[2])};
  });
  const Tensors in{randn({3, 4}), randn({3, 4}), randn({3, 2}),
                   wrap(std::vector<float>{0, none, 0, none, none, none, none, 0, none}, {3, 3})};
  const Tensor want = g->run(in)[0];
  fuse_patterns(*g);
  eliminate_dead_code(*g);
  verify(*g);
  EXPECT_EQ(count(*g, "scaled_dot_product_attention"), 1) << to_string(*g);
  EXPECT_EQ(g->nodes().size(), 1u) << to_string(*g);
  const Tensor got = g->run(in)[0];
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(want.data<float>()[i] == 0, i / 2 == 1) << i;
    EXPECT_NEAR(got.data<float>()[i], want.data<float>()[i], 1e-6) << i;
  }
}

TEST(FusePatterns, AttentionWhoseWeightsAreReadStays) {
  auto g = graph_of({f({5, 4}), f({6, 4}), f({6, 3})}, [](const Tensors& x) -> Tensors {
    const Tensor weights = softmax(matmul(x[0], transpose(x[1], 0, 1)) / 2.0, -1);
    return {matmul(weights, x[2]), weights};
  });
  const std::string before = to_string(*g);
  fuse_patterns(*g);
  EXPECT_EQ(to_string(*g), before);
}

void expect_cross_entropy(Tensor (*loss_of)(const Tensor&, const Tensors&)) {
  const Spec labels{{7}, i64, {}};
  auto g = graph_of({f({7, 5}), labels, f({5})}, [&](const Tensors& x) -> Tensors {
    Tensor logits = x[0];
    logits.requires_grad_();
    Tensor loss = loss_of(log_softmax(logits, 1), x);
    loss.backward();
    return {loss, logits.grad()};
  });
  const Tensors in{randn({7, 5}), randint(5, {7}), rand({5}) + 0.5};
  eliminate_dead_code(*g);
  const Tensors want = g->run(in);
  EXPECT_EQ(count(*g, "log_softmax") + count(*g, "log_softmax_grad"), 2);
  fuse_patterns(*g);
  verify(*g);
  EXPECT_EQ(count(*g, "log_softmax") + count(*g, "nll_loss") + count(*g, "log_softmax_grad") +
                count(*g, "nll_loss_grad"),
            0)
      << to_string(*g);
  EXPECT_EQ(count(*g, "cross_entropy") + count(*g, "cross_entropy_grad"), 2);
  const Tensors got = g->run(in);
  for (size_t i = 0; i < 2; ++i) EXPECT_LE(relative_difference(got[i], want[i]), 1e-6) << i;
}

TEST(FusePatterns, LogSoftmaxAndNllLoss) {
  expect_cross_entropy(
      [](const Tensor& y, const Tensors& x) { return nll_loss(y, x[1], {.weight = x[2]}); });
  expect_cross_entropy([](const Tensor& y, const Tensors& x) {
    return nll_loss(y, x[1], {.ignore_index = 3, .reduction = "sum"});
  });
}

/// Losses, parameters, gradients and the optimizer's state after some steps.
template <class Optimizer, class Options>
std::vector<double> train(bool compiled, Options options, bool read_later, std::string* plan) {
  manual_seed(3);
  nn::Sequential net{nn::Linear(300, 100), nn::ReLU(), nn::Linear(100, 10)};
  Optimizer opt(net.parameters(), options);
  auto step = [&](const Tensor& x, const Tensor& y) {
    Tensor loss = mse_loss(net(x), y);
    opt.zero_grad();
    loss.backward();
    Tensor size = zeros({});
    if (read_later) size = square(net.parameters()[0]).sum();
    opt.step();
    return loss + size * 0.0 + size;
  };
  auto fast = compile(step, {.deterministic = true});
  std::vector<double> seen;
  for (int i = 0; i < 8; ++i) {
    const Tensor x = randn({64, 300}), y = randn({64, 10});
    seen.push_back((compiled ? fast(x, y) : step(x, y)).template item<double>());
  }
  for (auto& [name, t] : net.named_parameters()) {
    for (double v : t.template to_vector<double>()) seen.push_back(v);
    for (double v : t.grad().template to_vector<double>()) seen.push_back(v);
  }
  for (auto& [name, t] : opt.state_dict())
    for (double v : t.template to_vector<double>()) seen.push_back(v);
  if (plan && compiled) *plan = fast.explain();
  return seen;
}

template <class Optimizer, class Options>
void expect_folded(Options options) {
  std::string plan;
  const auto eager = train<Optimizer>(false, options, false, nullptr);
  EXPECT_EQ(train<Optimizer>(true, options, false, &plan), eager);
  EXPECT_NE(plan.find("linear_grad() + "), std::string::npos) << plan;
  const auto read = train<Optimizer>(false, options, true, nullptr);
  EXPECT_EQ(train<Optimizer>(true, options, true, nullptr), read);
}

TEST(FoldUpdates, EqualTheEagerStep) {
  expect_folded<optim::SGD>(optim::SGDOptions{.lr = 0.1});
  expect_folded<optim::SGD>(optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  expect_folded<optim::Adam>(optim::AdamOptions{.lr = 1e-3});
  expect_folded<optim::AdamW>(optim::AdamWOptions{.lr = 1e-3});
  expect_folded<optim::RMSprop>(optim::RMSpropOptions{.lr = 1e-3});
}

/// The gradient's product by an input stays in front of that by the weight when it takes the
/// activation's gradient along, so that hidden layers are updated in place as well.
TEST(FoldUpdates, InEveryLayer) {
  nn::Sequential net{nn::Linear(6, 8), nn::ReLU(), nn::Linear(8, 8), nn::ReLU(), nn::Linear(8, 3)};
  optim::SGD opt(net.parameters(), {.lr = 0.1});
  auto step = compile([&](const Tensor& x) {
    opt.zero_grad();
    net(x).sum().backward();
    opt.step();
  });
  step(randn({5, 6}));
  const std::string text = step.explain();
  size_t folded = 0;
  for (size_t at = 0; (at = text.find("linear_grad() + sgd", at)) != std::string::npos; ++at)
    ++folded;
  EXPECT_EQ(folded, 3u) << text;
}

TEST(FoldUpdates, NotWhileTheOldValueIsRead) {
  Tensor w = randn({20, 30});
  w.requires_grad_();
  optim::SGD opt({w}, {.lr = 0.5});
  const Tensor before = w.detach().clone();
  auto step = compile([&](const Tensor& x) {
    opt.zero_grad();
    linear(x, w).sum().backward();
    const Tensor later = w.detach() * 3.0;  // behind the gradient's product
    opt.step();
    return later;
  });
  const Tensor later = step(ones({4, 30}));
  EXPECT_TRUE(same_bits(later, before * 3.0));
  EXPECT_LE(relative_difference(w.detach(), before - 2.0), 1e-6);
  EXPECT_EQ(step.explain().find("linear_grad() + "), std::string::npos) << step.explain();
}

TEST(InPlace, ElementwiseResultsTakeThePlaceOfDyingOperands) {
  auto g = graph_of({f({64, 64})}, [](const Tensors& x) -> Tensors {
    Tensor a = x[0].sum({1}, true) + x[0];  // all of one size, each read once
    a = matmul(a, a);
    a = softmax(exp(a * 1e-3), -1);
    a = cumsum(sin(a), 0);
    return {cos(a).sum()};
  });
  Plan plan(g);
  const std::string text = plan.explain();
  EXPECT_NE(text.find("in place"), std::string::npos) << text;
  // Two matrices at once: a product or a softmax beside its operand. Without it, a third.
  EXPECT_LE(plan.arena_bytes(), 2 * 64 * 64 * 4 + 1024) << text;
  const Tensor x = randn({64, 64});
  EXPECT_TRUE(same_bits(plan.run({&x, 1})[0], g->run({&x, 1})[0]));
}

TEST(InPlace, NotOverAnOperandThatIsReadTwiceOrLater) {
  auto g = graph_of({f({6, 6})}, [](const Tensors& x) -> Tensors {
    const Tensor a = cumsum(x[0], 0);
    const Tensor b = a + transpose(a, 0, 1);  // over itself it would read what it wrote
    const Tensor c = exp(b);                  // b is read again
    return {matmul(c, b), tanh(c).sum()};
  });
  Plan plan(g);
  const Tensor x = randn({6, 6});
  const Tensors got = plan.run({&x, 1}), want = g->run({&x, 1});
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(same_bits(got[i], want[i])) << plan.explain();
}

TEST(Explain, TimesOfStepsOnRequest) {
  auto fast = compile([](const Tensor& x) { return matmul(x, x).sum(); });
  const Tensor x = randn({50, 50});
  fast(x);
  EXPECT_EQ(fast.explain().find(" us "), std::string::npos) << fast.explain();
  fast.set_profile(true);
  for (int i = 0; i < 3; ++i) fast(x);
  fast.set_profile(false);
  fast(x);
  const std::string text = fast.explain();
  EXPECT_NE(text.find("3 timed runs"), std::string::npos) << text;
  size_t times = 0;
  for (size_t at = 0; (at = text.find(" us ", at)) != std::string::npos; ++at) ++times;
  EXPECT_EQ(times, 3u) << text;  // two steps and their sum
}

}  // namespace
}  // namespace tandem::graph
