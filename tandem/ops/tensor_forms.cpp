// The methods of Tensor that give its forms and parts: each forwards to the free function of its
// name.
#include "tandem/core/tensor_methods.h"

#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/derived.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/tril.h"

namespace tandem {
namespace {

const Tensor& tensor_of(const Tensor& t) { return t; }
const Tensor& tensor_of(const Indexed& t) { return t.tensor(); }

}  // namespace

template <class S>
const Tensor& TensorForms<S>::me() const {
  return tensor_of(static_cast<const S&>(*this));
}
template <class S>
Tensor& TensorForms<S>::me() {
  return const_cast<Tensor&>(tensor_of(static_cast<const S&>(*this)));
}

template <class S>
Tensor TensorForms<S>::to(Device device) const {
  if (device == me().device()) return me();
  require<DeviceError>(device.type == DeviceType::null, "to(): ", me().spec(), " cannot go to ",
                       device);
  return tandem::empty(me().shape(), me().dtype(), device);
}
template <class S>
Length TensorForms<S>::stride(int axis) const {
  const Tensor& t = me();
  const int n = t.dim();
  require<IndexError>(axis >= -n && axis < n, "stride(axis=", axis, "): axis ", axis,
                      " is out of range [", -n, ", ", n - 1, "] for shape ", t.shape());
  return t.strides()[axis < 0 ? axis + n : axis];
}
template <class S>
Tensor TensorForms<S>::t() const {
  const Tensor& x = me();
  require<ShapeError>(x.dim() <= 2, "t(): takes at most 2 axes, got shape ", x.shape());
  return x.dim() < 2 ? x : tandem::transpose(x, 0, 1);
}
template <class S>
Tensor TensorForms<S>::T() const {
  Shape axes;
  for (int i = me().dim() - 1; i >= 0; --i) axes.push_back(i);
  return tandem::permute(me(), axes);
}
template <class S>
Tensor TensorForms<S>::mT() const {
  require<ShapeError>(me().dim() >= 2, "mT(): takes at least 2 axes, got shape ", me().shape());
  return tandem::transpose(me(), -2, -1);
}
template <class S>
Tensor TensorForms<S>::view(const Shape& shape) const {
  const Tensor& x = me();
  const Reshape op{.shape = shape};
  View v;
  require<ShapeError>(x.is_symbolic() || op.view(x, v), "view(shape=", shape, "): shape ",
                      x.shape(), " with strides ", x.strides(),
                      " cannot be seen so without a copy; use reshape");
  return tandem::reshape(x, shape);
}
template <class S>
Tensor TensorForms<S>::clone() const {
  return tandem::clone(me());
}
template <class S>
Tensor TensorForms<S>::contiguous() const {
  return tandem::contiguous(me());
}
template <class S>
Tensor TensorForms<S>::to(DType dtype) const {
  return cast(me(), dtype);
}
template <class S>
Tensor TensorForms<S>::to(const Tensor& like) const {
  return me().to(like.device()).to(like.dtype());
}
template <class S>
Tensor TensorForms<S>::type_as(const Tensor& o) const {
  return cast(me(), o.dtype());
}
template <class S>
Tensor TensorForms<S>::cpu() const {
  return me().to(Device{});
}
template <class S>
Tensor TensorForms<S>::half() const {
  return cast(me(), f16);
}
template <class S>
Tensor TensorForms<S>::byte() const {
  return cast(me(), u8);
}
template <class S>
bool TensorForms<S>::is_floating_point() const {
  return is_floating(me().dtype());
}
template <class S>
int TensorForms<S>::ndimension() const {
  return me().dim();
}
template <class S>
int TensorForms<S>::ndim() const {
  return me().dim();
}
template <class S>
Tensor TensorForms<S>::transpose(int axis0, int axis1) const {
  return tandem::transpose(me(), axis0, axis1);
}
template <class S>
Tensor TensorForms<S>::swapaxes(int axis0, int axis1) const {
  return tandem::transpose(me(), axis0, axis1);
}
template <class S>
Tensor TensorForms<S>::movedim(int64_t source, int64_t destination) const {
  return tandem::movedim(me(), source, destination);
}
template <class S>
Tensor TensorForms<S>::permute(const Shape& axes) const {
  return tandem::permute(me(), axes);
}
template <class S>
Tensor TensorForms<S>::reshape(const Shape& shape) const {
  return tandem::reshape(me(), shape);
}
template <class S>
Tensor TensorForms<S>::reshape_as(const Tensor& o) const {
  return tandem::reshape(me(), o.shape());
}
template <class S>
Tensor TensorForms<S>::view_as(const Tensor& o) const {
  return view(o.shape());
}
template <class S>
Tensor TensorForms<S>::flatten(int start_axis, int end_axis) const {
  return tandem::flatten(me(), start_axis, end_axis);
}
template <class S>
Tensor TensorForms<S>::unflatten(int axis, const Shape& lengths) const {
  return tandem::unflatten(me(), axis, lengths);
}
template <class S>
Tensor TensorForms<S>::ravel() const {
  return contiguous().reshape({-1});
}
template <class S>
Tensor TensorForms<S>::squeeze() const {
  return tandem::squeeze(me());
}
template <class S>
Tensor TensorForms<S>::squeeze(int axis) const {
  return tandem::squeeze(me(), axis);
}
template <class S>
Tensor TensorForms<S>::unsqueeze(int axis) const {
  return tandem::unsqueeze(me(), axis);
}
template <class S>
Tensor TensorForms<S>::expand(const Shape& shape) const {
  return tandem::expand(me(), shape);
}
template <class S>
Tensor TensorForms<S>::expand_as(const Tensor& o) const {
  return tandem::expand(me(), o.shape());
}
template <class S>
Tensor TensorForms<S>::repeat(const Shape& repeats) const {
  return tandem::repeat(me(), repeats);
}
template <class S>
Tensor TensorForms<S>::repeat_interleave(int64_t repeats, std::optional<int> axis) const {
  return tandem::repeat_interleave(me(), repeats, axis);
}
template <class S>
Tensor TensorForms<S>::repeat_interleave(const Tensor& repeats, std::optional<int> axis) const {
  return tandem::repeat_interleave(me(), repeats, axis);
}
template <class S>
Tensor TensorForms<S>::tile(const Shape& repeats) const {
  return tandem::tile(me(), repeats);
}
template <class S>
Tensor TensorForms<S>::flip(const Shape& axes) const {
  return tandem::flip(me(), axes);
}
template <class S>
Tensor TensorForms<S>::roll(const Shape& shifts, const Shape& axes) const {
  return tandem::roll(me(), shifts, axes);
}
template <class S>
Tensor TensorForms<S>::new_empty(const Shape& shape, std::optional<DType> dtype) const {
  return tandem::empty(shape, dtype.value_or(me().dtype()), me().device());
}
template <class S>
Tensor TensorForms<S>::new_zeros(const Shape& shape, std::optional<DType> dtype) const {
  return tandem::zeros(shape, dtype.value_or(me().dtype()), me().device());
}
template <class S>
Tensor TensorForms<S>::new_ones(const Shape& shape, std::optional<DType> dtype) const {
  return tandem::ones(shape, dtype.value_or(me().dtype()), me().device());
}
template <class S>
Tensor TensorForms<S>::new_full(const Shape& shape, Scalar value,
                                std::optional<DType> dtype) const {
  return tandem::full(shape, value, dtype.value_or(me().dtype()), me().device());
}
template <class S>
Tensor TensorForms<S>::select(int axis, Length index) const {
  return tandem::select(me(), axis, index);
}
template <class S>
Tensor TensorForms<S>::narrow(int axis, Length start, Length length) const {
  return tandem::narrow(me(), axis, start, length);
}
template <class S>
Tensor TensorForms<S>::diagonal(Length offset, int axis1, int axis2) const {
  return tandem::diagonal(me(), offset, axis1, axis2);
}
template <class S>
Tensor TensorForms<S>::unfold(int axis, Length size, Length step) const {
  return tandem::unfold(me(), axis, size, step);
}
template <class S>
Tensor TensorForms<S>::tril(Length diagonal) const {
  return tandem::tril(me(), diagonal);
}
template <class S>
Tensor TensorForms<S>::triu(Length diagonal) const {
  return tandem::triu(me(), diagonal);
}
template <class S>
Tensors TensorForms<S>::split(Length size, int axis) const {
  return tandem::split(me(), size, axis);
}
template <class S>
Tensors TensorForms<S>::split(std::initializer_list<Length> sizes, int axis) const {
  return tandem::split(me(), sizes, axis);
}
template <class S>
Tensors TensorForms<S>::chunk(int64_t chunks, int axis) const {
  return tandem::chunk(me(), chunks, axis);
}
template <class S>
Tensors TensorForms<S>::unbind(int axis) const {
  return tandem::unbind(me(), axis);
}
template <class S>
Tensor TensorForms<S>::index(std::initializer_list<Tensor> indices) const {
  return tandem::index(me(), indices);
}
template <class S>
Tensor TensorForms<S>::index_select(int axis, const Tensor& index) const {
  return tandem::index_select(me(), axis, index);
}
template <class S>
Tensor TensorForms<S>::index_add(int axis, const Tensor& index, const Tensor& src,
                                 double alpha) const {
  return tandem::index_add(me(), axis, index, src, alpha);
}
template <class S>
Tensor TensorForms<S>::index_put(std::initializer_list<Tensor> indices, const Tensor& values,
                                 bool accumulate) const {
  return tandem::index_put(me(), Inputs(indices.begin(), indices.size()), values, accumulate);
}
template <class S>
Tensor TensorForms<S>::gather(int axis, const Tensor& index) const {
  return tandem::gather(me(), axis, index);
}
template <class S>
Tensor TensorForms<S>::scatter(int axis, const Tensor& index, const Tensor& src) const {
  return tandem::scatter(me(), axis, index, src);
}
template <class S>
Tensor TensorForms<S>::scatter_add(int axis, const Tensor& index, const Tensor& src) const {
  return tandem::scatter_add(me(), axis, index, src);
}
template <class S>
Tensor TensorForms<S>::masked_fill(const Tensor& mask, const Tensor& value) const {
  return tandem::masked_fill(me(), mask, value);
}
template <class S>
Tensor TensorForms<S>::masked_scatter(const Tensor& mask, const Tensor& source) const {
  return tandem::masked_scatter(me(), mask, source);
}
template <class S>
Tensor TensorForms<S>::masked_select(const Tensor& mask) const {
  return tandem::masked_select(me(), mask);
}
template <class S>
Tensor TensorForms<S>::nonzero() const {
  return tandem::nonzero(me());
}
template <class S>
Tensor TensorForms<S>::unique() const {
  return tandem::unique(me());
}

template class TensorForms<Tensor>;
template class TensorForms<Indexed>;

}  // namespace tandem
