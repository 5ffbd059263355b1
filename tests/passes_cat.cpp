#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

namespace tandem::graph {
namespace {

void expect_pass(const std::string& before, const std::string& after) {
  testing::expect_pass(join_scattered, before, after);
}

TEST(JoinScattered, PartsInAnyOrderAlongAnyAxis) {
  expect_pass(
      R"(graph(%a: f32[2, 3], %b: f32[2, 1], %c: f32[2, 4])
  %3: f32[2, 8] = scatter_region(%b, shape=[2, 8], strides=[8, 1], offset=3)
  %4: f32[2, 8] = scatter_region(%c, shape=[2, 8], strides=[8, 1], offset=4)
  %5: f32[2, 8] = add(%4, %3)
  %6: f32[2, 8] = scatter_region(%a, shape=[2, 8], strides=[8, 1], offset=0)
  %7: f32[2, 8] = add(%5, %6)
  return %7
)",
      R"(graph(%a: f32[2, 3], %b: f32[2, 1], %c: f32[2, 4])
  %7: f32[2, 8] = cat(%a, %b, %c, axis=1)
  return %7
)");
  expect_pass(
      R"(graph(%a: f32[1, 5], %b: f32[2, 5])
  %2: f32[3, 5] = scatter_region(%b, shape=[3, 5], strides=[5, 1], offset=5)
  %3: f32[3, 5] = scatter_region(%a, shape=[3, 5], strides=[5, 1], offset=0)
  %4: f32[3, 5] = add(%2, %3)
  return %4
)",
      R"(graph(%a: f32[1, 5], %b: f32[2, 5])
  %4: f32[3, 5] = cat(%a, %b, axis=0)
  return %4
)");
}

TEST(JoinScattered, NotWhereTheyOverlapOrLeaveGapsOrAreReadElsewhere) {
  auto text = [](const char* first, const char* second, const char* results) {
    return cat("graph(%a: f32[2, 3], %b: f32[2, 3])\n",
               "  %2: f32[2, 6] = scatter_region(%a, shape=[2, 6], ", first, ")\n",
               "  %3: f32[2, 6] = scatter_region(%b, shape=[2, 6], ", second, ")\n",
               "  %4: f32[2, 6] = add(%2, %3)\n", "  return ", results, "\n");
  };
  const char *left = "strides=[6, 1], offset=0", *right = "strides=[6, 1], offset=3";
  for (const std::string& same :
       {text(left, "strides=[6, 1], offset=2", "%4"), text(left, left, "%4"),
        text(right, right, "%4"), text(left, right, "%4, %2"),
        text("strides=[6, 2], offset=0", "strides=[6, 2], offset=1", "%4")})
    expect_pass(same, same);
}

TEST(JoinScattered, GradientOfASplitTensor) {
  auto step = [](const Tensor& x, const Tensor& w) {
    Tensor v = x.detach();
    v.requires_grad_();
    const Tensor a = narrow(v, 1, 0, 2), b = narrow(v, 1, 2, 3), c = narrow(v, 1, 5, 1);
    (sum(a * a) + sum(sin(b)) + sum(c * w)).backward();
    return v.grad();
  };
  manual_seed(3);
  const Tensor x = randn({4, 6}), w = randn({4, 1});
  auto fast = compile(step);
  const Tensor got = fast(x, w), want = step(x, w);
  EXPECT_EQ(got.to_vector<float>(), want.to_vector<float>());
  EXPECT_NE(fast.explain().find("cat(axis=1)"), std::string::npos) << fast.explain();
  EXPECT_EQ(fast.explain().find("scatter_region"), std::string::npos) << fast.explain();
}

}  // namespace
}  // namespace tandem::graph
