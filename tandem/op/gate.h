#pragma once
#include "tandem/op/op.h"
#include "tandem/op/tape.h"

namespace tandem::detail {

// The steps of apply(), shared with in-place writes (ops/inplace.cpp).

/// The flags of all inputs together; one look decides whether the op is an ordinary one. Checks the
/// number of inputs and brings the history of views up to date.
unsigned input_flags(const OpInfo& info, const void* op, const Tensor* in, int n);
/// DeviceError unless all inputs are on one device. compute() does that itself.
void check_devices(const OpInfo& info, const void* op, const Tensor* in, int n);
/// Infers, then runs the kernel or appends to the graph. `specs` is room for `n_out` specs, `out`
/// has as many undefined handles.
void compute(const OpInfo& info, const void* op, const Tensor* in, int n, unsigned flags,
             Spec* specs, Tensor* out, int n_out);
/// For handlers: lack of memory, and lengths that do not fit, become errors that name the op.
[[noreturn, gnu::cold]] void rethrow_for_op(const OpInfo& info, const void* op);
/// record_node for one result whose spec all inputs have.
void record_plain_node(const OpInfo& info, const void* op, const Tensor* in, int n, Tensor& out);
/// The node of an op that writes over `out`, whose history it becomes when the write is done: until
/// then it is nobody's, and gone when something throws.
class PendingNode {
 public:
  /// `plain`: all inputs have the spec of `out`. Without a gradient there is no node.
  PendingNode(const OpInfo& info, const void* op, const Tensor* in, int n, const Tensor& out,
              bool plain);
  ~PendingNode() {
    if (node_) release_node(node_);
  }
  PendingNode(const PendingNode&) = delete;
  PendingNode& operator=(const PendingNode&) = delete;
  Node* get() const { return node_; }
  /// The history of `t` is this from now on.
  void give(const Tensor& t) noexcept;

 private:
  Node* node_ = nullptr;
};
inline bool wants_tape(unsigned flags) {
  return (flags & TensorImpl::needs_grad) && grad_enabled();
}

}  // namespace tandem::detail
