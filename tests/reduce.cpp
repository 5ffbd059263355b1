// Reductions over every kind of memory layout against a plain loop over the elements. The values
// are small whole numbers, so that sums are exact in any order.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tandem/backend/cpu/threads.h"
#include "tandem/tandem.h"
#include "tests/support/graphs.h"

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

/// The order of a sum is a matter of the shape: a view gives bit for bit what its copy gives.
TEST(Reduce, AViewGivesTheBitsOfItsCopy) {
  const NoGrad guard;
  using F = Tensor (*)(const Tensor&, const Shape&);
  const std::pair<const char*, F> folds[] = {
      {"sum", [](const Tensor& x, const Shape& a) { return sum(x, a); }},
      {"mean", [](const Tensor& x, const Shape& a) { return mean(x, a); }},
      {"prod", [](const Tensor& x, const Shape& a) { return prod(x * 0.01 + 1, a); }},
      {"prod of the view", [](const Tensor& x, const Shape& a) { return prod(x, a); }},
      {"amax", [](const Tensor& x, const Shape& a) { return amax(x, a); }},
      {"logsumexp", [](const Tensor& x, const Shape& a) { return logsumexp(x, a); }},
      {"var", [](const Tensor& x, const Shape& a) { return var(x, a); }},
  };
  manual_seed(3);
  for (int threads : {1, 3}) {
    cpu::set_num_threads(threads);
    for (const Shape& shape :
         {Shape{3, 5}, Shape{40, 33}, Shape{5000, 8}, Shape{8, 5000}, Shape{70000, 3},
          Shape{3, 70000}, Shape{2100, 300}, Shape{9, 2100, 5}, Shape{40, 33, 17}, Shape{6, 35, 20},
          Shape{2, 3, 44, 55}, Shape{4, 20, 9, 9}, Shape{140000}})
      for (DType dtype : {f32, f64, f16, i32}) {
        const Tensor x = dtype == i32 ? randint(-9, 9, shape, i32) : randn(shape, f32).to(dtype);
        Tensors views{slice(x, -1, 0, {}, 2), slice(x, 0, 1), x.expand(shape)};
        if (shape.size() > 1) {
          views.push_back(transpose(x, 0, -1));
          views.push_back(slice(slice(x, -1, 1, -1), -2, 0, -1));
          views.push_back(slice(transpose(x, 0, -1), 0, 0, {}, 3));
          Shape wide = x.shape(), few = x.shape();
          few[shape.size() - 2] = 1;
          views.push_back(narrow(x, -2, 1, 1).expand(wide));
        }
        if (shape.size() == 4) views.push_back(permute(x, {2, 0, 3, 1}));
        for (const Tensor& v : views) {
          const Tensor copy = v.clone();
          for (unsigned bits = 1; bits < 1u << shape.size(); ++bits) {
            Shape axes;
            for (int i = 0; i < shape.size(); ++i)
              if (bits >> i & 1u) axes.push_back(i);
            for (const auto& [fold, f] : folds) {
              const std::string_view which = fold;
              if (dtype == i32 && which != "sum" && which != "amax" && which != "prod of the view")
                continue;
              ASSERT_TRUE(tandem::testing::same_bits(f(v, axes), f(copy, axes)))
                  << fold << " of " << to_string(v.spec()) << " strides " << to_string(v.strides())
                  << " over " << to_string(axes) << ", " << threads << " threads";
            }
          }
        }
      }
  }
  cpu::set_num_threads(0);
}

/// Rows that a plan takes in blocks are summed as the separate record sums them.
TEST(Reduce, ShortRowsInBlocksOfAPlan) {
  const NoGrad guard;
  manual_seed(4);
  for (int64_t length : {7, 20, 32, 33})
    for (int64_t rows : {4096, 8193, 9362}) {
      const Tensor x = randn({rows, length});
      auto f = [](const Tensor& t) { return sum(exp(t * 2 + 1) - t, {-1}); };
      ASSERT_TRUE(tandem::testing::same_bits(f(x), compile(f, {.deterministic = true})(x)))
          << rows << " rows of " << length;
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
