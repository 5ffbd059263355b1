#include "tandem/core/factory.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/captured.h"
#include "tandem/core/modes.h"

namespace tandem {
namespace {

template <class T>
void fill(Tensor& t, Scalar value) {
<<<<<<< HEAD
  T v;
  if constexpr (std::is_same_v<T, uint64_t>)  // from 2^63 on an i64 holds them as negative numbers
    v = value.kind() == f64 ? T(value.to_double()) : T(value.to_int());
  else if constexpr (std::is_integral_v<T>) v = T(value.to_int());
  else v = T(value.to_double());
  std::fill_n(static_cast<T*>(t.raw_data()), t.numel(), v);
=======
  std::fill_n(static_cast<T*>(t.raw_data()), t.numel(), detail::number_to<T>(value));
}

/// `full()` and `fill_()` let halves become infinities, as PyTorch does.
void check_fill(std::string_view op, Scalar value, DType dtype) {
  visit(dtype, [&]<class T>() {
    if constexpr (!std::is_class_v<T>) detail::checked_number<T>(op, value);
  });
>>>>>>> numbers
}

/// Runs f<T>(data) on the tensor's memory, where there is some.
template <class F>
Tensor filled(Tensor t, F&& f) {
  if (t.device().type == DeviceType::cpu)
    visit(t.dtype(), [&]<class T>() { f.template operator()<T>(t); });
  return t;
}

}  // namespace

namespace detail {
// Implemented by ops/: inside a function under capture the shape may have an unknown axis.
Tensor captured_full(const Shape& shape, const Tensor& value);

Tensor number_as(std::string_view op, const Tensor& t, DType dtype, bool halves_round) {
  if (!t.impl()->has(TensorImpl::wrapped_number) || t.is_symbolic()) return t;
  const Scalar value = t.item_scalar();
  if (halves_round) check_fill(op, value, dtype);
  else visit(dtype, [&]<class T>() { checked_number<T>(op, value); });
  return filled(empty({}, dtype), [&]<class T>(Tensor& y) { fill<T>(y, value); });
}
}  // namespace detail

Tensor full(const Shape& shape, Scalar value, DType dtype, Device device) {
<<<<<<< HEAD
  if ((detail::modes & Modes::capture) && !shape.empty())
    return detail::captured_full(
        shape, value.is_known() ? full({}, value, dtype, device) : Tensor(value).to(dtype));
  if (!value.is_known()) return Tensor(value).to(dtype);
  return filled(empty(shape, dtype, device), [&]<class T>(Tensor& t) { fill<T>(t, value); });
=======
  check_fill("full()", value, dtype);
  const bool symbolic = (detail::modes & Modes::capture) && !shape.empty();
  const Tensor t = filled(empty(symbolic ? Shape{} : shape, dtype, device),
                          [&]<class T>(Tensor& to) { fill<T>(to, value); });
  return symbolic ? detail::captured_full(shape, t) : t;
>>>>>>> numbers
}

Tensor zeros(const Shape& shape, DType dtype, Device device) {
  if (detail::modes & Modes::capture) return full(shape, 0, dtype, device);
  Tensor t = empty(shape, dtype, device);
  if (t.raw_data()) std::memset(t.raw_data(), 0, size_t(t.numel() * itemsize(dtype)));
  return t;
}

Tensor ones(const Shape& shape, DType dtype, Device device) {
  return full(shape, 1, dtype, device);
}

Tensor empty_like(const Tensor& t) { return empty(t.spec()); }
Tensor full_like(const Tensor& t, Scalar value) {
  return full(t.shape(), value, t.dtype(), t.device());
}
Tensor zeros_like(const Tensor& t) { return zeros(t.shape(), t.dtype(), t.device()); }
Tensor ones_like(const Tensor& t) { return full_like(t, 1); }

<<<<<<< HEAD
=======
Tensor arange(Scalar start, Scalar end, Scalar step, std::optional<DType> dtype) {
  const bool whole = start.kind() != f64 && end.kind() != f64 && step.kind() != f64;
  const double a = start.to_double(), b = end.to_double(), s = step.to_double();
  require(s != 0 && std::isfinite(a) && std::isfinite(b) && (b - a) / s >= 0, "arange(start=", a,
          ", end=", b, ", step=", s, "): step must lead from start to end");
  const uint64_t first = uint64_t(start.to_int()), by = uint64_t(step.to_int());
  // The distance of two integers may be larger than any of them.
  const uint64_t last = uint64_t(end.to_int()), way = s > 0 ? last - first : first - last,
                 one = s > 0 ? by : 0 - by;
  const int64_t n = whole ? int64_t(way / one + (way % one != 0))
                          : detail::convert<int64_t>(std::ceil((b - a) / s));
  return filled(empty({n}, dtype.value_or(whole ? i64 : f32)), [&]<class T>(Tensor& t) {
    T* p = static_cast<T*>(t.raw_data());
    for (int64_t i = 0; i < n; ++i) {
      const double x = a + double(i) * s;
      if constexpr (std::is_integral_v<T>)
        p[i] = detail::convert<T>(whole ? int64_t(first + uint64_t(i) * by)
                                        : detail::convert<int64_t>(x));
      else p[i] = T(x);
    }
  });
}

Tensor arange(Scalar end) { return arange(end.kind() == f64 ? Scalar(0.0) : Scalar(0), end); }

Tensor linspace(double start, double end, int64_t steps, DType dtype) {
  require(steps >= 0, "linspace(steps=", steps, "): steps must not be negative");
  const double d = steps > 1 ? (end - start) / double(steps - 1) : 0;
  return filled(empty({steps}, dtype), [&]<class T>(Tensor& t) {
    T* p = static_cast<T*>(t.raw_data());
    for (double bound : {start, end}) detail::checked_number<T>("linspace()", bound);
    // Counted from both ends, so that the last value is exactly `end`.
    for (int64_t i = 0; i < steps; ++i)
      p[i] = detail::convert<T>(i < (steps + 1) / 2 ? start + d * double(i)
                                                    : end - d * double(steps - 1 - i));
  });
}

Tensor eye(int64_t n, int64_t m, DType dtype) {
  const int64_t cols = m < 0 ? n : m;
  return filled(empty({n, cols}, dtype), [&]<class T>(Tensor& t) {
    fill<T>(t, 0);
    for (int64_t i = 0; i < std::min(n, cols); ++i)
      static_cast<T*>(t.raw_data())[i * cols + i] = T(1);
  });
}

>>>>>>> numbers
}  // namespace tandem
