// In-place writes: what they keep alive, what they leave as it was when they fail, and what a view
// knows of a write to its base.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "tandem/autograd/autograd.h"
#include "tandem/autograd/function.h"
#include "tandem/core/allocator.h"
#include "tandem/core/factory.h"
#include "tandem/core/set_data.h"
#include "tandem/graph/ir.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/index.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/inplace.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/leaf.h"

namespace tandem {
namespace {

using testing::Doubles;
using testing::error_of;
using testing::leaf;
using testing::values;

// --- Circles of references ----------------------------------------------------------------------

/// Counts what still lives: memory that nobody holds any more must be gone, and so must the tape.
struct Watch {
  std::weak_ptr<void> memory;

  Tensor tensor(const Shape& shape, double value = 0.5) {
    auto owner = std::make_shared<Doubles>(size_t(shape.numel()), value);
    memory = owner;
    return wrap(owner->data(), shape, f64, owner);
  }
  bool gone() const { return memory.expired(); }
};

/// A number that goes down when the node that computed `t` dies.
std::weak_ptr<int> watch_node(const Tensor& t) {
  auto token = std::make_shared<int>(0);
  register_hook(t, [token](const Tensor&) {});
  return token;
}

TEST(InPlaceCircles, AResultThatSavedWhatItIsAddedTo) {
  const Tensor w = leaf({1, 2, 3, 4}, {2, 2});
  Watch watch;
  std::weak_ptr<int> node;
  {
    Tensor h = watch.tensor({2, 2});
    const Tensor y = linear(h, w);
    node = watch_node(y);
    h += y;
  }
  EXPECT_TRUE(watch.gone());
  EXPECT_TRUE(node.expired());
}

TEST(InPlaceCircles, AResultThatIsOverwritten) {
  const Tensor w = leaf({1, 2, 3, 4}, {2, 2});
  std::weak_ptr<int> node;
  {
    Tensor h = w * 2.0;
    for (int i = 0; i < 3; ++i) {
      const Tensor y = h * w;
      node = watch_node(y);
      h += y;
    }
  }
  EXPECT_TRUE(node.expired());
}

TEST(InPlaceCircles, TheReasonOfAFailureIsStillKnown) {
  const Tensor w = leaf({1, 2, 3, 4}, {2, 2});
  Tensor h = full({2, 2}, 0.5, f64);
  h += h * w;
  EXPECT_EQ(error_of<GradientError>([&] { h.sum().backward(); }),
            "backward(): mul() needs its input 0 of shape [2, 2], which add has overwritten "
            "(version 1, saved at 0)");
}

TEST(InPlaceCircles, RowsFromTheRowsBefore) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor out = watch.tensor({4, 3});
    for (int t = 1; t < 4; ++t) out[t] = out[t - 1] * w;
  }
  EXPECT_TRUE(watch.gone());
}

TEST(InPlaceCircles, RowsOfABaseThatNobodyElseHolds) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor row;
    Tensor y;
    {
      const Tensor base = watch.tensor({2, 3});
      row = base.select(0, 0);
      y = base * w;
    }
    row += y.sum({0});
  }
  EXPECT_TRUE(watch.gone());
}

TEST(InPlaceCircles, ViewsMultipliedByViews) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor base = watch.tensor({3, 3});
    Tensor first = base.select(0, 0);
    const Tensor second = base.select(0, 1), third = base.select(0, 2);
    first *= second * w;
    first *= third;
    base *= second * w;
    const Tensor flat = base.reshape({9});
    first += flat.narrow(0, 3, 3) * w;
  }
  EXPECT_TRUE(watch.gone());
}

TEST(InPlaceCircles, AcrossLongHistoriesAndSecondHandles) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor h = watch.tensor({3});
    const Tensor same = h;
    Tensor y = h * w;
    for (int i = 0; i < 1000; ++i) y = y + 1.0;
    h += y;
  }
  EXPECT_TRUE(watch.gone());
}

TEST(InPlaceCircles, HoweverFarTheWriteIsFromTheOneThatSaved) {
  const Tensor w = leaf({1, 2, 3}, {3});
  for (const bool far_view : {false, true}) {
    Watch watch;
    std::weak_ptr<int> node;
    {
      Tensor base = watch.tensor({2, 3});
      Tensor h = far_view ? base.select(0, 0) : base;
      Tensor y = h * w;
      node = watch_node(y);
      for (int i = 0; i < 10000; ++i) y = y + 1.0;
      h += y;
    }
    EXPECT_TRUE(watch.gone()) << far_view;
    EXPECT_TRUE(node.expired()) << far_view;
  }
}

TEST(InPlaceCircles, AWideHistory) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor h = watch.tensor({3});
    Tensor sum = w * 0.0;
    for (int i = 0; i < 5000; ++i) sum = sum + h * w;
    h += sum;
    for (int i = 0; i < 5000; ++i) h += h * w;
  }
  EXPECT_TRUE(watch.gone());
}

TEST(InPlaceCircles, WhatWasSavedOutlivesItsTensor) {
  const Tensor w = leaf({1, 2, 3}, {3});
  for (const int64_t n : {1, 1000}) {  // data beside the tensor's header, and apart
    Tensor before, after;
    {
      Tensor h = full({n, 3}, 0.5, f64);
      before = h * w;
      h += w * 2.0;
      after = h * w;
    }
    EXPECT_EQ(error_of<GradientError>([&] { before.sum().backward(); }),
              cat("backward(): mul() needs its input 0 of shape [", n,
                  ", 3], which add has overwritten (version 1, saved at 0)"));
    // Of the last product everything is there, the history of its input as well: h = 0.5 + 2 w.
    EXPECT_EQ(values(grad(after.sum(), w)), values((w * 4.0 + 0.5) * double(n)));
  }
}

TEST(InPlaceCircles, AWriteToAViewLetsTheBaseGo) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor base = watch.tensor({2, 3});
    const Tensor other = base.select(0, 1);
    Tensor y = base * w + other * w;
    for (int i = 0; i < 5000; ++i) y = y + 1.0;
    Tensor row = base.select(0, 0);
    row += y.sum({0});
    base *= other * w;
  }
  EXPECT_TRUE(watch.gone());
}

TEST(InPlaceCircles, DataGivenToALeafHasNoHistory) {
  std::weak_ptr<int> node;
  {
    const Tensor x = leaf({1, 2, 3}, {3});
    const Tensor y = x * x;
    node = watch_node(y);
    detail::set_data(x, y);
    EXPECT_EQ(values(x), (Doubles{1, 4, 9}));
  }
  EXPECT_TRUE(node.expired());
}

TEST(InPlaceCircles, ThreadsDropGraphsOfATensorThatIsWritten) {
  const Tensor w = leaf({1, 2, 3}, {3});
  Watch watch;
  {
    Tensor h = watch.tensor({3});
    for (int round = 0; round < 50; ++round) {
      std::vector<Tensor> graphs;
      for (int i = 0; i < 64; ++i) graphs.push_back(h * w);
      std::vector<std::thread> threads;
      for (int t = 0; t < 2; ++t)
        threads.emplace_back([&, t] {
          for (size_t i = size_t(t); i < graphs.size(); i += 2) graphs[i] = Tensor();
        });
      h += w;
      for (std::thread& t : threads) t.join();
    }
  }
  EXPECT_TRUE(watch.gone());
}

struct Keeps {
  Tensor x;
  Tensor forward(const Tensor& in) {
    x = in;
    return in * 2.0;
  }
  Tensor backward(const Tensor& dy) { return dy * 2.0 + x * 0.0; }
};

TEST(InPlaceCircles, AUserFunctionThatKeepsItsInput) {
  const Tensor w = leaf({1, 2, 3}, {3});
  std::weak_ptr<int> node;
  {
    Tensor h = w * 1.0;
    const Tensor y = custom<Keeps>(h);
    node = watch_node(y);
    h += y;
  }
  EXPECT_TRUE(node.expired());
}

TEST(InPlaceCircles, SymbolicValues) {
  std::weak_ptr<graph::Graph> alive;
  {
    auto g = graph::Graph::make();
    alive = g;
    Tensor h = g->input("h", {{2}, f64, {}});
    Tensor w = g->input("w", {{2}, f64, {}});
    const Tensor dy = g->input("dy", {{2}, f64, {}});
    w.requires_grad_();
    const Tensor before = h * 1.0;
    h += before * w;
    h *= h;
    h.backward(dy, true);
    g->output("dw", w.grad());
    // d/dw (h + h w)^2 = 2 (h + h w) h
    const Tensor in[] = {wrap(Doubles{1, 2}, {2}), wrap(Doubles{3, 5}, {2}),
                         wrap(Doubles{1, 10}, {2})};
    EXPECT_EQ(values(g->run(in)[0]), (Doubles{8, 480}));
    // Recorded code means what plain code means.
    h += h * w;
    EXPECT_EQ(error_of<GradientError>([&] { h.backward(dy); }),
              "backward(): mul() needs its input 0 of shape [2], which add has overwritten "
              "(version 3, saved at 2)");
  }
  EXPECT_TRUE(alive.expired());
}

TEST(InPlaceSymbolic, AnOverwrittenValueIsNotMistakenForTheSavedOne) {
  auto g = graph::Graph::make();
  Tensor h = g->input("h", {{2}, f64, {}});
  Tensor w = g->input("w", {{2}, f64, {}});
  w.requires_grad_();
  const Tensor y = h * w;
  h *= 2.0;
  const Tensor dy = g->input("dy", {{2}, f64, {}});
  EXPECT_EQ(error_of<GradientError>([&] { y.backward(dy); }),
            "backward(): mul() needs its input 0 of shape [2], which mul has overwritten (version "
            "1, saved at 0)");
}

// --- A write that fails changes nothing ---------------------------------------------------------

TEST(InPlaceValues, HalvesAreRoundedToEven) {
  const Tensor x = tensor({0.5f, 1.5f, -2.5f, 2.4f}), view = x[range(1, 4)];
  round_(view);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0.5f, 2, -2, 2}));
}

TEST(InPlaceFailures, AViewOfForeignStridedMemory) {
  Doubles memory{1, 2, 3, 4, 5, 6};
  const Tensor base = wrap(memory.data(), {2, 2}, f64, {}, {3, 1});
  Tensor row = base.select(0, 1);
  EXPECT_EQ(error_of<GradientError>([&] {
              row += leaf({1, 1}, {2});
            }),
            "add(): in-place write to a view of foreign strided memory has no gradient");
  EXPECT_EQ(memory, (Doubles{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(base.version(), 0u);
  row += 1.0;  // without a gradient there is no history to keep
  EXPECT_EQ(memory, (Doubles{1, 2, 3, 5, 6, 6}));
}

TEST(InPlaceFailures, AnIndexOutOfRangeLeavesValuesAndHistory) {
  const Tensor x = leaf({1, 2, 3}, {3});
  const Tensor y = x * x;
  const Tensor at = wrap(std::vector<int64_t>{0, 7}, {2});
  EXPECT_EQ(error_of<IndexError>([&] { index_put_(y, Inputs(&at, 1), x.narrow(0, 0, 2)); }),
            error_of<IndexError>([&] { index_put(y, Inputs(&at, 1), x.narrow(0, 0, 2)); }));
  EXPECT_EQ(values(y), (Doubles{1, 4, 9}));
  EXPECT_EQ(y.version(), 0u);
  y.sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{2, 4, 6}));
}

TEST(InPlaceFailures, ASymbolicGradientOfAConcreteTensorIsNotRecorded) {
  auto g = graph::Graph::make();
  Tensor x = g->input("x", {{2}, f64, {}});
  x.requires_grad_();
  Tensor y = zeros({2}, f64);
  EXPECT_EQ(error_of<NotImplemented>([&] { y += x; }),
            "add(): an in-place write to a tensor from outside the recorded function has no "
            "gradient there; use NoGrad, or an op that makes a copy");
  EXPECT_TRUE(g->nodes().empty());
}

// --- Views of a base that was written -----------------------------------------------------------

TEST(InPlaceViews, BackwardFromAViewWhoseBaseGainedHistory) {
  const Tensor x = leaf({1, 2, 3, 4}, {2, 2});
  Tensor base = zeros({2, 2}, f64);
  const Tensor row = base.select(0, 1);
  base.copy_(x * x);
  row.backward(wrap(Doubles{1, 10}, {2}));
  EXPECT_EQ(values(x.grad()), (Doubles{0, 0, 6, 80}));
}

// PyTorch 2.15: v.requires_grad and v.is_leaf at the same places.
TEST(InPlaceViews, KnowTheirBasesHistoryAtOnce) {
  const Tensor w = leaf({1, 2, 3, 4}, {4});
  {
    Tensor base = zeros({4}, f64);
    const Tensor view = base.narrow(0, 0, 2), inner = view.narrow(0, 1, 1), apart = base.detach();
    EXPECT_FALSE(view.requires_grad());
    EXPECT_TRUE(view.is_leaf());
    base *= w;
    for (const Tensor& v : {view, inner}) {
      EXPECT_TRUE(v.requires_grad());
      EXPECT_FALSE(v.is_leaf());
    }
    const NoGrad guard;
    EXPECT_TRUE(view.requires_grad());
    EXPECT_FALSE(apart.requires_grad());
    EXPECT_TRUE(apart.is_leaf());
  }
  {
    Tensor base = zeros({4}, f64);
    Tensor first = base.narrow(0, 0, 2);
    const Tensor second = base.narrow(0, 2, 2);
    first *= w.narrow(0, 0, 2);
    for (const Tensor& v : {base, first, second}) {
      EXPECT_TRUE(v.requires_grad());
      EXPECT_FALSE(v.is_leaf());
    }
    EXPECT_NO_THROW(remove_hook(second, 0));
  }
  {
    Tensor base = zeros({4}, f64);
    const Tensor view = base.narrow(0, 0, 2);
    base += 1.0;  // no history: it stays a leaf
    EXPECT_FALSE(view.requires_grad());
    EXPECT_TRUE(view.is_leaf());
  }
}

TEST(InPlaceViews, GradWithRespectToAViewWhoseBaseGainedHistory) {
  const Tensor x = leaf({1, 2, 3, 4}, {2, 2});
  Tensor base = zeros({2, 2}, f64);
  const Tensor row = base.select(0, 1);
  base.copy_(x * x);
  EXPECT_EQ(values(grad((row * 3.0).sum(), row)), (Doubles{3, 3}));
  int calls = 0;
  Tensor other = zeros({2, 2}, f64);
  const Tensor column = other.select(1, 0);
  other.copy_(x);
  register_hook(column, [&](const Tensor& g) {
    ++calls;
    EXPECT_EQ(values(g), (Doubles{2, 2}));
  });
  (column * 2.0).sum().backward();
  EXPECT_EQ(calls, 1);
}

// --- What a write takes -------------------------------------------------------------------------

#if TANDEM_POOLS
/// Blocks that `f` takes and does not give back, of small memory that this thread has ready.
template <class F>
int64_t blocks_of(F f) {
  const auto ready = [] {
    int64_t n = 0;
    for (const detail::FreeList& list : detail::small_cache->lists) n += list.count;
    return n;
  };
  const int64_t before = ready();
  f();
  return before - ready();
}

/// `x += y` keeps what `x + y` keeps, less the result: with a gradient one node, else nothing.
TEST(InPlaceCost, AnAddTakesOneNode) {
  constexpr int many = 20;
  const auto blocks = [&](bool gradient, bool in_place) {
    Tensor y = ones({3});
    if (gradient) y.requires_grad_();
    Tensor x = zeros({3}) + y;
    std::vector<Tensor> kept;
    for (int i = 0; i < 2 * many; ++i) kept.push_back(x + y);
    kept.clear();  // its blocks are ready now
    return blocks_of([&] {
      for (int i = 0; i < many; ++i) {
        if (in_place) x += y;
        else kept.push_back(x + y);
      }
    });
  };
  EXPECT_EQ(blocks(false, true), 0);
  EXPECT_EQ(blocks(false, false), many);
  EXPECT_EQ(blocks(true, true), many);
  EXPECT_EQ(blocks(true, false), 2 * many);
}
#endif

}  // namespace
}  // namespace tandem
