#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

namespace tandem::graph {
namespace {

using testing::same_bits;

void expect_pass(const std::string& before, const std::string& after) {
  testing::expect_pass(fuse_batch_norm, before, after,
                       {{"<N>", "training=true, eps=1e-05"},
                        {"<C>", "stride=[1], padding=[0], dilation=[1], groups=1"},
                        {"<S>", "%m: f32[2], %v: f32[2], %w: f32[2]"},
                        {"<T>", "%m, %v, %m, %v, %w"},
                        {"<0>", "none, none, none, none"}});
}

TEST(FuseBatchNorm, SumAndReluJoin) {
  // The sum reads a convolution that comes behind the normalisation.
  expect_pass(
      R"(graph(%x: f32[4, 2, 3, 3], %w: f32[2, 2, 1, 1])
  %2: f32[4, 2, 3, 3], %3: f32[2], %4: f32[2] = batch_norm(%x, <0>, <N>)
  %5: f32[4, 2, 3, 3] = conv2d(%x, %w, none, <C>)
  %6: f32[4, 2, 3, 3] = add(%5, %2)
  %7: f32[4, 2, 3, 3] = relu(%6)
  %8: f32[4, 2, 3, 3] = exp(%7)
  return %8, %3
)",
      R"(graph(%x: f32[4, 2, 3, 3], %w: f32[2, 2, 1, 1])
  %5: f32[4, 2, 3, 3] = conv2d(%x, %w, none, <C>)
  %7: f32[4, 2, 3, 3], %3: f32[2], %4: f32[2] = fused_batch_norm(%x, <0>, %5, <N>, relu=true)
  %8: f32[4, 2, 3, 3] = exp(%7)
  return %8, %3
)");
}

TEST(FuseBatchNorm, WhatOthersReadStays) {
  const std::string text = R"(graph(%x: f32[4, 2])
  %1: f32[4, 2], %2: f32[2], %3: f32[2] = batch_norm(%x, <0>, <N>)
  %4: f32[4, 2] = relu(%1)
  %5: f32[4, 2] = exp(%1)
  return %4, %5
)";
  expect_pass(text, text);
}

TEST(FuseBatchNorm, NoCircles) {
  // What is added is computed from the batch's mean.
  const std::string text = R"(graph(%x: f32[4, 2])
  %1: f32[4, 2], %2: f32[2], %3: f32[2] = batch_norm(%x, <0>, <N>)
  %4: f32[4, 2] = expand(%2, shape=[4, 2])
  %5: f32[4, 2] = add(%1, %4)
  return %5
)";
  expect_pass(text, text);
}

TEST(FuseBatchNorm, GradientsBehindARelu) {
  expect_pass(
      R"(graph(%x: f32[4, 2], %dy: f32[4, 2], %y: f32[4, 2], <S>)
  %6: f32[4, 2] = relu_grad(%dy, %y)
  %7: f32[4, 2], %8: f32[2], %9: f32[2] = batch_norm_grad(%x, %6, <T>, <N>)
  return %7, %8, %9
)",
      R"(graph(%x: f32[4, 2], %dy: f32[4, 2], %y: f32[4, 2], <S>)
  %7: f32[4, 2], %8: f32[2], %9: f32[2] = fused_batch_norm_grad(%x, %dy, <T>, %y, <N>)
  return %7, %8, %9
)");
}

/// Two residual blocks, the second with a convolution beside it.
struct Net : nn::Module<Net> {
  nn::Conv2d a{3, 8, 3, {.padding = 1}}, b{8, 8, 3, {.padding = 1}}, c{8, 16, 3, {.stride = 2}},
      side{8, 16, 3, {.stride = 2}};
  nn::BatchNorm2d na{8}, nb{8}, nc{16}, ns{16};
  nn::Linear head{16, 4};
  static constexpr auto fields =
      std::tuple{field("a", &Net::a),    field("b", &Net::b),   field("c", &Net::c),
                 field("s", &Net::side), field("na", &Net::na), field("nb", &Net::nb),
                 field("nc", &Net::nc),  field("ns", &Net::ns), field("head", &Net::head)};
  Tensor forward(const Tensor& in) const {
    const Tensor x = relu(na(a(in)));
    const Tensor y = relu(nb(b(x)) + x);
    const Tensor z = relu(nc(c(y)) + ns(side(y)));
    return head(flatten(adaptive_avg_pool2d(z, 1), 1));
  }
};

/// Parameters, statistics and losses of a few steps.
Tensors train(bool compiled, std::string* explain = nullptr) {
  manual_seed(7);
  Net net;
  optim::SGD opt(net.parameters(), {.lr = 0.05, .momentum = 0.9});
  auto step = [&](const Tensor& x, const Tensor& y) {
    const Tensor loss = cross_entropy(net(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  };
  auto fast = compile(step, {.deterministic = true});
  Tensors seen;
  for (int i = 0; i < 5; ++i) {
    const Tensor x = randn({6, 3, 9, 11}), y = randint(4, {6});
    seen.push_back((compiled ? fast(x, y) : step(x, y)).detach());
  }
  for (const auto& [name, t] : net.state_dict()) seen.push_back(t.detach().clone());
  if (explain) *explain = fast.explain();
  return seen;
}

TEST(FuseBatchNorm, AStepIsTheEagerOneBitForBit) {
  std::string text;
  const Tensors want = train(false), got = train(true, &text);
  EXPECT_NE(text.find("fused_batch_norm(training=true, eps=1e-05, relu=true)"), text.npos) << text;
  EXPECT_NE(text.find("fused_batch_norm_grad("), text.npos) << text;
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(same_bits(got[i], want[i])) << i;
}

}  // namespace
}  // namespace tandem::graph
