#pragma once
#include <limits>

#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Largest element over `axes` (none given: all); NaN when there is one. The gradient is shared
/// evenly among ties. Errors: ShapeError when a reduced axis is empty.
struct Amax {
  static constexpr std::string_view name = "amax";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"ReduceMax", 13};
  static constexpr Saves saves{.in = {0}, .out = {0}};

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Amax::axes), field("keepdim", &Amax::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    using L = std::numeric_limits<A>;
    return L::has_infinity ? -L::infinity() : L::lowest();
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return x > acc || x != x ? x : acc;
  }
  template <class A>
  TANDEM_FN static A fold_merge(A a, A b) {
    return fold_step(a, b);
  }
  template <class A>
  TANDEM_FN A fold_finish(A acc, int64_t) const {
    return acc;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Amax> samples();
};

/// Smallest element over `axes`; otherwise as Amax.
struct Amin {
  static constexpr std::string_view name = "amin";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"ReduceMin", 13};
  static constexpr Saves saves{.in = {0}, .out = {0}};

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axes", &Amin::axes), field("keepdim", &Amin::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    using L = std::numeric_limits<A>;
    return L::has_infinity ? L::infinity() : L::max();
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return x < acc || x != x ? x : acc;
  }
  template <class A>
  TANDEM_FN static A fold_merge(A a, A b) {
    return fold_step(a, b);
  }
  template <class A>
  TANDEM_FN A fold_finish(A acc, int64_t) const {
    return acc;
  }

  Spec infer(Specs in) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Amin> samples();
};

/// Largest element along `axis` and the index of its first place: values, indices (i64). NaN
/// counts as largest. The gradient goes to that place.
struct Max {
  static constexpr std::string_view name = "max";
  static constexpr std::string_view inputs = "x";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {}, .out = {1}};

  int64_t axis = -1;
  bool keepdim = false;
  static constexpr auto fields = Fields{field("axis", &Max::axis), field("keepdim", &Max::keepdim)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Max> samples();
};

/// Smallest element along `axis` and its first index; otherwise as Max.
struct Min {
  static constexpr std::string_view name = "min";
  static constexpr std::string_view inputs = "x";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {}, .out = {1}};

  int64_t axis = -1;
  bool keepdim = false;
  static constexpr auto fields = Fields{field("axis", &Min::axis), field("keepdim", &Min::keepdim)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Min> samples();
};

/// Index of the first largest element along `axis` (none: of the flattened tensor), i64.
struct Argmax {
  static constexpr std::string_view name = "argmax";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "indices have no gradient";

  std::optional<int64_t> axis = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axis", &Argmax::axis), field("keepdim", &Argmax::keepdim)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Argmax> samples();
};

/// Index of the first smallest element; otherwise as Argmax.
struct Argmin {
  static constexpr std::string_view name = "argmin";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "indices have no gradient";

  std::optional<int64_t> axis = {};
  bool keepdim = false;
  static constexpr auto fields =
      Fields{field("axis", &Argmin::axis), field("keepdim", &Argmin::keepdim)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<Argmin> samples();
};

/// What ops give that find elements and say where.
struct ValuesAndIndices {
  Tensor values, indices;
};

inline Tensor amax(const Tensor& x, const Shape& axes = {}, bool keepdim = false) {
  return apply(Amax{.axes = axes, .keepdim = keepdim}, {x});
}
inline Tensor amin(const Tensor& x, const Shape& axes = {}, bool keepdim = false) {
  return apply(Amin{.axes = axes, .keepdim = keepdim}, {x});
}
/// Over all elements.
inline Tensor max(const Tensor& x) { return amax(x); }
inline Tensor min(const Tensor& x) { return amin(x); }
inline ValuesAndIndices max(const Tensor& x, int64_t axis, bool keepdim = false) {
  Tensors y = apply_all(Max{.axis = axis, .keepdim = keepdim}, {x});
  return {y[0], y[1]};
}
inline ValuesAndIndices min(const Tensor& x, int64_t axis, bool keepdim = false) {
  Tensors y = apply_all(Min{.axis = axis, .keepdim = keepdim}, {x});
  return {y[0], y[1]};
}
inline Tensor argmax(const Tensor& x, std::optional<int64_t> axis = {}, bool keepdim = false) {
  return apply(Argmax{.axis = axis, .keepdim = keepdim}, {x});
}
inline Tensor argmin(const Tensor& x, std::optional<int64_t> axis = {}, bool keepdim = false) {
  return apply(Argmin{.axis = axis, .keepdim = keepdim}, {x});
}

}  // namespace tandem
