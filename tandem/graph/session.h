#pragma once
#include <span>
#include <string>
#include <vector>

#include "tandem/autograd/autograd.h"
#include "tandem/core/named_tensors.h"
#include "tandem/graph/ir.h"

namespace tandem {

using graph::Graph;

/// While it lives, every op of this thread becomes a node of the graph: the static way of building
/// what eager code would run.
class GraphScope {
 public:
  explicit GraphScope(const std::shared_ptr<Graph>& graph) : graph_(graph), scope_(*graph_) {
    graph_->begin_recording();
  }
  ~GraphScope() { graph_->end_recording(); }
  GraphScope(const GraphScope&) = delete;
  GraphScope& operator=(const GraphScope&) = delete;

 private:
  std::shared_ptr<Graph> graph_;
  detail::CaptureScope scope_;
};

/// The opposite, inside a GraphScope: ops run at once.
using EagerScope = detail::Uncaptured;

/// A value that is fed to each run. A length of -1 is unknown, and a length of its own: each run
/// may bring another. dim("batch") names one: equal names are equal lengths in all placeholders of
/// the graph. `x.size(axis)` of such an axis is an expression of it (see Length): good for shapes,
/// counts and numbers, not for decisions. These functions are for the inside of a GraphScope;
/// ValueError outside.
TANDEM_API Tensor placeholder(std::string name, const Shape& shape, DType dtype = f32);
/// State that each Session keeps for itself. `initial` is evaluated by
/// global_variables_initializer(); it may be a node (`randn({3, 4})` draws anew in each session) or
/// a tensor from outside. The handle is a leaf like a module's parameter, which works here as well:
/// tensors from outside are state by reference, shared by all sessions.
TANDEM_API Tensor variable(std::string name, const Tensor& initial, bool trainable = true);
/// The variables made so far, in order; `trainable_only` leaves out the others.
TANDEM_API std::vector<Tensor> variables(bool trainable_only = false);
/// Fetching the result writes `value` to the variable (or captured tensor) after the run; used in
/// further nodes it is the new value. Errors: ShapeError, DTypeError when they differ.
TANDEM_API Tensor assign(const Tensor& variable, const Tensor& value);
TANDEM_API Tensor assign_add(const Tensor& variable, const Tensor& value);
TANDEM_API Tensor assign_sub(const Tensor& variable, const Tensor& value);
/// One value whose fetch makes all of them happen; its own value is empty.
TANDEM_API Tensor group(std::span<const Tensor> ops);
inline Tensor group(std::initializer_list<Tensor> ops) {
  return group(std::span<const Tensor>(ops.begin(), ops.size()));
}
/// `value` for whose sake `first` happens as well.
TANDEM_API Tensor with_dependencies(std::span<const Tensor> first, const Tensor& value);
inline Tensor with_dependencies(std::initializer_list<Tensor> first, const Tensor& value) {
  return with_dependencies(std::span<const Tensor>(first.begin(), first.size()), value);
}
/// d(loss)/d(variable) for each; zero-filled where the loss does not depend on it. A loss of
/// several elements counts as its sum (TensorFlow's rule). The results have gradients themselves.
/// Errors: GradientError for what requires no gradient; a placeholder does after
/// `requires_grad_()`.
TANDEM_API std::vector<Tensor> gradients(const Tensor& loss, std::span<const Tensor> variables);
inline std::vector<Tensor> gradients(const Tensor& loss, std::initializer_list<Tensor> list) {
  return gradients(loss, std::span<const Tensor>(list.begin(), list.size()));
}
/// Assigns every variable its initial value.
TANDEM_API Tensor global_variables_initializer();

namespace detail {
/// The in-place writes that `f` makes become an effect instead of happening at every run.
class TANDEM_API EffectScope {
 public:
  EffectScope();
  /// What was written since, and before outside of any effect, as one value to fetch.
  Tensor finish();

 private:
  std::shared_ptr<Graph> graph_;
};
}  // namespace detail

/// One step of any optimizer on `loss`, as a value to fetch: the gradients, the update of the
/// optimizer's parameters, and what the forward pass writes (running statistics).
template <class Optimizer>
Tensor minimize(Optimizer& optimizer, const Tensor& loss) {
  detail::EffectScope scope;
  optimizer.zero_grad();
  loss.backward({}, true);  // others may still want gradients of what it is made of
  optimizer.step();
  return scope.finish();
}

/// A value and what it is fed with.
struct Feed {
  Tensor value, with;
};

/// Runs parts of a graph and keeps its variables. A run computes only what its fetches need;
/// fetching a loss never updates a weight. Several threads may use one session: runs that write to
/// variables or draw numbers wait for the others, all other runs go on together.
class TANDEM_API Session {
 public:
  explicit Session(std::shared_ptr<Graph> graph);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// The values of `fetches`. Any value may be fed, inner nodes too. Errors: ValueError that names
  /// a placeholder that is needed and not fed, or a variable that was never initialised; ShapeError
  /// and DTypeError that name the placeholder.
  std::vector<Tensor> run(std::span<const Tensor> fetches, std::span<const Feed> feeds = {});
  std::vector<Tensor> run(std::initializer_list<Tensor> fetches,
                          std::initializer_list<Feed> feeds = {}) {
    return run(std::span<const Tensor>(fetches.begin(), fetches.size()),
               std::span<const Feed>(feeds.begin(), feeds.size()));
  }
  Tensor run(const Tensor& fetch, std::initializer_list<Feed> feeds = {}) {
    return run({&fetch, 1}, {feeds.begin(), feeds.size()})[0];
  }

  /// The value of a variable now: the session's own tensor, not a copy.
  Tensor value(const Tensor& variable) const;
  /// The variables by name. `load_state_dict` is strict: ValueError lists what differs.
  NamedTensors state_dict() const;
  void load_state_dict(const NamedTensors& state);
  /// The plans of these fetches as text, one for each set of feeds that they were run with: steps,
  /// fused groups, layouts, bytes, and the time of each step when there were runs under
  /// set_profile(true). Errors: ValueError when they were never run, since the plan depends on the
  /// shapes that are fed.
  std::string explain(std::span<const Tensor> fetches) const;
  std::string explain(std::initializer_list<Tensor> fetches) const {
    return explain(std::span<const Tensor>(fetches.begin(), fetches.size()));
  }
  std::string explain(const Tensor& fetch) const { return explain({&fetch, 1}); }
  /// While on, runs measure their steps, which costs some 50 ns a step, and explain() shows the
  /// means. Switching it on begins anew.
  void set_profile(bool on);
  /// How many nodes the runs so far have computed.
  int64_t nodes_run() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
