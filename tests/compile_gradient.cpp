// Gradients through the results of compiled functions. Expected values are those of the plain
// function, which the op tests hold against PyTorch.
#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/control_flow.h"
#include "tandem/graph/ir.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using Values = std::vector<double>;

void append(Values& to, const Tensor& t) {
  if (!t.defined()) return to.push_back(-12345);
  for (double v : t.to_vector<double>()) to.push_back(v);
}

Values gradients_of(const std::vector<Tensor>& leaves) {
  Values all;
  for (const Tensor& t : leaves) append(all, t.grad());
  return all;
}

Tensor leaf(Tensor t) { return t.requires_grad_(); }

/// Some steps of a loop outside: loss, gradients, parameters, buffers and random numbers.
template <class MakeNet>
void expect_training_equal(MakeNet make, const Shape& shape, CompileOptions options = {}) {
  auto train = [&](bool compiled) {
    manual_seed(3);
    auto net = make();
    optim::SGD opt(net.parameters(), {.lr = 0.05, .momentum = 0.9});
    auto fast = compile(net, options);
    Values seen;
    for (int i = 0; i < 6; ++i) {
      Shape s = shape;
      if (i == 4) s[0] += 3;
      const Tensor x = leaf(randn(s));
      const Tensor y = compiled ? fast(x) : net(x);
      EXPECT_TRUE(y.requires_grad());
      const Tensor loss = (y * y).mean() + y.sum() * 0.1;
      opt.zero_grad();
      loss.backward();
      opt.step();
      append(seen, loss.detach());
      append(seen, x.grad());
    }
    for (auto& [name, t] : net.state_dict()) append(seen, t);
    for (auto& [name, t] : net.named_parameters()) append(seen, t.grad());
    seen.push_back(double(default_generator().offset()));
    if (compiled) {
      EXPECT_EQ(fast.captures(), 1) << fast.reasons().back();
    }
    return seen;
  };
  const Values eager = train(false), graph = train(true);
  ASSERT_EQ(eager.size(), graph.size());
  for (size_t i = 0; i < eager.size(); ++i)
    EXPECT_NEAR(eager[i], graph[i], options.deterministic ? 0 : 1e-5 * (1 + std::abs(eager[i])))
        << i;
}

TEST(CompiledGradient, AModuleTrainsFromOutside) {
  auto make = [] {
    return nn::Sequential(nn::Linear(6, 8), nn::BatchNorm1d(8), nn::GELU(), nn::Dropout(0.3),
                          nn::Linear(8, 3), nn::Sigmoid());
  };
  expect_training_equal(make, {5, 6}, {.deterministic = true});
  expect_training_equal(make, {5, 6});
}

TEST(CompiledGradient, Convolutions) {
  expect_training_equal(
      [] {
        return nn::Sequential(nn::Conv2d(2, 4, 3, {.padding = {1, 1}}), nn::BatchNorm2d(4),
                              nn::ReLU(), nn::MaxPool2d(2), nn::Flatten(), nn::Linear(16, 3));
      },
      {3, 2, 4, 4});
}

TEST(CompiledGradient, ThroughViewsAndSeveralResults) {
  const Tensor w = leaf(randn({4, 3}));
  auto f = [&](const Tensor& x) {
    const Tensor h = matmul(x, w.transpose(0, 1)).reshape({2, 3, 4}).transpose(1, 2);
    return std::pair(tanh(h), softmax(h.select(0, 1), 1));
  };
  auto g = compile(f);
  const Tensor x = leaf(randn({6, 3}));
  auto values = [&](auto& call) {
    x.set_grad({});
    w.set_grad({});
    auto [a, b] = call(x);
    ((a * a).sum() + (b * a.select(0, 0)).sum() + (a.select(0, 1) * x.sum()).mean()).backward();
    return gradients_of({x, w});
  };
  EXPECT_EQ(values(g), values(f));
  EXPECT_EQ(values(g), values(f));
}

TEST(CompiledGradient, AFunctionOfAFunction) {
  const Tensor x = leaf(randn({5})), w = leaf(randn({5}));
  auto first = [&](const Tensor& t) { return exp(t * w); };
  auto second = [&](const Tensor& t) { return t * t + w; };
  auto a = compile(first);
  auto b = compile(second);
  auto values = [&](auto& f, auto& g) {
    x.set_grad({});
    w.set_grad({});
    g(f(x * 2)).sum().backward();
    return gradients_of({x, w});
  };
  const Values want = values(first, second);
  EXPECT_EQ(values(a, b), want);
  EXPECT_EQ(values(first, b), want);
  EXPECT_EQ(values(a, second), want);
}

TEST(CompiledGradient, WithRespectToAResultFromOutside) {
  const Tensor x = leaf(randn({4}));
  const Tensor h = x * 3;  // captured with its history
  auto f = [&](const Tensor& t) { return sin(h) * t; };
  auto g = compile(f);
  const Tensor y = ones({4});
  auto values = [&](auto& call) {
    Values all;
    for (const Tensor& d : grad(call(y).sum(), {h, x}, {.retain_graph = true})) append(all, d);
    return all;
  };
  EXPECT_EQ(values(g), values(f));
}

TEST(CompiledGradient, OnlyWhatIsAskedFor) {
  const Tensor w = leaf(randn({3})), b = leaf(randn({3}));
  auto f = compile([&](const Tensor& x) { return x * w + b; });
  const Tensor x = randn({2, 3});  // wants none
  const Tensor y = f(x);
  EXPECT_TRUE(y.requires_grad());
  const Tensors d = grad(y.sum(), {b});
  EXPECT_EQ(d[0].to_vector<float>(), (std::vector<float>{2, 2, 2}));
  {
    const NoGrad off;
    EXPECT_FALSE(f(x).requires_grad());
  }
  EXPECT_EQ(f.captures(), 2);
  auto integers = compile([](const Tensor& t) { return argmax(t, 0); });
  EXPECT_FALSE(integers(leaf(randn({3}))).requires_grad());
}

TEST(CompiledGradient, ResultsThatAreArgumentsOrTheSame) {
  const Tensor x = leaf(tensor({1.f, 2.f}));
  auto f = compile([](const Tensor& t) { return std::vector<Tensor>{t, t * 2, t * 2, t}; });
  const auto y = f(x);
  (y[0].sum() + 10 * y[1].sum() + 100 * y[2].sum() + 1000 * y[3].sum()).backward();
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{1221, 1221}));
}

TEST(CompiledGradient, SecondDerivatives) {
  manual_seed(5);
  const Tensor x = leaf(randn({3, 4}, f64)), w = leaf(randn({4}, f64));
  auto f = [&](const Tensor& t) { return dropout(tanh(t * w) * exp(t), 0.4, true) * t; };
  auto g = compile(f);
  auto values = [&](auto& call) {
    manual_seed(6);
    x.set_grad({});
    w.set_grad({});
    const Tensor y = call(x);
    const Tensors d = grad((y * y).sum(), {x, w}, {.create_graph = true});
    const Tensor penalty = (d[0] * d[0]).sum() + (d[1] * x.sum()).sum();
    penalty.backward();
    return gradients_of({x, w});
  };
  const Values want = values(f), got = values(g);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
}

TEST(CompiledGradient, InsideAnotherCapture) {
  const Tensor x = leaf(randn({3})), w = leaf(randn({3}));
  auto f = [&](const Tensor& t) { return sin(t * w); };
  auto g = compile(f);
  const Tensor seed = randn({3});
  auto values = [&](auto& call) {
    const Tensor y = call(x);
    auto back = compile([&](const Tensor& dy) {
      const Tensor inputs[] = {x, w};
      return std::vector<Tensor>{grad({&y, 1}, inputs, {&dy, 1}, {.retain_graph = true})[0]};
    });
    Values all;
    append(all, back(seed)[0]);
    append(all, back(seed)[0]);
    return all;
  };
  EXPECT_EQ(values(g), values(f));
}

TEST(CompiledGradient, MoreThan32Parameters) {
  std::vector<Tensor> w;
  for (int i = 0; i < 40; ++i) w.push_back(leaf(randn({3})));
  auto f = [&](const Tensor& t) {
    Tensor h = t;
    for (const Tensor& p : w) h = tanh(h * p) + p * p;
    return h;
  };
  auto g = compile(f);
  const Tensor x = leaf(randn({3}));
  auto values = [&](auto& call) {
    for (const Tensor& p : w) p.set_grad({});
    x.set_grad({});
    call(x).sum().backward();
    Values all = gradients_of(w);
    append(all, x.grad());
    return all;
  };
  EXPECT_EQ(values(g), values(f));
}

TEST(CompiledGradient, ThroughControlFlow) {
  const Tensor x = leaf(randn({3})), w = leaf(tensor({0.5f, -0.3f, 0.7f}));
  auto f = [&](const Tensor& t) {
    const Tensor h = while_loop([](const Tensor& i, const Tensor&) { return i < 3; },
                                [&](const Tensor& i, const Tensor& v) {
                                  return std::vector<Tensor>{i + 1, tanh(v * w) + t};
                                },
                                {zeros({}, i64), t})[1];
    return cond(
        h.sum() > 0, [&] { return h * w; }, [&] { return h - w; });
  };
  auto g = compile(f);
  auto values = [&](auto& call) {
    x.set_grad({});
    w.set_grad({});
    square(call(x)).sum().backward();
    return gradients_of({x, w});
  };
  const Values want = values(f), got = values(g);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-6) << i;
}

TEST(CompiledGradient, HooksAreCalledOnce) {
  const Tensor w = leaf(tensor({1.f, 2.f}));
  register_hook(w, [](const Tensor& g) { return g * 10; });
  auto f = compile([&](const Tensor& x) { return x * w; });
  f(tensor({3.f, 4.f})).sum().backward();
  EXPECT_EQ(w.grad().to_vector<float>(), (std::vector<float>{30, 40}));
}

TEST(CompiledGradient, TheHandleThatWantsTheGradient) {
  const Tensor w = leaf(tensor({1.f, 2.f}));
  auto f = compile([&](const Tensor& x) { return x * w.detach() + w; });
  f(tensor({3.f, 4.f})).sum().backward();
  EXPECT_EQ(w.grad().to_vector<float>(), (std::vector<float>{1, 1}));
}

constexpr auto gradient_error = [](const auto& f) { return testing::error_of<GradientError>(f); };

TEST(CompiledGradient, Errors) {
  Tensor w = leaf(tensor({1.f, 2.f}));
  const Tensor x = leaf(tensor({3.f, 4.f}));
  // A value that the gradient reads was overwritten.
  auto f = compile([&](const Tensor& t) { return t * w; });
  Tensor y = f(x).sum();
  {
    const NoGrad off;
    w += 1.0;
  }
  EXPECT_NE(gradient_error([&] { y.backward(); }).find("has overwritten"), std::string::npos);
  // The same, by the function itself.
  auto g = compile([&](const Tensor& t) {
    const Tensor out = t * w;
    const NoGrad off;
    w += 1.0;
    return out;
  });
  EXPECT_NE(gradient_error([&] { g(x).sum().backward(); }).find("has overwritten"),
            std::string::npos);
  // A pass gives back what was kept.
  y = f(x).sum();
  y.backward({}, true);
  y.backward();
  EXPECT_NE(gradient_error([&] { y.backward(); }).find("freed by an earlier pass"),
            std::string::npos);
  // The function has done it.
  auto step = compile([&](const Tensor& t) {
    Tensor loss = (t * w).sum();
    loss.backward();
    return std::pair(loss, t * 2);
  });
  auto [loss, twice] = step(x);
  EXPECT_TRUE(loss.requires_grad());
  const std::string text = gradient_error([&, l = loss] { l.backward(); });
  EXPECT_NE(text.find("through the result of a compiled function: backward(): the graph of "),
            std::string::npos)
      << text;
  const Tensor sum = loss + (x * x).sum();
  EXPECT_NE(gradient_error([&] { grad(sum, x); }).find("freed by an earlier pass"),
            std::string::npos);
  x.set_grad({});
  twice.sum().backward();
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{2, 2}));
}

TEST(CompiledGradient, NothingIsKeptAlive) {
  const int64_t before = memory_stats().in_use;
  {
    const Tensor w = leaf(randn({64, 64}));
    auto f = compile([&](const Tensor& x) { return sigmoid(matmul(x, w)); });
    const Tensor x = randn({64, 64});
    for (int i = 0; i < 3; ++i) f(x).sum().backward();
    f(x);
    Tensor y = f(x);
  }
  EXPECT_EQ(memory_stats().in_use, before);
}

}  // namespace
}  // namespace tandem
