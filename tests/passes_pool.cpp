#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tandem/graph/compile.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

namespace tandem::graph {
namespace {

void expect_pass(const std::string& before, const std::string& after) {
  testing::expect_pass(
      sink_relu, before, after,
      {{"<P>", "kernel_size=[2], stride=[2], padding=[0], dilation=[1], ceil_mode=false"}});
}

TEST(SinkRelu, BehindThePooling) {
  expect_pass(
      R"(graph(%x: f32[2, 3, 8, 8], %d: f32[2, 3, 4, 4])
  %2: f32[2, 3, 8, 8] = relu(%x)
  %3: f32[2, 3, 4, 4], %4: i64[2, 3, 4, 4] = max_pool2d(%2, <P>)
  %5: f32[2, 3, 8, 8] = max_pool2d_grad(%d, %4, size=[8, 8])
  %6: f32[2, 3, 8, 8] = relu_grad(%5, %2)
  return %3, %6
)",
      R"(graph(%x: f32[2, 3, 8, 8], %d: f32[2, 3, 4, 4])
  %9: f32[2, 3, 4, 4], %4: i64[2, 3, 4, 4] = max_pool2d(%x, <P>)
  %3: f32[2, 3, 4, 4] = relu(%9)
  %10: f32[2, 3, 4, 4] = relu_grad(%d, %3)
  %6: f32[2, 3, 8, 8] = max_pool2d_grad(%10, %4, size=[8, 8])
  return %3, %6
)");
}

TEST(SinkRelu, NotWhereTheReluOrThePlacesAreReadElsewhere) {
  const std::string text = R"(graph(%x: f32[2, 3, 8, 8], %d: f32[2, 3, 4, 4])
  %2: f32[2, 3, 8, 8] = relu(%x)
  %3: f32[2, 3, 4, 4], %4: i64[2, 3, 4, 4] = max_pool2d(%2, <P>)
  %5: f32[2, 3, 8, 8] = max_pool2d_grad(%d, %4, size=[8, 8])
  %6: f32[2, 3, 8, 8] = relu_grad(%5, %2)
  return %3, %6, %)";
  for (const char* read : {"2", "4", "5"}) {
    const std::string whole = text + read + "\n";
    expect_pass(whole, whole);
  }
}

TEST(SumBeforeUnpooling, OverWholePlanesOnly) {
  auto expect = [](const std::string& before, const std::string& after, int dilation = 1) {
    testing::expect_pass(sum_before_unpooling, before, after,
                         {{"<P>", cat("kernel_size=[2], stride=[2], padding=[0], dilation=[",
                                      dilation, "], ceil_mode=false")}});
  };
  auto whole = [&](const char* of, const char* shape, const char* attributes, int size = 8) {
    return cat("graph(%x: f32[2, 3, ", size, ", ", size, R"(], %d: f32[2, 3, 4, 4])
  %2: f32[2, 3, 4, 4], %3: i64[2, 3, 4, 4] = max_pool2d(%x, <P>)
  %4: f32[2, 3, )",
               size, ", ", size, "] = max_pool2d_grad(%d, %3, size=[", size, ", ", size,
               "])\n  %5: f32", shape, " = sum(%", of, ", ", attributes, ")\n  return %4, %5\n");
  };
  for (const auto& [shape, attributes] : {std::pair{"[3]", "axes=[0, 2, 3], keepdim=false"},
                                          {"[2, 3]", "axes=[-2, -1], keepdim=false"},
                                          {"[2, 3, 1, 1]", "axes=[2, 3], keepdim=true"},
                                          {"[]", "axes=[], keepdim=false"}})
    expect(whole("4", shape, attributes), whole("d", shape, attributes));
  const std::string one = whole("4", "[8]", "axes=[0, 1, 2], keepdim=false");
  expect(one, one);
  // A window of few, far elements may lie in the padding alone: its gradient goes nowhere.
  const std::string far = whole("4", "[3]", "axes=[0, 2, 3], keepdim=false", 9);
  expect(far, far, 2);
}

/// Values and gradients of overlapping windows, with ties, NaN and infinities in them.
Tensors values(bool compiled, const Tensor& x, int64_t kernel, int64_t stride, int64_t padding,
               std::string* explain = nullptr) {
  auto f = [=](const Tensor& in) {
    Tensor a = in * 1.0;
    a.requires_grad_();
    const Tensor y = max_pool2d(relu(a), kernel, {.stride = stride, .padding = padding});
    (y * y).sum().backward();
    return Tensors{y.detach(), a.grad()};
  };
  auto fast = compile(f);
  Tensors out = compiled ? fast(x) : f(x);
  if (explain) *explain = fast.explain();
  return out;
}

TEST(SinkRelu, ValuesAndGradientsStay) {
  manual_seed(1);
  Tensor x = floor(randn({2, 3, 9, 10}) * 2.0);
  x.data<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  x.data<float>()[50] = std::numeric_limits<float>::infinity();
  x.data<float>()[70] = -std::numeric_limits<float>::infinity();
  for (const auto& [kernel, stride, padding] :
       {std::tuple{2, 2, 0}, std::tuple{3, 2, 1}, std::tuple{3, 1, 0}}) {
    std::string text;
    const Tensors want = values(false, x, kernel, stride, padding);
    const Tensors got = values(true, x, kernel, stride, padding, &text);
    EXPECT_NE(text.find("relu"), text.npos) << text;
    EXPECT_LT(text.find("max_pool2d("), text.find("relu(")) << text;
    for (size_t i = 0; i < 2; ++i) {
      const std::vector<float> a = got[i].to_vector<float>(), b = want[i].to_vector<float>();
      ASSERT_EQ(a.size(), b.size());
      for (size_t k = 0; k < a.size(); ++k)
        EXPECT_TRUE(a[k] == b[k] || (a[k] != a[k] && b[k] != b[k]))
            << kernel << ", result " << i << ", element " << k << ": " << a[k] << ", " << b[k];
    }
  }
}

}  // namespace
}  // namespace tandem::graph
