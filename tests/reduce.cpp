// Reductions over every kind of memory layout against a plain loop over the elements. The values
// are small whole numbers, so that sums are exact in any order.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/ops/any.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sort.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/var.h"

namespace {

using namespace tandem;

Tensor whole_numbers(const Shape& shape, DType dtype) {
  Tensor t = empty(shape, i64);
  int64_t* p = t.data<int64_t>();
  uint64_t state = 88172645463325252ull;  // xorshift64, Marsaglia 2003
  for (int64_t i = 0; i < t.numel(); ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    p[i] = int64_t(state % 7) - (dtype == u8 ? 0 : 3);
  }
  return t.to(dtype);
}

/// Sum and maximum over the axes in `bits`, element by element.
void expect_right(const Tensor& x, unsigned bits) {
  Shape axes, kept;
  for (int i = 0; i < x.dim(); ++i) {
    if (bits >> i & 1u) axes.push_back(i);
    else kept.push_back(x.shape()[i]);
  }
  const auto values = x.to_vector<double>();
  std::vector<double> sums(size_t(kept.numel()), 0);
  std::vector<double> tops(size_t(kept.numel()), -std::numeric_limits<double>::infinity());
  for (size_t n = 0; n < values.size(); ++n) {
    int64_t rest = int64_t(n), at = 0, step = 1;
    for (int i = x.dim() - 1; i >= 0; --i) {
      const int64_t k = rest % x.shape()[i];
      rest /= x.shape()[i];
      if (bits >> i & 1u) continue;
      at += k * step;
      step *= x.shape()[i];
    }
    sums[size_t(at)] += values[n];
    tops[size_t(at)] = std::max(tops[size_t(at)], values[n]);
  }
  EXPECT_EQ(sum(x, axes).to_vector<double>(), sums) << to_string(x.spec()) << " " << bits;
  EXPECT_EQ(amax(x, axes).to_vector<double>(), tops) << to_string(x.spec()) << " " << bits;
}

TEST(Reduce, EveryLayout) {
  for (int threads : {3}) {
    cpu::set_num_threads(threads);
    for (const Shape& shape :
         {Shape{3, 5}, Shape{5000, 8}, Shape{70000, 3}, Shape{3, 70000}, Shape{9, 2100, 5},
          Shape{40, 33, 17}, Shape{2, 3, 4, 5}, Shape{1100, 10}, Shape{140000}, Shape{300, 300}}) {
      for (DType dtype : {f32, i64, u8}) {
        const Tensor x = whole_numbers(shape, dtype);
        for (unsigned bits = 1; bits < 1u << shape.size(); ++bits) {
          expect_right(x, bits);
          if (shape.size() > 1) {
            expect_right(transpose(x, 0, -1), bits);
            expect_right(slice(x, -1, 0, {}, 2), bits);
          }
        }
      }
    }
  }
  cpu::set_num_threads(0);
}

TEST(Reduce, SumsOfManyElementsKeepTheirDigits) {
  for (const Shape& shape : {Shape{1 << 22}, Shape{1 << 19, 8}, Shape{1 << 12, 1 << 10}}) {
    const Tensor x = full(shape, 0.1);
    const double want = double(0.1f) * double(shape[0]);
    for (double got : sum(x, {0}).to_vector<double>()) EXPECT_NEAR(got / want, 1, 2e-6);
    EXPECT_NEAR(mean(x).item<double>(), double(0.1f), 2e-7);
  }
}

TEST(Reduce, NanComesThrough) {
  for (const Shape& shape : {Shape{40, 50}, Shape{5000, 8}, Shape{100000, 1}}) {
    Tensor x = zeros(shape);
    x.data<float>()[x.numel() / 2] = NAN;
    EXPECT_TRUE(std::isnan(amax(x).item<float>()));
    EXPECT_TRUE(std::isnan(min(x).item<float>()));
    EXPECT_TRUE(any(x).item<bool>());
    EXPECT_FALSE(all(x).item<bool>());
    EXPECT_TRUE(std::isnan(var(x).item<float>()));
    const auto columns = amax(x, {0}).to_vector<float>();
    int bad = 0;
    for (float v : columns) bad += std::isnan(v);
    EXPECT_EQ(bad, 1);
  }
}

TEST(Sort, TheOrderOfElements) {
  const Tensor x = reshape(tensor({3.f, 1.f, 2.f, 5.f, 0.f, 4.f}), {2, 3});
  EXPECT_EQ(argsort(x).to_vector<int64_t>(), (std::vector<int64_t>{1, 2, 0, 1, 2, 0}));
  EXPECT_EQ(argsort(x, 0, true).to_vector<int64_t>(), (std::vector<int64_t>{1, 0, 1, 0, 1, 0}));
}

}  // namespace
