#include "tandem/graph/compile.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tandem/graph/ir.h"
#include "tandem/tandem.h"

namespace tandem {
namespace {

using Values = std::vector<double>;

double largest_difference(const Tensor& a, const Tensor& b) {
  return abs(a.to(f64) - b.to(f64)).max().item<double>();
}

TEST(Compile, InferenceIsCapturedOnce) {
  int calls = 0;
  const Tensor w = randn({3, 4});
  auto f = compile([&](const Tensor& x) {
    ++calls;
    return relu(matmul(x, w) + 1.0);
  });
  for (int i = 0; i < 3; ++i) {
    const Tensor x = randn({2, 3});
    const Tensor y = f(x);
    EXPECT_FALSE(y.is_symbolic());
    EXPECT_EQ(largest_difference(y, relu(matmul(x, w) + 1.0)), 0);
  }
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(f.captures(), 1);
}

struct Net {
  nn::Sequential body{nn::Linear(6, 8), nn::BatchNorm1d(8), nn::ReLU(), nn::Dropout(0.3),
                      nn::Linear(8, 3)};
};

/// A training step's visible effect: losses, parameters, statistics, gradients, optimizer state.
TEST(Compile, TrainingStepEqualsEager) {
  auto train = [](bool compiled) {
    manual_seed(7);
    Net net;
    optim::Adam opt(net.body.parameters(), {.lr = 1e-2});
    auto step = [&](const Tensor& x, const Tensor& y) {
      Tensor loss = cross_entropy(net.body(x), y);
      opt.zero_grad();
      loss.backward();
      opt.step();
      return loss;
    };
    auto fast = compile(step);
    std::vector<double> seen;
    manual_seed(8);
    for (int i = 0; i < 100; ++i) {
      const Tensor x = randn({16, 6}), y = randint(3, {16});
      if (i == 50) opt.set_lr(1e-3);
      seen.push_back((compiled ? fast(x, y) : step(x, y)).item<double>());
    }
    if (compiled) {
      EXPECT_EQ(fast.captures(), 1);
    }
    for (auto& [name, t] : net.body.state_dict())
      for (double v : t.to_vector<double>()) seen.push_back(v);
    for (auto& [name, t] : net.body.named_parameters())
      for (double v : t.grad().to_vector<double>()) seen.push_back(v);
    for (auto& [name, t] : opt.state_dict())
      for (double v : t.to_vector<double>()) seen.push_back(v);
    seen.push_back(double(default_generator().offset()));
    return seen;
  };
  const auto eager = train(false), graph = train(true);
  ASSERT_EQ(eager.size(), graph.size());
  for (size_t i = 0; i < eager.size(); ++i) EXPECT_EQ(eager[i], graph[i]) << i;
}

TEST(Compile, StateChangedOutsideIsSeen) {
  Tensor w = ones({3});
  auto f = compile([&](const Tensor& x) { return x * w; });
  const Tensor x = tensor({1.f, 2.f, 3.f});
  EXPECT_EQ(f(x).sum().item<double>(), 6);
  w.fill_(2);
  EXPECT_EQ(f(x).sum().item<double>(), 12);
  EXPECT_EQ(f.captures(), 1);
}

TEST(Compile, WritesToOutsideTensorsHappenAtEveryCall) {
  Tensor total = zeros({});
  auto f = compile([&](const Tensor& x) {
    Tensor local = zeros({});
    local += x.sum();
    local += 1;
    total += local;
    return local;
  });
  const Tensor x = ones({4});
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(f(x).item<double>(), 5);
    EXPECT_EQ(total.item<double>(), 5.0 * i);
  }
}

/// Threads that call at once find instances of their own, whatever shapes they bring.
TEST(Compile, ThreadsAtOnce) {
  const Tensor w = randn({6, 4});
  auto f = compile([&](const Tensor& x) { return tanh(matmul(x, w)) + 1.0; });
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const SingleThread alone;
      for (int i = 0; i < 200; ++i) {
        const Tensor x = full({1 + (i + t) % 7, 6}, 0.01 * t + 0.001 * i);
        wrong += largest_difference(f(x), tanh(matmul(x, w)) + 1.0) != 0;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_LE(f.captures(), 2);
}

TEST(Compile, RecapturesAreCountedAndExplained) {
  auto f =
      compile([](const Tensor& x) { return x * 2; }, {.max_captures = 2, .throw_beyond = true});
  f(ones({3}));
  f(ones({3}, f64));
  EXPECT_EQ(f.captures(), 2);
  EXPECT_NE(f.reasons()[1].find("argument 0 is f64[3] instead of f32[3]"), std::string::npos)
      << f.reasons()[1];
  EXPECT_THROW(f(ones({3, 1})), Error);
}

TEST(Compile, ReadingAValueIsAnError) {
  auto f = compile([](const Tensor& x) { return x.sum().item<float>() > 0 ? x : -x; });
  try {
    f(ones({3}));
    FAIL();
  } catch (const GradientError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("compile.cpp:"), std::string::npos) << text;
    EXPECT_NE(text.find("the f32[] of sum(axes=[], keepdim=false) is symbolic"), std::string::npos)
        << text;
  }
}

template <class F>
std::string reading_error(F f) {
  try {
    compile(f)(ones({3}));
  } catch (const GradientError& e) {
    return e.what();
  }
  return "nothing was thrown";
}

/// Readers that cannot know the caller's line name the place of compile().
TEST(Compile, EveryReadingNamesPlaceOpAndRemedy) {
  const std::string remedy = "decide with where(), cond() or while_loop()";
  for (const std::string& text :
       {reading_error([](const Tensor& x) { return x.sum() > 0 ? x : -x; }),
        reading_error([](const Tensor& x) { return x * x.sum().to_vector<float>()[0]; }),
        reading_error([](const Tensor& x) { return x * x.sum().data<float>()[0]; }),
        reading_error([](const Tensor& x) { return x * (x + x.sum())[0].item<float>(); })}) {
    EXPECT_NE(text.find("compile.cpp:"), std::string::npos) << text;
    EXPECT_NE(text.find(" of "), std::string::npos) << text;
    EXPECT_NE(text.find(remedy), std::string::npos) << text;
  }
  const std::string mask = reading_error([](const Tensor& x) { return x[x > 0]; });
  EXPECT_NE(mask.find("compile.cpp:"), std::string::npos) << mask;
  EXPECT_NE(mask.find("use where()"), std::string::npos) << mask;
}

/// Code that decides by a length does so for every length, met before or not.
TEST(Compile, LengthsThatDecideAreAsked) {
  auto f = compile([](const Tensor& x) { return x.size(0) > 2 ? x * 2 : x * 3; });
  const auto first = [&](int64_t n) { return f(ones({n}))[0].item<float>(); };
  for (int round = 0; round < 2; ++round) {
    for (int64_t n : {3, 5, 2, 7, 1, 4}) EXPECT_EQ(first(n), n > 2 ? 2 : 3) << n;
  }
  EXPECT_EQ(f.captures(), 2);  // one for each side of the branch
  EXPECT_NE(f.reasons()[1].find("something else for these lengths"), std::string::npos)
      << f.reasons()[1];
  auto g =
      compile([](const Tensor& x) { return x * 2; }, {.max_captures = 1, .throw_beyond = true});
  g(ones({3}));
  g(ones({4}));
  try {
    g(ones({3}, f64));
    FAIL();
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("is f64[3] instead of f32[?]"), std::string::npos) << text;
  }
}

TEST(Compile, APartOfATensorIsATensor) {
  auto f = compile([](const Tensor& x) { return x[1]; });
  EXPECT_EQ(f(tensor({{1.f, 2.f}, {3.f, 4.f}})).to_vector<float>(), (std::vector<float>{3, 4}));
  EXPECT_EQ(f(arange(8).reshape({2, 2, 2})[1]).to_vector<int64_t>(), (std::vector<int64_t>{6, 7}));
}

TEST(Compile, ListsAndStructs) {
  auto f = compile([](const std::vector<Tensor>& xs, double scale) {
    return std::pair(xs[0] * scale, std::vector<Tensor>{xs[0] + xs[1], xs[1]});
  });
  const Tensor a = ones({2}), b = full({2}, 3.0);
  auto [first, rest] = f(std::vector<Tensor>{a, b}, 2.0);
  EXPECT_EQ(first.sum().item<double>(), 4);
  EXPECT_EQ(rest[0].sum().item<double>(), 8);
  EXPECT_EQ(rest[1].sum().item<double>(), 6);
  EXPECT_EQ(f(std::vector<Tensor>{a, b}, 3.0).first.sum().item<double>(), 6);
  EXPECT_EQ(f.captures(), 2);
}

TEST(Compile, GradientsOfArguments) {
  auto f = compile([](const Tensor& x) {
    Tensor loss = sum(x * x);
    loss.backward();
    return loss;
  });
  Tensor x = tensor({1.f, 2.f});
  x.requires_grad_();
  f(x);
  f(x);
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{4, 8}));
}

TEST(Compile, ABatchOfAnySizeIsOneCapture) {
  Net net;
  optim::SGD opt(net.body.parameters(), {.lr = 1e-2});
  auto step = [&](const Tensor& x, const Tensor& y) {
    Tensor loss = cross_entropy(net.body(x).reshape({x.size(0), 3}), y) / double(x.size(0));
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  };
  auto fast = compile(step);
  for (int64_t n : {8, 5, 8, 11, 2}) {
    const Tensor x = randn({n, 6}), y = randint(3, {n});
    const NamedTensors before = net.body.clone().state_dict();
    manual_seed(uint64_t(n));
    const double a = fast(x, y).item<double>();
    const NamedTensors after = net.body.clone().state_dict();
    net.body.load_state_dict(before);
    manual_seed(uint64_t(n));
    EXPECT_EQ(step(x, y).item<double>(), a);
    for (auto& [name, t] : net.body.state_dict())
      EXPECT_EQ(largest_difference(t, find(after, name)), 0) << name;
  }
  EXPECT_EQ(fast.captures(), 1);
}

// Its unbiased variance is multiplied by n/(n-1), n = batch * 49: a number with few digits to tell.
TEST(Compile, ABatchOfImagesOfAnySizeIsOneCapture) {
  nn::Sequential net(nn::Conv2d(1, 2, 3), nn::BatchNorm2d(2), nn::ReLU());
  auto fast = compile(net);
  for (int64_t n : {3, 5, 2, 9}) {
    const Tensor x = randn({n, 1, 9, 9});
    const auto before = net.clone();
    fast(x);
    before(x);
    const NamedTensors want = before.state_dict();
    for (auto& [name, t] : net.state_dict())
      EXPECT_LT(largest_difference(t, find(want, name)), 1e-6) << name;
  }
  EXPECT_EQ(fast.captures(), 1);
}

TEST(Compile, TrainAndEvalAreTwoCaptures) {
  nn::Sequential net(nn::Linear(3, 3), nn::Dropout(0.5));
  auto f = compile([&](const Tensor& x) { return net(x); });
  const Tensor x = ones({2, 3});
  f(x);
  net.eval();
  EXPECT_EQ(largest_difference(f(x), net(x)), 0);
  net.train();
  f(x);
  EXPECT_EQ(f.captures(), 2);
  EXPECT_NE(f.reasons()[1].find("evaluation mode"), std::string::npos) << f.reasons()[1];
}

TEST(Compile, GradientsAccumulateAsInEagerCode) {
  auto run = [](bool compiled) {
    Tensor w = tensor({1.f, 2.f});
    w.requires_grad_();
    auto add = [&](const Tensor& x) { sum(w * x).backward(); };
    auto fast = compile(add);
    Values seen;
    for (int i = 0; i < 6; ++i) {
      const Tensor x = full({2}, i + 1, f32);
      if (compiled) fast(x);
      else add(x);
      for (double v : w.grad().to_vector<double>()) seen.push_back(v);
      if (i == 3) w.set_grad({});
    }
    return seen;
  };
  EXPECT_EQ(run(true), run(false));
}

// The gradient that a call finds, not the tensor that it was when the function was recorded.
TEST(Compile, GradientsOfAnotherPassAreReadAnew) {
  auto run = [](bool compiled) {
    manual_seed(3);
    nn::Linear net(3, 2);
    optim::SGD opt(net.parameters(), {.lr = 0.1, .momentum = 0.9});
    auto add = [&](const Tensor& x) { square(net(x)).sum().backward(); };
    auto update = [&] {
      optim::clip_grad_norm_(net.parameters(), 1.0);
      opt.step();
      return net.weight.grad() * 2;
    };
    auto fast_add = compile(add);
    auto fast_update = compile(update);
    std::vector<double> seen;
    for (int i = 0; i < 8; ++i) {
      opt.zero_grad();
      for (int k = 0; k < 3; ++k) {
        const Tensor x = randn({4, 3});
        if (compiled && i % 3) fast_add(x);
        else add(x);
      }
      for (double v : (compiled ? fast_update() : update()).to_vector<double>()) seen.push_back(v);
      for (double v : net.weight.to_vector<double>()) seen.push_back(v);
    }
    if (compiled) {
      EXPECT_EQ(fast_add.captures(), 2);  // without a gradient before, and with one
      EXPECT_EQ(fast_update.captures(), 1);
    }
    return seen;
  };
  const auto fast = run(true), plain = run(false);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(fast[i], plain[i], 1e-5) << i;
}

TEST(Compile, AGradientThatComesOrGoesIsARecapture) {
  nn::Linear net(3, 2);
  optim::SGD opt(net.parameters(), {.lr = 0.1});
  auto update = compile([&] { opt.step(); });
  const Values before = net.weight.to_vector<double>();
  update();
  EXPECT_EQ(net.weight.to_vector<double>(), before);
  net(ones({1, 3})).sum().backward();
  update();
  EXPECT_NEAR(net.weight.to_vector<double>()[0], before[0] - 0.1, 1e-6);
  ASSERT_EQ(update.captures(), 2);
  EXPECT_NE(update.reasons()[1].find("was undefined, and is not now"), std::string::npos);
}

TEST(Compile, TheStateOfAnOptimizerIsLoadedWhereItIs) {
  auto run = [](bool compiled) {
    manual_seed(4);
    nn::Linear net(3, 2);
    optim::Adam opt(net.parameters(), {.lr = 0.1});
    auto step = [&](const Tensor& x) {
      Tensor loss = square(net(x)).mean();
      opt.zero_grad();
      loss.backward();
      opt.step();
      return loss;
    };
    auto fast = compile(step, {.deterministic = true});
    const NamedTensors fresh = opt.state_dict();
    NamedTensors early;
    Values seen;
    for (int i = 0; i < 9; ++i) {
      if (i == 2) early = opt.state_dict();
      if (i == 5) opt.load_state_dict(early);
      if (i == 7) opt.load_state_dict(fresh);
      const Tensor x = randn({4, 3});
      seen.push_back((compiled ? fast(x) : step(x)).item<double>());
    }
    return seen;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(Compile, NestedFunctionsAreInlined) {
  auto inner = compile([](const Tensor& x) { return x * 2; });
  auto outer = compile([&](const Tensor& x) { return inner(x) + 1; });
  EXPECT_EQ(outer(ones({2})).to_vector<float>(), (std::vector<float>{3, 3}));
  EXPECT_EQ(inner.captures(), 0);
}

}  // namespace
}  // namespace tandem
