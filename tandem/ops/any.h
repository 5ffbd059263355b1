#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Whether an element over `axes` (none given: all) is not zero; NaN is not. bool, but u8 for u8.
struct Any {
  static constexpr std::string_view name = "any";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "the result is boolean";

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields = Fields{field("axes", &Any::axes), field("keepdim", &Any::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    return A(0);
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return x != A(0) ? A(1) : acc;
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
  static Samples<Any> samples();
};

/// Whether every element over `axes` (none given: all) is not zero. bool, but u8 for u8.
struct All {
  static constexpr std::string_view name = "all";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "the result is boolean";

  Shape axes = {};
  bool keepdim = false;
  static constexpr auto fields = Fields{field("axes", &All::axes), field("keepdim", &All::keepdim)};

  template <class A>
  TANDEM_FN static A fold_identity() {
    return A(1);
  }
  template <class A>
  TANDEM_FN static A fold_step(A acc, A x) {
    return x != A(0) ? acc : A(0);
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
  static Samples<All> samples();
};

inline Tensor any(const Tensor& x, const Shape& axes = {}, bool keepdim = false) {
  return apply(Any{.axes = axes, .keepdim = keepdim}, {x});
}

namespace detail {
struct AllSymbol {
  Tensor operator()(const Tensor& x, const Shape& axes = {}, bool keepdim = false) const {
    return apply(All{.axes = axes, .keepdim = keepdim}, {x});
  }
};
}  // namespace detail

/// all(x) and all(x, axes) reduce; as an index, x(all, 2), it takes an axis whole (ops/index.h).
inline constexpr detail::AllSymbol all{};

}  // namespace tandem
