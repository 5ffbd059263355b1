#pragma once
#include <initializer_list>
#include <span>
#include <vector>

#include "tandem/op/op.h"

namespace tandem {

// Views: parts of a tensor that share its memory. Gradients are written into zeros.

/// Elements start, start + step, ... below `stop` along `axis`, as Python's x[start:stop:step];
/// step > 0, bounds are clamped and may be negative or left out.
struct Slice {
  static constexpr std::string_view name = "slice";
  static constexpr std::string_view inputs = "x";

  int64_t axis = 0;
  std::optional<Length> start = {}, stop = {};
  int64_t step = 1;
  static constexpr auto fields = Fields{field("axis", &Slice::axis), field("start", &Slice::start),
                                        field("stop", &Slice::stop), field("step", &Slice::step)};

  View geometry(const Shape& shape, const Strides& strides) const;
  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Slice> samples();
};

/// The slice `index` along `axis`, which is dropped. Errors: IndexError.
struct Select {
  static constexpr std::string_view name = "select";
  static constexpr std::string_view inputs = "x";

  int64_t axis = 0;
  Length index = 0;
  static constexpr auto fields =
      Fields{field("axis", &Select::axis), field("index", &Select::index)};

  View geometry(const Shape& shape, const Strides& strides) const;
  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Select> samples();
};

/// The diagonal of axes axis1 and axis2, `offset` above it; it becomes the last axis.
struct Diagonal {
  static constexpr std::string_view name = "diagonal";
  static constexpr std::string_view inputs = "x";

  Length offset = 0;
  int64_t axis1 = 0, axis2 = 1;
  static constexpr auto fields =
      Fields{field("offset", &Diagonal::offset), field("axis1", &Diagonal::axis1),
             field("axis2", &Diagonal::axis2)};

  View geometry(const Shape& shape, const Strides& strides) const;
  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Diagonal> samples();
};

/// `length` elements from `start` along `axis`. Errors: IndexError when they do not exist. A slice
/// whose bounds are known to fit says the same; this one stands where a run has to look.
struct Narrow {
  static constexpr std::string_view name = "narrow";
  static constexpr std::string_view inputs = "x";

  int64_t axis = 0;
  Length start = 0, length = 0;
  static constexpr auto fields =
      Fields{field("axis", &Narrow::axis), field("start", &Narrow::start),
             field("length", &Narrow::length)};

  View geometry(const Shape& shape, const Strides& strides) const;
  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Narrow> samples();
};

/// Windows of `size` elements, `step` apart, along `axis`: their number takes the place of the
/// axis, their elements become a new last axis.
struct Unfold {
  static constexpr std::string_view name = "unfold";
  static constexpr std::string_view inputs = "x";

  int64_t axis = 0;
  Length size = 1, step = 1;
  static constexpr auto fields = Fields{field("axis", &Unfold::axis), field("size", &Unfold::size),
                                        field("step", &Unfold::step)};

  View geometry(const Shape& shape, const Strides& strides) const;
  Spec infer(Specs in) const;
  bool view(const Tensor& in, View& out) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Unfold> samples();
};

/// Adds the windows of an Unfold up into a tensor of `shape`.
struct UnfoldGrad {
  static constexpr std::string_view name = "unfold_grad";
  static constexpr std::string_view inputs = "dy";

  Shape shape = {};
  int64_t axis = 0;
  Length size = 1, step = 1;
  static constexpr auto fields =
      Fields{field("shape", &UnfoldGrad::shape), field("axis", &UnfoldGrad::axis),
             field("size", &UnfoldGrad::size), field("step", &UnfoldGrad::step)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<UnfoldGrad> samples();
};

/// Zeros of `shape` whose region (element offset + sum_k i_k * strides_k, without overlap) holds
/// `src`: what the gradient of a view is.
struct ScatterRegion {
  static constexpr std::string_view name = "scatter_region";
  static constexpr std::string_view inputs = "src";

  Shape shape = {}, strides = {};
  Length offset = 0;
  static constexpr auto fields =
      Fields{field("shape", &ScatterRegion::shape), field("strides", &ScatterRegion::strides),
             field("offset", &ScatterRegion::offset)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<ScatterRegion> samples();
};

inline Tensor slice(const Tensor& x, int64_t axis, std::optional<Length> start = {},
                    std::optional<Length> stop = {}, int64_t step = 1) {
  return apply(Slice{.axis = axis, .start = start, .stop = stop, .step = step}, {x});
}
inline Tensor select(const Tensor& x, int64_t axis, Length index) {
  return apply(Select{.axis = axis, .index = index}, {x});
}
inline Tensor diagonal(const Tensor& x, Length offset = 0, int64_t axis1 = 0, int64_t axis2 = 1) {
  return apply(Diagonal{.offset = offset, .axis1 = axis1, .axis2 = axis2}, {x});
}
inline Tensor unfold(const Tensor& x, int64_t axis, Length size, Length step) {
  return apply(Unfold{.axis = axis, .size = size, .step = step}, {x});
}
/// `length` elements from `start` along `axis`. Errors: IndexError when they do not exist.
TANDEM_API Tensor narrow(const Tensor& x, int64_t axis, Length start, Length length);
/// Parts of `size` elements along `axis`; the last may be shorter. How many there are must not
/// depend on an unknown length: LengthError.
TANDEM_API Tensors split(const Tensor& x, Length size, int64_t axis = 0);
/// Parts of the given sizes, which add up to the length of the axis.
TANDEM_API Tensors split(const Tensor& x, std::span<const Length> sizes, int64_t axis = 0);
inline Tensors split(const Tensor& x, std::initializer_list<Length> sizes, int64_t axis = 0) {
  return split(x, std::span<const Length>(sizes.begin(), sizes.size()), axis);
}
inline Tensors split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0) {
  const std::vector<Length> lengths(sizes.begin(), sizes.end());
  return split(x, std::span<const Length>(lengths), axis);
}
/// At most `chunks` parts of equal size (the last may be shorter); of an axis of unknown length as
/// many as that, of which the last may be empty.
TANDEM_API Tensors chunk(const Tensor& x, int64_t chunks, int64_t axis = 0);
/// All slices along `axis`, without it. LengthError for an axis of unknown length.
TANDEM_API Tensors unbind(const Tensor& x, int64_t axis = 0, CallSite where = CallSite::current());
/// Moves an axis to another place; the others keep their order.
TANDEM_API Tensor movedim(const Tensor& x, int64_t source, int64_t destination);

}  // namespace tandem
