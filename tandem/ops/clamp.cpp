#include "tandem/ops/clamp.h"

#include <cmath>
#include <limits>

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Clamp)
TANDEM_OP(ClampGrad)

namespace {

template <class A>
TANDEM_FN A bound(double b) {
  if constexpr (std::is_unsigned_v<A>)
    return b < 0 ? A(0) : b > 1.8e19 ? std::numeric_limits<A>::max() : A(b);
  else if constexpr (std::is_integral_v<A>)
    return b < -9.2e18  ? std::numeric_limits<A>::min()
           : b > 9.2e18 ? std::numeric_limits<A>::max()
                        : A(b);
  else return A(b);
}

struct ClampPoint {
  static constexpr Result result = Result::same;
  double min, max;

  template <class A>
  TANDEM_FN A point(A x) const {
    const A low = bound<A>(min);
    const A high = bound<A>(max);
    const A y = x < low ? low : x;
    return y > high ? high : y;
  }
};

struct NanPoint {
  static constexpr Result result = Result::same;
  double nan;

  template <class A>
  TANDEM_FN A point(A) const {
    return A(nan);
  }
};

struct ClampGradPoint {
  static constexpr Result result = Result::floating;
  double min, max;  // NaN: absent

  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    const bool above = bool(x > A(min)) | bool(min != min);
    const bool below = bool(x < A(max)) | bool(max != max);
    return (above & below) ? dy : A(0);
  }
};

bool whole(const std::optional<Number>& v) {
  return !v || (v->is_known() ? double(*v) == std::floor(double(*v)) : detail::is_length(*v));
}
double value(const std::optional<Number>& v, double absent) { return v ? double(*v) : absent; }

}  // namespace

Spec Clamp::infer(Specs in) const {
  check(min || max, *this, "min or max must be given");
  Spec out = in[0];
  if (out.dtype == boolean) out.dtype = i64;
  if (!is_floating(out.dtype) && !(whole(min) && whole(max))) out.dtype = f32;
  return out;
}

void Clamp::cpu(Inputs in, Outputs out) const {
  const ClampPoint f{value(min, -HUGE_VAL), value(max, HUGE_VAL)};
  if (std::isnan(f.min) || std::isnan(f.max)) detail::point_run(NanPoint{NAN}, in, out[0]);
  else detail::point_run(f, in, out[0]);
}

Tensors Clamp::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(ClampGrad{.min = min, .max = max}, {dy, s.in(0)})};
}

Samples<Clamp> Clamp::samples() {
  const InputSpec special =
      sample::listed({8}, {0.0, -0.0, HUGE_VAL, -HUGE_VAL, NAN, 0.5, -0.5, 88.8});
  return {.ok = {{{.min = -0.5, .max = 0.5}, {{{3, 5}}}},
                 {{.min = 0}, {{{}}}},
                 {{.max = 0.25}, {{{0, 2}}}},
                 {{.max = 0.25}, {sample::strided({5, 4})}},
                 {{.min = 0.5, .max = -0.5}, {{{7}}}},
                 {{.min = -0.5, .max = 0.5}, {special}, false},
                 {{.min = -2, .max = 3}, {{{20}, i32}}},
                 {{.min = -2.5}, {{{20}, i64}}},
                 {{.min = 2}, {{{20}, u8}}},
                 {{.min = 0.5}, {sample::mask({5})}}},
          .errors = {{{}, {{{3}}}, "clamp(min=none, max=none): min or max must be given"}}};
}

Spec ClampGrad::infer(Specs in) const {
  return detail::point_infer(op_info<ClampGrad>(), this, in, Result::floating);
}

void ClampGrad::cpu(Inputs in, Outputs out) const {
  // Nothing lies within a bound that is NaN.
  const bool none = (min && std::isnan(*min)) || (max && std::isnan(*max));
  const ClampGradPoint f{none ? HUGE_VAL : value(min, NAN), value(max, NAN)};
  detail::point_run(f, in, out[0]);
}

Tensors ClampGrad::vjp(const Saved& s, const Tensor& ddy) const {
  return {apply(*this, {ddy, s.in(1)}), Tensor()};
}

Samples<ClampGrad> ClampGrad::samples() {
  return {.ok = {{{.min = -0.5, .max = 0.5}, {{{3, 5}}, {{3, 5}}}},
                 {{.min = 0}, {{{}}, {{}}}},
                 {{.max = 0.25}, {{{0, 2}}, {{0, 2}}}}},
          .errors = {}};
}

}  // namespace tandem
