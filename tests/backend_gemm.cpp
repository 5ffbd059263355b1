// Matrix products of the CPU backend against plain loops in f64 (or wide integers).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tandem/backend/cpu/gemm.h"
#include "tandem/backend/cpu/half_convert.h"
#include "tandem/backend/cpu/threads.h"

namespace {

using namespace tandem::cpu;

template <class T>
constexpr double tolerance() {
  return sizeof(T) == 8 ? 1e-14 : 1e-6;
}

template <class T>
std::vector<T> random_values(size_t n, unsigned seed) {
  std::mt19937 gen(seed);
  std::vector<T> v(n);
  if constexpr (std::is_floating_point_v<T>) {
    std::uniform_real_distribution<T> dist(-1, 1);
    for (T& x : v) x = dist(gen);
  } else {
    for (T& x : v) x = static_cast<T>(gen());
  }
  return v;
}

struct Case {
  int64_t m, n, k;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {1, 1, 1},      {1, 1, 7},    {2, 3, 1},     {8, 8, 8},     {3, 17, 5},     {13, 31, 33},
      {4, 8, 4},      {27, 27, 26}, {16, 16, 16},  {1, 5, 9},     {9, 1, 5},      {1, 300, 40},
      {1, 40, 300},   {300, 1, 40}, {40, 1, 300},  {1, 2500, 70}, {1, 33, 5000},  {5000, 1, 33},
      {33, 1, 70},    {5, 3, 1000}, {2, 2, 2000},  {64, 100, 70}, {130, 70, 200}, {97, 33, 515},
      {96, 10, 2100}, {7, 2100, 9}, {2100, 5, 40}, {25, 25, 400}, {12, 32, 192},  {200, 17, 3},
      {1, 1, 100000}};
  return all;
}

// op(A)[i,p] of a matrix stored with row distance ld.
template <class T>
T at(const std::vector<T>& x, bool trans, int64_t i, int64_t p, int64_t ld) {
  return trans ? x[static_cast<size_t>(p * ld + i)] : x[static_cast<size_t>(i * ld + p)];
}

template <class T>
void check_float(bool ta, bool tb, Case s, T alpha, T beta, int64_t pad) {
  const int64_t lda = (ta ? s.m : s.k) + pad, ldb = (tb ? s.k : s.n) + pad, ldc = s.n + pad;
  const auto a = random_values<T>(static_cast<size_t>((ta ? s.k : s.m) * lda), 1);
  const auto b = random_values<T>(static_cast<size_t>((tb ? s.n : s.k) * ldb), 2);
  const auto before = random_values<T>(static_cast<size_t>(s.m * ldc), 3);
  auto c = before;
  if (beta == T{0}) {
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        c[static_cast<size_t>(i * ldc + j)] = std::numeric_limits<T>::quiet_NaN();
      }
    }
  }
  gemm(ta, tb, s.m, s.n, s.k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      const double old = static_cast<double>(before[static_cast<size_t>(i * ldc + j)]);
      const double got = static_cast<double>(c[static_cast<size_t>(i * ldc + j)]);
      if (j >= s.n) {
        ASSERT_EQ(got, old) << "wrote beyond the row";
        continue;
      }
      double sum = 0, size = std::abs(old * beta);
      for (int64_t p = 0; p < s.k; ++p) {
        const double x =
            static_cast<double>(at(a, ta, i, p, lda)) * static_cast<double>(at(b, tb, p, j, ldb));
        sum += x;
        size += std::abs(x * alpha);
      }
      const double want = alpha * sum + (beta == T{0} ? 0.0 : beta * old);
      ASSERT_TRUE(std::abs(got - want) <= tolerance<T>() * size)
          << "trans " << ta << tb << " m n k " << s.m << " " << s.n << " " << s.k << " alpha "
          << alpha << " beta " << beta << " at " << i << "," << j << ": " << got << " not " << want;
    }
  }
}

template <class T>
void check_all_float() {
  for (const Case& s : cases()) {
    for (int trans = 0; trans < 4; ++trans) {
      check_float<T>(trans & 1, trans & 2, s, T{1}, T{0}, 0);
      check_float<T>(trans & 1, trans & 2, s, T(0.5), T(-1.25), 3);
      check_float<T>(trans & 1, trans & 2, s, T(-2), T(1), 1);
    }
  }
}

TEST(BackendGemm, F32EqualsPlainLoops) { check_all_float<float>(); }
TEST(BackendGemm, F64EqualsPlainLoops) { check_all_float<double>(); }

TEST(BackendGemm, OneThreadAndManyGiveTheSameF64) {
  const Case s{190, 170, 300};
  const auto a = random_values<double>(static_cast<size_t>(s.m * s.k), 1);
  const auto b = random_values<double>(static_cast<size_t>(s.k * s.n), 2);
  std::vector<double> one(static_cast<size_t>(s.m * s.n)), many = one;
  const int before = num_threads();
  set_num_threads(1);
  gemm(false, false, s.m, s.n, s.k, 1.0, a.data(), s.k, b.data(), s.n, 0.0, one.data(), s.n);
  set_num_threads(4);
  gemm(false, false, s.m, s.n, s.k, 1.0, a.data(), s.k, b.data(), s.n, 0.0, many.data(), s.n);
  set_num_threads(before);
  EXPECT_EQ(one, many);
}

TEST(BackendGemm, EmptyProducts) {
  std::vector<float> c{1, 2, 3, 4, 5, 6};
  gemm(false, false, 0, 3, 2, 1.0f, nullptr, 2, nullptr, 3, 0.0f, nullptr, 3);
  gemm(false, false, 2, 0, 2, 1.0f, nullptr, 2, nullptr, 1, 0.0f, c.data(), 1);
  gemm(false, false, 2, 3, 0, 1.0f, nullptr, 1, nullptr, 3, 2.0f, c.data(), 3);
  EXPECT_EQ(c, (std::vector<float>{2, 4, 6, 8, 10, 12}));
  c.assign(6, std::numeric_limits<float>::quiet_NaN());
  gemm(false, false, 2, 3, 0, 1.0f, nullptr, 1, nullptr, 3, 0.0f, c.data(), 3);
  EXPECT_EQ(c, std::vector<float>(6, 0.0f));
  std::vector<int32_t> i{1, 2};
  gemm(false, false, 1, 2, 0, 1, static_cast<const int32_t*>(nullptr), 1, nullptr, 2, 3, i.data(),
       2);
  EXPECT_EQ(i, (std::vector<int32_t>{3, 6}));
}

TEST(BackendGemm, NaNAndInfinityReachTheResult) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t n : {int64_t{4}, int64_t{40}}) {
    std::vector<float> a(static_cast<size_t>(n * n), 1.0f), b = a, c(a.size());
    a[1] = nan;
    b[static_cast<size_t>(2 * n)] = std::numeric_limits<float>::infinity();
    gemm(false, false, n, n, n, 1.0f, a.data(), n, b.data(), n, 0.0f, c.data(), n);
    EXPECT_TRUE(std::isnan(c[0]) && std::isnan(c[static_cast<size_t>(n) - 1]));
    EXPECT_TRUE(std::isinf(c[static_cast<size_t>(n)]));
    EXPECT_EQ(c[static_cast<size_t>(n) + 1], static_cast<float>(n));
  }
}

template <class T>
void check_integers() {
  using U = std::make_unsigned_t<T>;
  for (const Case& s : {Case{1, 1, 1}, Case{3, 5, 7}, Case{17, 300, 70}, Case{70, 9, 33}}) {
    for (int trans = 0; trans < 4; ++trans) {
      const bool ta = trans & 1, tb = trans & 2;
      const int64_t lda = (ta ? s.m : s.k) + 2, ldb = (tb ? s.k : s.n) + 1, ldc = s.n + 1;
      const auto a = random_values<T>(static_cast<size_t>((ta ? s.k : s.m) * lda), 1);
      const auto b = random_values<T>(static_cast<size_t>((tb ? s.n : s.k) * ldb), 2);
      const auto before = random_values<T>(static_cast<size_t>(s.m * ldc), 3);
      auto c = before;
      gemm(ta, tb, s.m, s.n, s.k, T{3}, a.data(), lda, b.data(), ldb, T{2}, c.data(), ldc);
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          uint64_t sum = 2 * static_cast<uint64_t>(before[static_cast<size_t>(i * ldc + j)]);
          for (int64_t p = 0; p < s.k; ++p) {
            sum += 3 * static_cast<uint64_t>(at(a, ta, i, p, lda)) *
                   static_cast<uint64_t>(at(b, tb, p, j, ldb));
          }
          ASSERT_EQ(static_cast<U>(c[static_cast<size_t>(i * ldc + j)]), static_cast<U>(sum));
        }
      }
    }
  }
}

TEST(BackendGemm, IntegersWrapAround) {
  check_integers<int32_t>();
  check_integers<int64_t>();
  check_integers<int8_t>();
  check_integers<uint8_t>();
}

TEST(BackendGemm, BatchedWithStrides) {
  for (const Case& s : {Case{3, 4, 5}, Case{40, 50, 60}}) {
    const int64_t batch = 7;
    const auto a = random_values<float>(static_cast<size_t>(batch * s.m * s.k), 1);
    const auto b = random_values<float>(static_cast<size_t>(s.k * s.n), 2);
    const int64_t stride_c = s.m * s.n + 5;
    std::vector<float> c(static_cast<size_t>(batch * stride_c), -7.0f);
    gemm_batched(false, false, batch, s.m, s.n, s.k, 1.0f, a.data(), s.k, s.m * s.k, b.data(), s.n,
                 int64_t{0}, 0.0f, c.data(), s.n, stride_c);
    for (int64_t q = 0; q < batch; ++q) {
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          double want = 0;
          for (int64_t p = 0; p < s.k; ++p) {
            want += static_cast<double>(a[static_cast<size_t>((q * s.m + i) * s.k + p)]) *
                    static_cast<double>(b[static_cast<size_t>(p * s.n + j)]);
          }
          ASSERT_NEAR(c[static_cast<size_t>(q * stride_c + i * s.n + j)], want, 1e-5);
        }
      }
      EXPECT_EQ(c[static_cast<size_t>(q * stride_c + s.m * s.n)], -7.0f);
    }
  }
}

template <class T>
void check_linear() {
  for (const Case& s : cases()) {
    const auto x = random_values<T>(static_cast<size_t>(s.m * s.k), 1);
    const auto w = random_values<T>(static_cast<size_t>(s.n * s.k), 2);
    const auto bias = random_values<T>(static_cast<size_t>(s.n), 3);
    for (const T* add : {bias.data(), static_cast<const T*>(nullptr)}) {
      std::vector<T> y(static_cast<size_t>(s.m * s.n), std::numeric_limits<T>::quiet_NaN());
      linear(s.m, s.n, s.k, x.data(), s.k, w.data(), s.k, add, y.data(), s.n);
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          double want = add == nullptr ? 0.0 : static_cast<double>(add[j]);
          double size = std::abs(want);
          for (int64_t p = 0; p < s.k; ++p) {
            const double v = static_cast<double>(x[static_cast<size_t>(i * s.k + p)]) *
                             static_cast<double>(w[static_cast<size_t>(j * s.k + p)]);
            want += v;
            size += std::abs(v);
          }
          ASSERT_TRUE(std::abs(static_cast<double>(y[static_cast<size_t>(i * s.n + j)]) - want) <=
                      tolerance<T>() * size)
              << s.m << " " << s.n << " " << s.k;
        }
      }
    }
  }
}

TEST(BackendGemm, LinearAddsTheBias) {
  check_linear<float>();
  check_linear<double>();
}

// Rows are handed on once each, and final when they are.
TEST(BackendGemm, RowsAreGivenWhenTheyAreFinal) {
  struct Seen {
    const std::vector<float>& c;
    int64_t n;
    std::vector<float> copy;
    std::vector<int> times;
  };
  for (const Case& s : std::vector<Case>{{3, 4, 5},
                                         {64, 100, 300},
                                         {100, 300, 64},
                                         {7, 1, 90},
                                         {1, 200, 300},
                                         {200, 170, 260},
                                         {70, 90, 0},
                                         {33, 500, 128}}) {
    for (int mode = 0; mode < 6; ++mode) {
      const bool ta = mode % 3 == 1, tb = mode % 3 == 2, same = mode < 3;
      const auto a = random_values<float>(static_cast<size_t>(s.m * s.k), 1);
      const auto b = random_values<float>(static_cast<size_t>(s.n * s.k), 2);
      std::vector<float> want(static_cast<size_t>(s.m * s.n)), c(want.size(), -1.0f);
      const int64_t lda = ta ? s.m : s.k, ldb = tb ? s.k : s.n;
      gemm(ta, tb, s.m, s.n, s.k, 1.0f, a.data(), lda, b.data(), ldb, 0.0f, want.data(), s.n);
      Seen seen{c, s.n, std::vector<float>(c.size()), std::vector<int>(static_cast<size_t>(s.m))};
      const RowsDone done{[](const void* self, int64_t begin, int64_t end) {
                            auto& to = *const_cast<Seen*>(static_cast<const Seen*>(self));
                            for (int64_t i = begin; i < end; ++i)
                              ++to.times[static_cast<size_t>(i)];
                            std::copy(to.c.begin() + begin * to.n, to.c.begin() + end * to.n,
                                      to.copy.begin() + begin * to.n);
                          },
                          &seen, same};
      gemm(ta, tb, s.m, s.n, s.k, 1.0f, a.data(), lda, b.data(), ldb, 0.0f, c.data(), s.n, done);
      EXPECT_EQ(seen.times, std::vector<int>(static_cast<size_t>(s.m), 1)) << s.m << " " << mode;
      EXPECT_EQ(seen.copy, c);
      if (same) {
        EXPECT_EQ(c, want);
      }
      for (size_t i = 0; i < c.size(); ++i)
        ASSERT_NEAR(c[i], want[i], 1e-5 * static_cast<double>(s.k)) << s.m << " " << mode;
    }
  }
}

// The value of a bit pattern, from the definition of the format.
double half_value(Half kind, uint16_t h) {
  const int mantissa_bits = kind == Half::f16 ? 10 : 7;
  const int bias = kind == Half::f16 ? 15 : 127;
  const int most = kind == Half::f16 ? 31 : 255;
  const int exponent = (h & 0x7fff) >> mantissa_bits;
  const int mantissa = h & ((1 << mantissa_bits) - 1);
  const double sign = h & 0x8000 ? -1.0 : 1.0;
  if (exponent == most) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  return sign * std::ldexp(whole, std::max(exponent, 1) - bias - mantissa_bits);
}

TEST(BackendGemm, HalfPatternsWidenAndNarrow) {
  for (const Half kind : {Half::f16, Half::bf16}) {
    std::vector<uint16_t> all(65536), back(65536);
    std::vector<float> wide(65536);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    widen(kind, 65536, all.data(), wide.data());
    narrow(kind, 65536, wide.data(), back.data());
    std::vector<float> between;
    std::vector<uint16_t> want;
    for (size_t i = 0; i < all.size(); ++i) {
      const double value = half_value(kind, all[i]);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(wide[i])) << i;
        ASSERT_TRUE(std::isnan(half_value(kind, back[i]))) << i;
        continue;
      }
      ASSERT_EQ(static_cast<double>(wide[i]), value) << i;
      ASSERT_EQ(back[i], all[i]);
      const double above = half_value(kind, static_cast<uint16_t>(i + 1));
      if (!std::isfinite(value) || !std::isfinite(above) || (i & 0x7fff) == 0x7fff) continue;
      // Half way goes to the even pattern; a little off it, to the nearer one.
      const auto middle = static_cast<float>((value + above) / 2);
      between.insert(between.end(), {middle, std::nextafter(middle, static_cast<float>(value)),
                                     std::nextafter(middle, static_cast<float>(above))});
      const auto low = static_cast<uint16_t>(i), high = static_cast<uint16_t>(i + 1);
      want.insert(want.end(), {low % 2 == 0 ? low : high, low, high});
    }
    std::vector<uint16_t> got(between.size());
    narrow(kind, static_cast<int64_t>(between.size()), between.data(), got.data());
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(got[i], want[i]) << between[i] << " to " << (kind == Half::f16 ? "f16" : "bf16");
    }
  }
}

void check_half(Half kind, bool ta, bool tb, Case s, float alpha, float beta) {
  const double unit = kind == Half::f16 ? 0x1p-11 : 0x1p-8;
  const int64_t lda = ta ? s.m : s.k, ldb = (tb ? s.k : s.n) + 1, ldc = s.n + 2;
  const auto half = [&](size_t n, unsigned seed) {
    const auto wide = random_values<float>(n, seed);
    std::vector<uint16_t> h(n);
    narrow(kind, static_cast<int64_t>(n), wide.data(), h.data());
    return h;
  };
  const auto a = half(static_cast<size_t>(s.m * s.k), 1);
  const auto b = half(static_cast<size_t>((tb ? s.n : s.k) * ldb), 2);
  const auto before = half(static_cast<size_t>(s.m * ldc), 3);
  auto c = before;
  const auto run = kind == Half::f16 ? gemm_f16 : gemm_bf16;
  run(ta, tb, s.m, s.n, s.k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      const auto at_c = static_cast<size_t>(i * ldc + j);
      double want = beta == 0.0f ? 0.0 : beta * half_value(kind, before[at_c]);
      double size = std::abs(want);
      for (int64_t p = 0; p < s.k; ++p) {
        const double v =
            alpha * half_value(kind, at(a, ta, i, p, lda)) * half_value(kind, at(b, tb, p, j, ldb));
        want += v;
        size += std::abs(v);
      }
      ASSERT_NEAR(half_value(kind, c[at_c]), want, unit * std::abs(want) + 1e-6 * size)
          << s.m << " " << s.n << " " << s.k << " trans " << ta << tb;
    }
  }
}

TEST(BackendGemm, HalfProductsRoundOnce) {
  for (const Half kind : {Half::f16, Half::bf16}) {
    for (const Case& s : {Case{1, 1, 1}, Case{3, 5, 7}, Case{1, 40, 33}, Case{40, 1, 33},
                          Case{17, 33, 65}, Case{64, 100, 70}, Case{4, 4, 0}}) {
      for (int trans = 0; trans < 4; ++trans) {
        check_half(kind, trans & 1, trans & 2, s, 1.0f, 0.0f);
        check_half(kind, trans & 1, trans & 2, s, 0.5f, 2.0f);
      }
    }
  }
}

TEST(BackendGemm, HalfBatches) {
  const std::vector<uint16_t> one(3 * 4, 0x3f80), two(4 * 5, 0x4000);  // 1 and 2 in bf16
  std::vector<uint16_t> c(6 * 3 * 5, 0);
  gemm_batched_bf16(false, false, 6, 3, 5, 4, 1.0f, one.data(), 4, 0, two.data(), 5, 0, 0.0f,
                    c.data(), 5, 15);
  EXPECT_EQ(c, std::vector<uint16_t>(c.size(), 0x4100));                  // 8
  const std::vector<uint16_t> half(3 * 4, 0x3800), three(4 * 5, 0x4200);  // 0.5 and 3 in f16
  gemm_batched_f16(false, false, 6, 3, 5, 4, 1.0f, half.data(), 4, 0, three.data(), 5, 0, 0.0f,
                   c.data(), 5, 15);
  EXPECT_EQ(c, std::vector<uint16_t>(c.size(), 0x4600));  // 6
}

}  // namespace
