// Pooling of the CPU backend against plain loops in f64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tandem/backend/cpu/pool.h"

namespace {

using namespace tandem::cpu;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// PyTorch's output size, torch.nn.MaxPool2d: with ceil_mode a last window must start inside the
// input or its left padding.
int64_t out_size(int64_t size, int64_t k, int64_t stride, int64_t pad, int64_t dil, bool ceil) {
  const int64_t free = size + 2 * pad - dil * (k - 1) - 1;
  int64_t out = (free + (ceil ? stride - 1 : 0)) / stride + 1;
  if (ceil && (out - 1) * stride >= size + pad) --out;
  return out;
}

PoolShape pool(int64_t planes, int64_t h, int64_t w, int64_t kh, int64_t kw, int64_t sh, int64_t sw,
               int64_t ph, int64_t pw, int64_t dh, int64_t dw, bool ceil) {
  return {planes,
          h,
          w,
          out_size(h, kh, sh, ph, dh, ceil),
          out_size(w, kw, sw, pw, dw, ceil),
          kh,
          kw,
          sh,
          sw,
          ph,
          pw,
          dh,
          dw};
}

std::vector<PoolShape> shapes(bool dilated) {
  std::vector<PoolShape> all = {pool(3, 8, 8, 2, 2, 2, 2, 0, 0, 1, 1, false),
                                pool(2, 26, 26, 2, 2, 2, 2, 0, 0, 1, 1, false),
                                pool(2, 9, 41, 2, 2, 2, 2, 0, 0, 1, 1, true),
                                pool(2, 15, 35, 3, 3, 2, 2, 1, 1, 1, 1, false),
                                pool(2, 15, 36, 3, 3, 2, 2, 1, 1, 1, 1, true),
                                pool(2, 12, 19, 3, 3, 1, 1, 1, 1, 1, 1, false),
                                pool(1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, false),
                                pool(2, 5, 7, 5, 7, 1, 1, 0, 0, 1, 1, false),
                                pool(2, 11, 13, 4, 3, 3, 2, 2, 1, 1, 1, true),
                                pool(1, 3, 700, 2, 2, 2, 2, 1, 1, 1, 1, false),
                                pool(40, 12, 12, 2, 2, 2, 2, 0, 0, 1, 1, false),
                                pool(1, 1, 20, 1, 3, 1, 2, 0, 1, 1, 1, false)};
  if (dilated) {
    all.push_back(pool(2, 13, 17, 3, 3, 2, 1, 1, 1, 2, 3, false));
    all.push_back(pool(2, 9, 10, 2, 3, 1, 2, 1, 1, 3, 2, true));
  }
  return all;
}

template <class T>
std::vector<T> values(int64_t n, unsigned seed) {
  std::mt19937 gen(seed);
  std::uniform_int_distribution<int> dist(-20, 20);  // few values: ties occur
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = static_cast<T>(dist(gen)) / T(8);
  return v;
}

template <class T>
void check_max(bool with_nan) {
  for (const PoolShape& s : shapes(true)) {
    auto x = values<T>(s.planes * s.h * s.w, 1);
    if (with_nan) {
      for (size_t i = 0; i < x.size(); i += 5) x[i] = std::numeric_limits<T>::quiet_NaN();
      for (size_t i = 1; i < x.size(); i += 3) x[i] = -std::numeric_limits<T>::infinity();
    }
    const auto out = static_cast<size_t>(s.planes * s.out_h * s.out_w);
    std::vector<T> y(out), y_only(out);
    std::vector<int64_t> index(out);
    max_pool2d(s, x.data(), y.data(), index.data());
    max_pool2d(s, x.data(), y_only.data(), nullptr);
    const auto dy = values<T>(static_cast<int64_t>(out), 2);
    std::vector<double> want_dx(x.size(), 0.0);
    for (int64_t p = 0; p < s.planes; ++p) {
      for (int64_t i = 0; i < s.out_h; ++i) {
        for (int64_t j = 0; j < s.out_w; ++j) {
          double most = 0;
          int64_t at = -1;
          for (int64_t a = 0; a < s.kh; ++a) {
            for (int64_t b = 0; b < s.kw; ++b) {
              const int64_t h = i * s.stride_h - s.pad_h + a * s.dil_h;
              const int64_t w = j * s.stride_w - s.pad_w + b * s.dil_w;
              if (h < 0 || h >= s.h || w < 0 || w >= s.w) continue;
              const auto v = static_cast<double>(x[static_cast<size_t>((p * s.h + h) * s.w + w)]);
              if (at < 0 || v > most || std::isnan(v)) {
                most = v;
                at = h * s.w + w;
              }
            }
          }
          const auto k = static_cast<size_t>((p * s.out_h + i) * s.out_w + j);
          ASSERT_EQ(index[k], at) << "plane " << p << " row " << i << " column " << j;
          ASSERT_TRUE(std::isnan(most) ? std::isnan(y[k]) : static_cast<double>(y[k]) == most);
          ASSERT_TRUE(std::isnan(most) ? std::isnan(y_only[k]) : y[k] == y_only[k]);
          want_dx[static_cast<size_t>(p * s.h * s.w + at)] += static_cast<double>(dy[k]);
        }
      }
    }
    std::vector<T> dx(x.size(), std::numeric_limits<T>::quiet_NaN());
    max_pool2d_backward(s, dy.data(), index.data(), dx.data());
    for (size_t i = 0; i < dx.size(); ++i) ASSERT_EQ(static_cast<double>(dx[i]), want_dx[i]);
  }
}

TEST(BackendPool, MaxAndItsGradient) {
  check_max<float>(false);
  check_max<double>(false);
}

TEST(BackendPool, MaxTakesTheLastNaN) {
  check_max<float>(true);
  check_max<double>(true);
}

template <class T>
void expect_close(const std::vector<T>& got, const std::vector<double>& want) {
  const double most = sizeof(T) == 8 ? 1e-13 : 2e-6;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(std::abs(static_cast<double>(got[i]) - want[i]) <= most * (1 + std::abs(want[i])))
        << i << ": " << got[i] << " not " << want[i];
  }
}

template <class T>
void check_average() {
  for (const PoolShape& s : shapes(false)) {
    for (int mode = 0; mode < 3; ++mode) {
      const bool count_pad = mode == 1;
      const int64_t divisor = mode == 2 ? 7 : 0;
      const auto x = values<T>(s.planes * s.h * s.w, 1);
      const auto dy = values<T>(s.planes * s.out_h * s.out_w, 2);
      std::vector<double> want(dy.size(), 0.0), want_dx(x.size(), 0.0);
      for (int64_t p = 0; p < s.planes; ++p) {
        for (int64_t i = 0; i < s.out_h; ++i) {
          for (int64_t j = 0; j < s.out_w; ++j) {
            const auto k = static_cast<size_t>((p * s.out_h + i) * s.out_w + j);
            std::vector<size_t> inside;
            int64_t counted = 0;
            for (int64_t a = 0; a < s.kh; ++a) {
              for (int64_t b = 0; b < s.kw; ++b) {
                const int64_t h = i * s.stride_h - s.pad_h + a;
                const int64_t w = j * s.stride_w - s.pad_w + b;
                if (h < s.h + s.pad_h && w < s.w + s.pad_w) ++counted;
                if (h < 0 || h >= s.h || w < 0 || w >= s.w) continue;
                inside.push_back(static_cast<size_t>((p * s.h + h) * s.w + w));
              }
            }
            const double by =
                divisor != 0 ? 7.0 : static_cast<double>(count_pad ? counted : inside.size());
            for (const size_t q : inside) {
              want[k] += static_cast<double>(x[q]) / by;
              want_dx[q] += static_cast<double>(dy[k]) / by;
            }
          }
        }
      }
      std::vector<T> y(dy.size(), static_cast<T>(kNaN)), dx(x.size(), static_cast<T>(kNaN));
      avg_pool2d(s, count_pad, divisor, x.data(), y.data());
      expect_close(y, want);
      avg_pool2d_backward(s, count_pad, divisor, dy.data(), dx.data());
      expect_close(dx, want_dx);
    }
  }
}

TEST(BackendPool, AverageAndItsGradient) {
  check_average<float>();
  check_average<double>();
}

template <class T>
void check_adaptive() {
  const int64_t cases[][5] = {{3, 7, 7, 1, 1},   {2, 8, 9, 4, 3},  {2, 5, 6, 7, 8},
                              {1, 10, 13, 3, 5}, {50, 7, 7, 1, 1}, {2, 6, 6, 6, 6}};
  for (const auto& c : cases) {
    const int64_t planes = c[0], h = c[1], w = c[2], oh = c[3], ow = c[4];
    const auto x = values<T>(planes * h * w, 1);
    const auto dy = values<T>(planes * oh * ow, 2);
    std::vector<double> want(dy.size(), 0.0), want_dx(x.size(), 0.0);
    for (int64_t p = 0; p < planes; ++p) {
      for (int64_t i = 0; i < oh; ++i) {
        for (int64_t j = 0; j < ow; ++j) {
          const auto k = static_cast<size_t>((p * oh + i) * ow + j);
          const auto h0 = static_cast<int64_t>(std::floor(double(i * h) / double(oh)));
          const auto h1 = static_cast<int64_t>(std::ceil(double((i + 1) * h) / double(oh)));
          const auto w0 = static_cast<int64_t>(std::floor(double(j * w) / double(ow)));
          const auto w1 = static_cast<int64_t>(std::ceil(double((j + 1) * w) / double(ow)));
          const auto by = static_cast<double>((h1 - h0) * (w1 - w0));
          for (int64_t a = h0; a < h1; ++a) {
            for (int64_t b = w0; b < w1; ++b) {
              const auto q = static_cast<size_t>((p * h + a) * w + b);
              want[k] += static_cast<double>(x[q]) / by;
              want_dx[q] += static_cast<double>(dy[k]) / by;
            }
          }
        }
      }
    }
    std::vector<T> y(dy.size()), dx(x.size(), static_cast<T>(kNaN));
    adaptive_avg_pool2d(planes, h, w, oh, ow, x.data(), y.data());
    expect_close(y, want);
    adaptive_avg_pool2d_backward(planes, h, w, oh, ow, dy.data(), dx.data());
    expect_close(dx, want_dx);
  }
}

TEST(BackendPool, AdaptiveAverageAndItsGradient) {
  check_adaptive<float>();
  check_adaptive<double>();
}

TEST(BackendPool, NoPlanes) {
  const PoolShape s = pool(0, 4, 4, 2, 2, 2, 2, 0, 0, 1, 1, false);
  max_pool2d<float>(s, nullptr, nullptr, nullptr);
  max_pool2d_backward<float>(s, nullptr, nullptr, nullptr);
  avg_pool2d<float>(s, true, 0, nullptr, nullptr);
  adaptive_avg_pool2d<double>(0, 4, 4, 1, 1, nullptr, nullptr);
}

}  // namespace
