// The methods of Tensor that are ops: each forwards to the free function of its name.
#include "tandem/core/tensor_methods.h"
#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/any.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/cumprod.h"
#include "tandem/ops/cumsum.h"
#include "tandem/ops/derived.h"
#include "tandem/ops/det.h"
#include "tandem/ops/div.h"
#include "tandem/ops/erf.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/expm1.h"
#include "tandem/ops/floor.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/inplace.h"
#include "tandem/ops/inverse.h"
#include "tandem/ops/isnan.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/log.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/logsumexp.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minimum.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/prod.h"
#include "tandem/ops/random.h"
#include "tandem/ops/reciprocal.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/round.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/sin.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sort.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/tan.h"
#include "tandem/ops/tanh.h"
#include "tandem/ops/var.h"
#include "tandem/ops/where.h"

namespace tandem {
namespace {

/// `t` times a number, which is 1 as a rule.
Tensor scaled(const Tensor& t, Scalar by) {
  return by.kind() != f64 && by.is_known() && by.to_int() == 1 ? t : mul(t, by);
}

}  // namespace

template <class S>
Tensor TensorMethods<S>::add(const Tensor& o, Scalar alpha) const {
  return tandem::add(me(), scaled(o, alpha));
}
template <class S>
Tensor TensorMethods<S>::sub(const Tensor& o, Scalar alpha) const {
  return tandem::sub(me(), scaled(o, alpha));
}
template <class S>
Tensor TensorMethods<S>::mul(const Tensor& o) const {
  return tandem::mul(me(), o);
}
template <class S>
Tensor TensorMethods<S>::div(const Tensor& o) const {
  return tandem::div(me(), o);
}
template <class S>
Tensor TensorMethods<S>::div(const Tensor& o, std::string_view rounding_mode) const {
  return tandem::div(me(), o, rounding_mode);
}
template <class S>
Tensor TensorMethods<S>::remainder(const Tensor& o) const {
  return tandem::remainder(me(), o);
}
template <class S>
Tensor TensorMethods<S>::pow(const Tensor& exponent) const {
  return tandem::pow(me(), exponent);
}
template <class S>
Tensor TensorMethods<S>::maximum(const Tensor& o) const {
  return tandem::maximum(me(), o);
}
template <class S>
Tensor TensorMethods<S>::minimum(const Tensor& o) const {
  return tandem::minimum(me(), o);
}
template <class S>
Tensor TensorMethods<S>::eq(const Tensor& o) const {
  return tandem::eq(me(), o);
}
template <class S>
Tensor TensorMethods<S>::ne(const Tensor& o) const {
  return tandem::ne(me(), o);
}
template <class S>
Tensor TensorMethods<S>::lt(const Tensor& o) const {
  return tandem::lt(me(), o);
}
template <class S>
Tensor TensorMethods<S>::le(const Tensor& o) const {
  return tandem::le(me(), o);
}
template <class S>
Tensor TensorMethods<S>::gt(const Tensor& o) const {
  return tandem::gt(me(), o);
}
template <class S>
Tensor TensorMethods<S>::ge(const Tensor& o) const {
  return tandem::ge(me(), o);
}
template <class S>
Tensor TensorMethods<S>::logical_and(const Tensor& o) const {
  return tandem::logical_and(me(), o);
}
template <class S>
Tensor TensorMethods<S>::logical_or(const Tensor& o) const {
  return tandem::logical_or(me(), o);
}
template <class S>
Tensor TensorMethods<S>::logical_xor(const Tensor& o) const {
  return tandem::logical_xor(me(), o);
}
template <class S>
Tensor TensorMethods<S>::logical_not() const {
  return tandem::logical_not(me());
}
template <class S>
Tensor TensorMethods<S>::isclose(const Tensor& o, const Tolerance& tolerance) const {
  return tandem::isclose(me(), o, tolerance);
}
template <class S>
bool TensorMethods<S>::allclose(const Tensor& o, const Tolerance& tolerance) const {
  return tandem::allclose(me(), o, tolerance);
}
template <class S>
Tensor TensorMethods<S>::where(const Tensor& condition, const Tensor& o) const {
  return tandem::where(condition, me(), o);
}
template <class S>
Tensor TensorMethods<S>::clamp(std::optional<Number> min, std::optional<Number> max) const {
  return tandem::clamp(me(), min, max);
}
template <class S>
Tensor TensorMethods<S>::clip(std::optional<Number> min, std::optional<Number> max) const {
  return tandem::clamp(me(), min, max);
}
template <class S>
Tensor TensorMethods<S>::clamp_min(Number min) const {
  return tandem::clamp(me(), min);
}
template <class S>
Tensor TensorMethods<S>::clamp_max(Number max) const {
  return tandem::clamp(me(), {}, max);
}
template <class S>
Tensor TensorMethods<S>::abs() const {
  return tandem::abs(me());
}
template <class S>
Tensor TensorMethods<S>::neg() const {
  return tandem::neg(me());
}
template <class S>
Tensor TensorMethods<S>::sign() const {
  return tandem::sign(me());
}
template <class S>
Tensor TensorMethods<S>::ceil() const {
  return tandem::ceil(me());
}
template <class S>
Tensor TensorMethods<S>::floor() const {
  return tandem::floor(me());
}
template <class S>
Tensor TensorMethods<S>::round(int64_t decimals) const {
  return tandem::round(me(), decimals);
}
template <class S>
Tensor TensorMethods<S>::exp() const {
  return tandem::exp(me());
}
template <class S>
Tensor TensorMethods<S>::expm1() const {
  return tandem::expm1(me());
}
template <class S>
Tensor TensorMethods<S>::log() const {
  return tandem::log(me());
}
template <class S>
Tensor TensorMethods<S>::log1p() const {
  return tandem::log1p(me());
}
template <class S>
Tensor TensorMethods<S>::log2() const {
  return tandem::log2(me());
}
template <class S>
Tensor TensorMethods<S>::log10() const {
  return tandem::log10(me());
}
template <class S>
Tensor TensorMethods<S>::sqrt() const {
  return tandem::sqrt(me());
}
template <class S>
Tensor TensorMethods<S>::rsqrt() const {
  return tandem::rsqrt(me());
}
template <class S>
Tensor TensorMethods<S>::square() const {
  return tandem::square(me());
}
template <class S>
Tensor TensorMethods<S>::reciprocal() const {
  return tandem::reciprocal(me());
}
template <class S>
Tensor TensorMethods<S>::sin() const {
  return tandem::sin(me());
}
template <class S>
Tensor TensorMethods<S>::cos() const {
  return tandem::cos(me());
}
template <class S>
Tensor TensorMethods<S>::tan() const {
  return tandem::tan(me());
}
template <class S>
Tensor TensorMethods<S>::erf() const {
  return tandem::erf(me());
}
template <class S>
Tensor TensorMethods<S>::tanh() const {
  return tandem::tanh(me());
}
template <class S>
Tensor TensorMethods<S>::sigmoid() const {
  return tandem::sigmoid(me());
}
template <class S>
Tensor TensorMethods<S>::relu() const {
  return tandem::relu(me());
}
template <class S>
Tensor TensorMethods<S>::isnan() const {
  return tandem::isnan(me());
}
template <class S>
Tensor TensorMethods<S>::isinf() const {
  return tandem::isinf(me());
}
template <class S>
Tensor TensorMethods<S>::isfinite() const {
  return tandem::isfinite(me());
}
template <class S>
Tensor TensorMethods<S>::sum(const Shape& axes, bool keepdim) const {
  return tandem::sum(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::mean(const Shape& axes, bool keepdim) const {
  return tandem::mean(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::prod(const Shape& axes, bool keepdim) const {
  return tandem::prod(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::std(const Shape& axes, double correction, bool keepdim) const {
  return stddev(me(), axes, correction, keepdim);
}
template <class S>
Tensor TensorMethods<S>::var(const Shape& axes, double correction, bool keepdim) const {
  return tandem::var(me(), axes, correction, keepdim);
}
template <class S>
Tensor TensorMethods<S>::norm(double p, const Shape& axes, bool keepdim) const {
  return tandem::norm(me(), p, axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::logsumexp(const Shape& axes, bool keepdim) const {
  return tandem::logsumexp(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::any(const Shape& axes, bool keepdim) const {
  return tandem::any(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::all(const Shape& axes, bool keepdim) const {
  return tandem::all(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::amax(const Shape& axes, bool keepdim) const {
  return tandem::amax(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::amin(const Shape& axes, bool keepdim) const {
  return tandem::amin(me(), axes, keepdim);
}
template <class S>
Tensor TensorMethods<S>::max() const {
  return tandem::max(me());
}
template <class S>
Tensor TensorMethods<S>::min() const {
  return tandem::min(me());
}
template <class S>
ValuesAndIndices TensorMethods<S>::max(int axis, bool keepdim) const {
  return tandem::max(me(), axis, keepdim);
}
template <class S>
ValuesAndIndices TensorMethods<S>::min(int axis, bool keepdim) const {
  return tandem::min(me(), axis, keepdim);
}
template <class S>
Tensor TensorMethods<S>::max(const Tensor& o) const {
  return tandem::maximum(me(), o);
}
template <class S>
Tensor TensorMethods<S>::min(const Tensor& o) const {
  return tandem::minimum(me(), o);
}
template <class S>
Tensor TensorMethods<S>::argmax(std::optional<int64_t> axis, bool keepdim) const {
  return tandem::argmax(me(), axis, keepdim);
}
template <class S>
Tensor TensorMethods<S>::argmin(std::optional<int64_t> axis, bool keepdim) const {
  return tandem::argmin(me(), axis, keepdim);
}
template <class S>
ValuesAndIndices TensorMethods<S>::sort(int axis, bool descending) const {
  return tandem::sort(me(), axis, descending);
}
template <class S>
Tensor TensorMethods<S>::argsort(int axis, bool descending) const {
  return tandem::argsort(me(), axis, descending);
}
template <class S>
ValuesAndIndices TensorMethods<S>::topk(Length k, int axis, bool largest, bool sorted) const {
  return tandem::topk(me(), k, axis, largest, sorted);
}
template <class S>
Tensor TensorMethods<S>::cumsum(int axis) const {
  return tandem::cumsum(me(), axis);
}
template <class S>
Tensor TensorMethods<S>::cumprod(int axis) const {
  return tandem::cumprod(me(), axis);
}
template <class S>
Tensor TensorMethods<S>::softmax(int axis, std::optional<DType> dtype) const {
  return tandem::softmax(me(), axis, dtype);
}
template <class S>
Tensor TensorMethods<S>::log_softmax(int axis, std::optional<DType> dtype) const {
  return tandem::log_softmax(me(), axis, dtype);
}
template <class S>
Tensor TensorMethods<S>::matmul(const Tensor& o) const {
  return tandem::matmul(me(), o);
}
template <class S>
Tensor TensorMethods<S>::mm(const Tensor& o) const {
  return tandem::mm(me(), o);
}
template <class S>
Tensor TensorMethods<S>::bmm(const Tensor& o) const {
  return tandem::bmm(me(), o);
}
template <class S>
Tensor TensorMethods<S>::dot(const Tensor& o) const {
  return tandem::dot(me(), o);
}
template <class S>
Tensor TensorMethods<S>::outer(const Tensor& o) const {
  return tandem::outer(me(), o);
}
template <class S>
Tensor TensorMethods<S>::det() const {
  return tandem::det(me());
}
template <class S>
Tensor TensorMethods<S>::inverse() const {
  return tandem::inverse(me());
}
template <class S>
Tensor TensorMethods<S>::cholesky() const {
  return tandem::cholesky(me());
}

// --- In place
// -------------------------------------------------------------------------------------

namespace {
template <class S>
S& self(TensorMethods<S>& t) {
  return static_cast<S&>(t);
}
}  // namespace

template <class S>
S& TensorMethods<S>::copy_(const Tensor& src) {
  const Tensor same = detail::number_as("copy_()", src, me().dtype(), true);
  apply_inplace(CopyInto{}, {me(), same});
  return self(*this);
}
template <class S>
S& TensorMethods<S>::fill_(Scalar value) {
  return copy_(detail::number_as("fill_()", Tensor(value), me().dtype(), true));
}
template <class S>
S& TensorMethods<S>::zero_() {
  return fill_(0);
}
template <class S>
S& TensorMethods<S>::add_(const Tensor& o, Scalar alpha) {
  me() += scaled(o, alpha);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::sub_(const Tensor& o, Scalar alpha) {
  me() -= scaled(o, alpha);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::mul_(const Tensor& o) {
  me() *= o;
  return self(*this);
}
template <class S>
S& TensorMethods<S>::div_(const Tensor& o) {
  me() /= o;
  return self(*this);
}
template <class S>
S& TensorMethods<S>::addcmul_(const Tensor& a, const Tensor& b, Scalar value) {
  me() += scaled(tandem::mul(a, b), value);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::addcdiv_(const Tensor& a, const Tensor& b, Scalar value) {
  me() += scaled(tandem::div(a, b), value);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::clamp_(std::optional<Number> min, std::optional<Number> max) {
  tandem::clamp_(me(), min, max);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::masked_fill_(const Tensor& mask, const Tensor& value) {
  const Tensor same = cast(detail::number_as("masked_fill_()", value, me().dtype()), me().dtype());
  apply_inplace(MaskedFill{}, {me(), mask, same});
  return self(*this);
}
template <class S>
S& TensorMethods<S>::scatter_(int axis, const Tensor& index, const Tensor& src) {
  const Tensor same = detail::number_as("scatter_()", src, me().dtype());
  apply_inplace(Scatter{.axis = axis}, {me(), index, same});
  return self(*this);
}
template <class S>
S& TensorMethods<S>::scatter_add_(int axis, const Tensor& index, const Tensor& src) {
  const Tensor same = detail::number_as("scatter_add_()", src, me().dtype());
  apply_inplace(ScatterAdd{.axis = axis}, {me(), index, same});
  return self(*this);
}
template <class S>
S& TensorMethods<S>::index_add_(int axis, const Tensor& index, const Tensor& src, double alpha) {
  apply_inplace(IndexAdd{.axis = axis, .alpha = alpha}, {me(), index, src});
  return self(*this);
}
template <class S>
S& TensorMethods<S>::index_put_(std::initializer_list<Tensor> indices, const Tensor& values,
                                bool accumulate) {
  tandem::index_put_(me(), Inputs(indices.begin(), indices.size()), values, accumulate);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::abs_() {
  tandem::abs_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::exp_() {
  tandem::exp_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::neg_() {
  tandem::neg_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::relu_() {
  tandem::relu_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::round_() {
  tandem::round_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::sigmoid_() {
  tandem::sigmoid_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::sqrt_() {
  tandem::sqrt_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::tanh_() {
  tandem::tanh_(me());
  return self(*this);
}
template <class S>
S& TensorMethods<S>::normal_(double mean, double std) {
  tandem::normal_(me(), mean, std);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::normal_(double mean, double std, Generator& generator) {
  tandem::normal_(me(), mean, std, generator);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::uniform_(double low, double high) {
  tandem::uniform_(me(), low, high);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::uniform_(double low, double high, Generator& generator) {
  tandem::uniform_(me(), low, high, generator);
  return self(*this);
}
template <class S>
S& TensorMethods<S>::bernoulli_(double p) {
  tandem::bernoulli_(me(), p);
  return self(*this);
}

template class TensorMethods<Tensor>;
template class TensorMethods<Indexed>;

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

}  // namespace tandem
