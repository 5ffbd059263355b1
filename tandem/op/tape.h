#pragma once
#include <memory>
#include <vector>

#include "tandem/core/modes.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/op/op.h"

namespace tandem {

/// Where the gradient of one input goes.
struct Edge {
  Node* node = nullptr;  ///< counted; null when nobody wants it
  uint16_t output_nr = 0;
  DType dtype = f32;
  int32_t spec = 0;  ///< the input's spec among the node's; 0 when it is the first output's
};

/// What a node keeps of a tensor. An in-place write that gives the tensor another history leads
/// that history to the node: a circle of references, which nobody would ever free. From then on the
/// tensor is only remembered: it can be asked for its version, which says that it was overwritten,
/// but its history lives no longer than its other handles.
class TANDEM_API SavedTensor {
 public:
  SavedTensor() = default;
  explicit SavedTensor(const Tensor& t)
      : version(t.version()),
        tensor_(t),
        epoch_(uint32_t(t.impl()->saved.fetch_add(1, std::memory_order_relaxed) >> 32)) {}
  SavedTensor(SavedTensor&& o) noexcept { swap(o); }
  SavedTensor& operator=(SavedTensor&& o) noexcept {
    SavedTensor(std::move(o)).swap(*this);
    return *this;
  }
  ~SavedTensor() {
    if (tensor_.defined()) drop();
  }
  void swap(SavedTensor& o) noexcept {
    tensor_.swap(o.tensor_);
    std::swap(version, o.version);
    std::swap(epoch_, o.epoch_);
  }
  bool overwritten() const { return tensor_.defined() && tensor_.version() != version; }
  /// Must not be copied once it was overwritten.
  const Tensor& tensor() const { return tensor_; }

  uint32_t version = 0;  ///< of the memory when it was saved

 private:
  void drop() noexcept;

  Tensor tensor_;
  uint32_t epoch_ = 0;
};

/// A function called with a gradient; a defined result replaces it.
class GradientHook {
 public:
  virtual ~GradientHook() = default;
  virtual Tensor call(const Tensor& gradient) = 0;
};
struct HookEntry {
  int output_nr;
  int64_t id;
  std::shared_ptr<GradientHook> hook;
};
/// What few nodes have.
struct NodeExtras {
  std::vector<HookEntry> hooks;
  std::string path;  ///< module path while the forward pass ran, for anomaly texts
};

/// One op on the tape: a fixed header, then edges, saved tensors, gradient slots, specs and the
/// attributes in the same pooled block. A node without `info` delivers to a leaf.
struct Node {
  mutable std::atomic<uint32_t> refs{1};
  int32_t n_in = 0;
  uint16_t n_out = 0, n_saved = 0;
  bool released = false;            ///< saved tensors were given back by backward()
  std::atomic<bool> locked{false};  ///< held while `leaf` is looked at, or `saved` is given back
  uint32_t bytes = 0;
  const OpInfo* info = nullptr;
  TensorImpl* leaf = nullptr;  ///< not counted; cleared when the leaf dies
  NodeExtras* extras = nullptr;
  // State of a running backward pass; `owner` says whose.
  std::atomic<uint64_t> owner{0};
  int32_t pending = 0;
  bool wanted = false;
  Edge* edges = nullptr;
  SavedTensor* saved = nullptr;
  Tensor* gradients = nullptr;  ///< one slot an output, filled during backward
  Spec* specs = nullptr;        ///< outputs first, then the inputs whose spec is stored
  void* op = nullptr;
};

namespace detail {
extern TANDEM_API constinit thread_local const char* module_path
    __attribute__((tls_model("initial-exec")));
/// Puts `outputs = info(inputs)` on the tape.
TANDEM_API void record_node(const OpInfo& info, const void* op, const Tensor* in, int n,
                            Tensor* out, int n_out);
/// The spec of input `i` as the forward pass saw it.
TANDEM_API const Spec& input_spec(const Node& node, int i);
/// Runs the record's vjp on the node's saved tensors.
TANDEM_API Tensors run_vjp(Node& node, const Tensors& dy);

/// Held for a few instructions around a look at `Node::leaf`, and while a gradient is delivered.
class LeafLock {
 public:
  explicit LeafLock(Node& node) : node_(node) {
    while (node_.locked.exchange(true, std::memory_order_acquire)) yield();
  }
  ~LeafLock() { node_.locked.store(false, std::memory_order_release); }
  LeafLock(const LeafLock&) = delete;
  LeafLock& operator=(const LeafLock&) = delete;

 private:
  static void yield();
  Node& node_;
};
/// The leaf of an accumulator, or undefined when it is gone.
TANDEM_API Tensor lock_leaf(Node& accumulator);
/// Gives a view whose memory was written through another handle the history of that write.
TANDEM_API void refresh_view(const Tensor& view);
/// detach() in a graph: a view without history, which sees what is written to the tensor.
TANDEM_API Tensor symbolic_detach(const Tensor& t);
/// Told when an in-place write gives `t` another history: see SavedTensor.
TANDEM_API void outdate_saved(TensorImpl& t) noexcept;
/// GradientError that names the op, the tensor and who has overwritten it, when somebody has.
TANDEM_API void check_saved(std::string_view op, const SavedTensor& saved, std::string_view what,
                            int64_t i);
/// The node and slot that receive the gradient of `t`; null when `t` wants none. Counted.
TANDEM_API Edge gradient_edge(const Tensor& t);
inline bool grad_enabled() { return !(modes & Modes::no_grad); }
}  // namespace detail

/// While it lives, ops of this thread are not put on the tape.
class NoGrad {
 public:
  NoGrad() : before_(detail::modes) { detail::modes |= Modes::off_tape; }
  ~NoGrad() { detail::modes = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  uint32_t before_;
};
/// The opposite, inside a NoGrad.
class EnableGrad {
 public:
  explicit EnableGrad(bool on = true) : before_(detail::modes) {
    detail::modes = on ? before_ & ~uint32_t(Modes::off_tape) : before_ | Modes::no_grad;
  }
  ~EnableGrad() { detail::modes = before_; }
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  uint32_t before_;
};

}  // namespace tandem
