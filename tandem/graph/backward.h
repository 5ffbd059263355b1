#pragma once
#include <atomic>
#include <mutex>
#include <span>

#include "tandem/graph/ir.h"
#include "tandem/graph/plan.h"

namespace tandem::graph {

/// A tensor of one call of a captured function.
struct Operand {
  enum Kind : uint8_t { argument, state, value };
  Kind kind = argument;
  size_t index = 0;   ///< of the argument, or in Backward::values
  Tensor tensor;      ///< state
  bool kept = false;  ///< until the gradient is computed, not only as a place where one goes
};

/// The gradient of a captured function through its results.
struct Backward {
  std::shared_ptr<Graph> graph;                   ///< of the results' gradients, then `reads`
  std::vector<size_t> results;                    ///< that have a gradient
  std::vector<std::pair<size_t, size_t>> copies;  ///< results that are another one
  std::vector<ValueId> values;  ///< of the function's graph, that a call must give besides
  std::vector<Operand> operands;
  std::vector<size_t> reads;       ///< operands, by further input of `graph`
  std::vector<size_t> targets;     ///< operands, by output of `graph`
  std::vector<size_t> conditions;  ///< targets that depend on a branch; `graph` gives them last
  std::vector<size_t> repeats;     ///< operands that running the function again needs besides
  bool repeatable = true;          ///< false when the function overwrites what it read
  std::vector<size_t> failed;      ///< results that have none, because of `error`
  std::string error;
};

/// Records it for a function that is being captured in `g`, from its results' history. Null when no
/// result has a gradient.
std::shared_ptr<const Backward> record_backward(Graph& g, Inputs arguments, Inputs results);

/// The value of a leaf with a history that leads to it: an argument that is no leaf outside may be
/// written in place by ops that have a gradient.
Tensor with_history(const Tensor& leaf);

/// The gradient made ready to run: what the tape's nodes of its calls share.
class BackwardInstance {
 public:
  BackwardInstance(std::shared_ptr<const Backward> what, std::shared_ptr<const Graph> function,
                   bool deterministic);
  ~BackwardInstance() { delete idle_.load(); }
  const Backward& what() const { return *what_; }
  std::string explain() const { return Plan(ready_).explain(); }
  /// Gives the results of a call, which stand first in `out`, their history, before the run gives
  /// them their values. The function's values stand in it from `values` on. `room` is scratch.
  static void attach(const std::shared_ptr<BackwardInstance>& self, Inputs arguments, Tensors& out,
                     size_t values, std::vector<Tensor>& room);
  /// After the run: what it has written was no overwriting of what the history keeps.
  void settle(Tensors& out) const noexcept;
  void gradients(const Saved& saved, const Tensors& dy, Tensors& dx);

 private:
  std::shared_ptr<const Backward> what_;
  std::shared_ptr<const Graph> function_;
  std::shared_ptr<Graph> ready_;
  std::atomic<Plan*> idle_{nullptr};
  std::mutex mutex_;
  std::shared_ptr<Graph> again_;  ///< the function from operands to `reads`, as recorded
  std::vector<size_t> again_inputs_;
  Tensors repeat(const Saved& saved);
};

}  // namespace tandem::graph
