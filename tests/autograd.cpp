#include "tandem/autograd/autograd.h"

#include <gtest/gtest.h>

#include <thread>

#include "tandem/core/factory.h"
#include "tandem/io/npy.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"
#include "tests/support/compare.h"
#include "tests/support/cpu_time.h"
#include "tests/support/errors.h"
#include "tests/support/leaf.h"

namespace tandem {
namespace {

using testing::difference;
using testing::Doubles;
using testing::error_of;
using testing::growth;
using testing::leaf;
using testing::thread_seconds;
using testing::values;

const std::map<std::string, Tensor>& golden() {
  static const auto arrays = load_npz(TANDEM_SOURCE_DIR "/tests/golden/core.npz");
  return arrays;
}

TEST(Autograd, AccumulatesIntoLeaves) {
  const Tensor x = leaf({1, 2});
  (x * x).sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{2, 4}));
  (x * 3.0).sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{5, 7}));
  x.set_grad({});
  EXPECT_FALSE(x.grad().defined());
  (x * 3.0).sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{3, 3}));
}

TEST(Autograd, AGradientIsGivenForManyElements) {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * x;
  EXPECT_EQ(
      error_of<GradientError>([&] { y.backward(); }),
      "backward(): a gradient must be given for shape [2]; it may be left out for one element "
      "only");
  y.backward(wrap(Doubles{1, 10}, {2}));
  EXPECT_EQ(values(x.grad()), (Doubles{2, 40}));
  EXPECT_EQ(error_of<ShapeError>([&] { (x * x).backward(zeros({3}, f64)); }),
            "backward(): the gradient of shape [3] does not fit the output of shape [2]");
}

TEST(Autograd, TheUsersGradientIsNotShared) {
  const Tensor x = leaf({1, 2});
  const Tensor seed = ones({2}, f64);
  (x + 0.0).backward(seed);
  (x + 0.0).backward(seed);
  EXPECT_EQ(values(seed), (Doubles{1, 1}));
  EXPECT_EQ(values(x.grad()), (Doubles{2, 2}));
}

TEST(Autograd, AFreedGraphSaysSo) {
  const Tensor x = leaf({1, 2});
  const Tensor y = (x * x).sum();
  y.backward({}, true);
  y.backward();
  EXPECT_EQ(values(x.grad()), (Doubles{4, 8}));
  const std::string text = error_of<GradientError>([&] { y.backward(); });
  EXPECT_EQ(text,
            "backward(): the graph of mul() was freed by an earlier pass; use retain_graph to keep "
            "it");
}

TEST(Autograd, NoHistoryIsAnError) {
  EXPECT_EQ(error_of<GradientError>([] { ones({2}).sum().backward(); }),
            "backward(): the output of shape [] has no history: no input required a gradient");
}

TEST(Autograd, GradLeavesLeavesAlone) {
  const Tensor x = leaf({1, 2}), z = leaf({3, 4});
  const Tensors g = grad((x * z).sum(), {x, z});
  EXPECT_EQ(values(g[0]), (Doubles{3, 4}));
  EXPECT_EQ(values(g[1]), (Doubles{1, 2}));
  EXPECT_FALSE(x.grad().defined());
}

TEST(Autograd, GradByAnInnerValue) {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * x;
  EXPECT_EQ(values(grad((y * y).sum(), y)), (Doubles{2, 8}));
}

TEST(Autograd, UnusedInputs) {
  const Tensor x = leaf({1}), z = leaf({2});
  EXPECT_EQ(error_of<GradientError>([&] { grad((x * x).sum(), z); }),
            "grad(): input 0 of shape [1] is not used by the outputs; allow_unused gives an "
            "undefined tensor");
  const Tensors g = grad((x * x).sum(), {x, z}, {.allow_unused = true});
  EXPECT_TRUE(g[0].defined());
  EXPECT_FALSE(g[1].defined());
}

TEST(Autograd, ThirdOrderEqualsPyTorch) {
  const Tensor x = leaf({0.3, -1.2, 2.0});
  Tensor value = (exp(x * x) * x).sum();
  for (int order = 1; order <= 3; ++order) {
    const Tensor g = grad(value, x, {.create_graph = true});
    EXPECT_EQ(difference(g, golden().at(cat("third_order.", order))), "") << "order " << order;
    value = g.sum();
  }
}

TEST(Autograd, BackwardWithCreateGraphGivesDifferentiableGradients) {
  const Tensor x = leaf({2, 3});
  (x * x * x).sum().backward({}, false, true);
  const Tensor g = x.grad();
  EXPECT_TRUE(g.requires_grad());
  EXPECT_EQ(values(grad(g.sum(), x)), (Doubles{12, 18}));
}

TEST(Autograd, NoGradAndDetachCutTheTape) {
  const Tensor x = leaf({1, 2});
  {
    NoGrad off;
    EXPECT_FALSE((x * x).requires_grad());
    {
      EnableGrad on;
      EXPECT_TRUE((x * x).requires_grad());
    }
    EXPECT_FALSE(is_grad_enabled());
  }
  EXPECT_TRUE(is_grad_enabled());
  const Tensor y = x * x;
  EXPECT_FALSE(y.detach().requires_grad());
  EXPECT_EQ(y.detach().raw_data(), y.raw_data());
  (y.detach() * x).sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{1, 4}));
}

TEST(Autograd, HooksSeeAndReplaceGradients) {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * 2.0;
  int calls = 0;
  const int64_t seen = register_hook(y, [&](const Tensor& g) {
    ++calls;
    EXPECT_EQ(values(g), (Doubles{3, 3}));
  });
  register_hook(x, [](const Tensor& g) { return g * 10.0; });
  (y * 3.0).sum().backward({}, true);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(values(x.grad()), (Doubles{60, 60}));
  remove_hook(y, seen);
  (y * 3.0).sum().backward();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(error_of<GradientError>([] { register_hook(ones({1}), [](const Tensor&) {}); }),
            "register_hook(): the tensor requires no gradient");
}

TEST(Autograd, HooksAreRemovedOneByOne) {
  const Tensor x = leaf({1, 2});
  const Tensor y = x * 2.0;
  std::string calls;
  const int64_t a = register_hook(y, [&](const Tensor&) { calls += 'a'; });
  int64_t b = 0;
  b = register_hook(y, [&](const Tensor&) {
    calls += 'b';
    remove_hook(y, b);  // a hook may remove itself
  });
  const int64_t c = register_hook(x, [&](const Tensor& g) {
    calls += 'c';
    return g * 0.0;
  });
  const Tensor z = y.sum();
  z.backward({}, true);
  EXPECT_EQ(calls, "abc");
  EXPECT_EQ(values(x.grad()), (Doubles{0, 0}));
  remove_hook(x, a);  // of another tensor: nothing to remove
  z.backward({}, true);
  EXPECT_EQ(calls, "abcac");
  remove_hook(y, a);
  remove_hook(x, c);
  remove_hook(x, c);
  z.backward();
  EXPECT_EQ(calls, "abcac");
  EXPECT_EQ(values(x.grad()), (Doubles{2, 2}));
}

TEST(Autograd, AHookOfAWrongShapeIsAnError) {
  const Tensor x = leaf({1, 2});
  register_hook(x, [](const Tensor&) { return ones({3}, f64); });
  EXPECT_EQ(error_of<ShapeError>([&] { (x * 2.0).sum().backward(); }),
            "hook: returned shape [3] for a gradient of shape [2]");
}

TEST(Autograd, OverwrittenSavedValuesNameBothOps) {
  const Tensor x = leaf({1, 2});
  Tensor y = exp(x);
  y += 1.0;
  EXPECT_EQ(error_of<GradientError>([&] { y.sum().backward(); }),
            "backward(): exp() needs its output 0 of shape [2], which add has overwritten (version "
            "1, saved at 0)");
  Tensor a = x * 1.0;
  const Tensor b = a * a;
  a.zero_();
  EXPECT_EQ(error_of<GradientError>([&] { b.sum().backward(); }),
            "backward(): mul() needs its input 1 of shape [2], which copy_into has overwritten "
            "(version 1, saved at 0)");
}

TEST(Autograd, LeavesAreNotOverwritten) {
  Tensor x = leaf({1, 2});
  EXPECT_EQ(error_of<GradientError>([&] { x += 1.0; }),
            "add(): in-place write to a leaf that requires a gradient; use NoGrad, or an op that "
            "makes a copy");
  Tensor row = x.reshape({2, 1});
  EXPECT_EQ(error_of<GradientError>([&] { row += 1.0; }),
            "add(): in-place write to a view of a leaf that requires a gradient; use NoGrad, or an "
            "op that makes a copy");
  {
    NoGrad off;
    x += 1.0;
  }
  EXPECT_EQ(values(x), (Doubles{2, 3}));
}

TEST(Autograd, ExpandedMemoryIsNotWritten) {
  Tensor y = zeros({1, 3}).expand({2, 3});
  EXPECT_EQ(
      error_of<ShapeError>([&] { y += 1.0; }),
      "add(): in-place write to a tensor of shape [2, 3] and strides [0, 1], several elements of "
      "which are one in memory; write to a clone()");
}

TEST(Autograd, GradientsKeepTheLeafsDtypeAndShape) {
  Tensor x = full({2, 1}, 3.0, f16);
  x.requires_grad_();
  const Tensor y = x * ones({2, 3}, f64);
  EXPECT_EQ(y.dtype(), f64);
  y.sum().backward();
  EXPECT_EQ(to_string(x.grad().spec()), "f16[2, 1]");
  EXPECT_EQ(values(x.grad()), (Doubles{3, 3}));
  EXPECT_EQ(error_of<DTypeError>([] { zeros({1}, i64).requires_grad_(); }),
            "requires_grad_(): i64 tensors have no gradient");
}

TEST(Autograd, RequiresGradOfResultsIsFixed) {
  const Tensor x = leaf({1});
  Tensor y = x * x;
  EXPECT_EQ(error_of<GradientError>([&] { y.requires_grad_(false); }),
            "requires_grad_(): only leaves can be changed, this is a result");
}

// --- Views and in-place writes, as PyTorch does them --------------------------------------------

void expect_case(const std::string& name, Tensor (*function)(const Tensor&)) {
  Doubles start(12);
  for (int i = 0; i < 12; ++i) start[size_t(i)] = (i + 1) / 4.0;
  Tensor x = wrap(start, {3, 4});
  x.requires_grad_();
  const Tensor y = function(x);
  EXPECT_EQ(difference(y.detach(), golden().at(name + ".y")), "") << name;
  Doubles weights(size_t(y.numel()));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = double(i + 1) / 3;
  const Tensor g = grad((y * wrap(weights, y.shape())).sum(), x, {.create_graph = true});
  EXPECT_EQ(difference(g.detach(), golden().at(name + ".g")), "") << name;
  Tensor h = zeros({3, 4}, f64);
  if (g.requires_grad())
    if (const Tensor second = grad((g * g).sum(), {x}, {.allow_unused = true})[0]; second.defined())
      h = second;
  EXPECT_EQ(difference(h, golden().at(name + ".h")), "") << name;
}

Tensor row(const Tensor& x, int64_t i) { return x.select(0, i); }

TEST(InPlace, WriteToRow) {
  expect_case("write_to_row", [](const Tensor& x) {
    const Tensor y = x * x;
    Tensor r = row(y, 1);
    r *= row(x, 2);
    return y;
  });
}
TEST(InPlace, WriteToColumnOfTranspose) {
  expect_case("write_to_column_of_transpose", [](const Tensor& x) {
    const Tensor y = x * 2.0;
    Tensor column = y.transpose(0, 1).select(0, 2);
    column.copy_(x.select(1, 0));
    return y;
  });
}
TEST(InPlace, ReadAViewAfterAWriteToItsBase) {
  expect_case("read_a_view_after_a_write_to_its_base", [](const Tensor& x) {
    Tensor y = x * 2.0;
    const Tensor view = y.reshape({12});
    y *= x;
    return view * view;
  });
}
TEST(InPlace, WriteTwiceThroughNestedViews) {
  expect_case("write_twice_through_nested_views", [](const Tensor& x) {
    const Tensor y = x * x * x;
    Tensor part = y.narrow(0, 1, 2);
    part += 1.0;
    Tensor inner = part.narrow(1, 0, 2);
    inner *= x.narrow(0, 0, 2).narrow(1, 2, 2);
    return y * x;
  });
}
TEST(InPlace, AddToAResult) {
  expect_case("add_in_place_to_a_result", [](const Tensor& x) {
    Tensor z = exp(x) + 1.0;
    z += x;
    z *= 2.0;
    return z * x;
  });
}
TEST(InPlace, WriteIntoFreshZeros) {
  expect_case("write_into_fresh_zeros", [](const Tensor& x) {
    const Tensor y = zeros({3, 4}, f64);
    Tensor first = row(y, 0), third = row(y, 2);
    first.copy_(row(x, 1));
    third += row(x, 2) * row(x, 0);
    return y;
  });
}

// --- Size and threads ---------------------------------------------------------------------------

double chain_seconds(int n) {
  const Tensor x = leaf({1});
  const double start = thread_seconds();
  {
    Tensor y = x;
    for (int i = 0; i < n; ++i) y = y + x;
    y.sum().backward();
  }
  EXPECT_EQ(values(x.grad()), (Doubles{n + 1.0}));
  return thread_seconds() - start;
}

TEST(LongGraphs, NeitherOverflowNorCostMoreThanLinearly) {
  // Forty times the nodes: quadratic cost would be 40.
  EXPECT_LT(growth(chain_seconds, 5000, 200000, 10), 10);
}

TEST(LongGraphs, AreDroppedWithoutBackward) {
  const Tensor x = leaf({1});
  Tensor y = x;
  for (int i = 0; i < 100000; ++i) y = y * x;
  y = Tensor();
  EXPECT_FALSE(x.grad().defined());
}

/// Steps of a node's life that a hook can count; time would also count the machine's other work.
TEST(LongGraphs, EveryNodeIsVisitedOnce) {
  for (const int n : {1000, 100000}) {
    const Tensor x = leaf({1});
    int visits = 0;
    Tensor y = x;
    for (int i = 0; i < n; ++i) {
      y = y + y;
      y = y * 0.5;
      if (i % (n / 1000) == 0) register_hook(y, [&](const Tensor&) { ++visits; });
    }
    y.sum().backward();
    EXPECT_EQ(visits, 1000);
    EXPECT_EQ(values(x.grad()), (Doubles{1}));
  }
}

double roots_seconds(int n, bool inputs) {
  const Tensor x = leaf({1});
  Tensors roots, seeds;
  for (int i = 0; i < n; ++i) {
    roots.push_back(x * double(i % 7));
    seeds.push_back(ones({1}, f64));
  }
  const double start = thread_seconds();
  const Inputs all(roots.data(), roots.size()), given(seeds.data(), seeds.size());
  if (inputs) grad(all, all, given);
  else backward(all, given);
  return thread_seconds() - start;
}

TEST(LongGraphs, ManyRootsAndInputsCostNoMoreThanLinearly) {
  for (const bool inputs : {false, true}) {
    const auto seconds = [=](int n) { return roots_seconds(n, inputs); };
    EXPECT_LT(growth(seconds, 3000, 120000, 10), 10) << inputs;
  }
}

/// The gradient of a `cat` of rows whose shapes differ from the result's: each is asked for.
double cat_seconds(int n) {
  const Tensor x = leaf({1, 2});
  const std::vector<Tensor> rows(size_t(n), x);
  const Tensor y = cat(Inputs(rows.data(), rows.size()), 0);
  const double start = thread_seconds();
  y.sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{double(n), double(n)}));
  return thread_seconds() - start;
}

TEST(LongGraphs, AWideNodeCostsNoMoreThanLinearly) {
  EXPECT_LT(growth(cat_seconds, 1000, 40000, 10), 10);
}

/// Each step reads the sum before it is written, and all steps before.
double sum_in_place_seconds(int n) {
  const Tensor x = leaf({1});
  const double start = thread_seconds();
  {
    Tensor h = x * 1.0, total = zeros({1}, f64);
    const Tensor same = total;
    std::vector<Tensor> seen;
    for (int i = 0; i < n; ++i) {
      h = h * x;
      seen.push_back(total * x);
      total += h;
    }
    total.sum().backward();
  }
  EXPECT_EQ(values(x.grad()), (Doubles{0.5 * n * (n + 3.0)}));
  return thread_seconds() - start;
}

TEST(LongGraphs, WritesInPlaceCostNoMoreThanLinearly) {
  EXPECT_LT(growth(sum_in_place_seconds, 1000, 40000, 10), 10);
}

TEST(LongGraphs, GradThroughADiamondLadder) {
  const Tensor x = leaf({1});
  Tensor y = x;
  for (int i = 0; i < 1000; ++i) y = (y + y) * 0.5;
  EXPECT_EQ(values(grad(y.sum(), x)), (Doubles{1}));
}

template <class F>
void on_threads(int n, F f) {
  std::vector<std::thread> threads;
  for (int t = 0; t < n; ++t) threads.emplace_back([&f, t] { f(t); });
  for (std::thread& t : threads) t.join();
}

TEST(Threads, BackwardAtOnceIntoASharedLeaf) {
  const Tensor x = leaf({1, 2});
  constexpr int rounds = 200;
  on_threads(4, [&](int) {
    for (int i = 0; i < rounds; ++i) (x * x).sum().backward();
  });
  EXPECT_EQ(values(x.grad()), (Doubles{4 * rounds * 2.0, 4 * rounds * 4.0}));
}

TEST(Threads, GradAtOnceThroughASharedGraph) {
  const Tensor x = leaf({1, 2});
  const Tensor shared = exp(x * x) * x;
  const Doubles want = values(grad(shared.sum(), x, {.retain_graph = true}));
  on_threads(4, [&](int t) {
    for (int i = 0; i < 100; ++i) {
      const Tensor g = grad((shared * double(t + 1)).sum(), x, {.retain_graph = true});
      const Doubles got = values(g);
      for (size_t k = 0; k < want.size(); ++k)
        EXPECT_NEAR(got[k], want[k] * (t + 1), 1e-9 * want[k] * (t + 1));
    }
  });
}

TEST(Threads, ModesBelongToTheThread) {
  NoGrad off;
  bool other = false;
  on_threads(1, [&](int) { other = is_grad_enabled(); });
  EXPECT_TRUE(other);
}

}  // namespace
}  // namespace tandem
