#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "tandem/core/by_name.h"
#include "tandem/core/device.h"
#include "tandem/core/dtype.h"
#include "tandem/core/export.h"
#include "tandem/core/scalar.h"
#include "tandem/core/shape.h"
#include "tandem/core/small_vector.h"

namespace tandem {

class Tensor;
class Generator;          // core/random.h
struct ValuesAndIndices;  // ops/minmax.h
using Tensors = SmallVector<Tensor, 4>;

/// How far from y an x is close to it: |x - y| <= atol + rtol |y|.
struct Tolerance {
  ByName by_name = ByName();
  double rtol = 1e-5, atol = 1e-8;
  bool equal_nan = false;
};

/// The members of Tensor that give other forms and parts of it, see TensorMethods.
template <class Self>
class TANDEM_API TensorForms {
 public:
  // --- Values as they are, in another form -----------------------------------------------------
  Tensor clone() const;
  Tensor contiguous() const;
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;
  Tensor to(const Tensor& like) const;
  Tensor type_as(const Tensor& o) const;
  Tensor cpu() const;
  Tensor half() const;
  Tensor byte() const;
  bool is_floating_point() const;
  int ndimension() const;
  int ndim() const;
  /// The step along `axis`, in elements.
  Length stride(int axis) const;
  Tensor t() const;
  Tensor T() const;
  Tensor mT() const;
  Tensor transpose(int axis0, int axis1) const;
  Tensor swapaxes(int axis0, int axis1) const;
  Tensor movedim(int64_t source, int64_t destination) const;
  Tensor permute(const Shape& axes) const;
  Tensor reshape(const Shape& shape) const;
  Tensor reshape_as(const Tensor& o) const;
  /// As reshape, but never a copy. Errors: ShapeError when it would need one.
  Tensor view(const Shape& shape) const;
  Tensor view_as(const Tensor& o) const;
  Tensor flatten(int start_axis = 0, int end_axis = -1) const;
  /// `axis` as several, of the given lengths; one of them may be -1.
  Tensor unflatten(int axis, const Shape& lengths) const;
  Tensor ravel() const;
  Tensor squeeze() const;
  Tensor squeeze(int axis) const;
  Tensor unsqueeze(int axis) const;
  Tensor expand(const Shape& shape) const;
  Tensor expand_as(const Tensor& o) const;
  Tensor repeat(const Shape& repeats) const;
  Tensor repeat_interleave(int64_t repeats, std::optional<int> axis = {}) const;
  Tensor repeat_interleave(const Tensor& repeats, std::optional<int> axis = {}) const;
  Tensor tile(const Shape& repeats) const;
  Tensor flip(const Shape& axes) const;
  Tensor roll(const Shape& shifts, const Shape& axes = {}) const;
  Tensor new_empty(const Shape& shape, std::optional<DType> dtype = {}) const;
  Tensor new_zeros(const Shape& shape, std::optional<DType> dtype = {}) const;
  Tensor new_ones(const Shape& shape, std::optional<DType> dtype = {}) const;
  Tensor new_full(const Shape& shape, Scalar value, std::optional<DType> dtype = {}) const;

  // --- Parts -----------------------------------------------------------------------------------
  Tensor select(int axis, Length index) const;
  Tensor narrow(int axis, Length start, Length length) const;
  Tensor diagonal(Length offset = 0, int axis1 = 0, int axis2 = 1) const;
  Tensor unfold(int axis, Length size, Length step) const;
  Tensor tril(Length diagonal = 0) const;
  Tensor triu(Length diagonal = 0) const;
  Tensors split(Length size, int axis = 0) const;
  Tensors split(std::initializer_list<Length> sizes, int axis = 0) const;
  Tensors chunk(int64_t chunks, int axis = 0) const;
  Tensors unbind(int axis = 0) const;
  Tensor index(std::initializer_list<Tensor> indices) const;
  Tensor index_select(int axis, const Tensor& index) const;
  Tensor index_add(int axis, const Tensor& index, const Tensor& src, double alpha = 1) const;
  Tensor index_put(std::initializer_list<Tensor> indices, const Tensor& values,
                   bool accumulate = false) const;
  Tensor gather(int axis, const Tensor& index) const;
  Tensor scatter(int axis, const Tensor& index, const Tensor& src) const;
  Tensor scatter_add(int axis, const Tensor& index, const Tensor& src) const;
  Tensor masked_fill(const Tensor& mask, const Tensor& value) const;
  Tensor masked_scatter(const Tensor& mask, const Tensor& source) const;
  Tensor masked_select(const Tensor& mask) const;
  Tensor nonzero() const;
  Tensor unique() const;

  // --- Lists without braces --------------------------------------------------------------------
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto permute(I a, J b, K... more) const {
    return permute(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto reshape(I a, J b, K... more) const {
    return reshape(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto view(I a, J b, K... more) const {
    return view(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto expand(I a, J b, K... more) const {
    return expand(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto repeat(I a, J b, K... more) const {
    return repeat(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto tile(I a, J b, K... more) const {
    return tile(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto flip(I a, J b, K... more) const {
    return flip(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto new_zeros(I a, J b, K... more) const {
    return new_zeros(Shape{Length(a), Length(b), Length(more)...});
  }
  template <detail::AxisNumber I, detail::AxisNumber J, detail::AxisNumber... K>
  auto new_ones(I a, J b, K... more) const {
    return new_ones(Shape{Length(a), Length(b), Length(more)...});
  }

 protected:
  const Tensor& me() const;
  Tensor& me();
};

/// The ops that are members of Tensor, and of Indexed, which stands for one. Each is the free
/// function of its name, which documents it, with PyTorch's order of arguments; a name with `_`
/// writes in place and gives the tensor itself. Lists of lengths or axes may be written without
/// braces: `x.view(2, -1)`. Names that C++ keeps: `x.to(f32)` is PyTorch's `x.float()`.
template <class Self>
class TANDEM_API TensorMethods : public TensorForms<Self> {
 public:
  // --- Element by element ----------------------------------------------------------------------
  /// x + alpha o; `sub` likewise.
  Tensor add(const Tensor& o, Scalar alpha = 1) const;
  Tensor sub(const Tensor& o, Scalar alpha = 1) const;
  Tensor mul(const Tensor& o) const;
  Tensor div(const Tensor& o) const;
  Tensor div(const Tensor& o, std::string_view rounding_mode) const;
  Tensor remainder(const Tensor& o) const;
  Tensor pow(const Tensor& exponent) const;
  Tensor maximum(const Tensor& o) const;
  Tensor minimum(const Tensor& o) const;
  Tensor eq(const Tensor& o) const;
  Tensor ne(const Tensor& o) const;
  Tensor lt(const Tensor& o) const;
  Tensor le(const Tensor& o) const;
  Tensor gt(const Tensor& o) const;
  Tensor ge(const Tensor& o) const;
  Tensor logical_and(const Tensor& o) const;
  Tensor logical_or(const Tensor& o) const;
  Tensor logical_xor(const Tensor& o) const;
  Tensor logical_not() const;
  Tensor isclose(const Tensor& o, const Tolerance& tolerance = {}) const;
  bool allclose(const Tensor& o, const Tolerance& tolerance = {}) const;
  /// This where `condition` holds, else `o`.
  Tensor where(const Tensor& condition, const Tensor& o) const;
  Tensor clamp(std::optional<Number> min, std::optional<Number> max = {}) const;
  Tensor clip(std::optional<Number> min, std::optional<Number> max = {}) const;
  Tensor clamp_min(Number min) const;
  Tensor clamp_max(Number max) const;
  Tensor abs() const;
  Tensor neg() const;
  Tensor sign() const;
  Tensor ceil() const;
  Tensor floor() const;
  Tensor round(int64_t decimals = 0) const;
  Tensor exp() const;
  Tensor expm1() const;
  Tensor log() const;
  Tensor log1p() const;
  Tensor log2() const;
  Tensor log10() const;
  Tensor sqrt() const;
  Tensor rsqrt() const;
  Tensor square() const;
  Tensor reciprocal() const;
  Tensor sin() const;
  Tensor cos() const;
  Tensor tan() const;
  Tensor erf() const;
  Tensor tanh() const;
  Tensor sigmoid() const;
  Tensor relu() const;
  Tensor isnan() const;
  Tensor isinf() const;
  Tensor isfinite() const;

  // --- Over axes; all of them when none is given -----------------------------------------------
  Tensor sum(const Shape& axes = {}, bool keepdim = false) const;
  Tensor mean(const Shape& axes = {}, bool keepdim = false) const;
  Tensor prod(const Shape& axes = {}, bool keepdim = false) const;
  Tensor std(const Shape& axes = {}, double correction = 1, bool keepdim = false) const;
  Tensor var(const Shape& axes = {}, double correction = 1, bool keepdim = false) const;
  Tensor norm(double p = 2, const Shape& axes = {}, bool keepdim = false) const;
  Tensor logsumexp(const Shape& axes, bool keepdim = false) const;
  Tensor any(const Shape& axes = {}, bool keepdim = false) const;
  Tensor all(const Shape& axes = {}, bool keepdim = false) const;
  Tensor amax(const Shape& axes = {}, bool keepdim = false) const;
  Tensor amin(const Shape& axes = {}, bool keepdim = false) const;
  Tensor max() const;
  Tensor min() const;
  ValuesAndIndices max(int axis, bool keepdim = false) const;
  ValuesAndIndices min(int axis, bool keepdim = false) const;
  /// The larger of two elements.
  Tensor max(const Tensor& o) const;
  Tensor min(const Tensor& o) const;
  Tensor argmax(std::optional<int64_t> axis = {}, bool keepdim = false) const;
  Tensor argmin(std::optional<int64_t> axis = {}, bool keepdim = false) const;
  ValuesAndIndices sort(int axis = -1, bool descending = false) const;
  Tensor argsort(int axis = -1, bool descending = false) const;
  ValuesAndIndices topk(Length k, int axis = -1, bool largest = true, bool sorted = true) const;
  Tensor cumsum(int axis) const;
  Tensor cumprod(int axis) const;
  Tensor softmax(int axis, std::optional<DType> dtype = {}) const;
  Tensor log_softmax(int axis, std::optional<DType> dtype = {}) const;

  // --- Products of matrices --------------------------------------------------------------------
  Tensor matmul(const Tensor& o) const;
  Tensor mm(const Tensor& o) const;
  Tensor bmm(const Tensor& o) const;
  Tensor dot(const Tensor& o) const;
  Tensor outer(const Tensor& o) const;
  Tensor det() const;
  Tensor inverse() const;
  Tensor cholesky() const;

  // --- In place
  // -----------------------------------------------------------------------------------
  Self& copy_(const Tensor& src);
  Self& fill_(Scalar value);
  Self& zero_();
  Self& add_(const Tensor& o, Scalar alpha = 1);
  Self& sub_(const Tensor& o, Scalar alpha = 1);
  Self& mul_(const Tensor& o);
  Self& div_(const Tensor& o);
  /// Adds value a b.
  Self& addcmul_(const Tensor& a, const Tensor& b, Scalar value = 1);
  /// Adds value a / b.
  Self& addcdiv_(const Tensor& a, const Tensor& b, Scalar value = 1);
  Self& clamp_(std::optional<Number> min, std::optional<Number> max = {});
  Self& masked_fill_(const Tensor& mask, const Tensor& value);
  Self& scatter_(int axis, const Tensor& index, const Tensor& src);
  Self& scatter_add_(int axis, const Tensor& index, const Tensor& src);
  Self& index_add_(int axis, const Tensor& index, const Tensor& src, double alpha = 1);
  Self& index_put_(std::initializer_list<Tensor> indices, const Tensor& values,
                   bool accumulate = false);
  Self& abs_();
  Self& exp_();
  Self& neg_();
  Self& relu_();
  Self& round_();
  Self& sigmoid_();
  Self& sqrt_();
  Self& tanh_();
  Self& normal_(double mean = 0, double std = 1);
  Self& normal_(double mean, double std, Generator& generator);
  Self& uniform_(double low = 0, double high = 1);
  Self& uniform_(double low, double high, Generator& generator);
  Self& bernoulli_(double p = 0.5);

  /// Calls `f(gradient)` when the gradient is there, see the free function.
  template <class F>
  int64_t register_hook(F f) const;

 private:
  using TensorForms<Self>::me;
};

}  // namespace tandem
