#pragma once
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "tandem/core/by_name.h"
#include "tandem/op/tape.h"

namespace tandem {

struct BackwardOptions {
  ByName by_name = ByName();
  bool retain_graph = false;  ///< keep saved tensors, so that backward can run again
  /// Puts the gradient's own ops on the tape: higher orders. A leaf's `grad()` then holds a graph
  /// that holds the leaf, until `set_grad({})`; `grad()` of outputs has no such circle.
  bool create_graph = false;
};

/// Accumulates sum_i d(outputs_i)/d(leaf) * gradients_i into every leaf's `grad()`. A gradient may
/// be undefined for a one-element output. Errors: GradientError when there is no history, when it
/// was freed by an earlier pass, or when a saved value was overwritten. Threads may share a graph;
/// unless they all retain it, the later of two gets that error.
TANDEM_API void backward(std::span<const Tensor> outputs, std::span<const Tensor> gradients = {},
                         BackwardOptions options = {});

struct GradOptions {
  ByName by_name = ByName();
  bool retain_graph = false;
  bool create_graph = false;
  bool allow_unused = false;  ///< inputs that the outputs do not depend on give undefined tensors
};
/// The gradients of `outputs` with respect to `inputs`; no leaf's `grad()` changes.
TANDEM_API Tensors grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                        std::span<const Tensor> gradients = {}, GradOptions options = {});
inline Tensor grad(const Tensor& output, const Tensor& input, GradOptions options = {}) {
  return grad(std::span(&output, 1), std::span(&input, 1), {}, options)[0];
}
inline Tensors grad(const Tensor& output, std::initializer_list<Tensor> inputs,
                    GradOptions options = {}) {
  return grad(std::span(&output, 1), std::span(inputs.begin(), inputs.size()), {}, options);
}

/// True while ops of this thread are put on the tape.
inline bool is_grad_enabled() { return detail::grad_enabled(); }

/// While it lives, a backward pass of this thread throws a GradientError when the gradient of an op
/// has a NaN; it names the op, and the module and the compiled function that it ran in. So do runs
/// of graphs that have gradients in them: compiled functions and sessions then run without fusion.
/// NaN in a forward pass is no error.
class AnomalyMode {
 public:
  AnomalyMode() : before_(detail::modes) { detail::modes |= Modes::anomaly; }
  ~AnomalyMode() { detail::modes = before_; }
  AnomalyMode(const AnomalyMode&) = delete;
  AnomalyMode& operator=(const AnomalyMode&) = delete;

 private:
  uint32_t before_;
};

namespace detail {
TANDEM_API int64_t add_hook(const Tensor& t, std::shared_ptr<GradientHook> hook);
}  // namespace detail

/// Calls `f(gradient)` when the gradient of `t` is known in a backward pass; a Tensor that f
/// returns replaces it. Gives a number for `remove_hook`.
template <class F>
int64_t register_hook(const Tensor& t, F f) {
  struct Hook final : GradientHook {
    explicit Hook(F fn) : fn(std::move(fn)) {}
    F fn;
    Tensor call(const Tensor& gradient) override {
      if constexpr (std::is_void_v<std::invoke_result_t<F&, const Tensor&>>) {
        fn(gradient);
        return {};
      } else {
        return fn(gradient);
      }
    }
  };
  return detail::add_hook(t, std::make_shared<Hook>(std::move(f)));
}
template <class Self>
template <class F>
int64_t TensorMethods<Self>::register_hook(F f) const {
  return tandem::register_hook(me(), std::move(f));
}
TANDEM_API void remove_hook(const Tensor& t, int64_t id);

}  // namespace tandem
