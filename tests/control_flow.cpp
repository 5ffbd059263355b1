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
    const Tensor x = full({3}, start);
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
    one = full({}, 1);
    two = full({}, 2);
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
  Tensor outside = zeros({3});
  auto writes = compile([&](const Tensor& x) {
    return cond(
        sum(x) > 0,
        [&] {
          outside += x;
          return x;
        },
        [&] { return x; });
  });
  EXPECT_THROW(writes(x3), NotImplemented);
  EXPECT_THROW(cond(
                   x3, [] { return x3; }, [] { return x3; }),
               ShapeError);
}

}  // namespace
}  // namespace tandem
