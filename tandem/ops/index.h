#pragma once
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

/// A part of a tensor, named but not read: converts to a Tensor, and writes through when assigned.
/// Errors: IndexError; those of in-place writes.
class TANDEM_API Indexed {
 public:
  Indexed(const Tensor& x, std::span<const Index> list);
  Indexed(const Indexed&) = default;

  /// The part: a view, or a copy when an index tensor or a mask picks the elements.
  Tensor tensor() const;
  operator Tensor() const { return tensor(); }

  /// `value` is cast to the tensor's dtype and broadcast to the part. IndexError for a part of what
  /// an index tensor or a mask picked, x[rows][0] = 1: that is a copy, and the write would be lost.
  Indexed& operator=(const Tensor& value);
  Indexed& operator=(const Indexed& value);
  // As in Python, a place that an index tensor names twice is changed once. In a graph, where
  // nobody can say how many elements a mask picks, the value is a number, has the axes behind the
  // mask, or is another tensor's part by the same mask.
  Indexed& operator+=(const Tensor& value);
  Indexed& operator-=(const Tensor& value);
  Indexed& operator*=(const Tensor& value);
  Indexed& operator/=(const Tensor& value);
  Indexed& operator+=(const Indexed& value);
  Indexed& operator-=(const Indexed& value);
  Indexed& operator*=(const Indexed& value);
  Indexed& operator/=(const Indexed& value);

  // The part as a tensor, for what is asked most.
  Indexed operator[](const Index& index) const { return part({&index, 1}); }
  template <class... I>
  Indexed operator()(const I&... index) const {
    const Index list[] = {Index(index)...};
    return part(list);
  }
  template <class T>
  T item(CallSite where = CallSite::current()) const {
    return tensor().template item<T>(where);
  }
  template <class T>
  std::vector<T> to_vector() const {
    return tensor().template to_vector<T>();
  }
  Shape shape() const { return tensor().shape(); }
  DType dtype() const { return view_.dtype(); }
  int dim() const { return tensor().dim(); }
  Length numel(CallSite where = CallSite::current()) const { return tensor().numel(where); }
  Length size(int axis, CallSite where = CallSite::current()) const {
    return tensor().size(axis, where);
  }
  Tensor clone() const { return tensor().clone(); }
  Tensor detach() const { return tensor().detach(); }
  Tensor sum() const { return tensor().sum(); }
  Tensor mean() const { return tensor().mean(); }
  Tensor reshape(const Shape& shape) const { return tensor().reshape(shape); }
  Tensor to(DType dtype) const { return tensor().to(dtype); }
  explicit operator bool() const { return bool(tensor()); }

 private:
  using Binary = Tensor (*)(const Tensor&, const Tensor&);

  bool fill_masked(const Tensor& value);
  int mask_place() const;
  Tensor wide_mask(int place) const;
  Tensor recorded_mask(const Tensor& value) const;
  Tensor recorded_mask(const Indexed& value) const;
  Indexed& write_masked(const Tensor& mask, const Tensor& value);
  Indexed& update_masked(const Tensor& mask, const Tensor& value, Binary f);
  Indexed& update(const Tensor& value, Binary f);
  void check_dtype(const Tensor& result) const;
  std::pair<int, int> moved() const;
  Indexed part(std::span<const Index> list) const;
  void check_written() const;

  Tensor view_;     ///< after integers, ranges and new axes
  Tensors places_;  ///< index tensors and masks by axis of view_; undefined: the whole axis
  bool picked_ = false;
  bool of_copy_ = false;  ///< view_ is of elements that were picked: no write reaches the tensor
};

template <class... I>
Indexed Tensor::operator()(const I&... index) const {
  const Index list[] = {Index(index)...};
  return Indexed(*this, list);
}

/// `std::cout << x[0]`
template <class Stream, std::same_as<Indexed> T>
requires requires(Stream& s, const char* p) { s.write(p, 1); }
Stream& operator<<(Stream& stream, const T& t) { return stream << t.tensor(); }

}  // namespace tandem
