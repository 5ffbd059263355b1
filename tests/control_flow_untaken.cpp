// What only a branch not taken reads, or a loop that does not turn, has no gradient: infinite
// derivatives there reach nothing, and optimizers leave it alone. As in plain code and PyTorch.
#include <gtest/gtest.h>

#include <cmath>

#include "tandem/graph/compile.h"
#include "tandem/graph/session.h"
#include "tandem/tandem.h"

namespace tandem {
namespace {

using Values = std::vector<double>;

Tensor leaf(std::vector<double> values) {
  const int64_t n = int64_t(values.size());
  Tensor t = wrap(std::move(values), {n}).clone();
  t.requires_grad_();
  return t;
}

/// f(x): a gradient; plain, compiled, through the results of a compiled function, in a session.
template <class F>
void expect_gradient(const char* what, F f, const Values& at, const Values& want) {
  const auto gradient = [&](const Tensor& x) { return grad(f(x).sum(), x); };
  const Tensor x = leaf(at);
  auto same = [&](const Tensor& got, const char* way) {
    const Values values = got.to_vector<double>();
    ASSERT_EQ(values.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(values[i], want[i], 1e-12) << what << ", " << way << ", element " << i;
  };
  same(gradient(x), "plain");
  same(compile(gradient)(x), "compiled");
  auto c = compile(f);
  same(grad(c(x).sum(), x), "through the results");
  auto g = Graph::make();
  Tensor place, d;
  {
    const GraphScope scope(g);
    place = placeholder("x", {int64_t(at.size())}, f64).requires_grad_();
    d = gradients(f(place).sum(), {place})[0];
  }
  same(Session(g).run(d, {{place, x.detach()}}), "session");
}

TEST(Untaken, InfiniteDerivativesReachNothing) {
  const Values at{4, -1, 0};
  expect_gradient("cond",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);  // its derivative is NaN and infinite at -1 and 0
                    return cond(
                        x.min() > 0, [&] { return root * 2; }, [&] { return x + 1; });
                  },
                  at, {1, 1, 1});
  expect_gradient("the other branch",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x), twice = root * 2;
                    return cond(
                        x.min() < 0, [&] { return x * 3; }, [&] { return twice; });
                  },
                  at, {3, 3, 3});
  expect_gradient("used outside as well",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x), part = x * x;
                    return part + cond(
                                      x.min() > 0, [&] { return root * part; }, [&] { return x; });
                  },
                  at, {9, -1, 1});
  expect_gradient("two regions",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);
                    const Tensor a = cond(
                        x.min() > 0, [&] { return root; }, [&] { return x; });
                    const Tensor b = cond(
                        x.sum() > 100, [&] { return root * 2; }, [&] { return x * 2; });
                    return a + b;
                  },
                  at, {3, 3, 3});
  expect_gradient("one behind the other",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);
                    const Tensor a = cond(
                        x.sum() > 0, [&] { return root * 1; }, [&] { return x; });
                    const Tensor b = exp(a);
                    return cond(
                        x.min() > 0, [&] { return b; }, [&] { return x * 5; });
                  },
                  at, {5, 5, 5});
  expect_gradient("one inside the other",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);
                    return cond(
                        x.sum() > 0,
                        [&] {
                          return cond(
                              x.min() > 0, [&] { return root * 1; }, [&] { return x * 7; });
                        },
                        [&] { return x; });
                  },
                  at, {7, 7, 7});
  expect_gradient("inside the branch not taken",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x), other = log(x);
                    return cond(
                        x.sum() < 0, [&] { return other; },
                        [&] {
                          return cond(
                              x.min() > 0, [&] { return root * other; }, [&] { return x * 7; });
                        });
                  },
                  at, {7, 7, 7});
  expect_gradient("no turn",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);
                    return while_loop([&](const Tensor& v) { return v.sum() < 0; },
                                      [&](const Tensor& v) { return Tensors{v + root}; },
                                      {x * 2})[0];
                  },
                  at, {2, 2, 2});
}

/// At each step of a loop: what the steps behind do not read, and results that nobody uses.
TEST(Untaken, StepsOfLoopsWithoutAGradient) {
  expect_gradient("a step reads nothing of the one before",
                  [](const Tensor& x) {
                    return while_loop([](const Tensor& i, const Tensor&) { return i < 3; },
                                      [&](const Tensor& i, const Tensor& v) {
                                        return Tensors{i + 1, cond(
                                                                  i < 2, [&] { return sqrt(v); },
                                                                  [&] { return x * 3; })};
                                      },
                                      {zeros({}, i64), x * 1})[1];
                  },
                  {4, -1, 0}, {3, 3, 3});
  expect_gradient("a result that nobody uses",
                  [](const Tensor& x) {
                    const std::vector<Tensor> v = while_loop(
                        [](const Tensor& i, const Tensor&, const Tensor&) { return i < 2; },
                        [](const Tensor& i, const Tensor& a, const Tensor& b) {
                          return Tensors{i + 1, sqrt(a), b * 2};
                        },
                        {zeros({}, i64), x * 1, x * 1});
                    return v[2];
                  },
                  {4, -1, 0}, {4, 4, 4});
  expect_gradient("of a branch, too",
                  [](const Tensor& x) {
                    const std::vector<Tensor> v = cond(
                        x.sum() > 0,
                        [&] {
                          return Tensors{sqrt(x), x * 2};
                        },
                        [&] {
                          return Tensors{x, log(x)};
                        });
                    return v[1];
                  },
                  {4, -1, 0}, {2, 2, 2});
  expect_gradient("what the first step does not read",
                  [](const Tensor& x) {
                    return while_loop([](const Tensor& i, const Tensor&) { return i < 2; },
                                      [&](const Tensor& i, const Tensor&) {
                                        return Tensors{i + 1, x * 3};
                                      },
                                      {zeros({}, i64), sqrt(x)})[1];
                  },
                  {4, -1, 0}, {3, 3, 3});
  expect_gradient("rows of a fold",
                  [](const Tensor& x) {
                    return foldl([](const Tensor&, const Tensor& row) { return sqrt(row); },
                                 x.reshape({3, 1}), zeros({1}, f64));
                  },
                  {-1, 0, 4}, {0, 0, 0.25});
}

/// detach() and NoGrad inside of branches and loops.
TEST(Untaken, WhatIsDetachedInside) {
  expect_gradient("a branch",
                  [](const Tensor& x) {
                    return cond(
                        x.sum() > 0, [&] { return x * x.detach(); }, [&] { return x; });
                  },
                  {1, 2}, {1, 2});
  expect_gradient("a value of the branch",
                  [](const Tensor& x) {
                    return cond(
                        x.sum() > 0,
                        [&] {
                          const Tensor y = x * 3;
                          return y * y.narrow(0, 0, 2).detach();
                        },
                        [&] { return x; });
                  },
                  {1, 2}, {9, 18});
  expect_gradient("without a tape",
                  [](const Tensor& x) {
                    return cond(
                        x.sum() > 0,
                        [&] {
                          Tensor y;
                          {
                            const NoGrad off;
                            y = x * 2;
                          }
                          return x * y;
                        },
                        [&] { return x; });
                  },
                  {1, 2}, {2, 4});
  expect_gradient("rows",
                  [](const Tensor& x) {
                    return map_fn([](const Tensor& r) { return r * (r * 2).detach(); }, x);
                  },
                  {1, 2}, {2, 4});
  expect_gradient("a loop",
                  [](const Tensor& x) {
                    return while_loop([](const Tensor& v) { return v.sum() < 10; },
                                      [&](const Tensor& v) { return Tensors{v.detach() + x}; },
                                      {x * 0})[0];
                  },
                  {1, 2}, {1, 1});
}

/// Second derivatives run the function again.
TEST(Untaken, WhatIsDetachedInSecondDerivatives) {
  const auto f = [](const Tensor& x) { return x * x * (x * x).detach(); };
  const auto second = [](auto& g, const Tensor& x) {
    const Tensor y = g(x).sum();
    const Tensor d = grad({&y, 1}, {&x, 1}, {}, {.create_graph = true})[0];
    return grad(d.sum(), x).template to_vector<double>();
  };
  const Tensor x = leaf({1, 2});
  auto c = compile(f);
  EXPECT_EQ(second(f, x), (Values{2, 8}));
  EXPECT_EQ(second(c, x), (Values{2, 8}));
}

TEST(Untaken, TheBranchTakenHasItsGradient) {
  const auto f = [](const Tensor& x) {
    const Tensor root = sqrt(x);
    return cond(
        x.min() > 0, [&] { return root * 2; }, [&] { return x + 1; });
  };
  expect_gradient("taken", f, {4, 1, 0.25}, {0.5, 1, 2});
  expect_gradient("both branches",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);
                    return cond(
                        x.min() > 0, [&] { return root * 2; }, [&] { return root * root; });
                  },
                  {4, 1, 0.25}, {0.5, 1, 2});
  expect_gradient("turns",
                  [](const Tensor& x) {
                    const Tensor root = sqrt(x);
                    return while_loop([](const Tensor& v) { return v.sum() < 10; },
                                      [&](const Tensor& v) { return Tensors{v + root}; },
                                      {x * 0})[0];
                  },
                  {4, 1, 0.25}, {0.75, 1.5, 3});
}

/// What lies in front of a compiled function has no gradient either.
TEST(Untaken, ReachesNothingInFrontOfAFunction) {
  auto f = compile([](const Tensor& root, const Tensor& x) {
    return cond(
        x.min() > 0, [&] { return root * 2; }, [&] { return x + 1; });
  });
  const Tensor x = leaf({4, -1, 0}), y = leaf({4, 1, 0.25});
  EXPECT_EQ(grad(f(sqrt(x), x).sum(), x).to_vector<double>(), (Values{1, 1, 1}));
  EXPECT_EQ(grad(f(sqrt(y), y).sum(), y).to_vector<double>(), (Values{0.5, 1, 2}));
  const Tensor a = leaf({1}), b = leaf({-1});
  const Tensor loss = f(a, b).sum();
  const std::vector<Tensor> by{a, b};
  const Tensors d = grad({&loss, 1}, by, {}, {.allow_unused = true});
  EXPECT_FALSE(d[0].defined());
  EXPECT_EQ(d[1].item<double>(), 1);
}

/// A gradient that is a constant of the graph is none, too.
TEST(Untaken, ConstantGradients) {
  const auto f = [](const Tensor& a, const Tensor& x) {
    const Tensor v = apply(LinearRecurrence{}, {a, x});
    return cond(
        x > 0, [&] { return x * 2; }, [&] { return v * 1; });
  };
  auto c = compile(f);
  auto scalar = [](double v) { return full({}, v, f64).requires_grad_(); };
  const Tensor a = scalar(0.5), x = scalar(2);
  const Tensor y = c(a, x);
  const std::vector<Tensor> by{a, x};
  const Tensors d = grad({&y, 1}, by, {}, {.allow_unused = true});
  EXPECT_FALSE(d[0].defined());
  EXPECT_EQ(d[1].item<double>(), 2);
}

/// A loop inside a fold that makes no turn: what it would have used is no part of the gradient.
TEST(Untaken, LoopsInsideOfLoops) {
  const auto f = [](const Tensor& x, const Tensor& w) {
    return scan(
        [&](const Tensor&, const Tensor& row) {
          return while_loop([](const Tensor& v) { return v.sum() > 10; },
                            [&](const Tensor& v) { return Tensors{v * w}; }, {row})[0];
        },
        x.reshape({2, 1}), zeros({1}, f64));
  };
  auto c = compile(f);
  const Tensor x = leaf({1, 2}), w = leaf({0.5}), y = leaf({1, 16});
  const std::vector<Tensor> by{x, w};
  const Tensor none = c(x, w).sum(), one = c(y, w).sum();
  const Tensors d = grad({&none, 1}, by, {}, {.allow_unused = true});
  EXPECT_EQ(d[0].to_vector<double>(), (Values{1, 1}));
  EXPECT_FALSE(d[1].defined());
  EXPECT_EQ(grad(one, w).to_vector<double>(), (Values{16}));
}

/// A parameter without a gradient is not updated: no decay of the weight, no step counted.
TEST(Untaken, ParametersAreNotUpdated) {
  const auto train = [](int way) {
    Tensor a = leaf({1, 2}), b = leaf({3, 4});
    optim::AdamW optimizer({a, b}, {.lr = 0.1, .weight_decay = 0.5});
    const auto loss_of = [&](const Tensor& x) {
      return (cond(
                  x.sum() > 0, [&] { return a * x; }, [&] { return b * b * x; }))
          .sum();
    };
    const auto step = [&](const Tensor& x) {
      optimizer.zero_grad();
      const Tensor loss = loss_of(x);
      loss.backward();
      optimizer.step();
      return loss;
    };
    const std::vector<Tensor> inputs{ones({2}, f64), ones({2}, f64), -ones({2}, f64),
                                     ones({2}, f64)};
    auto c = compile(step, {.deterministic = true});
    if (way < 2) {
      for (const Tensor& x : inputs) way == 0 ? step(x) : c(x);
    } else {
      auto g = Graph::make();
      Tensor place, op;
      {
        const GraphScope scope(g);
        place = placeholder("x", {2}, f64);
        op = minimize(optimizer, loss_of(place));
      }
      Session session(g);
      for (const Tensor& x : inputs) session.run(op, {{place, x}});
    }
    Values all = a.detach().to_vector<double>();
    for (const double v : b.detach().to_vector<double>()) all.push_back(v);
    return all;
  };
  const Values plain = train(0);
  EXPECT_EQ(train(1), plain);
  EXPECT_EQ(train(2), plain);
}

}  // namespace
}  // namespace tandem
