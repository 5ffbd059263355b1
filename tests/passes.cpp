#include "tandem/graph/passes.h"

#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/fused_point.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/plan.h"
#include "tandem/op/recorder.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

namespace tandem::graph {
namespace {

using testing::count;
using testing::graph_of;
using testing::same_bits;

/// Fuses, and expects the plan's results to be those of the separate nodes, bit for bit.
std::shared_ptr<Graph> expect_equal(const std::shared_ptr<Graph>& g, const Tensors& in) {
  auto fused = g->clone();
  eliminate_dead_code(*fused);
  fuse_points(*fused);
  verify(*fused);
  const Tensors want = g->run(in);
  const Tensors interpreted = fused->run(in);
  Plan plan(fused);
  for (int round = 0; round < 2; ++round) {
    const Tensors got = plan.run(in);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(same_bits(got[i], want[i])) << "result " << i << "\n" << to_string(*fused);
      EXPECT_TRUE(same_bits(interpreted[i], want[i])) << "result " << i;
    }
  }
  return fused;
}

Tensors chain(const Tensors& x) { return {gelu(x[0] * x[1] + x[2]) * x[3] + x[4]}; }

TEST(FusePoints, AChainIsOneNode) {
  const Spec s{{8, 5}, f32, {}};
  auto g = graph_of({s, {{5}, f32, {}}, {{5}, f32, {}}, s, s}, chain);
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[8, 5], %x1: f32[5], %x2: f32[5], %x3: f32[8, 5], %x4: f32[8, 5])\n"
            "  %5: f32[8, 5] = mul(%x0, %x1)\n"
            "  %6: f32[8, 5] = add(%5, %x2)\n"
            "  %7: f32[8, 5] = gelu(%6, approximate=none)\n"
            "  %8: f32[8, 5] = mul(%7, %x3)\n"
            "  %y0: f32[8, 5] = add(%8, %x4)\n"
            "  return %y0\n");
  fuse_points(*g);
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[8, 5], %x1: f32[5], %x2: f32[5], %x3: f32[8, 5], %x4: f32[8, 5])\n"
            "  %y0: f32[8, 5] = fused_point(%x0, %x1, %x2, %x3, %x4, program=$5 = mul($0, $1); "
            "$6 = add($5, $2); $7 = gelu($6, approximate=none); $8 = mul($7, $3); "
            "$9 = add($8, $4), results=$9)\n"
            "  return %y0\n");
}

TEST(FusePoints, ResultsNeededElsewhereStay) {
  const Spec s{{4, 4}, f32, {}};
  auto g = graph_of({s, s}, [](const Tensors& x) -> Tensors {
    const Tensor a = x[0] + x[1], b = exp(a), c = b * a;
    return {c, matmul(b, x[1])};
  });
  fuse_points(*g);
  EXPECT_EQ(to_string(*g),
            "graph(%x0: f32[4, 4], %x1: f32[4, 4])\n"
            "  %3: f32[4, 4], %y0: f32[4, 4] = fused_point(%x0, %x1, program=$2 = add($0, $1); "
            "$3 = exp($2); $4 = mul($3, $2), results=$3, $4)\n"
            "  %y1: f32[4, 4] = matmul(%3, %x1)\n"
            "  return %y0, %y1\n");
}

TEST(FusePoints, NoCycles) {
  // a -> product -> d, and a -> d: a and d would enclose the product.
  const Spec s{{4, 4}, f32, {}};
  auto g = graph_of({s}, [](const Tensors& x) -> Tensors {
    const Tensor a = exp(x[0]), p = matmul(a, a);
    return {(a + p) * 2.0};
  });
  const auto fused = expect_equal(g, {randn({4, 4})});
  EXPECT_EQ(count(*fused, "exp"), 1);
  EXPECT_EQ(count(*fused, "fused_point"), 1);
}

TEST(FusePoints, NoCyclesThroughTwoGroups) {
  const Spec s{{4, 4}, f32, {}};
  auto g = graph_of({s, s}, [](const Tensors& x) -> Tensors {
    const Tensor a = exp(x[0]), b = tanh(x[1]);
    const Tensor pa = matmul(a, a), pb = matmul(b, b);
    return {(a + pb) * 2.0, (b + pa) * 3.0, sigmoid(a) + pa, sigmoid(b) + pb};
  });
  expect_equal(g, {randn({4, 4}), randn({4, 4})});
}

TEST(FusePoints, ColumnsThatRepeatForLong) {
  // Runs of 512 and of 3072: a number each to machine code, over results that stay in the caches
  // and over such that do not.
  for (int64_t n : {4, 3000}) {
    const auto g = graph_of({{{n, 6, 512}, f32, {}},
                             {{6, 1}, f32, {}},
                             {{n, 6, 1}, f32, {}},
                             {{n, 1, 1}, f32, {}},
                             {{512}, f32, {}}},
                            [](const Tensors& x) -> Tensors {
                              const Tensor y = x[0] * x[1] + x[2];
                              return {y * x[3], relu(y - x[3]) + x[4]};
                            });
    const auto fused = expect_equal(
        g, {randn({n, 6, 512}), randn({6, 1}), randn({n, 6, 1}), randn({n, 1, 1}), randn({512})});
    EXPECT_EQ(fused->nodes().size(), 1u);
  }
}

TEST(FusePoints, SingleNodesAndViewsStay) {
  const Spec s{{4, 6}, f32, {}};
  auto g = graph_of({s}, [](const Tensors& x) -> Tensors {
    return {relu(x[0]).sum({0}), exp(transpose(x[0], 0, 1)) * 2.0};
  });
  const auto fused = expect_equal(g, {randn({4, 6})});
  EXPECT_EQ(count(*fused, "fused_point"), 0);
  EXPECT_EQ(count(*fused, "relu"), 1);
}

TEST(FusePoints, BroadcastGradientsAreReadThroughTheirViews) {
  auto g = Graph::make();
  const Tensor x = g->input("x", {{6, 3, 4, 5}, f32, {}});
  const Tensor scale = g->input("scale", {{1, 3, 1, 1}, f32, {}});
  g->output("y", (expand(scale, {6, 3, 4, 5}) * x + x) * 0.5);
  const auto fused = expect_equal(g, {randn({6, 3, 4, 5}), randn({1, 3, 1, 1})});
  ASSERT_EQ(fused->nodes().size(), 1u) << to_string(*fused);
  EXPECT_EQ(fused->nodes()[0].info->name, "fused_point");
}

struct Case {
  const char* name;
  std::vector<Spec> specs;
  Tensors (*f)(const Tensors&);
};

Tensors random_inputs(const std::vector<Spec>& specs) {
  Tensors in;
  for (const Spec& s : specs) {
    if (s.dtype == boolean) in.push_back(rand(s.shape) > 0.5);
    else if (s.dtype == i64) in.push_back(randint(9, s.shape));
    else in.push_back(randn(s.shape).to(s.dtype));
  }
  return in;
}

TEST(FusePoints, BitForBit) {
  auto f = [](std::initializer_list<int64_t> shape, DType d = f32) {
    return Spec{Shape(shape), d, {}};
  };
  auto masked = [](const Tensors& x) -> Tensors {
    const Tensor m = x[0] > 0.25, y = where(m, x[0] * 2.0, exp(x[1]));
    return {y - x[1], masked_fill(relu(y), m, -1.0)};
  };
  auto numbers = [](const Tensors& x) -> Tensors {
    const Tensor y = (x[0] * 0.1 + 1e-3) / 3.0 - x[1];
    return {clamp(y, -1.0, 1.0), pow(abs(y), 1.5), -square(y)};
  };
  auto grads = [](const Tensors& x) -> Tensors {
    Tensor a = x[0], b = x[1];
    a.requires_grad_();
    b.requires_grad_();
    (tanh(a * b) * sigmoid(a) + softplus(b)).sum().backward();
    return {a.grad(), b.grad()};
  };
  const Case cases[] = {
      {"chain", {f({100, 70}), f({70}), f({70}), f({100, 70}), f({100, 70})}, chain},
      {"chain of one row", {f({5000}), f({5000}), f({1}), f({5000}), f({})}, chain},
      {"channels", {f({3, 7, 9, 11}), f({7, 1, 1}), f({1, 7, 1, 1}), f({11}), f({9, 1})}, chain},
      {"columns", {f({300, 33}), f({300, 1}), f({33}), f({300, 33}), f({1, 33})}, chain},
      {"long rows", {f({3, 5000}), f({5000}), f({3, 1}), f({3, 5000}), f({1, 1})}, chain},
      {"many threads", {f({700, 512}), f({512}), f({700, 1}), f({700, 512}), f({512})}, chain},
      {"one element", {f({}), f({}), f({}), f({}), f({})}, chain},
      {"f64", {f({41, 70}, f64), f({70}, f64), f({}, f64), f({41, 70}, f64), f({}, f64)}, chain},
      {"mixed", {f({41, 70}), f({70}, f64), f({}, f64), f({41, 70}, i64), f({}, i64)}, chain},
      {"masks", {f({41, 70}), f({41, 70})}, masked},
      {"masks, one row", {f({3000}), f({1})}, masked},
      {"masks, f64", {f({41, 70}, f64), f({70})}, masked},
      {"numbers", {f({41, 70}), f({41, 70})}, numbers},
      {"numbers, f64", {f({41, 70}, f64), f({70}, f64)}, numbers},
      {"numbers, integers", {f({41, 70}, i64), f({41, 70}, i64)}, numbers},
      {"gradients", {f({64, 50}), f({64, 50})}, grads},
  };
  manual_seed(1);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto fused = expect_equal(graph_of(c.specs, c.f), random_inputs(c.specs));
    EXPECT_GE(count(*fused, "fused_point"), 1) << to_string(*fused);
  }
}

/// Results past the size from which they are stored around the caches.
/// Types that meet in a tile: one that has axes as the others have widens them, a mask does not.
TEST(FusePoints, TypesThatMeet) {
  for (const int64_t n : {1, 7, 1000, 100000})
    for (const Shape& one : {Shape{1}, Shape{1, 1}}) {
      // 0.1f is more than 0.1: the two are compared in f64, PyTorch's rule.
      auto c = compile([](const Tensor& x, const Tensor& y) {
        return std::vector<Tensor>{where(x > y, x + 1, x - 1), x * y * 3 + (x < y)};
      });
      const auto out = c(full({n}, 0.1f), full(one, 0.1, f64));
      EXPECT_EQ(out[0].flatten()[0].item<float>(), 1.1f) << n;
      EXPECT_EQ(out[1].dtype(), f64);
      EXPECT_EQ(out[1].flatten()[0].item<double>(), double(0.1f) * 0.1 * 3) << n;
    }
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{9}, Shape{5000}}) {
    auto c = compile([](const Tensor& x, const Tensor& mask) {
      const Tensor v = masked_fill(x, mask, 2.0);
      return std::vector<Tensor>{maximum(v == x, v), (v < 0) * v};
    });
    const auto out = c(full(shape, -0.5f), full(shape, false, boolean));
    EXPECT_EQ(out[0].flatten()[0].item<float>(), 1) << to_string(shape);
    EXPECT_EQ(out[1].flatten()[0].item<float>(), -0.5f) << to_string(shape);
  }
}

TEST(FusePoints, LargeResults) {
  const Spec s{{(9 << 20) + 3}, f32, {}};
  manual_seed(2);
  expect_equal(graph_of({s, {{}, f32, {}}, {{}, f32, {}}, s, s}, chain),
               random_inputs({s, {{}, f32, {}}, {{}, f32, {}}, s, s}));
}

/// Random webs of elementwise nodes, products and reductions.
TEST(FusePoints, RandomGraphs) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    manual_seed(seed);
    uint64_t state = seed * 7919 + 1;
    auto below = [&](size_t n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return size_t((state >> 33) % n);
    };
    auto make = [&](const Tensors& x) -> Tensors {
      Tensors have = x;
      auto any = [&] { return have[have.size() - 1 - below(std::min<size_t>(have.size(), 6))]; };
      for (int i = 0; i < 40; ++i) {
        const Tensor a = any(), b = any();
        switch (below(10)) {
          case 0: have.push_back(a + b); break;
          case 1: have.push_back(a * b); break;
          case 2: have.push_back(tanh(a)); break;
          case 3: have.push_back(relu(a - b)); break;
          case 4: have.push_back(where(a > b, a, b * 0.5)); break;
          case 5: have.push_back(matmul(a, tanh(b)) * 0.1); break;
          case 6: have.push_back(a - a.mean({1}, true)); break;
          case 7: have.push_back(sigmoid(a) + b.sum({0})); break;
          case 8: have.push_back(transpose(a, 0, 1) * b); break;
          default: have.push_back(maximum(a, b) * 1.5); break;
        }
        have.back() = tanh(have.back());
      }
      return {have.back(), have[have.size() - 5], have[have.size() / 2]};
    };
    const Spec s{{12, 12}, f32, {}};
    SCOPED_TRACE(seed);
    expect_equal(graph_of({s, s, s}, make), random_inputs({s, s, s}));
    if (::testing::Test::HasFailure()) break;
  }
}

TEST(LowerBatchNorm, OnePassWithWhatFollows) {
  manual_seed(4);
  nn::BatchNorm2d norm(3);
  norm(randn({5, 3, 4, 4}) * 3.0 + 1.0);
  norm.eval();
  const NoGrad guard;
  auto f = [&](const Tensor& x) { return relu(norm(x) + x); };
  auto fast = compile(f), exact = compile(f, {.deterministic = true});
  const Tensor x = randn({2, 3, 6, 6}), want = f(x);
  EXPECT_TRUE(same_bits(exact(x), want));
  EXPECT_LT(abs(fast(x) - want).max().item<double>(), 1e-6);
  EXPECT_EQ(fast.explain().find("batch_norm"), std::string::npos) << fast.explain();
  EXPECT_NE(exact.explain().find("batch_norm"), std::string::npos) << exact.explain();
  // Statistics from outside count at every call.
  norm.running_mean.fill_(0.5);
  EXPECT_LT(abs(fast(x) - f(x)).max().item<double>(), 1e-6);
}

TEST(LowerBatchNorm, NotWhileTrainingNorAlone) {
  manual_seed(5);
  nn::BatchNorm1d norm(6);
  const Tensor x = randn({8, 6});
  auto training = compile([&](const Tensor& t) { return relu(norm(t)); });
  training(x);
  EXPECT_NE(training.explain().find("batch_norm"), std::string::npos);
  norm.eval();
  auto alone = compile([&](const Tensor& t) { return norm(t); });
  EXPECT_TRUE(same_bits(alone(x), norm(x)));
  EXPECT_NE(alone.explain().find("batch_norm"), std::string::npos);
}

TEST(FusePoints, ACompiledStepIsTheEagerOne) {
  auto run = [](bool compiled) {
    manual_seed(3);
    nn::Sequential net{nn::Linear(6, 16), nn::GELU(), nn::Linear(16, 16), nn::SiLU(),
                       nn::Linear(16, 3)};
    optim::SGD opt(net.parameters(), {.lr = 0.1});
    auto step = [&](const Tensor& x, const Tensor& y) {
      const Tensor p = net(x);
      Tensor loss = (square(p - y) * 0.5 + abs(p) * 0.01).mean();
      opt.zero_grad();
      loss.backward();
      opt.step();
      return loss;
    };
    auto fast = compile(step, {.deterministic = true});
    std::vector<double> seen;
    for (int i = 0; i < 20; ++i) {
      const Tensor x = randn({9, 6}), y = randn({9, 3});
      seen.push_back((compiled ? fast(x, y) : step(x, y)).item<double>());
    }
    if (compiled) {
      EXPECT_NE(fast.explain().find("fused_product"), std::string::npos) << fast.explain();
    }
    return seen;
  };
  EXPECT_EQ(run(true), run(false));
}

}  // namespace
}  // namespace tandem::graph
