#pragma once
#include <array>
#include <memory>
#include <tuple>
#include <utility>

#include "tandem/op/tape.h"

namespace tandem {

namespace detail {

/// What the tape keeps of a user-written function.
class UserFunction {
 public:
  virtual ~UserFunction() = default;
  virtual Tensors backward(const Tensors& dy) = 0;
};
/// What forward() sees of the inputs: the same values and history in handles of their own. A handle
/// that a function keeps must not get the history of later in-place writes, which may lead to the
/// function; and whether it was kept is seen by its count.
TANDEM_API void function_inputs(Inputs inputs, Tensor* seen);
/// Gives `outputs` a history that leads through `function` to `inputs`, of which forward() has seen
/// `seen`. The handles that forward() made stay without history, so that a function may keep them.
/// ValueError when there is no output or one is undefined.
TANDEM_API Tensors record_function(std::shared_ptr<UserFunction> function, Inputs inputs,
                                   Inputs seen, Tensors outputs);

template <class F>
class HeldFunction final : public UserFunction {
 public:
  explicit HeldFunction(F f) : f(std::move(f)) {}
  F f;
  Tensors backward(const Tensors& dy) override {
    if constexpr (requires { f.backward(dy[0]); }) return as_list(f.backward(dy[0]));
    else return as_list(f.backward(dy));
  }

 private:
  static Tensors as_list(Tensor t) { return {std::move(t)}; }
  static Tensors as_list(Tensors t) { return t; }
};

}  // namespace detail

/// Runs a function whose gradient the user wrote. F has `forward(const Tensor&...)` and
/// `backward(const Tensor& dy)` (or `const Tensors& dy` for several outputs), each giving a Tensor
/// or Tensors, and keeps in its members what backward needs:
///
///     struct Square {
///       Tensor x;
///       Tensor forward(const Tensor& in) { x = in; return in * in; }
///       Tensor backward(const Tensor& dy) { return 2 * x * dy; }
///     };
///     Tensor y = custom<Square>(x);
///
/// backward's own ops are differentiable when it is written in public ops. It gives one gradient an
/// input, undefined for those that have none. Inputs and outputs that forward keeps, or keeps views
/// of, are watched: backward() refuses to run when they were written in place since, as it does for
/// any op. Errors: ValueError when forward gives nothing or an undefined tensor, GradientError when
/// backward gives another number of gradients.
template <class F, class... T>
auto custom(F f, const T&... inputs) {
  auto held = std::make_shared<detail::HeldFunction<F>>(std::move(f));
  const Tensor list[] = {inputs...};
  using Result = decltype(held->f.forward(inputs...));
  std::array<Tensor, sizeof...(T)> seen;
  detail::function_inputs(list, seen.data());
  Tensors out;
  {
    NoGrad guard;
    const auto forward = [&](const auto&... in) { return held->f.forward(in...); };
    if constexpr (std::is_same_v<Result, Tensor>) out.push_back(std::apply(forward, seen));
    else out = std::apply(forward, seen);
  }
  out = detail::record_function(std::move(held), list, seen, std::move(out));
  if constexpr (std::is_same_v<Result, Tensor>) return Tensor(out[0]);
  else return out;
}
template <class F, class... T>
requires std::is_default_constructible_v<F>
auto custom(const Tensor& first, const T&... rest) { return custom(F{}, first, rest...); }

}  // namespace tandem
