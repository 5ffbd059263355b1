// Inside graphs as in plain code: tensors that lie otherwise than row by row in memory, views, and
// what is written through them.
#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/session.h"
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
