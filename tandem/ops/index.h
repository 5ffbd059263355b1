#pragma once
#include <array>
#include <utility>

#include "tandem/core/print.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/any.h"

namespace tandem {

// Python's indexing: `x[2]`, `x(all, range(0, 4, 2)) += 1`, `x(ellipsis, none)`, `x[mask] = 0`,
// `x(0, rows) = y`. Integers, ranges, `all`, `none` and `ellipsis` make views; index tensors (i64)
// and masks (bool) pick elements. Both mix as in PyTorch. An index tensor without axes is an
// integer; in a recorded function, where it has no value, reading by it makes a copy. Negative
// numbers count from the end.

namespace detail {
struct NewAxis {};
struct Ellipsis {};
}  // namespace detail
/// A new axis of length one; as a bound of `range`: open.
inline constexpr detail::NewAxis none{};
/// As many whole axes as are needed.
inline constexpr detail::Ellipsis ellipsis{};

/// One end of a range: a number, or open.
class Bound {
 public:
  template <std::integral T>
  Bound(T v) : value_(Length(v)) {}
  Bound(Length v) : value_(v) {}
  Bound(detail::NewAxis) {}
  std::optional<Length> value() const { return value_; }

 private:
  std::optional<Length> value_;
};

/// start:stop:step of Python, with step > 0.
struct Range {
  std::optional<Length> start, stop;
  int64_t step = 1;
};
/// `range(1, 5)`, `range(none, -1)`, `range(0, none, 2)`.
inline Range range(Bound start, Bound stop, int64_t step = 1) {
  return {start.value(), stop.value(), step};
}
/// The first `stop`.
inline Range range(Bound stop) { return {{}, stop.value(), 1}; }

/// What stands between the brackets for one axis.
class Index {
 public:
  enum class Kind : uint8_t { integer, range, new_axis, ellipsis, tensor, boolean };

  template <std::integral T>
  Index(T i) : kind_(std::same_as<T, bool> ? Kind::boolean : Kind::integer), integer_(i) {}
  Index(Length i) : kind_(Kind::integer), integer_(i) {}
  Index(Range r) : kind_(Kind::range), range_(r) {}
  Index(detail::AllSymbol) : kind_(Kind::range) {}
  Index(detail::NewAxis) : kind_(Kind::new_axis) {}
  Index(detail::Ellipsis) : kind_(Kind::ellipsis) {}
  Index(Tensor t) : kind_(Kind::tensor), tensor_(std::move(t)) {}

  Kind kind() const { return kind_; }
  Length integer() const { return integer_; }
  const Range& range() const { return range_; }
  const Tensor& tensor() const { return tensor_; }

 private:
  Kind kind_;
  Length integer_ = 0;
  Range range_;
  Tensor tensor_;
};

/// A part that an index tensor or a mask picks, `x[mask]`, `x(rows, 0)`. Assigned at once, it is
/// written: `x[mask] = 0`. Else it is a tensor, a copy of the elements with all of a tensor's
/// members, read when it is first looked at; a name for it, `auto y = x[mask]`, may be assigned
/// another tensor. Errors: IndexError, also when x was written before the elements were read;
/// those of in-place writes.
class TANDEM_API Indexed : public TensorMethods<Indexed> {
 public:
  Indexed(const Tensor& x, std::span<const Index> list);
  Indexed(const Indexed&) = default;

  /// The part: a view, or a copy when an index tensor or a mask picks the elements.
  const Tensor& tensor() const {
    if (picked_) read();
    return view_;
  }
  operator Tensor() const { return tensor(); }

  /// `value` is cast to the tensor's dtype and broadcast to the part. IndexError for a part of what
  /// an index tensor or a mask picked, x[rows][0] = 1: that is a copy, and the write would be lost.
  Indexed& operator=(const Tensor& value) &&;
  Indexed& operator=(const Indexed& value) &&;
  // As in Python, a place that an index tensor names twice is changed once. In a graph, where
  // nobody can say how many elements a mask picks, the value is a number, has the axes behind the
  // mask, or is another tensor's part by the same mask.
  Indexed& operator+=(const Tensor& value) &&;
  Indexed& operator-=(const Tensor& value) &&;
  Indexed& operator*=(const Tensor& value) &&;
  Indexed& operator/=(const Tensor& value) &&;
  Indexed& operator+=(const Indexed& value) &&;
  Indexed& operator-=(const Indexed& value) &&;
  Indexed& operator*=(const Indexed& value) &&;
  Indexed& operator/=(const Indexed& value) &&;

  // What has a name is a tensor: assigned, it is another one.
  Indexed& operator=(const Tensor& value) &;
  Indexed& operator=(const Indexed& value) & { return *this = value.tensor(); }
  Indexed& operator+=(const Tensor& value) & { return add_(value); }
  Indexed& operator-=(const Tensor& value) & { return sub_(value); }
  Indexed& operator*=(const Tensor& value) & { return mul_(value); }
  Indexed& operator/=(const Tensor& value) & { return div_(value); }

  template <class... I>
  Indexed operator()(const I&... index) const& {
    const std::array<Index, sizeof...(I)> list{Index(index)...};
    return Indexed(tensor(), list);
  }
  template <class... I>
  Indexed operator()(const I&... index) && {
    const std::array<Index, sizeof...(I)> list{Index(index)...};
    return part(list);
  }
  Indexed operator[](const Index& index) const& { return Indexed(tensor(), {&index, 1}); }
  Indexed operator[](const Index& index) && { return part({&index, 1}); }
  template <class T>
  T item(CallSite where = CallSite::current()) const {
    return tensor().template item<T>(where);
  }
  Scalar item_scalar(CallSite where = CallSite::current()) const {
    return tensor().item_scalar(where);
  }
  template <class T>
  std::vector<T> to_vector() const {
    return tensor().template to_vector<T>();
  }
  template <class T>
  T* data() const {
    return tensor().template data<T>();
  }
  template <class T>
  std::span<T> span() const {
    return tensor().template span<T>();
  }
  bool defined() const { return view_.defined(); }
  Spec spec() const { return tensor().spec(); }
  Shape shape() const { return tensor().shape(); }
  Strides strides() const { return tensor().strides(); }
  DType dtype() const { return view_.dtype(); }
  Device device() const { return view_.device(); }
  int dim() const { return tensor().dim(); }
  Length numel(CallSite where = CallSite::current()) const { return tensor().numel(where); }
  Length size(int axis, CallSite where = CallSite::current()) const {
    return tensor().size(axis, where);
  }
  bool is_contiguous() const { return tensor().is_contiguous(); }
  bool is_symbolic() const { return view_.is_symbolic(); }
  bool requires_grad() const { return tensor().requires_grad(); }
  Indexed& requires_grad_(bool on = true);
  bool is_leaf() const { return tensor().is_leaf(); }
  Tensor grad() const { return tensor().grad(); }
  void backward(const Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) const {
    tensor().backward(gradient, retain_graph, create_graph);
  }
  Tensor detach() const { return tensor().detach(); }
  explicit operator bool() const { return bool(tensor()); }

 private:
  using Binary = Tensor (*)(const Tensor&, const Tensor&);

  void read() const;
  bool fill_masked(const Tensor& value);
  int mask_place() const;
  Tensor wide_mask(int place) const;
  Tensor recorded_mask(const Tensor& value) const;
  Tensor recorded_mask(const Indexed& value) const;
  Indexed& write(const Tensor& value);
  Indexed& write_masked(const Tensor& mask, const Tensor& value);
  Indexed& update_masked(const Tensor& mask, const Tensor& value, Binary f);
  Indexed& update(const Tensor& value, Binary f);
  void check_dtype(const Tensor& result) const;
  std::pair<int, int> moved() const;
  Indexed part(std::span<const Index> list) const;
  void check_written() const;
  uint64_t versions() const;
  Tensor picked() const;

  mutable Tensor view_;     ///< after integers, ranges and new axes; the part, once it was read
  mutable Tensors places_;  ///< index tensors and masks by axis of view_; undefined: the whole axis
  mutable bool picked_ = false;
  mutable bool of_copy_ = false;  ///< view_ is of elements that were picked: no write reaches x
  uint64_t versions_ = 0;         ///< how often x and the index tensors had been written
};

extern template class TensorForms<Indexed>;
extern template class TensorMethods<Indexed>;

namespace detail {
/// The part that integers, ranges, `all`, `none` and `ellipsis` name.
TANDEM_API Tensor view_of(const Tensor& x, std::span<const Index> list);
}  // namespace detail

template <detail::ViewIndex I>
Tensor Tensor::operator[](I index) const {
  const Index list[] = {Index(index)};
  return detail::view_of(*this, list);
}
template <class... I>
std::conditional_t<(detail::ViewIndex<I> && ...), Tensor, Indexed> Tensor::operator()(
    const I&... index) const {
  const std::array<Index, sizeof...(I)> list{Index(index)...};
  if constexpr ((detail::ViewIndex<I> && ...)) return detail::view_of(*this, list);
  else return Indexed(*this, list);
}

/// `std::cout << x[mask]`
template <class Stream, std::same_as<Indexed> T>
requires requires(Stream& s, const char* p) { s.write(p, 1); }
Stream& operator<<(Stream& stream, const T& t) { return stream << t.tensor(); }

}  // namespace tandem
