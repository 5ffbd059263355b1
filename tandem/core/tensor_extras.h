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
};

namespace detail {
inline TensorExtras& extras(TensorImpl& impl) {
  if (!impl.extras) impl.extras = new TensorExtras;
  return *impl.extras;
}
/// Implemented by the tape.
TANDEM_API void release_node(Node* node) noexcept;
TANDEM_API void forget_leaf(Node* accumulator) noexcept;
}  // namespace detail
}  // namespace tandem
