#include "tandem/graph/control_flow.h"

#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/session.h"
#include "tandem/tandem.h"

namespace tandem {
namespace {

using Values = std::vector<double>;

/// The value and the gradients of f(x, w), eagerly and compiled, must be the same numbers.
template <class F>
void expect_same(F f, const Tensor& x0, const Tensor& w0) {
  auto with_gradients = [&](const Tensor& x, const Tensor& w) {
    const Tensor y = f(x, w);
    const Tensor inputs[] = {x, w};
    const Tensors d = grad({&y, 1}, inputs, {}, {.allow_unused = true});
    return std::vector<Tensor>{y, d[0].defined() ? d[0] : zeros_like(x),
                               d[1].defined() ? d[1] : zeros_like(w)};
  };
  Tensor x = x0.clone(), w = w0.clone();
  x.requires_grad_();
  w.requires_grad_();
  const std::vector<Tensor> want = with_gradients(x, w);
  auto compiled = compile(with_gradients);
  const std::vector<Tensor> got = compiled(x, w);
  for (size_t i = 0; i < want.size(); ++i) {
    const Values a = want[i].to_vector<double>(), b = got[i].to_vector<double>();
    ASSERT_EQ(a.size(), b.size()) << i;
    for (size_t k = 0; k < a.size(); ++k)
      EXPECT_NEAR(a[k], b[k], 1e-6 * (1 + std::abs(a[k]))) << "result " << i << " at " << k;
  }
}

const Tensor x3 = tensor({0.5f, -1.f, 2.f}), w3 = tensor({1.5f, 0.25f, -0.75f});

TEST(ControlFlow, CondTakesOneBranchAndItsGradient) {
  for (double scale : {1.0, -1.0})
    expect_same(
        [&](const Tensor& x, const Tensor& w) {
          const Tensor s = sum(x) * scale;
          return sum(cond(
              s > 0, [&] { return exp(x) * w; }, [&] { return x - w * 2; }));
        },
        x3, w3);
}

TEST(ControlFlow, CondWithSeveralResults) {
  expect_same(
      [](const Tensor& x, const Tensor& w) {
        const auto both = cond(
            sum(x) > 100,
            [&] {
              return std::vector<Tensor>{x, w};
            },
            [&] {
              return std::vector<Tensor>{w * x, x};
            });
        return sum(both[0] * both[1]);
      },
      x3, w3);
}

TEST(ControlFlow, SwitchCase) {
  for (int64_t k : {0, 1, 2, 7})
    expect_same(
        [&](const Tensor& x, const Tensor& w) {
          const Tensor index = full({}, k, i64);
          return sum(switch_case(
              index, [&] { return x * w; }, [&] { return x + w; }, [&] { return x - w; }));
        },
        x3, w3);
}

TEST(ControlFlow, WhileLoop) {
  expect_same(
      [](const Tensor& x, const Tensor& w) {
        const auto out = while_loop([](const Tensor& i, const Tensor&) { return i < 4; },
                                    [&](const Tensor& i, const Tensor& v) {
                                      return std::vector<Tensor>{i + 1, tanh(v * w) + x};
                                    },
                                    {zeros({}, i64), x});
        return sum(out[1] * out[1]);
      },
      x3, w3);
}

TEST(ControlFlow, WhileLoopWhoseLengthDependsOnValues) {
  auto f = [](const Tensor& x) {
    return while_loop([](const Tensor& v) { return sum(v) < 100; },
                      [](const Tensor& v) { return v * 2; }, {x})[0];
  };
  auto g = compile(f);
  for (double start : {1.0, 7.0, 200.0}) {
    const Tensor x = full({3}, start, f32);
    EXPECT_EQ(g(x).to_vector<float>(), f(x).to_vector<float>());
  }
  EXPECT_EQ(g.captures(), 1);
}

TEST(ControlFlow, Folds) {
  const Tensor elements = tensor({{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}, {-1.f, 0.5f, 2.f}});
  auto step = [](const Tensor& w) {
    return [&w](const Tensor& a, const Tensor& e) { return a * w + e; };
  };
  expect_same(
      [&](const Tensor& x, const Tensor& w) { return sum(foldl(step(w), elements * x, x) * w); },
      x3, w3);
  expect_same(
      [&](const Tensor& x, const Tensor& w) { return sum(foldr(step(w), elements * x, x) * w); },
      x3, w3);
  expect_same(
      [&](const Tensor& x, const Tensor& w) { return sum(square(scan(step(w), elements * x, x))); },
      x3, w3);
  expect_same(
      [&](const Tensor& x, const Tensor& w) {
        return sum(map_fn([&](const Tensor& e) { return exp(e * w); }, elements * x));
      },
      x3, w3);
}

/// Gradients of a penalty on the first gradients, f64.
template <class F>
void expect_same_second(F f, const Tensor& x0, const Tensor& w0) {
  const Tensor x = x0.to(f64).requires_grad_(), w = w0.to(f64).requires_grad_();
  auto values = [&](const Tensor& y, const Tensor& a, const Tensor& b) {
    const Tensors first = grad(y, {a, b}, {.create_graph = true});
    const Tensor penalty = sum(first[0] * first[0]) + sum(first[1] * b);
    const Tensors second = grad(penalty, {a, b}, {.create_graph = true});
    const Tensors third = grad(sum(second[0] * a) + sum(second[1]), {a, b});
    return std::vector<Tensor>{first[0], first[1], second[0], second[1], third[0], third[1]};
  };
  auto inside = [&](const Tensor& a, const Tensor& b) { return values(f(a, b), a, b); };
  auto compiled = compile(inside);
  auto forward = compile(f);
  const std::vector<Tensor> want = inside(x, w), got = compiled(x, w),
                            outside = values(forward(x, w), x, w);
  for (const std::vector<Tensor>& have : {got, outside})
    for (size_t i = 0; i < want.size(); ++i) {
      const Values a = want[i].to_vector<double>(), b = have[i].to_vector<double>();
      ASSERT_EQ(a.size(), b.size());
      for (size_t k = 0; k < a.size(); ++k)
        EXPECT_NEAR(a[k], b[k], 1e-10 * (1 + std::abs(a[k]))) << "result " << i << " at " << k;
    }
}

/// An empty result of the shape that one has, in eager code as in a graph, and its gradient.
TEST(ControlFlow, FoldsOverNothing) {
  const Tensor none = zeros({0, 3}), start = tensor({1.f, 2.f});
  auto each = [](const Tensor& x) {
    return map_fn([](const Tensor& e) { return (e * 2).unsqueeze(0).to(f64); }, x);
  };
  auto steps = [&](const Tensor& x) {
    return scan([](const Tensor& acc, const Tensor& e) { return acc + e.sum(); }, x, start);
  };
  EXPECT_EQ(each(none).spec(), (Spec{{0, 1, 3}, f64, {}}));
  EXPECT_EQ(steps(none).spec(), (Spec{{0, 2}, f32, {}}));
  auto c = compile(each);
  auto s = compile(steps);
  EXPECT_EQ(c(none).spec(), each(none).spec());
  EXPECT_EQ(s(none).spec(), steps(none).spec());
  const auto sum_up = [](const Tensor& acc, const Tensor& e) { return acc + e.sum(); };
  EXPECT_EQ(foldl(sum_up, none, start).to_vector<float>(), (std::vector<float>{1, 2}));
  EXPECT_EQ(foldr(sum_up, none, start).to_vector<float>(), (std::vector<float>{1, 2}));
  Tensor x = zeros({0, 3});
  x.requires_grad_();
  each(x).sum().backward();
  EXPECT_EQ(x.grad().shape(), (Shape{0, 3}));
  // f is recorded, not run: it draws nothing.
  manual_seed(5);
  map_fn([](const Tensor& e) { return e + rand({3}); }, none);
  const auto drawn = rand({4}).to_vector<float>();
  manual_seed(5);
  EXPECT_EQ(rand({4}).to_vector<float>(), drawn);
}

TEST(ControlFlow, FurtherDerivativesOfALoop) {
  expect_same_second(
      [](const Tensor& x, const Tensor& w) {
        const auto out = while_loop([](const Tensor& i, const Tensor&) { return i < 4; },
                                    [&](const Tensor& i, const Tensor& v) {
                                      return std::vector<Tensor>{i + 1, tanh(v * w) + x};
                                    },
                                    {zeros({}, i64), x});
        return sum(out[1] * out[1]);
      },
      x3, w3);
}

TEST(ControlFlow, FurtherDerivativesOfFolds) {
  const Tensor elements = tensor({{1., 2., 3.}, {4., 5., 6.}, {-1., 0.5, 2.}}, f64);
  expect_same_second(
      [&](const Tensor& x, const Tensor& w) {
        return sum(foldl([&](const Tensor& a, const Tensor& e) { return sin(a * w) * e; },
                         elements * x, x));
      },
      x3, w3);
  expect_same_second(
      [&](const Tensor& x, const Tensor& w) {
        const Tensor s =
            scan([&](const Tensor& a, const Tensor& e) { return sin(a * w) * e; }, elements * x, x);
        return sum(s * s * w);
      },
      x3, w3);
}

TEST(ControlFlow, FurtherDerivativesOfBranches) {
  for (double sign : {1.0, -1.0})
    expect_same_second(
        [&](const Tensor& x, const Tensor& w) {
          return cond(
              sum(x) * sign > 0, [&] { return sum(exp(x) * w); },
              [&] { return sum(x * x * w * w); });
        },
        x3, w3);
}

/// Three calls after one seed: values, gradients, and what other code draws afterwards.
template <class F>
void expect_same_draws(F f, const Tensor& x0) {
  auto values = [&](auto& call) {
    manual_seed(11);
    Values all;
    for (double scale : {1.0, -1.0, 2.0}) {
      Tensor x = x0 * scale;
      x.requires_grad_();
      const std::vector<Tensor> got = call(x);
      for (const Tensor& t : got)
        for (double v : t.to_vector<double>()) all.push_back(v);
      for (double v : rand({2}).to_vector<double>()) all.push_back(v);
    }
    all.push_back(double(default_generator().offset()));
    return all;
  };
  auto step = [&](const Tensor& x) {
    const Tensor y = f(x);
    const Tensor loss = sum(y * y) + sum(dropout(x, 0.5, true));
    return std::vector<Tensor>{y, grad(loss, x)};
  };
  auto compiled = compile(step);
  const Values want = values(step), got = values(compiled);
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(want[i], got[i], 1e-6 * (1 + std::abs(want[i]))) << i;
  EXPECT_EQ(compiled.captures(), 1);
}

TEST(ControlFlow, RandomNumbersInALoopAreThoseOfEagerCode) {
  expect_same_draws(
      [](const Tensor& x) {
        const Tensor first = dropout(x, 0.5, true);
        const Tensor h =
            while_loop([](const Tensor& v) { return sum(abs(v)) < 20; },
                       [&](const Tensor& v) { return dropout(v * 1.7, 0.3, true) + first; }, {x},
                       {.maximum_iterations = 9})[0];
        return h + randn_like(h);
      },
      tensor({0.5f, -1.f, 2.f, 0.1f, 0.7f}));
}

TEST(ControlFlow, RandomNumbersInBranchesAreThoseOfEagerCode) {
  expect_same_draws(
      [](const Tensor& x) {
        const Tensor h = cond(
            sum(x) > 0, [&] { return dropout(dropout(x, 0.5, true), 0.1, true); },
            [&] { return x * 2; });
        return cond(
            sum(x) > 2, [&] { return h; }, [&] { return h * rand_like(h); });
      },
      tensor({0.5f, -1.f, 2.f, 0.1f, 0.7f}));
}

TEST(ControlFlow, RandomNumbersInFoldsAreThoseOfEagerCode) {
  const Tensor x0 = tensor({{0.5f, -1.f}, {2.f, 0.1f}, {0.7f, 3.f}});
  auto start = [](const Tensor& x) { return x.select(0, 0); };
  auto step = [](const Tensor& a, const Tensor& e) {
    return cond(
        sum(e) > 1, [&] { return dropout(a + e, 0.4, true); }, [&] { return a - e; });
  };
  expect_same_draws([&](const Tensor& x) { return foldl(step, x, start(x)); }, x0);
  expect_same_draws([&](const Tensor& x) { return foldr(step, x, start(x)); }, x0);
  expect_same_draws([&](const Tensor& x) { return scan(step, x, start(x)); }, x0);
  expect_same_draws(
      [&](const Tensor& x) {
        return map_fn([](const Tensor& e) { return dropout(e, 0.4, true); }, x);
      },
      x0);
}

TEST(ControlFlow, RandomNumbersInASessionGoOn) {
  manual_seed(4);
  Values want;
  for (int run = 0; run < 2; ++run)
    for (double v : (rand({3}) + rand({3})).to_vector<double>()) want.push_back(v);
  manual_seed(4);
  const auto graph = Graph::make();
  Tensor y;
  {
    const GraphScope scope(graph);
    y = while_loop([](const Tensor& i, const Tensor&) { return i < 2; },
                   [](const Tensor& i, const Tensor& v) {
                     return std::vector<Tensor>{i + 1, v + rand({3})};
                   },
                   {zeros({}, i64), zeros({3})})[1];
  }
  Session s(graph);
  Values got;
  for (int run = 0; run < 2; ++run)
    for (double v : s.run(y).to_vector<double>()) got.push_back(v);
  EXPECT_EQ(got, want);
}

TEST(ControlFlow, ManyTensorsFromOutside) {
  std::vector<Tensor> many;
  for (int i = 0; i < 40; ++i) many.push_back(full({3}, 0.1 * i));
  expect_same(
      [&](const Tensor& x, const Tensor& w) {
        std::vector<Tensor> used;
        for (const Tensor& t : many) used.push_back(t * w);
        auto all = [&](Tensor h) {
          for (const Tensor& t : used) h = tanh(h) + t;
          return h;
        };
        const Tensor a = cond(
            sum(x) > 0, [&] { return all(x); }, [&] { return x; });
        const auto b = while_loop([](const Tensor& i, const Tensor&) { return i < 2; },
                                  [&](const Tensor& i, const Tensor& v) {
                                    return std::vector<Tensor>{i + 1, all(v)};
                                  },
                                  {zeros({}, i64), a});
        return sum(b[1] * b[1]);
      },
      x3, w3);
}

TEST(ControlFlow, ABatchOfAnySizeIsOneCapture) {
  const Tensor w = w3.clone().requires_grad_();
  auto f = [&](const Tensor& x) {
    const Tensor h = while_loop([](const Tensor& i, const Tensor&) { return i < 3; },
                                [&](const Tensor& i, const Tensor& v) {
                                  return std::vector<Tensor>{i + 1, tanh(v * w) + v.mean()};
                                },
                                {zeros({}, i64), x})[1];
    const Tensor y = cond(
        sum(x) > 0, [&] { return mean(h * w); }, [&] { return sum(h) / double(x.size(0)); });
    return std::vector<Tensor>{y, grad(y, w)};
  };
  auto g = compile(f);
  for (int64_t n : {2, 5, 3, 2}) {
    const Tensor x = randn({n, 3});
    const auto want = f(x), got = g(x);
    for (size_t i = 0; i < 2; ++i) EXPECT_LT(abs(want[i] - got[i]).max().item<double>(), 1e-6) << n;
  }
  EXPECT_EQ(g.captures(), 1) << g.reasons().back();
}

TEST(ControlFlow, InASession) {
  const auto graph = Graph::make();
  const GraphScope scope(graph);
  const Tensor a = placeholder("a", {}), b = placeholder("b", {});
  const Tensor c = cond(
      a < b, [&] { return a * 10; }, [&] { return b + 1; });
  Session s(graph);
  Tensor one, two;
  {
    const EagerScope now;
    one = full({}, 1.0);
    two = full({}, 2.0);
  }
  EXPECT_EQ(s.run(c, {{a, one}, {b, two}}).item<float>(), 10);
}

TEST(ControlFlow, Errors) {
  auto bad = compile([](const Tensor& x) {
    return cond(
        sum(x) > 0, [&] { return x; }, [&] { return sum(x); });
  });
  try {
    bad(x3);
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "cond(): result 0 is f32[3] in one branch and f32[] in the other");
  }
  // One memory by two handles, of which the branch writes one.
  Tensor outside = zeros({3});
  const Tensor view = outside[range(1, 3)];
  auto twice = compile([&](const Tensor& x) {
    return cond(
        sum(x) > 0,
        [&] {
          outside += x;
          return sum(view);
        },
        [&] { return sum(x); });
  });
  EXPECT_THROW(twice(x3), NotImplemented);
  // Another value of the graph.
  auto local = compile([](const Tensor& x) {
    Tensor y = x * 2;
    return cond(
        sum(x) > 0,
        [&] {
          y += 1;
          return y;
        },
        [&] { return x; });
  });
  EXPECT_THROW(local(x3), NotImplemented);
  EXPECT_THROW(cond(
                   x3, [] { return x3; }, [] { return x3; }),
               ShapeError);
}

}  // namespace
}  // namespace tandem
