// What recorded code cannot do: each error names the place, the rule and what to do instead.
#include <gtest/gtest.h>

#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using testing::error_of;

TEST(GraphLimits, ViewsMadeOutsideOfAWrittenTensor) {
  Tensor w = ones({3});
  const Tensor first = w.select(0, 0);
  auto read_late = compile([&](const Tensor& x) {
    w += 1.0;
    return first * x;
  });
  EXPECT_EQ(
      error_of<NotImplemented>([&] { read_late(ones({})); }),
      "capture: f32[] is a view, made outside the function, of a f32[3] that the function has "
      "written; make the view inside");
  auto read_before = compile([&](const Tensor& x) {
    const Tensor y = first * x;
    w += 1.0;
    return y;
  });
  EXPECT_EQ(error_of<NotImplemented>([&] { read_before(ones({})); }),
            "capture: an in-place write to f32[3], whose memory the function also reads as f32[] "
            "through a view made outside");
  Tensor view = first;
  auto write = compile([&](const Tensor& x) {
    view += x;
    return view * 1.0;
  });
  EXPECT_EQ(
      error_of<NotImplemented>([&] { write(ones({})); }),
      "add(): in-place write, in a recorded function, into a view that was made outside; make "
      "the view inside");
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{1, 1, 1}));
}

TEST(GraphLimits, AWriteWithAGradientToATensorFromOutside) {
  Tensor w = ones({3});
  auto f = compile([&](const Tensor& x) {
    w *= x;
    return w * 1.0;
  });
  EXPECT_EQ(
      error_of<NotImplemented>([&] { f(ones({3}).requires_grad_()); }),
      "mul(): an in-place write to a tensor from outside the recorded function has no gradient "
      "there; use NoGrad, or an op that makes a copy");
}

TEST(GraphLimits, AWriteInABranchToAValueOfTheFunction) {
  auto f = compile([](const Tensor& x) {
    Tensor y = x * 2.0;
    return cond(
        sum(x) > 0.0,
        [&] {
          y += 1.0;
          return y;
        },
        [&] { return x; });
  });
  EXPECT_EQ(error_of<NotImplemented>([&] { f(ones({3})); }),
            "cond() and while_loop(): an in-place write to a f32[3] from outside the branch; give "
            "the new value as a result");
}

TEST(GraphLimits, HigherDerivativesOfAFunctionThatOverwritesWhatItRead) {
  Tensor w = ones({3});
  auto f = compile([&](const Tensor& x) {
    const Tensor h = x + w, y = h * h;
    const NoGrad off;
    w += 1.0;
    return y;
  });
  const Tensor x = ones({3}).requires_grad_();
  const Tensor y = f(x);
  EXPECT_EQ(grad(sum(y), x, {.retain_graph = true}).to_vector<float>(),
            (std::vector<float>{4, 4, 4}));
  EXPECT_EQ(error_of<NotImplemented>([&] { grad(sum(y), x, {.create_graph = true}); }),
            "a derivative of the gradient of a compiled function that overwrites what it read; "
            "differentiate inside the function");
}

}  // namespace
}  // namespace tandem
