#include "tandem/autograd/gradient_tape.h"

#include <gtest/gtest.h>

#include "tandem/tandem.h"

namespace tandem {
namespace {

TEST(GradientTape, WatchedTensors) {
  Tensor x = tensor({1.f, 2.f, 3.f});
  const Tensor other = tensor({1.f});
  {
    const NoGrad off;
    GradientTape tape;
    tape.watch(x);
    const Tensor y = x * x;
    EXPECT_EQ(tape.gradient(y, x).to_vector<float>(), (std::vector<float>{2, 4, 6}));
    EXPECT_THROW(tape.gradient(y, x), GradientError);
  }
  EXPECT_FALSE(x.requires_grad());
  GradientTape tape;
  EXPECT_THROW(tape.gradient(x * 2, other), GradientError);
}

TEST(GradientTape, PersistentAndUnconnected) {
  const Tensor x = tensor({3.f}), z = tensor({4.f});
  GradientTape tape(true);
  tape.watch(x);
  tape.watch(z);
  const Tensor y = x * x, w = y * y;
  EXPECT_EQ(tape.gradient(y, x).item<float>(), 6);
  EXPECT_EQ(tape.gradient(w, x).item<float>(), 108);
  EXPECT_FALSE(tape.gradient(w, z).defined());
}

TEST(GradientTape, NestedForHigherDerivatives) {
  const Tensor x = tensor({2.f});
  GradientTape outer;
  outer.watch(x);
  Tensor first;
  {
    GradientTape inner;
    inner.watch(x);
    first = inner.gradient(x * x * x, x);
  }
  EXPECT_EQ(first.item<float>(), 12);
  EXPECT_EQ(outer.gradient(first, x).item<float>(), 12);
}

}  // namespace
}  // namespace tandem
