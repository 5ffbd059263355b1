#include "tandem/core/factory.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/captured.h"
#include "tandem/core/modes.h"
#include "tandem/core/short_text.h"

namespace tandem {
namespace {

template <class T>
void fill(Tensor& t, Scalar value) {
  std::fill_n(static_cast<T*>(t.raw_data()), t.numel(), detail::number_to<T>(value));
}

/// `full()` and `fill_()` let halves become infinities, as PyTorch does.
void check_fill(std::string_view op, Scalar value, DType dtype) {
  visit(dtype, [&]<class T>() {
    if constexpr (!std::is_class_v<T>) detail::checked_number<T>(op, value);
  });
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
  if (!t.defined() || !t.impl()->has(TensorImpl::wrapped_number) || t.is_symbolic()) return t;
  const Scalar value = t.item_scalar();
  if (halves_round) check_fill(op, value, dtype);
  else visit(dtype, [&]<class T>() { checked_number<T>(op, value); });
  return filled(empty({}, dtype), [&]<class T>(Tensor& y) { fill<T>(y, value); });
}
}  // namespace detail

Tensor full(const Shape& shape, Scalar value, std::optional<DType> type, Device device) try {
  const DType dtype = type.value_or(value.kind() == f64 ? f32 : value.kind());
  if (!value.is_known()) {
    const Tensor number = Tensor(value).to(dtype);
    return shape.empty() ? number : detail::captured_full(shape, number);
  }
  check_fill("full()", value, dtype);
  const bool symbolic = (detail::modes & Modes::capture) && !shape.empty();
  const Tensor t = filled(empty(Spec{symbolic ? Shape{} : shape, dtype, device}),
                          [&]<class T>(Tensor& to) { fill<T>(to, value); });
  return symbolic ? detail::captured_full(shape, t) : t;
} catch (const Error&) {
  detail::rethrow_for(detail::ShortText("full(", shape, ")").view());
}

Tensor zeros(const Shape& shape, DType dtype, Device device) try {
  if (detail::modes & Modes::capture) return full(shape, 0, dtype, device);
  Tensor t = empty(Spec{shape, dtype, device});
  if (t.raw_data()) std::memset(t.raw_data(), 0, size_t(t.numel() * itemsize(dtype)));
  return t;
} catch (const Error&) {
  detail::rethrow_for(detail::ShortText("zeros(", shape, ")").view());
}

Tensor ones(const Shape& shape, DType dtype, Device device) {
  return full(shape, 1, dtype, device);
}

Values::Values(std::initializer_list<Values> list) : dtype_(f32), list_(list) {
  for (const Values& v : list_) {
    require<ShapeError>(v.shape_ == list_[0].shape_, "tensor(): parts of shapes ", list_[0].shape_,
                        " and ", v.shape_, " in one list");
    dtype_ = &v == list_.data() ? v.dtype_ : promote(dtype_, v.dtype_);
  }
  if (!list_.empty()) shape_ = list_[0].shape_;
  shape_.insert(0, int64_t(list_.size()));
}

void Values::write(std::vector<Scalar>& to) const {
  if (shape_.empty()) to.push_back(number_);
  for (const Values& v : list_) v.write(to);
}

Tensor tensor(const Values& values, std::optional<DType> type) {
  std::vector<Scalar> numbers;
  values.write(numbers);
  const DType dtype = type.value_or(values.dtype());
  const Tensor t = empty(values.shape(), dtype);
  visit(dtype, [&]<class T>() {
    T* to = t.data<T>();
    for (const Scalar& v : numbers) {
      check_fill("tensor()", v, dtype);
      *to++ = detail::number_to<T>(v);
    }
  });
  return t;
}

Tensor empty_like(const Tensor& t) { return empty(t.spec()); }
Tensor full_like(const Tensor& t, Scalar value) {
  return full(t.shape(), value, t.dtype(), t.device());
}
Tensor zeros_like(const Tensor& t) { return zeros(t.shape(), t.dtype(), t.device()); }
Tensor ones_like(const Tensor& t) { return full_like(t, 1); }

}  // namespace tandem
