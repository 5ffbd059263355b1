#pragma once
#include <atomic>

#include "tandem/core/tensor.h"

namespace tandem {

class Recorder;  // a graph under construction, op/recorder.h

/// What only leaves and symbolic tensors have.
struct TensorExtras {
  Tensor grad;
  std::atomic<Node*> accumulator{nullptr};  ///< leaves: where backward() delivers; one reference
  std::shared_ptr<Recorder> recorder;       ///< symbolic: the graph
  int64_t value = -1;                       ///< symbolic: the number of the value in the graph
  int64_t fed_as = -1;                      ///< placeholders: the number that a run feeds
  Length view_offset = 0;                   ///< symbolic views: elements from the base's first
  /// A reshape of which unknown lengths leave open whether it is a view or a copy.
  bool perhaps_view = false;
  bool detached = false;  ///< symbolic views: without the base's history
  /// Symbolic gradients: plain code has this one where the one-element condition is `taken_if`, of
  /// a branch or of a loop that turns; autograd/taken.h.
  Tensor taken;
  bool taken_if = true;
  bool else_zero = true;  ///< elsewhere the elements are zero; otherwise whatever came of zeros
};

namespace detail {
/// Made at first use; threads that share a leaf may come at once.
inline TensorExtras& extras(TensorImpl& impl) {
  const std::atomic_ref<TensorExtras*> slot(impl.extras);
  TensorExtras* have = slot.load(std::memory_order_acquire);
  if (have) return *have;
  auto* fresh = new TensorExtras;
  if (slot.compare_exchange_strong(have, fresh)) return *fresh;
  delete fresh;
  return *have;
}
/// Implemented by the tape.
TANDEM_API void release_node(Node* node) noexcept;
TANDEM_API void forget_leaf(Node* accumulator) noexcept;
}  // namespace detail
}  // namespace tandem
