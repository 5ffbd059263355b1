#include "tandem/core/factory.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/captured.h"
#include "tandem/core/modes.h"

namespace tandem {
namespace {

template <class T>
void fill(Tensor& t, Scalar value) {
  T v;
  if constexpr (std::is_same_v<T, uint64_t>)  // from 2^63 on an i64 holds them as negative numbers
    v = value.kind() == f64 ? T(value.to_double()) : T(value.to_int());
  else if constexpr (std::is_integral_v<T>) v = T(value.to_int());
  else v = T(value.to_double());
  std::fill_n(static_cast<T*>(t.raw_data()), t.numel(), v);
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
}  // namespace detail

Tensor full(const Shape& shape, Scalar value, DType dtype, Device device) {
  if ((detail::modes & Modes::capture) && !shape.empty())
    return detail::captured_full(
        shape, value.is_known() ? full({}, value, dtype, device) : Tensor(value).to(dtype));
  if (!value.is_known()) return Tensor(value).to(dtype);
  return filled(empty(shape, dtype, device), [&]<class T>(Tensor& t) { fill<T>(t, value); });
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

}  // namespace tandem
