#include <gtest/gtest.h>

#include <cstring>

#include "tandem/graph/compile.h"
#include "tandem/graph/fused_row.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/op/recorder.h"
#include "tandem/op/registry.h"
#include "tandem/op/samples.h"
#include "tandem/ops/norm.h"
#include "tandem/ops/softmax.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

namespace tandem::graph {
namespace {

using testing::count;
using testing::graph_of;
using testing::same_bits;

const Spec square{{256, 256}, f32, {}};

std::shared_ptr<Graph> fused(const Graph& g) {
  auto to = g.clone();
  eliminate_dead_code(*to);
  fuse_points(*to);
  fuse_rows(*to);
  verify(*to);
  return to;
}

Tensor numbers(const Spec& spec) {
  return spec.dtype == boolean ? gt(randn(spec.shape), 0.0)
                               : cast(randn(spec.shape) * 2.0, spec.dtype);
}

/// The fused graph, whose results are those of the separate nodes, bit for bit.
template <class F>
std::shared_ptr<Graph> expect_equal(const std::vector<Spec>& specs, F f) {
  manual_seed(3);
  const auto g = graph_of(specs, f);
  Tensors in;
  for (const Spec& s : specs) in.push_back(numbers(s));
  const auto to = fused(*g);
  manual_seed(5);
  const Tensors want = g->run(in);
  manual_seed(5);
  const Tensors interpreted = to->run(in);
  Plan plan(to);
  for (int round = 0; round < 2; ++round) {
    manual_seed(5);
    const Tensors got = plan.run(in);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(same_bits(got[i], want[i])) << "result " << i << "\n" << to_string(*to);
      EXPECT_TRUE(same_bits(interpreted[i], want[i])) << "result " << i << "\n" << to_string(*to);
    }
  }
  return to;
}

/// Texts before and after; lines that begin with six spaces go on the line before.
void expect_pass(std::string before, std::string after) {
  for (std::string* text : {&before, &after})
    for (size_t at; (at = text->find("\n      ")) != text->npos;) text->erase(at, 6);
  const auto g = parse(before);
  verify(*g);
  fuse_rows(*g);
  verify(*g);
  EXPECT_EQ(to_string(*g), after);
}

// --- Texts before and after ----------------------------------------------------------------------

TEST(FuseRows, PointsAroundALayerNorm) {
  expect_pass(
      R"(graph(%x: f32[8, 64, 128], %r: f32[8, 64, 128], %w: f32[128], %b: f32[128], %m: f32[8,
      64, 1])
  %5: f32[8, 64, 128] = add(%x, %r)
  %6: f32[8, 64, 128] = layer_norm(%5, %w, %b, normalized_shape=[128], eps=1e-05)
  %7: f32[8, 64, 128] = mul(%6, %m)
  return %7
)",
      R"(graph(%x: f32[8, 64, 128], %r: f32[8, 64, 128], %w: f32[128], %b: f32[128], %m: f32[8,
      64, 1])
  %7: f32[8, 64, 128] = fused_row(%x, %r, %w, %b, %m, rows=512, length=128,
      program=$5 = add($0, $1); $6 = layer_norm($5, $2, $3, normalized_shape=[128], eps=1e-05);
      $7 = mul($6, $4), results=$7)
  return %7
)");
}

TEST(FuseRows, WhatOthersReadIsAResult) {
  expect_pass(
      R"(graph(%x: f32[256, 256], %r: f32[256, 256])
  %2: f32[256, 256] = add(%x, %r)
  %3: f32[256, 256] = log_softmax(%2, axis=-1)
  %4: f32[256, 256] = exp(%3)
  %5: f32[256, 256] = softmax(%4, axis=-1)
  %6: f32[256, 256] = matmul(%2, %5)
  return %5, %6
)",
      R"(graph(%x: f32[256, 256], %r: f32[256, 256])
  %2: f32[256, 256], %5: f32[256, 256] = fused_row(%x, %r, rows=256, length=256,
      program=$2 = add($0, $1); $3 = log_softmax($2, axis=-1); $4 = exp($3);
      $5 = softmax($4, axis=-1), results=$2, $5)
  %6: f32[256, 256] = matmul(%2, %5)
  return %5, %6
)");
}

TEST(FuseRows, NothingBetweenIsEnclosed) {
  // The sum reads a product of the softmax: with it the group would enclose the product.
  expect_pass(
      R"(graph(%x: f32[256, 256], %w: f32[256, 256])
  %2: f32[256, 256] = softmax(%x, axis=1)
  %3: f32[256, 256] = exp(%2)
  %4: f32[256, 256] = softmax(%3, axis=1)
  %5: f32[256, 256] = matmul(%4, %w)
  %6: f32[256, 256] = add(%5, %4)
  return %6
)",
      R"(graph(%x: f32[256, 256], %w: f32[256, 256])
  %4: f32[256, 256] = fused_row(%x, rows=256, length=256, program=$1 = softmax($0, axis=1);
      $2 = exp($1); $3 = softmax($2, axis=1), results=$3)
  %5: f32[256, 256] = matmul(%4, %w)
  %6: f32[256, 256] = add(%5, %4)
  return %6
)");
}

TEST(FuseRows, OtherAxesShortOrFewRowsAndNothingSavedStay) {
  for (const char* text : {R"(graph(%x: f32[256, 256], %r: f32[256, 256])
  %2: f32[256, 256] = add(%x, %r)
  %3: f32[256, 256] = softmax(%2, axis=1)
  return %3
)",
                           R"(graph(%x: f32[256, 256])
  %1: f32[256, 256] = relu(%x)
  %2: f32[256, 256] = softmax(%1, axis=0)
  %3: f32[256, 256] = exp(%2)
  return %3
)",
                           R"(graph(%x: f32[4096, 32])
  %1: f32[4096, 32] = relu(%x)
  %2: f32[4096] = sum(%1, axes=[1], keepdim=false)
  return %2
)",
                           R"(graph(%x: f32[8, 128])
  %1: f32[8, 128] = relu(%x)
  %2: f32[8, 128] = softmax(%1, axis=1)
  return %2
)",
                           R"(graph(%x: f32[256, 256])
  %1: f32[256, 256] = relu(%x)
  %2: f32[] = sum(%1, axes=[], keepdim=false)
  return %2
)"})
    expect_pass(text, text);
}

TEST(FuseRows, ColumnsAreReadThroughReshapes) {
  expect_pass(
      R"(graph(%x: f32[256, 256])
  %1: f32[256] = mean(%x, axes=[1], keepdim=false)
  %2: f32[256, 1] = reshape(%1, shape=[256, 1])
  %3: f32[256, 256] = sub(%x, %2)
  %4: f32[256] = var(%3, axes=[1], correction=1, keepdim=false)
  return %4
)",
      R"(graph(%x: f32[256, 256])
  %4: f32[256] = fused_row(%x, rows=256, length=256, program=$1 = mean($0, axes=[1],
      keepdim=false); $2 = sub($0, $1); $3 = var($2, axes=[1], correction=1, keepdim=false),
      results=$3)
  return %4
)");
}

TEST(FuseRows, ARowIsNoColumn) {
  // 256 sums, read as a row of 256: each row needs the sums of all others.
  const std::string text = R"(graph(%x: f32[256, 256])
  %1: f32[256] = sum(%x, axes=[1], keepdim=false)
  %2: f32[256, 256] = mul(%x, %1)
  return %2
)";
  expect_pass(text, text);
}

// --- Numbers -------------------------------------------------------------------------------------

TEST(FuseRows, LayerNormWithDropout) {
  const auto g = expect_equal({square, square, {{256}, f32, {}}, {{256}, f32, {}}, square},
                              [](const Tensors& x) -> Tensors {
                                const Tensor y = x[0] + dropout(x[1], 0.25);
                                return {layer_norm(y, {256}, x[2], x[3]) * x[4]};
                              });
  EXPECT_EQ(g->nodes().size(), 1u) << to_string(*g);
}

TEST(FuseRows, SoftmaxOfScaledAndMasked) {
  const Spec scores{{3, 90, 257}, f32, {}};
  const auto g = expect_equal({scores, {{257}, f32, {}}}, [](const Tensors& x) -> Tensors {
    const Tensor y = x[0] * 0.125 + x[1];
    return {softmax(y, -1) * 2.0, log_softmax(y * 3.0, 2)};
  });
  EXPECT_EQ(count(*g, "fused_row"), 1) << to_string(*g);
}

TEST(FuseRows, ReductionsOfTheLastAxes) {
  const auto g = expect_equal({{{65, 17, 7, 9}, f32, {}}, {{65, 17, 7, 9}, f32, {}}},
                              [](const Tensors& x) -> Tensors {
                                const Tensor d = x[0] - x[1], s = d * d;
                                return {mean(s, {-1, -2}),
                                        sum(exp(d), {2, 3}, true),
                                        amax(d, {3, 2}),
                                        amin(s, {2, 3}),
                                        logsumexp(d, {2, 3}),
                                        var(d, {2, 3}),
                                        stddev(s, {-2, -1}, 0, true)};
                              });
  EXPECT_EQ(count(*g, "fused_row"), 1);
}

TEST(FuseRows, WrittenOutLayerNorm) {
  for (int64_t n : {256, 272, 300}) {
    const auto g = expect_equal({{{260, n}, f32, {}}}, [](const Tensors& x) -> Tensors {
      const Tensor d = x[0] - mean(x[0], {1}, true);
      return {d * rsqrt(mean(d * d, {1}, true) + 1e-5)};
    });
    EXPECT_EQ(g->nodes().size(), 1u) << to_string(*g);
  }
}

TEST(FuseRows, OtherTypes) {
  for (DType d : {f64, f32}) {
    const Spec s{{230, 300}, d, {}};
    expect_equal({s, s, {{230, 300}, boolean, {}}}, [](const Tensors& x) -> Tensors {
      const Tensor y = where(x[2], x[0], x[1] * 2.0);
      return {softmax(y, -1), gt(layer_norm(tanh(y), {300}), 0.0), cast(sum(y, {1}), f32)};
    });
  }
}

TEST(FuseRows, RowsThatDoNotFillTheirBlocks) {
  for (int64_t rows : {8, 31, 130, 1025})
    for (int64_t n : {64, 333, 2050, 8192}) {
      if (rows * n < 65536) continue;
      const Spec s{{rows, n}, f32, {}};
      const auto g = expect_equal({s, s}, [&](const Tensors& x) -> Tensors {
        const Tensor y = x[0] + x[1];
        return {softmax(y, -1) * x[1], layer_norm(y, {n})};
      });
      EXPECT_EQ(count(*g, "fused_row"), 1) << rows << " " << n;
    }
}

TEST(FuseRows, ResultsPastTheCaches) {
  const Spec s{{9000, 1024}, f32, {}};
  expect_equal({s, {{1024}, f32, {}}}, [](const Tensors& x) -> Tensors {
    return {layer_norm(relu(x[0]), {1024}, x[1]) + x[0]};
  });
}

TEST(FuseRows, GradientsWithSumsOverRows) {
  for (int64_t rows : {128, 150, 1024, 5000}) {
    const Spec s{{rows, 512}, f32, {}}, w{{512}, f32, {}};
    const auto g = expect_equal({s, s, s, w, w}, [](const Tensors& x) -> Tensors {
      Tensor a = x[0].detach(), weight = x[3].detach(), bias = x[4].detach();
      a.requires_grad_();
      weight.requires_grad_();
      bias.requires_grad_();
      const Tensor y = layer_norm(a * x[1], {512}, weight, bias);
      return grad(sum(y * x[2]), {a, weight, bias});
    });
    EXPECT_EQ(count(*g, "layer_norm_grad"), 0) << to_string(*g);
  }
}

TEST(FuseRows, GradientsOfSoftmaxes) {
  const auto g = expect_equal({{{4, 130, 130}, f32, {}}, {{4, 130, 130}, f32, {}}},
                              [](const Tensors& x) -> Tensors {
                                Tensor a = x[0].detach();
                                a.requires_grad_();
                                const Tensor y = softmax(a * 0.5, -1) * 3.0 + log_softmax(a, -1);
                                return grad(sum(y * x[1]), {a});
                              });
  EXPECT_EQ(count(*g, "softmax_grad") + count(*g, "log_softmax_grad"), 0) << to_string(*g);
}

TEST(FuseRows, ExplainNamesIt) {
  auto f = compile([](const Tensor& x) { return layer_norm(relu(x), {256}) * 2.0; });
  const NoGrad guard;
  f(randn({512, 256}));
  const std::string text = f.explain();
  EXPECT_NE(text.find("fused_row(rows=512, length=256, program=$"), text.npos) << text;
  EXPECT_NE(text.find("layer_norm($"), text.npos) << text;
  EXPECT_NE(text.find("16 rows at a time"), text.npos) << text;
}

/// What a record that claims to work on rows makes of a row does not depend on the other rows.
TEST(FuseRows, RowsOfARecordAreIndependent) {
  const NoGrad guard;
  int records = 0;
  for (const OpInfo* info : ops()) {
    SampleSet set;
    info->samples(set);
    for (const Sample& sample : set.samples) {
      if (!sample.error.empty() || sample.in.empty() || sample.in[0].shape.numel() == 0) continue;
      const Shape& x = sample.in[0].shape;
      const int axes = row_axes(*info, sample.op.get(), x);
      if (axes == 0) continue;
      int64_t rows = 1;
      for (int i = 0; i < x.size() - axes; ++i) rows *= x[i];
      if (rows < 2) continue;
      ++records;
      Tensors in, other;
      for (const InputSpec& s : sample.in) {
        in.push_back(s.fill == InputSpec::absent ? Tensor() : randn(s.shape));
        other.push_back(in.back());
        if (!in.back().defined() || !(s.shape == x)) continue;
        other.back() = randn(x);
        const int64_t row = x.numel() / rows;
        std::memcpy(other.back().data<float>(), in.back().data<float>(), size_t(row) * 4);
      }
      const Tensor a = detail::apply_all(*info, sample.op.get(), in.data(), int(in.size()))[0];
      const Tensor b = detail::apply_all(*info, sample.op.get(), other.data(), int(in.size()))[0];
      ASSERT_EQ(a.numel() % rows, 0) << info->name;
      EXPECT_EQ(
          std::memcmp(a.raw_data(), b.raw_data(), size_t(a.numel() / rows * itemsize(a.dtype()))),
          0)
          << info->print(sample.op.get()) << " of " << to_string(x);
    }
  }
  EXPECT_GE(records, 10);
}

}  // namespace
}  // namespace tandem::graph
