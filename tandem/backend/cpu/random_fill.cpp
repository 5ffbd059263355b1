// Compiled without contraction to fused multiply-adds (CMakeLists.txt): the same bits come out of
// every instruction set.
#include "tandem/backend/cpu/random_fill.h"

#include <bit>
#include <cmath>

#include "tandem/core/random.h"
#include "tandem/op/simd.h"

namespace tandem::cpu {
namespace {

constexpr int lanes = 16;

/// One group of words, from the blocks 16 * group + lane.
TANDEM_FN void group_of_words(RandomKey key, uint64_t group, uint32_t* __restrict out) {
  const uint64_t block = group * lanes;  // 16 blocks never carry into the upper word
  const uint32_t low = uint32_t(block), high = uint32_t(block >> 32);
  const uint32_t o0 = uint32_t(key.offset), o1 = uint32_t(key.offset >> 32);
  const uint32_t s0 = uint32_t(key.seed), s1 = uint32_t(key.seed >> 32);
#pragma omp simd
  for (int l = 0; l < lanes; ++l) {
    uint32_t c0 = low + uint32_t(l), c1 = high, c2 = o0, c3 = o1;
    uint32_t k0 = s0, k1 = s1;
    for (int i = 0; i < 10; ++i) {
      const uint64_t a = uint64_t(Philox::mul0) * c0, b = uint64_t(Philox::mul1) * c2;
      c0 = uint32_t(b >> 32) ^ c1 ^ k0;
      c1 = uint32_t(b);
      c2 = uint32_t(a >> 32) ^ c3 ^ k1;
      c3 = uint32_t(a);
      k0 += Philox::weyl0;
      k1 += Philox::weyl1;
    }
    out[l] = c0;
    out[lanes + l] = c1;
    out[2 * lanes + l] = c2;
    out[3 * lanes + l] = c3;
  }
}

/// Calls f(words, start) for every group of a run.
template <int per_group, class F>
TANDEM_FN void each_group(RandomKey key, int64_t first, int64_t n, const F& f) {
  alignas(64) uint32_t words[random_group];
  for (int64_t i = 0; i < n; i += per_group) {
    group_of_words(key, uint64_t(first + i) / per_group, words);
    f(words, i);
  }
}

// log(x) for normal x > 0; coefficients of Cephes' logf and log (Moshier).
TANDEM_FN float log_of(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x) - 0x3f3504f3u;  // sqrt(1/2)
  const int32_t e = int32_t(u) >> 23;
  u = (u & 0x007fffffu) + 0x3f3504f3u;
  const float m = std::bit_cast<float>(u) - 1.f, z = m * m, k = float(e);
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z + k * -2.12194440e-4f - 0.5f * z;
  return m + p + k * 0.693359375f;
}
TANDEM_FN double log_of(double x) {
  uint64_t u = std::bit_cast<uint64_t>(x) - 0x3fe6a09e667f3bcdull;
  const int32_t e = int32_t(int64_t(u) >> 52);
  u = (u & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull;
  const double m = std::bit_cast<double>(u) - 1.0, z = m * m, k = double(e);
  double p = 1.01875663804580931796e-4;
  p = p * m + 4.97494994976747001425e-1;
  p = p * m + 4.70579119878881725854e0;
  p = p * m + 1.44989225341610930846e1;
  p = p * m + 1.79368678507819816313e1;
  p = p * m + 7.70838733755885391666e0;
  double q = m + 1.12873587189167450590e1;
  q = q * m + 4.52279145837532221105e1;
  q = q * m + 8.29875266912776603211e1;
  q = q * m + 7.11544750618563894466e1;
  q = q * m + 2.31251620126765340583e1;
  const double y = m * z * p / q - k * 2.121944400546905827679e-4 - 0.5 * z;
  return m + y + k * 0.693359375;
}

// sin and cos of a full turn's share, given as a 32-bit fraction of it; Cephes' polynomials on
// [-pi/4, pi/4], the quarter chosen in integers.
template <class T>
struct SinCos {
  T sin, cos;
};
TANDEM_FN float sin_poly(float t, float z) {
  float p = -1.9515295891e-4f;
  p = p * z + 8.3321608736e-3f;
  p = p * z - 1.6666654611e-1f;
  return p * z * t + t;
}
TANDEM_FN float cos_poly(float, float z) {
  float p = 2.443315711809948e-5f;
  p = p * z - 1.388731625493765e-3f;
  p = p * z + 4.166664568298827e-2f;
  return p * z * z - 0.5f * z + 1.f;
}
TANDEM_FN double sin_poly(double t, double z) {
  double p = 1.58962301576546568060e-10;
  p = p * z - 2.50507477628578072866e-8;
  p = p * z + 2.75573136213857245213e-6;
  p = p * z - 1.98412698295895385996e-4;
  p = p * z + 8.33333333332211858878e-3;
  p = p * z - 1.66666666666666307295e-1;
  return p * z * t + t;
}
TANDEM_FN double cos_poly(double, double z) {
  double p = -1.13585365213876817300e-11;
  p = p * z + 2.08757008419747316778e-9;
  p = p * z - 2.75573141792967388112e-7;
  p = p * z + 2.48015872888517045348e-5;
  p = p * z - 1.38888888888730564116e-3;
  p = p * z + 4.16666666666665929218e-2;
  return p * z * z - 0.5 * z + 1.0;
}
template <class T>
TANDEM_FN SinCos<T> turn(uint32_t word) {
  constexpr T unit = T(6.283185307179586476925 / 4294967296.0);
  const uint32_t quarter = (word + 0x20000000u) >> 30;
  const T t = T(int32_t(word - (quarter << 30))) * unit, z = t * t;
  const T s = sin_poly(t, z), c = cos_poly(t, z);
  const bool odd = quarter & 1u;
  const T a = odd ? c : s, b = odd ? s : c;
  const bool negative_sin = quarter & 2u, negative_cos = (quarter + 1u) & 2u;
  return {negative_sin ? -a : a, negative_cos ? -b : b};
}

TANDEM_FN uint64_t pair(uint32_t high, uint32_t low) { return uint64_t(high) << 32 | low; }

}  // namespace

void random_words(RandomKey key, int64_t first, int64_t n, uint32_t* out) {
  simd([=] {
    for (int64_t i = 0; i < n; i += random_group)
      group_of_words(key, uint64_t(first + i) / random_group, out + i);
  });
}

void random_words64(RandomKey key, int64_t first, int64_t n, uint64_t* out) {
  simd([=] {
    each_group<32>(key, first, n, [=](const uint32_t* w, int64_t i) {
      for (int l = 0; l < lanes; ++l) {
        out[i + l] = pair(w[l], w[lanes + l]);
        out[i + lanes + l] = pair(w[2 * lanes + l], w[3 * lanes + l]);
      }
    });
  });
}

void random_uniform(RandomKey key, int64_t first, int64_t n, float low, float high, float top,
                    int bits, float* out) {
  const float scale = std::ldexp(1.f, -bits), width = high - low;
  const int shift = 32 - bits;
  simd([=] {
    each_group<64>(key, first, n, [=](const uint32_t* w, int64_t i) {
#pragma omp simd
      for (int l = 0; l < random_group; ++l) {
        const float y = float(int32_t(w[l] >> shift)) * scale * width + low;
        out[i + l] = y < top ? y : top;
      }
    });
  });
}

void random_uniform(RandomKey key, int64_t first, int64_t n, double low, double high, double top,
                    double* out) {
  const double width = high - low;
  simd([=] {
    each_group<32>(key, first, n, [=](const uint32_t* w, int64_t i) {
      for (int h = 0; h < 2; ++h)
#pragma omp simd
        for (int l = 0; l < lanes; ++l) {
          const uint64_t u = pair(w[2 * h * lanes + l], w[(2 * h + 1) * lanes + l]) >> 11;
          const double y = double(int64_t(u)) * 0x1p-53 * width + low;
          out[i + h * lanes + l] = y < top ? y : top;
        }
    });
  });
}

void random_normal(RandomKey key, int64_t first, int64_t n, float mean, float std, float* out) {
  simd([=] {
    each_group<64>(key, first, n, [=](const uint32_t* w, int64_t i) {
      for (int h = 0; h < 2; ++h) {
        const uint32_t *a = w + 2 * h * lanes, *b = a + lanes;
        float* y = out + i + 2 * h * lanes;
#pragma omp simd
        for (int l = 0; l < lanes; ++l) {
          const float u = (float(int32_t(a[l] >> 8)) + 1.f) * 0x1p-24f;  // in (0, 1]
          const float r = std::sqrt(-2.f * log_of(u)) * std;
          const auto angle = turn<float>(b[l]);
          y[l] = r * angle.cos + mean;
          y[lanes + l] = r * angle.sin + mean;
        }
      }
    });
  });
}

void random_normal(RandomKey key, int64_t first, int64_t n, double mean, double std, double* out) {
  simd([=] {
    each_group<32>(key, first, n, [=](const uint32_t* w, int64_t i) {
#pragma omp simd
      for (int l = 0; l < lanes; ++l) {
        const uint64_t v = pair(w[l], w[lanes + l]) >> 11;
        const double u = (double(int64_t(v)) + 1.0) * 0x1p-53;
        const double r = std::sqrt(-2.0 * log_of(u)) * std;
        const auto angle = turn<double>(w[2 * lanes + l]);
        out[i + l] = r * angle.cos + mean;
        out[i + lanes + l] = r * angle.sin + mean;
      }
    });
  });
}

namespace {

template <class T>
TANDEM_FN void dropout_run(RandomKey key, int64_t first, int64_t n, uint32_t threshold, T scale,
                           const T* __restrict x, T* __restrict y) {
  alignas(64) uint32_t words[random_group];
  for (int64_t i = 0; i < n; i += random_group) {
    group_of_words(key, uint64_t(first + i) / random_group, words);
    const int m = int(n - i < random_group ? n - i : random_group);
    if (m == random_group) {
#pragma omp simd
      for (int l = 0; l < random_group; ++l)
        y[i + l] = x[i + l] * (words[l] >= threshold ? scale : T(0));
    } else {
      for (int l = 0; l < m; ++l) y[i + l] = x[i + l] * (words[l] >= threshold ? scale : T(0));
    }
  }
}

}  // namespace

void dropout(RandomKey key, int64_t first, int64_t n, uint32_t threshold, float scale,
             const float* x, float* y) {
  simd([=] { dropout_run(key, first, n, threshold, scale, x, y); });
}
void dropout(RandomKey key, int64_t first, int64_t n, uint32_t threshold, double scale,
             const double* x, double* y) {
  simd([=] { dropout_run(key, first, n, threshold, scale, x, y); });
}

}  // namespace tandem::cpu
