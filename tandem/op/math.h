#pragma once
// Elementary functions as branch-free scalar code, so that loops over them vectorise. NaN,
// infinities, signed zeros and subnormals come out as IEEE 754 and C say. f32 stays within
// 1.6 ulp (sigmoid: 2.2; tests/math.cpp), with and without fused multiply-add; f64 uses the C
// library.
#include <bit>
#include <cmath>
#include <cstdint>

#include "tandem/op/simd.h"

namespace tandem::math {

namespace detail {

TANDEM_FN float from_bits(uint32_t u) { return std::bit_cast<float>(u); }
TANDEM_FN uint32_t to_bits(float x) { return std::bit_cast<uint32_t>(x); }

/// The nearest whole number as a float (`whole`) and as an integer, for |x| < 2^22.
struct Nearest {
  float whole;
  int32_t integer;
};
TANDEM_FN Nearest nearest(float x) {
  constexpr float magic = 0x1.8p23f;  // pushes the fraction out of the significand
  const float shifted = x + magic;
  return {shifted - magic, int32_t(to_bits(shifted) - to_bits(magic))};
}
TANDEM_FN float power_of_2(int32_t n) { return from_bits(uint32_t(n + 127) << 23); }

/// x = n ln 2 + r, |r| <= ln 2 / 2: the two-part constant and the polynomial for
/// (e^r - 1 - r) / r^2 are those of Moshier's Cephes library, expf.
struct ExpParts {
  float r, tail;
  int32_t n;
};
TANDEM_FN ExpParts exp_parts(float x) {
  const Nearest k = nearest(x * 0x1.715476p+0f);
  const float r = (x - k.whole * 0.693359375f) - k.whole * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return {r, p * (r * r), k.integer};
}

/// (log(1 + f) - f + f^2 / 2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1]; Cephes, logf.
TANDEM_FN float log_polynomial(float f) {
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  return p * f + 3.3333331174e-1f;
}
/// log(1 + f) + e ln 2 + c
TANDEM_FN float log_sum(float f, float e, float c) {
  const float z = f * f;
  float y = f * z * log_polynomial(f);
  y += e * -2.12194440e-4f + c;
  y -= 0.5f * z;
  return (f + y) + e * 0.693359375f;
}

/// An angle as a quarter turn count (modulo 4) and the rest in [-pi/4, pi/4]. The subtraction is
/// done in double, which is exact enough below trig_limit.
struct Angle {
  float rest;
  int32_t quarter;
};
TANDEM_FN Angle reduce_angle(float x) {
  constexpr double magic = 0x1.8p52;
  const double shifted = double(x) * 0x1.45f306dc9c883p-1 + magic;  // 2 / pi
  const double n = shifted - magic;
  // pi/2 in two parts; the first has 33 bits, so that its product with n is exact.
  const double r = (double(x) - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34;
  return {float(r), int32_t(uint32_t(std::bit_cast<uint64_t>(shifted)))};
}
// On [-pi/4, pi/4]; Cephes, sinf and cosf.
TANDEM_FN float sin_polynomial(float r) {
  const float z = r * r;
  return ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
}
TANDEM_FN float cos_polynomial(float r) {
  const float z = r * r;
  const float p = (2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f;
  return p * (z * z) - 0.5f * z + 1.0f;
}
TANDEM_FN float sin_quarter(Angle a, int32_t ahead) {
  const uint32_t q = uint32_t(a.quarter + ahead);
  const float y = q & 1u ? cos_polynomial(a.rest) : sin_polynomial(a.rest);
  return from_bits(to_bits(y) ^ (q & 2u) << 30);
}

}  // namespace detail

/// The float versions of sin and cos are right below this; above, reduce the argument otherwise.
inline constexpr float trig_limit = 0x1p20f;

template <class A>
TANDEM_FN A abs(A x) {
  return std::abs(x);
}
template <class A>
TANDEM_FN A sqrt(A x) {
  return std::sqrt(x);
}
template <class A>
TANDEM_FN A floor(A x) {
  return std::floor(x);
}
template <class A>
TANDEM_FN A ceil(A x) {
  return std::ceil(x);
}
template <class A>
TANDEM_FN A trunc(A x) {
  return std::trunc(x);
}
/// Halves go to the even neighbour.
template <class A>
TANDEM_FN A rint(A x) {
  return std::rint(x);
}
TANDEM_FN double pow(double x, double y) { return std::pow(x, y); }
TANDEM_FN float pow(float x, float y) {
  // |x|^y = 2^(y log2 |x|) in double, rounded once.
  constexpr double magic = 0x1.8p52;  // as in detail::nearest
  const double xd = double(x), ax = std::abs(xd), yd = double(y);
  const uint64_t u = std::bit_cast<uint64_t>(ax);
  // The mantissa m lies in [sqrt(1/2), sqrt(2)); the exponent is biased by 1024, which spares the
  // signed 64-bit shift that AVX2 lacks.
  const uint64_t e = (u - 0x3fe6a09e667f3bcdu + (uint64_t(1024) << 52)) >> 52;
  const double m = std::bit_cast<double>(u + (uint64_t(1024) << 52) - (e << 52));
  // log2(m) = 2 atanh(s) / ln 2, by its series.
  const double s = (m - 1.0) / (m + 1.0), ss = s * s;
  double q = 1.0 / 15.0;
  q = q * ss + 1.0 / 13.0;
  q = q * ss + 1.0 / 11.0;
  q = q * ss + 1.0 / 9.0;
  q = q * ss + 1.0 / 7.0;
  q = q * ss + 1.0 / 5.0;
  q = q * ss + 1.0 / 3.0;
  const double ed = std::bit_cast<double>(std::bit_cast<uint64_t>(magic) + e) - (magic + 1024.0);
  double p = yd * (ed + (q * ss * s + s) * 2.885390081777926815);
  p = p < -160.0 ? -160.0 : p;
  p = p > 160.0 ? 160.0 : p;
  const double shifted = p + magic;
  const double r = (p - (shifted - magic)) * 0.693147180559945309;
  double z = 1.0 / 362880.0;
  z = z * r + 1.0 / 40320.0;
  z = z * r + 1.0 / 5040.0;
  z = z * r + 1.0 / 720.0;
  z = z * r + 1.0 / 120.0;
  z = z * r + 1.0 / 24.0;
  z = z * r + 1.0 / 6.0;
  z = z * r + 0.5;
  z = z * r + 1.0;
  z = z * r + 1.0;
  const double scale = std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023u) << 52);
  double power = z * scale;
  // What C says of 0, 1, infinities, negative numbers and NaN, one double at a time: g++ 12 does
  // not vectorise conditions of mixed widths.
  const double end = (ax > 1.0 ? yd : -yd) > 0.0 ? HUGE_VAL : 0.0;
  power = ax == 0.0 ? end : power;
  power = ax == HUGE_VAL ? end : power;
  power = ax == 1.0 ? 1.0 : power;
  power = ax == ax ? power : ax;
  power = yd == yd ? power : yd;
  const double ay = std::abs(yd) > 0x1p25 ? 0x1p25 : std::abs(yd);  // whole and even from 2^24 on
  const double not_whole = ((ay + magic) - magic) - ay;
  const double not_even = ((ay * 0.5 + magic) - magic) * 2.0 - ay;
  const double sign = not_whole == 0.0 ? std::copysign(1.0, xd) : 1.0;
  power *= not_even == 0.0 ? 1.0 : sign;
  const double real = not_whole == 0.0 ? power : double(NAN);
  power = (ax < HUGE_VAL ? xd : 1.0) < 0.0 ? real : power;
  power = xd == 1.0 ? 1.0 : power;
  return float(yd == 0.0 ? 1.0 : power);
}

TANDEM_FN double exp(double x) { return std::exp(x); }
TANDEM_FN float exp(float x) {
  x = x < -105.0f ? -105.0f : x;
  x = x > 90.0f ? 90.0f : x;
  const detail::ExpParts e = detail::exp_parts(x);
  // In two factors: 2^128 and subnormal powers of two are not floats.
  const int32_t half = e.n >> 1;
  return (e.r + e.tail + 1.0f) * detail::power_of_2(half) * detail::power_of_2(e.n - half);
}

TANDEM_FN double expm1(double x) { return std::expm1(x); }
TANDEM_FN float expm1(float x) {
  const float a = x < -18.0f ? -18.0f : x > 89.0f ? 89.0f : x;
  const detail::ExpParts e = detail::exp_parts(a);
  const float p = e.r + e.tail, half = detail::power_of_2(e.n - 1);
  const float y = (half * p + (half - 0.5f)) * 2.0f;
  return std::abs(x) < 0x1p-25f ? x : y;
}

TANDEM_FN double log(double x) { return std::log(x); }
TANDEM_FN float log(float x) {
  const bool tiny = x < 0x1p-126f;
  const uint32_t u = detail::to_bits(tiny ? x * 0x1p25f : x);
  const int32_t e = int32_t(u - 0x3f3504f3u) >> 23;  // the mantissa lies in [sqrt(1/2), sqrt(2))
  const float f = detail::from_bits(u - (uint32_t(e) << 23)) - 1.0f;
  const float y = detail::log_sum(f, float(tiny ? e - 25 : e), 0.0f);
  const float low = x == 0.0f ? -HUGE_VALF : NAN;
  return x > 0.0f ? (x < HUGE_VALF ? y : x) : low;
}

TANDEM_FN double log1p(double x) { return std::log1p(x); }
TANDEM_FN float log1p(float x) {
  const float w = 1.0f + x;
  const uint32_t u = detail::to_bits(w);
  const bool near = bool(x > -0.29289323f) & bool(x < 0.41421356f);
  const int32_t e = near ? 0 : int32_t(u - 0x3f3504f3u) >> 23;
  const float f = near ? x : detail::from_bits(u - (uint32_t(e) << 23)) - 1.0f;
  // What the sum 1 + x lost, relative to it.
  const float lost = (x > 1.0f ? 1.0f - (w - x) : x - (w - 1.0f)) / w;
  const float y = detail::log_sum(f, float(e), near ? 0.0f : lost);
  const float low = x == -1.0f ? -HUGE_VALF : NAN;
  const float rest = x > -1.0f ? (x < HUGE_VALF ? y : x) : low;
  return std::abs(x) < 0x1p-25f ? x : rest;
}

TANDEM_FN double sin(double x) { return std::sin(x); }
TANDEM_FN float sin(float x) {
  const float y = detail::sin_quarter(detail::reduce_angle(x), 0);
  return x == 0.0f ? x : y;
}
TANDEM_FN double cos(double x) { return std::cos(x); }
TANDEM_FN float cos(float x) { return detail::sin_quarter(detail::reduce_angle(x), 1); }

TANDEM_FN double tanh(double x) { return std::tanh(x); }
TANDEM_FN float tanh(float x) {
  // Cephes, tanhf: a polynomial near zero, and 1 - 2 / (e^2x + 1).
  const float a = std::abs(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near = p * z * x + x;
  const float far = 1.0f - 2.0f / (exp(a + a) + 1.0f);
  return std::copysign(a < 0.625f ? near : far, x);
}

TANDEM_FN double erf(double x) { return std::erf(x); }
TANDEM_FN float erf(float x) {
  const float a = std::abs(x), z = x * x;
  // erf(x) / x - 1 in x^2 below 0.95, log(erfc(x)) on [0.9, 4]: Lawson fits to 40-digit values,
  // largest relative errors of erf 9e-10 and 6e-11.
  float p = 0x1.4fa924p-14f;
  p = p * z - 0x1.a6181p-11f;
  p = p * z + 0x1.544b08p-8f;
  p = p * z - 0x1.b80124p-6f;
  p = p * z + 0x1.ce2d64p-4f;
  p = p * z - 0x1.812740p-2f;
  p = p * z + 0x1.06eba8p-3f;
  const float near = p * x + x;
  const float t = a > 4.0f ? 4.0f : a;
  float q = -0x1.5d5be2p-16f;
  q = q * t + 0x1.c44c0cp-12f;
  q = q * t - 0x1.105f2ep-8f;
  q = q * t + 0x1.9aea1ep-6f;
  q = q * t - 0x1.bb44dap-4f;
  q = q * t - 0x1.444d26p-1f;
  q = q * t - 0x1.212626p+0f;
  q = q * t + 0x1.62d950p-13f;
  const float far = 1.0f - exp(q);
  return a < 0.92f ? near : std::copysign(far, x);
}

/// The normal distribution function and its density at x; both keep their relative accuracy in the
/// lower tail.
template <class A>
struct Normal {
  A cdf, density;
};
TANDEM_FN Normal<double> normal(double x) {
  return {0.5 * std::erfc(x * -0.70710678118654752440),
          0.39894228040143267794 * std::exp(x * x * -0.5)};
}
TANDEM_FN Normal<float> normal(float x) {
  // The tail below -|x| over e^(-x^2 / 2), as a polynomial in 1 / (1 + 0.3 |x|): a Lawson fit on
  // [0, 14] to 40-digit values, relative error 5.8e-8 (the form is that of Hastings 1955).
  const float u = 1.0f / (1.0f + 0.3f * std::abs(x)), e = exp(x * x * -0.5f);
  float p = 0x1.3a65dap-5f;
  p = p * u - 0x1.5a7484p-3f;
  p = p * u + 0x1.d44d02p-3f;
  p = p * u - 0x1.396132p-4f;
  p = p * u + 0x1.23ea4ep-3f;
  p = p * u + 0x1.83d272p-4f;
  p = p * u + 0x1.f362d4p-4f;
  p = p * u + 0x1.e96beap-4f;
  p = p * u + 0x1.e11edp-18f;
  const float tail = p * e;
  return {x > 0.0f ? 1.0f - tail : tail, 0.398942280f * e};
}

/// 1 / (1 + e^-x)
TANDEM_FN double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}
TANDEM_FN float sigmoid(float x) {
  const float e = exp(-std::abs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

}  // namespace tandem::math
