#pragma once
#include <type_traits>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

namespace tandem {

/// How long a while_loop may run; -1 is without bound.
struct LoopOptions {
  ByName by_name = ByName();
  int64_t maximum_iterations = -1;
};

namespace detail {

/// A part of a program that may run zero or more times.
class Region {
 public:
  virtual Tensors run(const Tensors& arguments) = 0;

 protected:
  ~Region() = default;
};

inline Tensors as_list(const Tensor& t) { return {t}; }
inline Tensors as_list(const Tensors& t) { return t; }
inline Tensors as_list(const std::vector<Tensor>& t) { return Tensors(t.begin(), t.end()); }

template <class F>
class RegionOf final : public Region {
 public:
  explicit RegionOf(F& f) : f_(f) {}
  Tensors run(const Tensors& arguments) override {
    if constexpr (std::is_invocable_v<F&>) return as_list(f_());
    else if constexpr (std::is_invocable_v<F&, const Tensors&>) return as_list(f_(arguments));
    else if constexpr (std::is_invocable_v<F&, const Tensor&>) return as_list(f_(arguments[0]));
    else if constexpr (std::is_invocable_v<F&, const Tensor&, const Tensor&>)
      return as_list(f_(arguments[0], arguments[1]));
    else return as_list(f_(arguments[0], arguments[1], arguments[2]));
  }

 private:
  F& f_;
};

TANDEM_API Tensors run_cond(const Tensor& condition, Region& yes, Region& no);
TANDEM_API Tensors run_while(Region& condition, Region& body, Tensors variables,
                             LoopOptions options);
enum class Fold { left, right, scan, map };
TANDEM_API Tensor run_fold(Fold kind, Region& f, const Tensor& elements, const Tensor& start);

}  // namespace detail

// The same calls run directly in eager code, where `condition` has a value, and become one node
// with regions in a graph. Regions may use any tensor around them; they have gradients. What they
// write to tensors from outside the graph is read after the node without gradient: return it. Their
// results are tensors of their own: a branch that gives a tensor from around it gives a copy. What
// only a branch not taken reads has no gradient.

/// `yes()` if the one-element `condition` holds, else `no()`; each gives a Tensor, or a list of
/// them. Errors: ShapeError when the condition has several elements, or, in a graph, the branches
/// give different shapes.
template <class Yes, class No>
auto cond(const Tensor& condition, Yes&& yes, No&& no) {
  detail::RegionOf<std::remove_reference_t<Yes>> a(yes);
  detail::RegionOf<std::remove_reference_t<No>> b(no);
  Tensors out = detail::run_cond(condition, a, b);
  if constexpr (std::is_convertible_v<std::invoke_result_t<Yes&>, Tensor>) return Tensor(out[0]);
  else return std::vector<Tensor>(out.begin(), out.end());
}

namespace detail {
template <class Last>
auto switch_from(const Tensor& index, int64_t, Last& last) {
  (void)index;
  return last();
}
template <class First, class... Rest>
auto switch_from(const Tensor& index, int64_t at, First& first, Rest&... rest);
TANDEM_API Tensor is_number(const Tensor& index, int64_t n);
template <class First, class... Rest>
auto switch_from(const Tensor& index, int64_t at, First& first, Rest&... rest) {
  return cond(
      is_number(index, at), [&] { return first(); },
      [&] { return switch_from(index, at + 1, rest...); });
}
}  // namespace detail

/// The result of branch number `index`; the last one for every other number (TensorFlow's rule).
template <class... Branches>
auto switch_case(const Tensor& index, Branches&&... branches) {
  return detail::switch_from(index, 0, branches...);
}

/// Repeats variables = body(variables) while condition(variables) holds. Shapes and dtypes of the
/// variables stay what they are. `condition` and `body` take the variables one by one (up to
/// three) or as a list. Errors: ShapeError and DTypeError when the body changes a variable's spec.
template <class Condition, class Body>
std::vector<Tensor> while_loop(Condition&& condition, Body&& body,
                               const std::vector<Tensor>& variables, LoopOptions options = {}) {
  detail::RegionOf<std::remove_reference_t<Condition>> c(condition);
  detail::RegionOf<std::remove_reference_t<Body>> b(body);
  Tensors out = detail::run_while(c, b, Tensors(variables.begin(), variables.end()), options);
  return {out.begin(), out.end()};
}

/// f(...f(f(start, x[0]), x[1])..., x[n-1]) over the first axis of `elements`.
template <class F>
Tensor foldl(F&& f, const Tensor& elements, const Tensor& start) {
  detail::RegionOf<std::remove_reference_t<F>> r(f);
  return detail::run_fold(detail::Fold::left, r, elements, start);
}
/// The same from the last element to the first.
template <class F>
Tensor foldr(F&& f, const Tensor& elements, const Tensor& start) {
  detail::RegionOf<std::remove_reference_t<F>> r(f);
  return detail::run_fold(detail::Fold::right, r, elements, start);
}
/// All steps of foldl, stacked: [n, ...]. Of no elements f is recorded once, to know the shape.
template <class F>
Tensor scan(F&& f, const Tensor& elements, const Tensor& start) {
  detail::RegionOf<std::remove_reference_t<F>> r(f);
  return detail::run_fold(detail::Fold::scan, r, elements, start);
}
/// f(x[0]), ..., f(x[n-1]), stacked: [n, ...]; of no elements as scan.
template <class F>
Tensor map_fn(F&& f, const Tensor& elements) {
  detail::RegionOf<std::remove_reference_t<F>> r(f);
  return detail::run_fold(detail::Fold::map, r, elements, {});
}

}  // namespace tandem
