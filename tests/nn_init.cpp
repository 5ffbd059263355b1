// Initial values: their moments and bounds, against the formulas and PyTorch's layers.
#include "tandem/nn/init.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/nn/attention.h"
#include "tandem/nn/conv.h"
#include "tandem/nn/linear.h"
#include "tandem/nn/rnn.h"

namespace tandem {
namespace {

struct Moments {
  double mean = 0, deviation = 0, low = 1e300, high = -1e300;
  explicit Moments(const Tensor& t) {
    const std::vector<double> v = t.to_vector<double>();
    for (double x : v) {
      mean += x / double(v.size());
      low = std::min(low, x);
      high = std::max(high, x);
    }
    for (double x : v) deviation += (x - mean) * (x - mean) / double(v.size());
    deviation = std::sqrt(deviation);
  }
};

TEST(Init, MomentsAndBoundsFollowTheFormulas) {
  manual_seed(3);
  const Tensor t = empty({200, 50, 2, 1});  // fan in 100, fan out 400
  EXPECT_EQ(nn::init::calculate_fan(t).in, 100);
  EXPECT_EQ(nn::init::calculate_fan(t).out, 400);
  auto uniform = [&](const Tensor& filled, double bound) {
    const Moments m(filled);
    EXPECT_GE(m.low, -bound);
    EXPECT_LE(m.high, bound);
    EXPECT_GT(m.high, bound * 0.99);
    EXPECT_NEAR(m.deviation, bound / std::sqrt(3.0), bound * 0.02);
  };
  auto normal = [&](const Tensor& filled, double deviation) {
    const Moments m(filled);
    EXPECT_NEAR(m.mean, 0, deviation * 0.05);
    EXPECT_NEAR(m.deviation, deviation, deviation * 0.03);
    EXPECT_GT(m.high, 3 * deviation);
  };
  uniform(nn::init::kaiming_uniform_(t, {.a = std::sqrt(5.0)}), 0.1);
  uniform(nn::init::kaiming_uniform_(t, {.mode = "fan_out", .nonlinearity = "relu"}),
          std::sqrt(6.0 / 400));
  normal(nn::init::kaiming_normal_(t, {.nonlinearity = "relu"}), std::sqrt(2.0 / 100));
  uniform(nn::init::xavier_uniform_(t, 2), 2 * std::sqrt(6.0 / 500));
  normal(nn::init::xavier_normal_(t), std::sqrt(2.0 / 500));
  const Moments cut(nn::init::trunc_normal_(t, 0, 1, -1, 2));
  EXPECT_GE(cut.low, -1);
  EXPECT_LE(cut.high, 2);
  EXPECT_NEAR(cut.mean, 0.2296, 0.02);  // scipy.stats.truncnorm(-1, 2).mean()
  EXPECT_DOUBLE_EQ(nn::init::calculate_gain("tanh"), 5.0 / 3);
  EXPECT_THROW(nn::init::calculate_gain("swish"), ValueError);
  EXPECT_THROW(nn::init::calculate_fan(empty({3})), ShapeError);
}

TEST(Init, OrthogonalRowsOrColumns) {
  for (const Shape& shape : {Shape{5, 9}, Shape{9, 5}, Shape{4, 2, 3}}) {
    const Tensor t = nn::init::orthogonal_(empty(shape, f64), 2);
    const int64_t rows = t.size(0), columns = t.numel() / rows;
    const Tensor m = t.reshape({rows, columns});
    const Tensor product = rows <= columns ? m.matmul(m.t()) : m.t().matmul(m);
    const std::vector<double> got = product.to_vector<double>();
    const int64_t n = std::min(rows, columns);
    for (int64_t i = 0; i < n * n; ++i) EXPECT_NEAR(got[size_t(i)], i % (n + 1) ? 0 : 4, 1e-13);
  }
}

TEST(Init, LayersStartAsPyTorchsDo) {
  manual_seed(5);
  const Moments linear(nn::Linear(400, 200).weight), conv(nn::Conv2d(16, 64, 5).bias);
  EXPECT_NEAR(linear.deviation, 0.05 / std::sqrt(3.0), 5e-4);
  EXPECT_LE(linear.high, 0.05);
  EXPECT_LE(conv.high, 0.05);
  EXPECT_GT(conv.high, 0.04);
  const Moments embedding(nn::Embedding(300, 100).weight);
  EXPECT_NEAR(embedding.deviation, 1, 0.02);
  EXPECT_NEAR(Moments(nn::GRU(10, 100).weights[1].second).high, 0.1, 1e-3);
  const nn::MultiheadAttention mha(64, 4);
  EXPECT_NEAR(Moments(mha.in_proj_weight).high, std::sqrt(6.0 / 256), 1e-3);
  EXPECT_EQ(Moments(mha.out_proj.bias).high, 0);
  const nn::Embedding padded(4, 3, {.padding_idx = -1});
  const std::vector<float> rows = padded.weight.to_vector<float>();
  EXPECT_EQ(std::vector<float>(rows.end() - 3, rows.end()), std::vector<float>(3, 0));
}

}  // namespace
}  // namespace tandem
