#pragma once
// Elementary functions as branch-free scalar code, so that loops over them vectorise. NaN,
// infinities, signed zeros and subnormals come out as IEEE 754 and C say. f32 stays within
// 1.6 ulp (sigmoid: 2.2; tests/math.cpp), with and without fused multiply-add; f64 uses the C
// library. The f32 functions are templates, so that their instructions can be written down too
// (op/lanes.h): they say `select` for what would be a condition.
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tandem/op/lanes.h"
#include "tandem/op/simd.h"

namespace tandem::math {

namespace detail {

TANDEM_FN float from_bits(uint32_t u) { return std::bit_cast<float>(u); }
TANDEM_FN uint32_t to_bits(float x) { return std::bit_cast<uint32_t>(x); }

TANDEM_FN int32_t as_signed(uint32_t u) { return int32_t(u); }
TANDEM_FN uint32_t as_unsigned(int32_t n) { return uint32_t(n); }
TANDEM_FN float to_float(int32_t n) { return float(n); }
template <class T>
TANDEM_FN T select(bool condition, T a, T b) {
  return condition ? a : b;
}
TANDEM_FN bool both(bool a, bool b) { return a & b; }

/// The nearest whole number as a float (`whole`) and as an integer, for |x| < 2^22.
template <class F, class I>
struct Nearest {
  F whole;
  I integer;
};
template <class F>
TANDEM_FN auto nearest(F x) {
  constexpr float magic = 0x1.8p23f;  // pushes the fraction out of the significand
  const F shifted = x + magic;
  const auto n = as_signed(to_bits(shifted) - to_bits(magic));
  return Nearest<F, std::remove_const_t<decltype(n)>>{shifted - magic, n};
}
template <class I>
TANDEM_FN auto power_of_2(I n) {
  return from_bits(as_unsigned(n + 127) << 23);
}

/// x = n ln 2 + r, |r| <= ln 2 / 2: the two-part constant and the polynomial for
/// (e^r - 1 - r) / r^2 are those of Moshier's Cephes library, expf.
template <class F, class I>
struct ExpParts {
  F r, tail;
  I n;
};
template <class F>
TANDEM_FN auto exp_parts(F x) {
  const auto k = nearest(x * 0x1.715476p+0f);
  const F r = (x - k.whole * 0.693359375f) - k.whole * -2.12194440e-4f;
  F p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return ExpParts<F, std::remove_const_t<decltype(k.integer)>>{r, p * (r * r), k.integer};
}

/// 2^x with a relative error of 1.3e-7 on [-126, 127], less at whole numbers; 0 from -127 down.
template <class F>
TANDEM_FN F short_exp2(F x) {
  constexpr float magic = 0x1.8p23f + 127;  // leaves the biased exponent in the lowest bits
  x = select(x < -127.0f, F(-127.0f), x);
  const F shifted = x + magic;
  const F r = x - (shifted - magic);
  // A Lawson fit on [-1/2, 1/2], relative error 9.5e-8.
  F p = 0x1.5f9f18p-10f;
  p = p * r + 0x1.3cebc8p-7f;
  p = p * r + 0x1.c6addcp-5f;
  p = p * r + 0x1.ebf9b8p-3f;
  p = p * r + 0x1.62e432p-1f;
  p = p * r + 1.0f;
  return p * from_bits(to_bits(shifted) << 23);
}

/// (log(1 + f) - f + f^2 / 2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1]; Cephes, logf.
template <class F>
TANDEM_FN F log_polynomial(F f) {
  F p = 7.0376836292e-2f;
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
template <class F>
TANDEM_FN F log_sum(F f, F e, F c) {
  const F z = f * f;
  F y = f * z * log_polynomial(f);
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

// Sums and products of integers wrap around, as in PyTorch and NumPy.
template <class A>
TANDEM_FN A add(A x, A y) {
  if constexpr (std::is_integral_v<A>) return A(uint64_t(x) + uint64_t(y));
  else return x + y;
}
template <class A>
TANDEM_FN A sub(A x, A y) {
  if constexpr (std::is_integral_v<A>) return A(uint64_t(x) - uint64_t(y));
  else return x - y;
}
template <class A>
TANDEM_FN A mul(A x, A y) {
  if constexpr (std::is_integral_v<A>) return A(uint64_t(x) * uint64_t(y));
  else return x * y;
}
template <class A>
TANDEM_FN A neg(A x) {
  if constexpr (std::is_integral_v<A>) return A(uint64_t(0) - uint64_t(x));
  else return -x;
}

template <class A>
TANDEM_FN A abs(A x) {
  using std::abs;
  return abs(x);
}
template <class A>
TANDEM_FN A sqrt(A x) {
  using std::sqrt;
  return sqrt(x);
}
template <class A>
TANDEM_FN A floor(A x) {
  using std::floor;
  return floor(x);
}
template <class A>
TANDEM_FN A ceil(A x) {
  using std::ceil;
  return ceil(x);
}
template <class A>
TANDEM_FN A trunc(A x) {
  using std::trunc;
  return trunc(x);
}
/// Halves go to the even neighbour.
template <class A>
TANDEM_FN A rint(A x) {
  using std::rint;
  return rint(x);
}
template <class A>
TANDEM_FN A copysign(A x, A sign) {
  using std::copysign;
  return copysign(x, sign);
}
template <class A>
TANDEM_FN A fmod(A x, A y) {
  using std::fmod;
  return fmod(x, y);
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
template <class F>
TANDEM_FN F exp(F x) {
  using detail::select;
  x = select(x < -105.0f, F(-105.0f), x);
  x = select(x > 90.0f, F(90.0f), x);
  const auto e = detail::exp_parts(x);
  // In two factors: 2^128 and subnormal powers of two are not floats.
  const auto half = e.n >> 1;
  return (e.r + e.tail + 1.0f) * detail::power_of_2(half) * detail::power_of_2(e.n - half);
}

TANDEM_FN double expm1(double x) { return std::expm1(x); }
template <class F>
TANDEM_FN F expm1(F x) {
  using detail::select;
  const F a = select(x < -18.0f, F(-18.0f), select(x > 89.0f, F(89.0f), x));
  const auto e = detail::exp_parts(a);
  const F p = e.r + e.tail, half = detail::power_of_2(e.n - 1);
  const F y = (half * p + (half - 0.5f)) * 2.0f;
  return select(abs(x) < 0x1p-25f, x, y);
}

TANDEM_FN double log(double x) { return std::log(x); }
template <class F>
TANDEM_FN F log(F x) {
  using detail::as_signed, detail::as_unsigned, detail::from_bits, detail::select, detail::to_bits,
      detail::to_float;
  const auto tiny = x < 0x1p-126f;
  const auto u = to_bits(select(tiny, x * 0x1p25f, x));
  // The mantissa lies in [sqrt(1/2), sqrt(2)).
  const auto e = as_signed(u - 0x3f3504f3u) >> 23;
  const F f = from_bits(u - (as_unsigned(e) << 23)) - 1.0f;
  const F y = detail::log_sum(f, to_float(select(tiny, e - 25, e)), F(0.0f));
  const F low = select(x == 0.0f, F(-HUGE_VALF), F(NAN));
  return select(x > 0.0f, select(x < HUGE_VALF, y, x), low);
}

TANDEM_FN double log1p(double x) { return std::log1p(x); }
template <class F>
TANDEM_FN F log1p(F x) {
  using detail::as_signed, detail::as_unsigned, detail::from_bits, detail::select, detail::to_bits,
      detail::to_float, detail::both;
  const F w = 1.0f + x;
  const auto u = to_bits(w);
  const auto near = both(x > -0.29289323f, x < 0.41421356f);
  const auto far_e = as_signed(u - 0x3f3504f3u) >> 23;
  const auto e = select(near, decltype(far_e >> 1)(0), far_e);
  const F f = select(near, x, from_bits(u - (as_unsigned(e) << 23)) - 1.0f);
  // What the sum 1 + x lost, relative to it.
  const F lost = select(x > 1.0f, 1.0f - (w - x), x - (w - 1.0f)) / w;
  const F y = detail::log_sum(f, to_float(e), select(near, F(0.0f), lost));
  const F low = select(x == -1.0f, F(-HUGE_VALF), F(NAN));
  const F rest = select(x > -1.0f, select(x < HUGE_VALF, y, x), low);
  return select(abs(x) < 0x1p-25f, x, rest);
}

TANDEM_FN double sin(double x) { return std::sin(x); }
TANDEM_FN float sin(float x) {
  const float y = detail::sin_quarter(detail::reduce_angle(x), 0);
  return x == 0.0f ? x : y;
}
inline lanes::F32 sin(lanes::F32) { return lanes::F32::of(lanes::give_up()); }
TANDEM_FN double cos(double x) { return std::cos(x); }
TANDEM_FN float cos(float x) { return detail::sin_quarter(detail::reduce_angle(x), 1); }

inline lanes::F32 cos(lanes::F32) { return lanes::F32::of(lanes::give_up()); }
inline lanes::F32 pow(lanes::F32, lanes::F32) { return lanes::F32::of(lanes::give_up()); }

TANDEM_FN double tanh(double x) { return std::tanh(x); }
template <class F>
TANDEM_FN F tanh(F x) {
  using detail::select;
  // Cephes, tanhf: a polynomial near zero, and 1 - 2 / (e^2x + 1).
  const F a = abs(x), z = x * x;
  F p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const F near = p * z * x + x;
  const F far = 1.0f - 2.0f / (exp(a + a) + 1.0f);
  return copysign(select(a < 0.625f, near, far), x);
}

TANDEM_FN double erf(double x) { return std::erf(x); }
template <class F>
TANDEM_FN F erf(F x) {
  using detail::select;
  const F a = abs(x), z = x * x;
  // erf(x) / x - 1 in x^2 below 0.95, log(erfc(x)) on [0.9, 4]: Lawson fits to 40-digit values,
  // largest relative errors of erf 9e-10 and 6e-11.
  F p = 0x1.4fa924p-14f;
  p = p * z - 0x1.a6181p-11f;
  p = p * z + 0x1.544b08p-8f;
  p = p * z - 0x1.b80124p-6f;
  p = p * z + 0x1.ce2d64p-4f;
  p = p * z - 0x1.812740p-2f;
  p = p * z + 0x1.06eba8p-3f;
  const F near = p * x + x;
  const F t = select(a > 4.0f, F(4.0f), a);
  F q = -0x1.5d5be2p-16f;
  q = q * t + 0x1.c44c0cp-12f;
  q = q * t - 0x1.105f2ep-8f;
  q = q * t + 0x1.9aea1ep-6f;
  q = q * t - 0x1.bb44dap-4f;
  q = q * t - 0x1.444d26p-1f;
  q = q * t - 0x1.212626p+0f;
  q = q * t + 0x1.62d950p-13f;
  const F far = 1.0f - exp(q);
  return select(a < 0.92f, near, copysign(far, x));
}

/// The normal distribution function and its density at x.
template <class A>
struct Normal {
  A cdf, density;
};
TANDEM_FN Normal<double> normal(double x) {
  return {0.5 * std::erfc(x * -0.70710678118654752440),
          0.39894228040143267794 * std::exp(x * x * -0.5)};
}
template <class F>
TANDEM_FN Normal<F> normal(F x) {
  using detail::select;
  // log2 of the lower tail at -|x|, a Lawson fit to 40-digit values on [0, 13] that weighs errors
  // of the tail itself: with the rounding, 1.9e-7 absolute and 1.7e-6 relative on [-3, 0], less
  // than (1 + erf(x / sqrt(2))) / 2 in f32 has. Below -3 the absolute error goes on shrinking.
  const F t = select(abs(x) > 13.0f, F(13.0f), abs(x));
  F p = -0x1.934654p-20f;
  p = p * t + 0x1.7fc754p-16f;
  p = p * t - 0x1.b858a8p-14f;
  p = p * t - 0x1.648fc2p-12f;
  p = p * t + 0x1.e0dd44p-8f;
  p = p * t - 0x1.afa354p-5f;
  p = p * t - 0x1.d629eap-2f;
  p = p * t - 0x1.26af4ap+0f;
  p = p * t - 1.0f;
  const F tail = detail::short_exp2(p);
  return {select(x > 0.0f, 1.0f - tail, tail),
          0.398942280f * detail::short_exp2(x * x * -0.72134752f)};
}

/// 1 / (1 + e^-x)
TANDEM_FN double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}
template <class F>
TANDEM_FN F sigmoid(F x) {
  using detail::select;
  const F e = exp(-abs(x));
  return select(x < 0.0f, e, F(1.0f)) / (1.0f + e);
}

}  // namespace tandem::math
