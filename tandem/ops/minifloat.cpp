#include "tandem/ops/minifloat.h"

#include <cmath>
#include <limits>
#include <optional>

#include "tandem/op/kernel.h"
#include "tandem/ops/by_library.h"

namespace tandem {

TANDEM_OP(Minifloat)
namespace {

struct Format {
  std::string_view name;
  int mantissa_bits, least_exponent;  ///< of a normal number
  double largest;
  bool infinity, negative_zero, always_saturates;
};
constexpr Format formats[] = {{"e4m3fn", 3, -6, 448, false, true, false},
                              {"e4m3fnuz", 3, -7, 240, false, false, false},
                              {"e5m2", 2, -14, 57344, true, true, false},
                              {"e5m2fnuz", 2, -15, 57344, false, false, false},
                              {"e2m1", 1, 0, 6, false, true, true}};

const Format* find_format(std::string_view name) {
  for (const Format& f : formats)
    if (f.name == name) return &f;
  return nullptr;
}

struct Rounded {
  static constexpr Result result = Result::floating;
  Format f;
  bool saturate;

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [this](auto v) { return this->round(v); });
  }

 private:
  template <class T>
  T round(T x) const {
    const T beyond =
        f.infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::quiet_NaN();
    if (x != x) return f.always_saturates ? T(-0.0) : x;
    int exponent = 0;
    std::frexp(x, &exponent);  // |x| is below 2^exponent
    const int unit =
        (exponent - 1 > f.least_exponent ? exponent - 1 : f.least_exponent) - f.mantissa_bits;
    T size = std::abs(x);
    if (!std::isinf(x)) size = std::ldexp(std::nearbyint(std::ldexp(size, -unit)), unit);
    if (size > T(f.largest)) size = saturate || f.always_saturates ? T(f.largest) : beyond;
    if (size == T(0) && !f.negative_zero) return T(0);
    return std::copysign(size, x);
  }
};

/// 2^-127 to 2^127. Halves are rounded up, as the bits of an f32 are.
struct PowerOfTwo {
  static constexpr Result result = Result::floating;
  enum class Way { nearest, up, down } way;
  bool saturate;

  template <class A>
  TANDEM_FN A point(A x) const {
    return detail::by_library(x, [this](auto v) { return this->round(v); });
  }

 private:
  template <class T>
  T round(T x) const {
    constexpr T nan = std::numeric_limits<T>::quiet_NaN();
    if (x != x || x < T(0)) return nan;
    if (x == T(0)) return saturate ? T(std::ldexp(1.0, -127)) : nan;
    if (std::isinf(x)) return saturate ? T(std::ldexp(1.0, 127)) : nan;
    int exponent = 0;
    const T m = std::frexp(x, &exponent);  // x = m 2^exponent, m in [1/2, 1)
    bool up = way == Way::up ? m > T(0.5) : way == Way::nearest && m >= T(0.75);
    int e = exponent - 1 + up;
    if ((e > 127 || e < -127) && !saturate) return nan;
    return T(std::ldexp(1.0, e > 127 ? 127 : e < -127 ? -127 : e));
  }
};

}  // namespace

Spec Minifloat::infer(Specs in) const {
  check(find_format(format) || format == "e8m0", *this,
        "format must be e4m3fn, e4m3fnuz, e5m2, e5m2fnuz, e2m1 or e8m0");
  check(rounding == "nearest" || (format == "e8m0" && (rounding == "up" || rounding == "down")),
        *this, "rounding must be nearest, or for e8m0 up or down");
  check<DTypeError>(is_floating(in[0].dtype), *this, "takes floating tensors, got ", in[0].dtype);
  return in[0];
}

void Minifloat::cpu(Inputs in, Outputs out) const {
  using Way = PowerOfTwo::Way;
  if (const Format* f = find_format(format))
    return detail::point_run(Rounded{*f, saturate}, in, out[0]);
  const Way way = rounding == "up" ? Way::up : rounding == "down" ? Way::down : Way::nearest;
  detail::point_run(PowerOfTwo{way, saturate}, in, out[0]);
}

Samples<Minifloat> Minifloat::samples() {
  const InputSpec special = sample::listed({14}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 464, 465,
                                                  -449, 1e-3, 61440, -65000, 8.5, -8.5, 0.0009});
  const InputSpec powers = sample::listed({7}, {1, 1.6, 1.4, 3.1, 0, NAN, 1e38}, f32);
  return {.ok = {{{}, {sample::scaled({3, 5}, 100)}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{.saturate = false}, {sample::strided({5, 4})}},
                 {{.saturate = false}, {special}},
                 {{.format = "e4m3fnuz", .saturate = false}, {special}},
                 {{.format = "e5m2", .saturate = false}, {special}},
                 {{.format = "e5m2fnuz", .saturate = false}, {special}},
                 {{.format = "e5m2"}, {special}},
                 {{.format = "e2m1"},
                  {sample::listed({9}, {0.4, 0.25, -0.75, 5, -5, 9, NAN, -HUGE_VAL, -0.0})}},
                 {{.format = "e8m0", .saturate = false}, {powers}}},
          .errors = {{{.format = "e3m4"},
                      {{{3}}},
                      "minifloat(format=e3m4, saturate=true, rounding=nearest): format must be "
                      "e4m3fn, e4m3fnuz, e5m2, e5m2fnuz, e2m1 or e8m0"},
                     {{.rounding = "up"},
                      {{{3}}},
                      "minifloat(format=e4m3fn, saturate=true, rounding=up): rounding must be "
                      "nearest, or for e8m0 up or down"},
                     {{},
                      {{{3}, i64}},
                      "minifloat(format=e4m3fn, saturate=true, rounding=nearest): takes floating "
                      "tensors, got i64"}}};
}

}  // namespace tandem
