#include "tandem/core/tensor.h"

#include <cstddef>
#include <cstring>

#include "tandem/core/allocator.h"
#include "tandem/core/captured.h"
#include "tandem/core/length_table.h"
#include "tandem/core/modes.h"
#include "tandem/core/set_data.h"
#include "tandem/core/short_text.h"
#include "tandem/core/tensor_extras.h"

namespace tandem {
namespace detail {

namespace {

// A small tensor is one block: its impl, its storage header, its data. The block lives as long as
// either the impl or a view's reference to the storage does.
struct SmallBlock {
  TensorImpl impl;
  Storage storage;
};
constexpr size_t small_header = (sizeof(SmallBlock) + block_align - 1) / block_align * block_align;
constexpr size_t small_data = 1024;

SmallBlock* block_of(Storage* s) {
  return reinterpret_cast<SmallBlock*>(reinterpret_cast<char*>(s) - offsetof(SmallBlock, storage));
}

void drop_storage(Storage* s) noexcept {
  if (!drop_ref(s->refs)) return;
  if (s->block) {
    if (s->owner) [[unlikely]]
      s->owner.reset();  // after set_data
    release(block_of(s), s->block);
  } else {
    delete_storage(s);
  }
}

}  // namespace

TensorImpl* new_impl() { return new (allocate(sizeof(TensorImpl))) TensorImpl; }

namespace {
/// Row-major memory for `n` elements, the product of the spec's sizes.
[[gnu::always_inline]] inline Tensor make_tensor(const Spec& spec, int64_t n) {
  TensorImpl* impl;
  const size_t bytes = size_t(n * itemsize(spec.dtype));
  if (bytes <= small_data && spec.device.type == DeviceType::cpu) [[likely]] {
    const size_t block = small_header + bytes;
    char* at = static_cast<char*>(allocate(block));
    impl = new (at) TensorImpl;
    Storage* s = new (at + offsetof(SmallBlock, storage)) Storage;
    s->block = uint32_t(block);
    s->bytes = bytes;
    s->data = at + small_header;
    impl->storage = s;
    impl->data = s->data;
  } else {
    Storage* s = new_storage(bytes, spec.device);
    impl = new_impl();
    impl->storage = s;
    impl->data = s->data;
  }
  if (modes & Modes::capture) [[unlikely]]
    impl->flags |= TensorImpl::made_in_capture;
  impl->numel = n;
  impl->spec = spec;
  impl->strides = spec.shape;
  int64_t step = 1;
  for (int i = spec.shape.size() - 1; i >= 0; --i) {
    impl->strides[i] = step;
    const int64_t d = spec.shape[i];
    step *= d > 0 ? d : 1;
  }
  return Tensor::adopt(impl);
}
}  // namespace

Tensor new_tensor(const Spec& spec) {
  // The strides of a tensor without elements must fit as well.
  int64_t n = 1;
  bool bad = false, none = false;
  for (int64_t d : spec.shape) {
    none |= d == 0;
    bad |= (d < 0) | __builtin_mul_overflow(n, d ? d : 1, &n);
  }
  require<OutOfMemory>(!bad && (none || n < (int64_t(1) << 59)), "allocate: shape ", spec.shape,
                       " has too many elements");
  return make_tensor(spec, none ? 0 : n);
}

Tensor new_like(const TensorImpl& t) { return make_tensor(t.spec, t.numel); }

void delete_impl(TensorImpl* impl) noexcept {
  if (impl->extras) {
    if (Node* acc = impl->extras->accumulator.exchange(nullptr)) {
      forget_leaf(acc);
      // A backward pass of another thread may have taken a reference just before that; then the
      // leaf is that pass's to delete.
      if (impl->refs.load(std::memory_order_acquire) > 1 && !drop_ref(impl->refs)) return;
    }
  }
  if (impl->node) release_node(impl->node);
  delete impl->extras;
  TensorImpl* base = impl->base;
  if (drop_ref(impl->remembered)) free_impl(impl);
  if (base && drop_ref(base->refs)) delete_impl(base);
}

void free_impl(TensorImpl* impl) noexcept {
  Storage* storage = impl->storage;
  impl->~TensorImpl();
  // A small tensor's block goes with its storage.
  if (!storage || !storage->block || block_of(storage) != reinterpret_cast<SmallBlock*>(impl))
    release(impl, sizeof(TensorImpl));
  if (storage) drop_storage(storage);
}

Tensor alias(const Tensor& t, const Shape& shape, const Strides& strides, int64_t offset) {
  const TensorImpl& from = *t.impl();
  const Length n = shape.numel();
  TensorImpl* impl = new_impl();
  impl->spec = {shape, from.spec.dtype, from.spec.device};
  impl->strides = strides;
  impl->numel = n;
  impl->flags = tandem::is_contiguous(shape, strides) ? TensorImpl::contiguous : 0;
  impl->storage = from.storage;
  if (from.storage) add_ref(from.storage->refs);
  // A look at no elements may begin anywhere.
  if (from.data) impl->data = from.data + (n.bits() ? offset * itemsize(from.spec.dtype) : 0);
  return Tensor::adopt(impl);
}

Tensor alias(const Tensor& t) {
  Tensor a = alias(t, t.shape(), t.strides(), 0);
  a.impl()->flags |= t.impl()->flags & (TensorImpl::symbolic | TensorImpl::wrapped_number);
  if (t.is_symbolic()) {
    auto& e = extras(*a.impl());
    e.recorder = t.impl()->extras->recorder;
    e.value = t.impl()->extras->value;
  }
  return a;
}

void set_data(const Tensor& t, const Tensor& value) {
  TensorImpl& to = *t.impl();
  const TensorImpl& from = *value.impl();
  require<GradientError>(!to.node && !to.has(TensorImpl::symbolic),
                         "set_data(): only leaves can get other data");
  Storage* own = to.storage;
  if (own != from.storage) {
    if (own && own->block && block_of(own) == reinterpret_cast<SmallBlock*>(&to)) {
      // The header is part of the impl's block and stays; it keeps the memory of `value`, without a
      // history, which may lead back here.
      own->owner = std::make_shared<Tensor>(alias(value));
      own->data = from.storage->data;
      own->bytes = from.storage->bytes;
      ++own->version;
    } else {
      if (from.storage) add_ref(from.storage->refs);
      if (own) drop_storage(own);
      to.storage = from.storage;
    }
    if (to.base) Tensor::adopt(std::exchange(to.base, nullptr));  // the handle drops the reference
  }
  to.data = from.data;
  to.spec = from.spec;
  to.strides = from.strides;
  to.numel = from.numel;
  const uint8_t geometry = TensorImpl::contiguous;
  to.flags = uint8_t((to.flags & ~(geometry | TensorImpl::is_view)) | (from.flags & geometry));
  // The accumulator speaks of the old shape and dtype.
  if (to.extras)
    if (Node* acc = to.extras->accumulator.exchange(nullptr)) forget_leaf(acc);
}

void bump_version(const Tensor& t, const char* writer) {
  if (Storage* s = t.impl()->storage) {
    ++s->version;
    s->writer = writer;
  }
}

}  // namespace detail

const Tensor& Tensor::bump_version() const {
  checked();
  detail::bump_version(*this, "a write through data()");
  return *this;
}

void detail::append(std::string& s, const Spec& v) { s += to_string(v); }
std::string to_string(const Spec& spec) {
  std::string s = cat(spec.dtype, spec.shape);
  if (spec.device.type != DeviceType::cpu) s += cat(" on ", spec.device);
  return s;
}

void Tensor::throw_undefined() {
  throw ValueError("tensor: the handle is undefined (default-constructed)");
}

Length Tensor::size(int axis, CallSite where) const {
  const int n = dim();
  require<IndexError>(axis >= -n && axis < n, "size(axis=", axis, "): axis ", axis,
                      " is out of range [", -n, ", ", n - 1, "] for shape ", shape());
  const Length d = shape()[axis < 0 ? axis + n : axis];
  return impl_->has(TensorImpl::symbolic) ? read_length(d, where) : d;
}

Length Tensor::read_length(Length n, CallSite where) const {
  if (n.is_known()) detail::length_is_read(*this, where);
  else detail::LengthTable::of(n)->note_read(n, where);
  return n;
}

void* Tensor::typed_data(DType dtype) const {
  const TensorImpl& t = checked();
  // The texts cost more than most uses of the data.
  if (t.spec.dtype == dtype && !t.has(TensorImpl::symbolic) &&
      t.spec.device.type == DeviceType::cpu) [[likely]]
    return t.data;
  const std::string spec = to_string(t.spec);
  require<DTypeError>(t.spec.dtype == dtype, "data(): asked for ", dtype, " but the tensor is ",
                      spec);
  if (t.has(TensorImpl::symbolic))
    throw GradientError(cat("data()", detail::RecordedAt::text(), ": the ", spec,
                            detail::symbolic_origin(*this),
                            " is symbolic and has no value while a function is being recorded; ",
                            detail::symbolic_remedy));
  throw DeviceError(cat("data(): ", spec, " is not in the memory of this process"));
}

Scalar Tensor::item_scalar(CallSite where) const {
  const TensorImpl& t = checked();
  require<ShapeError>(t.numel == 1, "item(): needs exactly one element, got shape ", t.spec.shape);
  if (t.has(TensorImpl::symbolic)) [[unlikely]] {
    // A conversion to bool cannot know its caller's line.
    const bool condition = std::string_view(where.file).ends_with("tandem/core/tensor.h");
    const std::string reader = condition ? cat("if (tensor)", detail::RecordedAt::text())
                                         : cat("item() at ", where.file, ":", where.line);
    throw GradientError(cat(reader, ": the ", to_string(t.spec), detail::symbolic_origin(*this),
                            " is symbolic and has no value while a function is being recorded; ",
                            detail::symbolic_remedy));
  }
  if (t.spec.device.type != DeviceType::cpu) [[unlikely]]
    throw DeviceError(
        cat("item(): ", to_string(t.spec), " has no value in the memory of this process"));
  return visit(t.spec.dtype, [&]<class T>() {
    T v;
    std::memcpy(&v, t.data, sizeof v);
    if constexpr (std::is_integral_v<T>) return Scalar(v);
    else return Scalar(double(v));
  });
}

Tensor Tensor::from_number(Scalar number) {
  if (!number.is_known()) return detail::captured_number(number);
  Tensor t = empty({}, number.kind());
  visit(number.kind(), [&]<class T>() {
    if constexpr (std::is_same_v<T, double>)
      *reinterpret_cast<T*>(t.impl()->data) = number.to_double();
    else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, bool>)
      *reinterpret_cast<T*>(t.impl()->data) = T(number.to_int());
  });
  t.impl()->flags |= TensorImpl::wrapped_number;
  return t;
}

Tensor detail::empty_of(const Spec& spec) {
  for (int64_t d : spec.shape)
    require<ShapeError>(d >= 0, "empty(): negative size ", d, " in shape ", spec.shape);
  require<DeviceError>(spec.device.type != DeviceType::cuda,
                       "empty(): this build has no CUDA backend for device ", spec.device);
  return detail::new_tensor(spec);
}

Tensor empty(const Shape& shape, DType dtype, Device device) try {
  return empty(Spec{shape, dtype, device});
} catch (const OutOfMemory&) {
  detail::rethrow_for(detail::ShortText("empty(", shape, ")").view());
}

Tensor wrap(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner,
            const Strides& strides) try {
  require<ShapeError>(strides.empty() || strides.size() == shape.size(), "wrap(): strides ",
                      strides, " do not match shape ", shape);
  Length last = 0;
  const Strides steps = strides.empty() ? contiguous_strides(shape) : strides;
  for (int i = 0; i < shape.size(); ++i) {
    require<ShapeError>(shape[i] >= 0, "wrap(): negative size ", shape[i], " in shape ", shape);
    require<ShapeError>(steps[i] >= 0, "wrap(): negative stride ", steps[i], " in ", steps);
    last += (shape[i] - 1) * steps[i];
  }
  const int64_t n = shape.numel(), bytes = n ? (last + 1) * itemsize(dtype) : Length(0);
  require(data || n == 0, "wrap(): null data for shape ", shape);
  TensorImpl* impl = detail::new_impl();
  impl->spec = {shape, dtype, {}};
  impl->numel = n;
  impl->strides = steps;
  if (!is_contiguous(shape, steps)) impl->flags &= uint8_t(~TensorImpl::contiguous);
  impl->storage = detail::wrap_storage(data, size_t(bytes), std::move(owner));
  impl->data = impl->storage->data;
  return Tensor::adopt(impl);
} catch (const ShapeError&) {
  detail::rethrow_for(cat("wrap(shape=", shape, ", strides=", strides, ")"));
}

}  // namespace tandem
