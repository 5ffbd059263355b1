// The methods of Tensor that are ops: each forwards to the free function of its name.
#include "tandem/core/factory.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/div.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/log.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/tanh.h"

namespace tandem {

Tensor Tensor::clone() const { return tandem::clone(*this); }
Tensor Tensor::contiguous() const { return tandem::contiguous(*this); }
Tensor Tensor::to(DType dtype) const { return cast(*this, dtype); }
Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  require<DeviceError>(device.type == DeviceType::null, "to(): ", to_string(spec()),
                       " cannot go to ", device);
  return empty(shape(), dtype(), device);
}
Tensor Tensor::sum() const { return tandem::sum(*this); }
Tensor Tensor::sum(const Shape& axes, bool keepdim) const {
  return tandem::sum(*this, axes, keepdim);
}
Tensor Tensor::mean() const { return tandem::mean(*this); }
Tensor Tensor::mean(const Shape& axes, bool keepdim) const {
  return tandem::mean(*this, axes, keepdim);
}
Tensor Tensor::max() const { return amax(*this); }
Tensor Tensor::min() const { return amin(*this); }
Tensor Tensor::argmax(int axis, bool keepdim) const { return tandem::argmax(*this, axis, keepdim); }
Tensor Tensor::exp() const { return tandem::exp(*this); }
Tensor Tensor::pow(const Tensor& exponent) const { return tandem::pow(*this, exponent); }
Tensor Tensor::log() const { return tandem::log(*this); }
Tensor Tensor::sqrt() const { return tandem::sqrt(*this); }
Tensor Tensor::abs() const { return tandem::abs(*this); }
Tensor Tensor::tanh() const { return tandem::tanh(*this); }
Tensor Tensor::sigmoid() const { return tandem::sigmoid(*this); }
Tensor Tensor::relu() const { return tandem::relu(*this); }
Tensor Tensor::clamp(std::optional<Number> min, std::optional<Number> max) const {
  return tandem::clamp(*this, min, max);
}
Tensor Tensor::transpose(int axis0, int axis1) const {
  return tandem::transpose(*this, axis0, axis1);
}
Tensor Tensor::t() const {
  require<ShapeError>(dim() <= 2, "t(): takes at most 2 axes, got shape ", shape());
  return dim() < 2 ? *this : transpose(0, 1);
}
Tensor Tensor::permute(const Shape& axes) const { return tandem::permute(*this, axes); }
Tensor Tensor::reshape(const Shape& shape) const { return tandem::reshape(*this, shape); }
Tensor Tensor::view(const Shape& shape) const {
  const Reshape op{.shape = shape};
  View v;
  require<ShapeError>(is_symbolic() || op.view(*this, v), "view(shape=", shape, "): shape ",
                      this->shape(), " with strides ", strides(),
                      " cannot be seen so without a copy; use reshape");
  return tandem::reshape(*this, shape);
}
Tensor Tensor::flatten(int start_axis, int end_axis) const {
  return tandem::flatten(*this, start_axis, end_axis);
}
Tensor Tensor::squeeze(int axis) const { return tandem::squeeze(*this, axis); }
Tensor Tensor::unsqueeze(int axis) const { return tandem::unsqueeze(*this, axis); }
Tensor Tensor::select(int axis, Length index) const { return tandem::select(*this, axis, index); }
Tensor Tensor::narrow(int axis, Length start, Length length) const {
  return tandem::narrow(*this, axis, start, length);
}
Tensor Tensor::expand(const Shape& shape) const { return tandem::expand(*this, shape); }

Tensor Tensor::matmul(const Tensor& o) const { return tandem::matmul(*this, o); }

Tensor& Tensor::operator+=(const Tensor& o) {
  apply_inplace(Add{}, {*this, o});
  return *this;
}
Tensor& Tensor::operator-=(const Tensor& o) {
  apply_inplace(Sub{}, {*this, o});
  return *this;
}
Tensor& Tensor::operator*=(const Tensor& o) {
  apply_inplace(Mul{}, {*this, o});
  return *this;
}
Tensor& Tensor::operator/=(const Tensor& o) {
  apply_inplace(Div{}, {*this, o});
  return *this;
}
Tensor& Tensor::copy_(const Tensor& src) {
  apply_inplace(CopyInto{}, {*this, detail::number_as("copy_()", src, dtype(), true)});
  return *this;
}
Tensor& Tensor::fill_(Scalar value) {
  return copy_(detail::number_as("fill_()", Tensor(value), dtype(), true));
}
Tensor& Tensor::zero_() { return fill_(0); }

}  // namespace tandem
