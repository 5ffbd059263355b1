#include "tandem/ops/range.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Arange)
TANDEM_OP(Linspace)
TANDEM_OP(Eye)

namespace {

/// Runs f<T>(i) for every element of a fresh tensor.
template <class F>
void fill_each(const Tensor& t, F&& f) {
  visit(t.dtype(), [&]<class T>() {
    T* p = static_cast<T*>(t.raw_data());
    for (int64_t i = 0, n = t.numel(); i < n; ++i) p[i] = f.template operator()<T>(i);
  });
}

[[noreturn]] void no_way(double start, double end, double step) {
  throw ValueError(cat("arange(start=", start, ", end=", end, ", step=", step,
                       "): step must lead from start to end"));
}

/// The distance of two integers may be larger than any integer.
int64_t count_of(int64_t start, int64_t end, int64_t step) {
  const uint64_t way = step > 0 ? uint64_t(end) - uint64_t(start) : uint64_t(start) - uint64_t(end);
  const uint64_t one = step > 0 ? uint64_t(step) : 0 - uint64_t(step);
  const uint64_t n = way / one + (way % one != 0);
  require<OutOfMemory>(n <= uint64_t(INT64_MAX), "arange(start=", start, ", end=", end,
                       ", step=", step, "): has too many elements");
  return int64_t(n);
}

}  // namespace

Spec Arange::infer(Specs) const {
  using namespace detail;
  const bool up = must_be_less(0, step), down = must_be_less(step, 0);
  check(up || down, *this, "step must not be 0");
  check(up ? may_fit(start, end) : may_fit(end, start), *this, "step must lead from start to end");
  if (start.is_known() && end.is_known() && step.is_known())
    return {{count_of(start, end, step)}, dtype, {}};
  const Length n = up ? (end - start + (step - 1)) / step : (start - end + (-step - 1)) / -step;
  return {{n}, dtype, {}};
}

void Arange::cpu(Inputs, Outputs out) const {
  const int64_t a = start, s = step;
  fill_each(out[0], [&]<class T>(int64_t i) {
    if constexpr (std::is_integral_v<T>)
      return detail::convert<T>(int64_t(uint64_t(a) + uint64_t(i) * uint64_t(s)));
    else return T(double(a) + double(i) * double(s));
  });
}

Samples<Arange> Arange::samples() {
  return {.ok = {{{.end = 5}, {}},
                 {{.start = 2, .end = 9, .step = 3, .dtype = f32}, {}},
                 {{.start = 4, .end = -3, .step = -2}, {}},
                 {{.end = 0}, {}}},
          .errors = {{{.end = 4, .step = 0},
                      {},
                      "arange(start=0, end=4, step=0, dtype=i64): step must not be 0"},
                     {{.end = 4, .step = -1},
                      {},
                      "arange(start=0, end=4, step=-1, dtype=i64): step must lead from start to "
                      "end"}}};
}

Spec Linspace::infer(Specs) const {
  check(detail::may_fit(0, steps), *this, "steps must not be negative");
  return {{steps}, dtype, {}};
}

void Linspace::cpu(Inputs, Outputs out) const {
  const int64_t n = steps;
  const double a = start, b = end, d = n > 1 ? (b - a) / double(n - 1) : 0;
  visit(dtype, [&]<class T>() {
    for (double bound : {a, b}) detail::checked_number<T>("linspace()", bound);
  });
  // Counted from both ends, so that the last value is exactly `end`.
  fill_each(out[0], [&]<class T>(int64_t i) {
    return detail::convert<T>(i < (n + 1) / 2 ? a + d * double(i) : b - d * double(n - 1 - i));
  });
}

Samples<Linspace> Linspace::samples() {
  return {.ok = {{{.start = -1, .end = 2, .steps = 7}, {}},
                 {{.steps = 1, .dtype = f64}, {}},
                 {{.steps = 0}, {}}},
          .errors = {{{.steps = -1},
                      {},
                      "linspace(start=0, end=1, steps=-1, dtype=f32): steps must not be "
                      "negative"}}};
}

Spec Eye::infer(Specs) const {
  check(detail::may_fit(0, n) && detail::may_fit(0, m), *this, "sizes must not be negative");
  return {{n, m}, dtype, {}};
}

void Eye::cpu(Inputs, Outputs out) const {
  const int64_t width = m;
  fill_each(out[0], [&]<class T>(int64_t i) { return T(float(i / width == i % width)); });
}

Samples<Eye> Eye::samples() {
  return {
      .ok = {{{.n = 3, .m = 3}, {}}, {{.n = 2, .m = 4, .dtype = i64}, {}}, {{}, {}}},
      .errors = {{{.n = -1, .m = 2}, {}, "eye(n=-1, m=2, dtype=f32): sizes must not be negative"}}};
}

Tensor arange(Scalar start, Scalar end, Scalar step, std::optional<DType> dtype) {
  if (start.kind() != f64 && end.kind() != f64 && step.kind() != f64) {
    const Length a = start.length(), b = end.length(), s = step.length();
    if (s.is_known() && a.is_known() && b.is_known() && (s > 0 ? b < a : s == 0 || a < b))
      no_way(start.to_double(), end.to_double(), step.to_double());
    return tandem::apply(Arange{.start = a, .end = b, .step = s, .dtype = dtype.value_or(i64)},
                         Inputs{});
  }
  const double a = start.to_double(), b = end.to_double(), s = step.to_double();
  if (!(s != 0 && std::isfinite(a) && std::isfinite(b) && (b - a) / s >= 0)) no_way(a, b, s);
  const double n = std::ceil((b - a) / s);
  require<OutOfMemory>(n < 9e18, "arange(start=", a, ", end=", b, ", step=", s,
                       "): has too many elements");
  const Tensor t = empty({int64_t(n)}, dtype.value_or(f32));
  fill_each(t, [&]<class T>(int64_t i) {
    const double x = a + double(i) * s;
    if constexpr (std::is_integral_v<T>) return detail::convert<T>(detail::convert<int64_t>(x));
    else return T(x);
  });
  return t;
}

Tensor arange(Scalar end) { return arange(end.kind() == f64 ? Scalar(0.0) : Scalar(0), end); }

Tensor linspace(Number start, Number end, Length steps, DType dtype) {
  return tandem::apply(Linspace{.start = start, .end = end, .steps = steps, .dtype = dtype},
                       Inputs{});
}

Tensor eye(Length n, std::optional<Length> m, DType dtype) {
  return tandem::apply(Eye{.n = n, .m = m.value_or(n), .dtype = dtype}, Inputs{});
}

}  // namespace tandem
