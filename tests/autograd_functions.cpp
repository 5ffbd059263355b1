// User-written functions, gradcheck and functions recorded as graphs.
#include <gtest/gtest.h>

#include <vector>

#include "tandem/autograd/autograd.h"
#include "tandem/autograd/function.h"
#include "tandem/autograd/gradcheck.h"
#include "tandem/core/factory.h"
#include "tandem/graph/ir.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"
#include "tests/support/errors.h"
#include "tests/support/leaf.h"

namespace tandem {
namespace {

using testing::Doubles;
using testing::error_of;
using testing::leaf;
using testing::values;

struct Cube {
  Tensor x;
  Tensor forward(const Tensor& in) {
    x = in;
    return in * in * in;
  }
  Tensor backward(const Tensor& dy) { return dy * x * x * 3.0; }
};
struct WrongCube : Cube {
  Tensor backward(const Tensor& dy) { return dy * x * x; }
};
struct SumAndProduct {
  Tensor a, b;
  Tensors forward(const Tensor& x, const Tensor& y) {
    a = x;
    b = y;
    return {x + y, x * y};
  }
  Tensors backward(const Tensors& dy) { return {dy[0] + dy[1] * b, dy[0] + dy[1] * a}; }
};

TEST(Custom, GradientsOfAnyOrder) {
  const Tensor x = leaf({2, 3});
  const Tensor y = custom<Cube>(x);
  EXPECT_EQ(values(y), (Doubles{8, 27}));
  const Tensor g = grad(y.sum(), x, {.create_graph = true});
  EXPECT_EQ(values(g), (Doubles{12, 27}));
  EXPECT_EQ(values(grad(g.sum(), x)), (Doubles{12, 18}));
}

TEST(Custom, SeveralOutputs) {
  const Tensor x = leaf({2, 3}), y = leaf({5, 7});
  const Tensors out = custom<SumAndProduct>(x, y);
  (out[0] * 2.0 + out[1]).sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{7, 9}));
  EXPECT_EQ(values(y.grad()), (Doubles{4, 5}));
}

TEST(Gradcheck, AcceptsRightAndRefusesWrongGradients) {
  const Tensor x = leaf({0.5, -1.5});
  gradcheck([](const Tensors& in) { return custom<Cube>(in[0]); }, {x}, {.second = true});
  EXPECT_THROW(gradcheck([](const Tensors& in) { return custom<WrongCube>(in[0]); }, {x}),
               GradientError);
  EXPECT_THROW(gradcheck([](const Tensors& in) { return exp(in[0].detach()) * in[0]; }, {x}),
               GradientError);
}

struct Forgets {
  int outputs;
  Tensors forward(const Tensor& x) {
    Tensors out;
    for (int i = 0; i < outputs; ++i) out.push_back(i ? Tensor() : x * 2.0);
    return out;
  }
  Tensors backward(const Tensors&) { return {}; }
};
struct Nothing {
  Tensor forward(const Tensor&) { return {}; }
  Tensor backward(const Tensor&) { return {}; }
};

TEST(Custom, UndefinedAndMissingResultsAreErrors) {
  for (const bool wanted : {false, true}) {
    const Tensor x = leaf({2, 3}).requires_grad_(wanted);
    EXPECT_EQ(error_of<ValueError>([&] { custom(Forgets{0}, x); }),
              "custom(): forward gave 0 outputs; it must give 1 to 65535");
    EXPECT_EQ(error_of<ValueError>([&] { custom(Forgets{2}, x); }),
              "custom(): forward gave an undefined tensor for output 1");
    EXPECT_EQ(error_of<ValueError>([&] { custom<Nothing>(x); }),
              "custom(): forward gave an undefined tensor for output 0");
    EXPECT_EQ(error_of<ValueError>([&] { custom(Forgets{65536}, x); }),
              "custom(): forward gave 65536 outputs; it must give 1 to 65535");
  }
  const Tensor x = leaf({2, 3});
  EXPECT_EQ(error_of<GradientError>([&] { custom(Forgets{1}, x)[0].sum().backward(); }),
            "custom(): backward gave 0 gradients for 1 inputs; an input without one gets an "
            "undefined tensor");
}

TEST(Custom, HistoryOfAKeptInputReachesTheSecondOrder) {
  // y = (2x)^3 through a kept result of an op: y'' = 48 x
  const Tensor x = leaf({2, 3});
  const Tensor g = grad(custom<Cube>(x * 2.0).sum(), x, {.create_graph = true});
  EXPECT_EQ(values(g), (Doubles{96, 216}));
  EXPECT_EQ(values(grad(g.sum(), x)), (Doubles{96, 144}));
}

// --- What a function keeps is watched ------------------------------------------------------------

struct KeepsOutput {
  Tensor y;
  Tensor forward(const Tensor& x) { return y = exp(x); }
  Tensor backward(const Tensor& dy) { return dy * y; }
};
struct KeepsView {
  Tensor row;
  Tensor forward(const Tensor& x) {
    row = x.select(0, 0);
    return x * row;
  }
  Tensor backward(const Tensor& dy) { return dy * row; }
};
struct KeepsNothing {
  Tensor forward(const Tensor& x) { return x.reshape({-1}); }
  Tensor backward(const Tensor& dy) { return dy; }
};
struct KeepsACopy {
  Tensor x;
  Tensor forward(const Tensor& in) {
    x = in.detach().clone();
    return in * in;
  }
  Tensor backward(const Tensor& dy) { return dy * x * 2.0; }
};

TEST(Custom, AKeptInputThatIsOverwrittenIsAnError) {
  for (const bool is_leaf : {false, true}) {
    const Tensor x = leaf({2, 3});
    Tensor h = is_leaf ? x : x * 1.0;
    const Tensor y = custom<Cube>(h);
    {
      const NoGrad guard;  // with and without a history of its own
      h *= 2.0;
    }
    EXPECT_EQ(error_of<GradientError>([&] { y.sum().backward(); }),
              "backward(): custom() needs its input 0 of shape [2], which mul has overwritten "
              "(version 1, saved at 0)");
    EXPECT_FALSE(x.grad().defined());
  }
  const Tensor x = leaf({2, 3}), v = leaf({5, 7});
  Tensor h = v * 1.0;
  const Tensors out = custom<SumAndProduct>(x, h);
  h += x;
  EXPECT_EQ(error_of<GradientError>([&] { out[1].sum().backward(); }),
            "backward(): custom() needs its input 1 of shape [2], which add has overwritten "
            "(version 1, saved at 0)");
}

TEST(Custom, AKeptOutputOrViewThatIsOverwrittenIsAnError) {
  const Tensor x = leaf({2, 3});
  Tensor y = custom<KeepsOutput>(x);
  y *= 2.0;
  EXPECT_EQ(error_of<GradientError>([&] { y.sum().backward(); }),
            "backward(): custom() needs its output 0 of shape [2], which mul has overwritten "
            "(version 1, saved at 0)");
  Tensor h = x.reshape({2, 1}) * 1.0;
  const Tensor z = custom<KeepsView>(h);
  h.select(0, 1).fill_(1.0);
  EXPECT_EQ(error_of<GradientError>([&] { z.sum().backward(); }),
            "backward(): custom() needs its input 0 of shape [2, 1], which copy_into has "
            "overwritten (version 1, saved at 0)");
  const Tensor u = custom<Cube>(x);
  x.bump_version();
  EXPECT_EQ(error_of<GradientError>([&] { u.sum().backward(); }),
            "backward(): custom() needs its input 0 of shape [2], which a write through data() has "
            "overwritten (version 1, saved at 0)");
}

TEST(Custom, WhatIsNotKeptMayBeOverwritten) {
  const Tensor x = leaf({2, 3});
  Tensor h = x * 1.0;
  Tensor y = custom<KeepsNothing>(h), z = custom<KeepsACopy>(h);
  h *= 2.0;
  y *= 5.0;
  z *= 1.0;
  (y + z + h).sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{5 + 4 + 2, 5 + 6 + 2}));
}

TEST(Gradcheck, AFunctionThatThrowsLeavesTheInputsAsTheyWere) {
  const Tensor x = leaf({0.5, -1.5});
  int calls = 0;
  const auto f = [&](const Tensors& in) {
    if (++calls == 3) throw ValueError("third call");
    return in[0] * in[0];
  };
  EXPECT_EQ(error_of<ValueError>([&] { gradcheck(f, {x}); }), "third call");
  EXPECT_EQ(values(x), (Doubles{0.5, -1.5}));
}

// --- Recorded functions -------------------------------------------------------------------------

TEST(Recorded, BackwardIsPartOfTheGraph) {
  auto g = graph::Graph::make();
  const Tensor x = g->input("x", {{2, 3}, f64, {}});
  Tensor w = g->input("w", {{3}, f64, {}});
  const Tensor dy = g->input("dy", {{2}, f64, {}});
  w.requires_grad_();
  const Tensor y = (exp(x * w)).sum({1});
  y.backward(dy);
  g->output("y", y);
  g->output("dw", w.grad());
  EXPECT_EQ(to_string(*g),
            "graph(%x: f64[2, 3], %w: f64[3], %dy: f64[2])\n"
            "  %3: f64[2, 3] = mul(%x, %w)\n"
            "  %4: f64[2, 3] = exp(%3)\n"
            "  %y: f64[2] = sum(%4, axes=[1], keepdim=false)\n"
            "  %6: f64[2, 1] = reshape(%dy, shape=[2, 1])\n"
            "  %7: f64[2, 3] = expand(%6, shape=[2, 3])\n"
            "  %8: f64[2, 3] = mul(%7, %4)\n"
            "  %9: f64[2, 3] = mul(%8, %x)\n"
            "  %10: f64[1, 3] = sum(%9, axes=[0], keepdim=true)\n"
            "  %dw: f64[3] = reshape(%10, shape=[3])\n"
            "  return %y, %dw\n");
  const Tensor in[] = {wrap(Doubles{1, 2, 3, 4, 5, 6}, {2, 3}), zeros({3}, f64),
                       wrap(Doubles{1, 10}, {2})};
  const Tensors out = g->run(in);  // exp(0) = 1, so dw = x1 + 10 x2
  EXPECT_EQ(values(out[0]), (Doubles{3, 3}));
  EXPECT_EQ(values(out[1]), (Doubles{41, 52, 63}));
}

// --- Many inputs --------------------------------------------------------------------------------

TEST(ManyInputs, AsManyAsARecordTakesHaveGradients) {
  const Tensor x = leaf({1}), y = leaf({2, 3});
  std::vector<Tensor> parts(65535, x);
  parts.push_back(y);
  const Tensor all = cat(Inputs(parts.data(), parts.size()), 0);
  Doubles weights(65537, 1.0);
  weights.back() = 5;
  all.backward(wrap(std::move(weights), {65537}));
  EXPECT_EQ(values(x.grad()), (Doubles{65535}));
  EXPECT_EQ(values(y.grad()), (Doubles{1, 5}));
  parts.push_back(x);
  EXPECT_EQ(error_of<ValueError>([&] { cat(Inputs(parts.data(), parts.size()), 0); }),
            "cat(axis=0): takes inputs (tensors...), got 65537");
}

}  // namespace
}  // namespace tandem
