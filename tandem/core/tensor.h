#pragma once
#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/device.h"
#include "tandem/core/dtype.h"
#include "tandem/core/error.h"
#include "tandem/core/export.h"
#include "tandem/core/number.h"
#include "tandem/core/shape.h"
#include "tandem/core/small_vector.h"
#include "tandem/core/storage.h"
#include "tandem/core/tensor_methods.h"

namespace tandem {

/// What is known of a value without looking at its data.
struct Spec {
  Shape shape;
  DType dtype = f32;
  Device device;
  friend bool operator==(const Spec&, const Spec&) = default;
};
/// "f32[3, 5]"
TANDEM_API std::string to_string(const Spec& spec);
namespace detail {
/// Equal, unknown lengths by their form.
inline bool identical(const Spec& a, const Spec& b) {
  return a.dtype == b.dtype && a.device == b.device && identical(a.shape, b.shape);
}
/// Equal, or of unknown lengths that may be equal in a run.
inline bool may_equal(const Spec& a, const Spec& b) {
  return a.dtype == b.dtype && a.device == b.device && may_equal(a.shape, b.shape);
}
}  // namespace detail

struct Node;          // the tape's record of one op, op/tape.h
struct TensorExtras;  // what few tensors have, core/tensor_extras.h
class Index;          // ops/index.h
class Indexed;
struct Range;
namespace detail {
struct AllSymbol;
struct NewAxis;
struct Ellipsis;
/// An index that makes a view, whatever its value.
template <class T>
concept ViewIndex = AxisNumber<T> || std::same_as<T, Range> || std::same_as<T, AllSymbol> ||
    std::same_as<T, NewAxis> || std::same_as<T, Ellipsis>;
}  // namespace detail

/// The object behind a Tensor: strided data, or a value of a graph under construction.
struct TensorImpl {
  enum Flag : uint8_t {
    needs_grad = 1,      ///< a leaf the user wants gradients of, or a result of one
    symbolic = 2,        ///< a value of a graph; there is no data
    wrapped_number = 4,  ///< was a C++ number: promotes by kind only
    contiguous = 8,
    is_view = 16,
    made_in_capture = 32,  ///< data that a function under capture made: a constant of its graph
    left_by_plan = 64,     ///< a gradient that a run of a plan made, and may write again
    parameter = 128        ///< made by nn::parameter()
  };

  std::atomic<uint32_t> refs{1};
  /// Upper half: how often the tape gave this another history by an in-place write. Lower half: the
  /// references of the tape (SavedTensor, op/tape.h) made since; they are part of `refs`.
  std::atomic<uint64_t> saved{0};
  /// One for all of `refs`, and one for each older reference of the tape. Those keep the memory of
  /// this object and of its data, for error texts, but not its history, which may lead to them.
  std::atomic<uint32_t> remembered{1};
  uint8_t flags = contiguous;
  uint16_t output_nr = 0;     ///< which output of `node` this is
  uint32_t view_version = 0;  ///< views: the storage version that `node` speaks of
  Length numel = 1;
  char* data = nullptr;
  Storage* storage = nullptr;
  Node* node = nullptr;        ///< what computed it, when a gradient is wanted
  TensorImpl* base = nullptr;  ///< views: the tensor whose memory this is
  TensorExtras* extras = nullptr;
  Spec spec;
  Strides strides;

  bool has(Flag f) const { return flags & f; }
  /// A view whose memory was written through another handle, which gave the base a history.
  bool history_is_late() const {
    return has(is_view) && storage && view_version != storage->version && base->node;
  }
};

namespace detail {
TANDEM_API TensorImpl* new_impl();
TANDEM_API void delete_impl(TensorImpl* impl) noexcept;
/// Gives the memory of a deleted tensor back, when `remembered` is 0.
TANDEM_API void free_impl(TensorImpl* impl) noexcept;
}  // namespace detail

/// A counted handle, one pointer wide, to an n-dimensional array (up to 8 axes) or to a symbolic
/// value. Copies share the array; `clone()` copies it. Default-constructed handles are undefined.
class TANDEM_API Tensor : public TensorMethods<Tensor> {
 public:
  Tensor() noexcept : impl_(nullptr) {}
  Tensor(const Tensor& o) : impl_(o.impl_) {
    if (impl_) detail::add_ref(impl_->refs);
  }
  Tensor(Tensor&& o) noexcept : impl_(o.impl_) { o.impl_ = nullptr; }
  Tensor& operator=(const Tensor& o) & {
    Tensor(o).swap(*this);
    return *this;
  }
  Tensor& operator=(Tensor&& o) & noexcept {
    Tensor(std::move(o)).swap(*this);
    return *this;
  }
  /// What has no name is written: `x[0] = 1`, `x.narrow(0, 1, 2) = y`. The value is cast to the
  /// dtype and broadcast. Errors: those of in-place writes.
  Tensor& operator=(const Tensor& value) &&;
  ~Tensor() {
    if (impl_ && detail::drop_ref(impl_->refs)) detail::delete_impl(impl_);
  }
  /// A 0-d tensor that promotes like a C++ number: f32 + 2.0 stays f32.
  template <class T>
  requires std::is_arithmetic_v<T> Tensor(T number) : Tensor(from_number(Scalar(number))) {}
  Tensor(Scalar number) : Tensor(from_number(number)) {}
  Tensor(Length number) : Tensor(Scalar(number)) {}
  Tensor(Number number) : Tensor(Scalar(number)) {}
  /// Takes over one reference.
  static Tensor adopt(TensorImpl* impl) {
    Tensor t;
    t.impl_ = impl;
    return t;
  }
  /// Gives its reference up to the caller: the opposite of `adopt`.
  TensorImpl* release() noexcept { return std::exchange(impl_, nullptr); }
  void swap(Tensor& o) noexcept { std::swap(impl_, o.impl_); }

  // --- What it is -------------------------------------------------------------------------
  bool defined() const { return impl_ != nullptr; }
  const Spec& spec() const { return checked().spec; }
  const Shape& shape() const { return checked().spec.shape; }
  DType dtype() const { return checked().spec.dtype; }
  Device device() const { return checked().spec.device; }
  const Strides& strides() const { return checked().strides; }
  int dim() const { return checked().spec.shape.size(); }
  /// How many elements.
  Length numel(CallSite where = CallSite::current()) const {
    const TensorImpl& t = checked();
    if (t.has(TensorImpl::symbolic)) [[unlikely]]
      return read_length(t.numel, where);
    return t.numel;
  }
  /// Length along `axis` (negative counts from the end); IndexError when out of range. In a graph
  /// under construction it may be an expression of unknown lengths, see Length.
  Length size(int axis, CallSite where = CallSite::current()) const;
  bool is_contiguous() const { return checked().has(TensorImpl::contiguous); }
  bool is_symbolic() const { return checked().has(TensorImpl::symbolic); }
  /// True when both handles name the same object.
  bool is_same(const Tensor& o) const { return impl_ == o.impl_; }
  /// Itself: a part of a tensor, `x[i]`, may be a Tensor or an Indexed, which both have this.
  const Tensor& tensor() const { return *this; }
  TensorImpl* impl() const { return impl_; }

  // --- Its data ---------------------------------------------------------------------------
  /// First element; T must be the element type. Reading and writing are one to it: whoever writes
  /// through it says so with `bump_version()`. Errors: DTypeError, GradientError when symbolic.
  template <class T>
  T* data() const {
    return static_cast<T*>(typed_data(dtype_of<T>));
  }
  /// First element, whatever its type.
  void* raw_data() const { return checked().data; }
  /// All elements of a contiguous tensor, without a copy. Errors: as `data`, ShapeError.
  template <class T>
  std::span<T> span() const {
    require<ShapeError>(is_contiguous(), "span(): needs a contiguous tensor, got strides ",
                        strides(), " for shape ", shape());
    return {data<T>(), size_t(numel())};
  }
  /// The only element, converted. Errors: ShapeError unless there is exactly one element;
  /// ValueError when it does not fit a T; GradientError, with the caller's line, when a recorded
  /// function has no value yet.
  template <class T>
  T item(CallSite where = CallSite::current()) const {
    const Scalar v = item_scalar(where);
    if constexpr (std::is_floating_point_v<T>)  // from 2^63 on an i64 holds it as a negative one
      if (dtype() == u64) return T(uint64_t(v.to_int()));
    return detail::checked_number<T>("item()", v);
  }
  /// u64 from 2^63 on wraps around to negative numbers.
  Scalar item_scalar(CallSite where = CallSite::current()) const;
  /// All elements in row-major order, converted to T.
  template <class T>
  std::vector<T> to_vector() const;
  /// The only element as a condition; symbolic values throw and name the remedy.
  explicit operator bool() const { return item<double>() != 0; }
  /// How often the memory has been written in place.
  uint32_t version() const { return checked().storage ? impl_->storage->version : 0; }
  /// Says that the memory was written through `data()`, `span()` or `raw_data()`, which no op sees:
  /// backward() then refuses to use what it had saved of it, and compiled functions make again what
  /// they prepared from it, such as packed weights.
  const Tensor& bump_version() const;

  // --- Gradients (autograd/) ----------------------------------------------------------------
  /// Whether it is a leaf marked so, or has a history.
  bool requires_grad() const {
    return checked().has(TensorImpl::needs_grad) || impl_->history_is_late();
  }
  /// Marks a leaf. Errors: DTypeError for integers, GradientError for results of ops.
  Tensor& requires_grad_(bool on = true);
  bool is_leaf() const { return !checked().node && !impl_->history_is_late(); }
  /// The accumulated gradient; undefined when there is none.
  Tensor grad() const;
  void set_grad(Tensor grad) const;
  /// Accumulates d(this)/d(leaf) into the leaves' `grad()`. `gradient` has this tensor's shape and
  /// may be left out for one-element tensors.
  void backward(const Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) const;
  /// The same values without history; shares memory.
  Tensor detach() const;

  Tensor& operator+=(const Tensor& o);
  Tensor& operator-=(const Tensor& o);
  Tensor& operator*=(const Tensor& o);
  Tensor& operator/=(const Tensor& o);
  /// Reads and writes by index: `x[2]`, `x[mask] = 0`, `x(all, range(0, 4, 2)) += 1`. Integers,
  /// ranges, `all`, `none` and `ellipsis` give a view, index tensors and masks an Indexed.
  template <detail::ViewIndex I>
  Tensor operator[](I index) const;
  Indexed operator[](const Index& index) const;
  template <class... I>
  std::conditional_t<(detail::ViewIndex<I> && ...), Tensor, Indexed> operator()(
      const I&... index) const;

 private:
  TensorImpl& checked() const {
    if (!impl_) [[unlikely]]
      throw_undefined();
    return *impl_;
  }
  [[noreturn]] static void throw_undefined();
  static Tensor from_number(Scalar number);
  [[gnu::cold]] Length read_length(Length n, CallSite where) const;
  void* typed_data(DType dtype) const;

  TensorImpl* impl_;
};

extern template class TensorForms<Tensor>;
extern template class TensorMethods<Tensor>;

/// Uninitialised memory. Errors: ShapeError for negative sizes, OutOfMemory.
TANDEM_API Tensor empty(const Shape& shape, DType dtype = f32, Device device = {});
namespace detail {
TANDEM_API Tensor empty_of(const Spec& spec);
}  // namespace detail
template <std::same_as<Spec> S>
Tensor empty(const S& spec) {
  return detail::empty_of(spec);
}
/// Memory that somebody else owns, kept alive by `owner` (may be null: then it must outlive the
/// tensor). Strides count elements; an empty list means row-major.
TANDEM_API Tensor wrap(void* data, const Shape& shape, DType dtype,
                       std::shared_ptr<void> owner = {}, const Strides& strides = {});
/// Moves the vector in: no copy. Errors: ShapeError when the sizes differ.
template <class T>
Tensor wrap(std::vector<T> values, const Shape& shape) {
  require<ShapeError>(int64_t(values.size()) == shape.numel(), "wrap(): ", values.size(),
                      " values do not fill shape ", shape);
  auto owner = std::make_shared<std::vector<T>>(std::move(values));
  T* data = owner->data();
  return wrap(data, shape, dtype_of<T>, std::move(owner));
}

namespace detail {
/// `empty` for a spec that an op inferred: sizes are not checked again.
TANDEM_API Tensor new_tensor(const Spec& spec);
/// The same for the spec of a tensor that exists.
TANDEM_API Tensor new_like(const TensorImpl& t);
/// A tensor over `storage` (one reference is added) with its own geometry; no history.
TANDEM_API Tensor alias(const Tensor& t, const Shape& shape, const Strides& strides,
                        int64_t offset);
/// Shares memory and geometry, no history: what the tape keeps of an output.
TANDEM_API Tensor alias(const Tensor& t);
/// `t` itself when it is row-major and of that dtype, else a row-major copy. No op, no history.
TANDEM_API Tensor as_contiguous(const Tensor& t, DType dtype);
/// Called by every in-place write.
TANDEM_API void bump_version(const Tensor& t, const char* writer);
}  // namespace detail

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor flat = is_symbolic() ? *this : detail::as_contiguous(*this, dtype_of<T>);
  std::vector<T> out(size_t(flat.numel()));
  for (size_t i = 0; i < out.size(); ++i) out[i] = flat.template data<T>()[i];
  return out;
}

}  // namespace tandem
