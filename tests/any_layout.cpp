// Inside graphs as in plain code: tensors that lie otherwise than row by row in memory, views, and
// what is written through them.
#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/plan_check.h"
#include "tandem/graph/session.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/number.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using Values = std::vector<double>;

/// One step of `optimizer` for the loss sum(w), whose gradient is one number for all elements:
/// compiled, and in a session.
template <class O, class Options>
void expect_step(const char* name, Options options, double want) {
  for (int way = 0; way < 3; ++way) {
    Tensor w = ones({3}, f64);
    w.requires_grad_();
    O optimizer({w}, options);
    auto step = [&](const Tensor& x) {
      optimizer.zero_grad();
      Tensor loss = w.sum() + 0 * x.sum();
      loss.backward();
      optimizer.step();
      return loss;
    };
    if (way == 0) step(ones({1}, f64));
    if (way == 1) compile(step)(ones({1}, f64));
    if (way == 2) {
      auto g = Graph::make();
      Tensor train;
      {
        const GraphScope scope(g);
        train = minimize(optimizer, w.sum());
      }
      Session(g).run(train);
    }
    for (const double v : w.detach().to_vector<double>()) EXPECT_NEAR(v, want, 1e-6) << name << way;
  }
}

TEST(AnyLayout, UpdatesReadGradientsThatAreOneNumber) {
  expect_step<optim::SGD, optim::SGDOptions>("SGD ", {.lr = 0.25}, 0.75);
  expect_step<optim::SGD, optim::SGDOptions>("momentum ", {.lr = 0.25, .momentum = 0.9}, 0.75);
  expect_step<optim::Adam, optim::AdamOptions>("Adam ", {.lr = 0.1}, 0.9);
  // The average of squares is 0.01 after the first step.
  expect_step<optim::RMSprop, optim::RMSpropOptions>("RMSprop ", {.lr = 0.01}, 0.9);
  expect_step<optim::Adagrad, optim::AdagradOptions>("Adagrad ", {.lr = 0.1}, 0.9);
}

TEST(AnyLayout, UpdatesReadTransposedGradients) {
  // w's gradient is a transposed look at the product's.
  for (const bool compiled : {false, true}) {
    Tensor w = arange(6).to(f64).reshape({2, 3}).detach();
    w.requires_grad_();
    optim::SGD optimizer({w}, {.lr = 1});
    const Tensor weights = arange(6).to(f64).reshape({3, 2});
    auto step = [&](const Tensor& x) {
      optimizer.zero_grad();
      Tensor loss = (w.transpose(0, 1) * weights * x).sum();
      loss.backward();
      optimizer.step();
      return loss;
    };
    if (compiled) compile(step)(ones({}, f64));
    else step(ones({}, f64));
    EXPECT_EQ(w.detach().to_vector<double>(), (Values{0, -1, -2, 2, 1, 0}));
  }
}

/// What copies in plain code copies when compiled: writing to the copy leaves the argument alone.
TEST(AnyLayout, ArgumentsThatLieOtherwiseAreCopied) {
  const auto expect = [](const char* what, auto f, bool copies) {
    for (const bool compiled : {false, true}) {
      const Tensor x = ones({2, 3}).transpose(0, 1);
      const Tensor y = compiled ? compile(f)(x) : f(x);
      EXPECT_EQ(y.sum().template item<double>(), 12) << what << compiled;
      EXPECT_EQ(x.sum().template item<double>(), copies ? 6 : 12) << what << compiled;
    }
  };
  const auto add = [](Tensor y) {
    y += 1;
    return y;
  };
  expect(
      "contiguous", [&](const Tensor& x) { return add(contiguous(x)); }, true);
  expect(
      "reshape", [&](const Tensor& x) { return add(x.reshape({6})); }, true);
  expect(
      "flatten", [&](const Tensor& x) { return add(flatten(x)); }, true);
  expect(
      "transpose", [&](const Tensor& x) { return add(x.transpose(0, 1)); }, false);
  expect(
      "unsqueeze", [&](const Tensor& x) { return add(x.unsqueeze(0)); }, false);
  expect(
      "inside", [&](const Tensor& x) { return add(contiguous((x * 1).transpose(0, 1))); }, true);
}

TEST(AnyLayout, OneFunctionTakesManyLayouts) {
  const auto f = [](const Tensor& x) {
    Tensor y = x.reshape({6});
    y += 1;
    return x * 10 + y.reshape({3, 2});
  };
  auto c = compile(f);
  for (int k = 0; k < 2; ++k) {
    const Tensor rows = ones({3, 2}), columns = ones({2, 3}).transpose(0, 1);
    EXPECT_EQ(c(rows).to_vector<float>(), std::vector<float>(6, 22));
    EXPECT_EQ(c(columns).to_vector<float>(), std::vector<float>(6, 12));
    EXPECT_EQ(rows.sum().item<float>(), 12);
    EXPECT_EQ(columns.sum().item<float>(), 6);
  }
}

// --- detach() ----------------------------------------------------------------------------------

/// f(x) is this, plain and compiled.
template <class F>
void expect_both(const char* what, F f, const Tensor& x, const Values& want) {
  EXPECT_EQ(f(x).template to_vector<double>(), want) << what << ", plain";
  auto c = compile(f);
  EXPECT_EQ(c(x).template to_vector<double>(), want) << what << ", compiled";
  EXPECT_EQ(c(x).template to_vector<double>(), want) << what << ", compiled again";
}

TEST(AnyLayout, DetachIsALook) {
  const Tensor x = ones({2, 2});
  expect_both("of a late view",
              [](const Tensor& v) {
                Tensor y = v * 2, t = y.transpose(0, 1);
                y += 10;
                return t.detach() * 1;
              },
              x, {12, 12, 12, 12});
  expect_both("of a view that was written",
              [](const Tensor& v) {
                Tensor y = v * 2, t = y.transpose(0, 1);
                t[1] += 10;
                return t.detach() * 1;
              },
              x, {2, 2, 12, 12});
  expect_both("written later",
              [](const Tensor& v) {
                Tensor y = v * 2, d = y.detach();
                y += 1;
                return d * 1;
              },
              x, {3, 3, 3, 3});
  expect_both("written through it",
              [](const Tensor& v) {
                Tensor y = v * 2, d = y.detach();
                d[0] += 1;
                return y * 1;
              },
              x, {3, 3, 2, 2});
  expect_both("of what the function made",
              [](const Tensor& v) {
                Tensor z = zeros({2, 2}), d = z.detach();
                d += v;
                return z + d;
              },
              x, {2, 2, 2, 2});
}

/// The history knows nothing of writes through a detached look; what is written through it has one.
TEST(AnyLayout, DetachHasNoHistory) {
  Tensor x = ones({2}, f64), w = ones({2}, f64) * 3;
  x.requires_grad_();
  expect_both("the base",
              [](const Tensor& v) {
                Tensor y = v * 2;
                Tensor d = y.detach();
                d *= 5;
                return grad((y * 1).sum(), v);
              },
              x, {2, 2});
  expect_both("the look",
              [](const Tensor& v) {
                Tensor y = v * 2, d = y.detach();
                y += 1;
                return grad((y * d).sum(), v);
              },
              x, {6, 6});
  expect_both("a look at the look",
              [](const Tensor& v) {
                Tensor y = v * 2, d = y.detach()[0];
                y += 1;
                return grad((y * d).sum(), v);
              },
              x, {6, 6});
  expect_both("what is written through it",
              [&](const Tensor& v) {
                Tensor y = w * 2, d = y.detach();
                d += v;
                return grad((d * d).sum(), v);
              },
              x, {14, 14});
}

// --- What builds for debugging verify ------------------------------------------------------------

TEST(PlanCheck, AKernelThatReadsAsIfRowMajorIsFound) {
  OpInfo info = op_info<Neg>();
  info.cpu = [](const void*, Inputs in, Outputs out) {
    const float* x = in[0].data<float>();
    for (int64_t i = 0; i < out[0].numel(); ++i) out[0].data<float>()[i] = -x[i];
  };
  const auto run = [&](const OpInfo& row, const Tensor& x) {
    Tensor in = x, out = empty(x.spec());
    const Neg op;
    graph::StepCheck check(row, &op, {&in, 1}, {&out, 1});
    row.cpu(&op, {&in, 1}, {&out, 1});
    check.compare();
  };
  const Tensor rows = arange(6).to(f32).reshape({2, 3});
  run(info, rows);
  run(op_info<Neg>(), rows.transpose(0, 1));
  EXPECT_EQ(testing::error_of<Error>([&] { run(info, rows.transpose(0, 1)); }),
            "plan: neg() does not read its operands as they lie: of result 0 element 1 is -1 and "
            "-3 of operands that lie row by row");
}

TEST(PlanCheck, AViewBeyondItsMemoryIsFound) {
  const Tensor whole = zeros({2, 3});
  graph::check_inside(7, whole.transpose(0, 1), 0, whole);
  graph::check_inside(7, flip(whole, {0}), 0, whole);
  graph::check_inside(7, zeros({3}), 12, whole);
  const Tensor late = zeros({4});
  EXPECT_EQ(testing::error_of<Error>([&] { graph::check_inside(7, late, 12, whole); }),
            "plan: value %7, a view of shape [4] and strides [1] from element 3 on, looks beyond "
            "the [2, 3] that it is a view of");
  EXPECT_EQ(testing::error_of<Error>([&] { graph::check_inside(7, late, -4, whole); }),
            "plan: value %7, a view of shape [4] and strides [1] from element -1 on, looks beyond "
            "the [2, 3] that it is a view of");
}

TEST(PlanCheck, RoundingsAreNoDifference) {
  using graph::rounding_difference;
  const Tensor a = tensor({1.f, 2.f, NAN}), b = tensor({1.f, 2.00001f, NAN});
  EXPECT_EQ(rounding_difference(a, b, 0), "");
  EXPECT_NE(rounding_difference(a, tensor({1.f, 2.1f, NAN}), 0), "");
  EXPECT_EQ(rounding_difference(a, tensor({1.f, 2.1f, NAN}), 1000), "");
  EXPECT_NE(rounding_difference(a, tensor({1.f, 2.f, 0.f}), 1000), "");
  EXPECT_NE(rounding_difference(tensor({1, 2}), tensor({1, 3}), 1000), "");
}

TEST(AnyLayout, NumbersOfTheProgramAreNodes) {
  for (const bool deterministic : {false, true}) {
    auto f = compile(
        [](const Tensor& x) {
          return x.sum() + apply(NumberOf{.value = 2.5}, {}) + apply(NumberOf{.value = 1.0}, {});
        },
        {.deterministic = deterministic});
    for (const int n : {1, 2, 3, 5, 2})
      EXPECT_EQ(f(ones({n}, f64)).item<double>(), n + 3.5) << "length " << n;
    EXPECT_EQ(f.captures(), 1);
  }
}

}  // namespace
}  // namespace tandem
