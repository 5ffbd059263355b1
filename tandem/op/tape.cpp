#include "tandem/op/tape.h"

#include <cstring>
#include <thread>
#include <utility>

#include "tandem/core/allocator.h"
#include "tandem/op/gate.h"
#include "tandem/op/recorder.h"

namespace tandem {
namespace detail {

constinit thread_local uint32_t modes = 0;
constinit thread_local Recorder* capturing = nullptr;
constinit thread_local const char* module_path = nullptr;

// The sets are small, and the baseline has no instruction for it.
static inline int count_bits(uint32_t bits) {
  int n = 0;
  for (; bits; bits &= bits - 1) ++n;
  return n;
}

/// A full set means all inputs, however many there are.
static inline bool saves_input(const Saves& s, int i) {
  return s.in.has(i) || (i >= 32 && s.in.bits == ~0u);
}

namespace {

/// `align` is a power of two.
constexpr size_t round_up(size_t n, size_t align) { return (n + align - 1) & ~(align - 1); }

/// Where the parts of a node lie behind its header. Edges and specs are written by the caller.
struct Layout {
  size_t edges, saved, gradients, specs, op, total;
  Layout(int n_in, int n_saved, int n_out, int n_specs, size_t op_size, size_t op_align) {
    edges = round_up(sizeof(Node), alignof(Edge));
    saved = edges + size_t(n_in) * sizeof(Edge);
    gradients = saved + size_t(n_saved) * sizeof(SavedTensor);
    specs = round_up(gradients + size_t(n_out) * sizeof(Tensor), alignof(Spec));
    op = round_up(specs + size_t(n_specs) * sizeof(Spec), op_align);
    total = op + op_size;
  }
};

/// Attributes that hold strings or lists may ask for memory.
[[gnu::noinline]] void copy_attributes(Node* n, const OpInfo* info, const void* op) {
  try {
    info->copy(n->op, op);
  } catch (...) {
    const uint32_t bytes = n->bytes;
    n->~Node();
    release(n, bytes);
    throw;
  }
}

[[gnu::always_inline]] inline Node* make_node(const OpInfo* info, const void* op, int n_in,
                                              int n_saved, int n_out, int n_specs) {
  const bool attributes = info && info->size;
  const Layout at(n_in, n_saved, n_out, n_specs, attributes ? info->size : 0,
                  attributes ? info->align : 1);
  char* block = static_cast<char*>(allocate(at.total));
  Node* n = new (block) Node;
  n->bytes = uint32_t(at.total);
  n->info = info;
  n->n_in = n_in;
  n->n_out = uint16_t(n_out);
  n->n_saved = uint16_t(n_saved);
  n->edges = reinterpret_cast<Edge*>(block + at.edges);
  n->saved = reinterpret_cast<SavedTensor*>(block + at.saved);
  n->gradients = reinterpret_cast<Tensor*>(block + at.gradients);
  n->specs = reinterpret_cast<Spec*>(block + at.specs);
  for (int i = 0; i < n_saved; ++i) new (n->saved + i) SavedTensor;
  for (int i = 0; i < n_out; ++i) new (n->gradients + i) Tensor;
  n->op = block + at.op;
  if (attributes) {
    if (info->destroy) copy_attributes(n, info, op);
    else info->copy(n->op, op);
  }
  return n;
}

void destroy_node(Node* n) noexcept {
  for (int i = 0; i < n->n_saved; ++i) n->saved[i].~SavedTensor();
  for (int i = 0; i < n->n_out; ++i) n->gradients[i].~Tensor();
  if (n->info && n->info->destroy) n->info->destroy(n->op);
  delete n->extras;
  const uint32_t bytes = n->bytes;
  n->~Node();
  release(n, bytes);
}

/// Nodes waiting to be destroyed by this thread. A chain of any length is taken down in a loop:
/// recursion would overflow the stack.
struct Doomed {
  Node* head = nullptr;
  bool running = false;
};
constinit thread_local Doomed doomed __attribute__((tls_model("initial-exec")));

Node* next_doomed(Node* n) { return reinterpret_cast<Node*>(n->owner.load()); }

}  // namespace

void LeafLock::yield() { std::this_thread::yield(); }

void release_node(Node* node) noexcept {
  if (!drop_ref(node->refs)) return;
  node->owner.store(reinterpret_cast<uint64_t>(doomed.head));
  doomed.head = node;
  if (doomed.running) return;
  doomed.running = true;
  while (Node* n = doomed.head) {
    doomed.head = next_doomed(n);
    for (int i = 0; i < n->n_in; ++i)
      if (Node* next = n->edges[i].node) release_node(next);
    destroy_node(n);
  }
  doomed.running = false;
}

void forget_leaf(Node* accumulator) noexcept {
  {
    LeafLock lock(*accumulator);
    accumulator->leaf = nullptr;
  }
  release_node(accumulator);
}

Tensor lock_leaf(Node& accumulator) {
  LeafLock lock(accumulator);
  TensorImpl* leaf = accumulator.leaf;
  return leaf && try_ref(leaf->refs) ? Tensor::adopt(leaf) : Tensor();
}

namespace {

/// The accumulator of a leaf that wants a gradient, made at first use.
Node* accumulator_of(TensorImpl& leaf) {
  std::atomic<Node*>& slot = extras(leaf).accumulator;
  Node* acc = slot.load(std::memory_order_acquire);
  if (!acc) {
    Node* fresh = make_node(nullptr, nullptr, 0, 0, 1, 1);
    fresh->leaf = &leaf;
    new (fresh->specs) Spec(leaf.spec);
    if (slot.compare_exchange_strong(acc, fresh)) acc = fresh;
    else release_node(fresh);
  }
  return acc;
}

[[gnu::always_inline]] inline void point_at_source(Edge& e, const Tensor& t) {
  TensorImpl* impl = t.impl();
  e.dtype = impl->spec.dtype;
  if (impl->has(TensorImpl::is_view)) [[unlikely]]
    refresh_view(t);
  if (!impl->has(TensorImpl::needs_grad)) return;
  if (impl->node) {
    e.node = impl->node;
    e.output_nr = impl->output_nr;
  } else {
    e.node = accumulator_of(*impl);
  }
  add_ref(e.node->refs);
}

}  // namespace

Edge gradient_edge(const Tensor& t) {
  Edge e;
  point_at_source(e, t);
  return e;
}

void check_saved(std::string_view op, const SavedTensor& saved, std::string_view what, int64_t i) {
  if (!saved.overwritten()) return;
  const Tensor& t = saved.tensor();
  const char* writer = t.impl()->storage->writer;
  // The version counts no writes while a function is being recorded.
  const bool recorded = t.version() - saved.version >= detail::recorded_write;
  const std::string how = recorded ? "; give the op a clone() of it, or write after the gradient"
                                   : cat(" (version ", int64_t(t.version()), ", saved at ",
                                         int64_t(saved.version), ")");
  throw GradientError(cat("backward(): ", op, " needs its ", what, " ", i, " of shape ", t.shape(),
                          ", which ", writer ? writer : "an in-place write", " has overwritten",
                          how));
}

// Of `TensorImpl::saved`.
static constexpr uint64_t one_write = uint64_t(1) << 32;
static uint32_t saved_since(uint64_t saved) { return uint32_t(saved); }

void outdate_saved(TensorImpl& t) noexcept {
  uint64_t now = t.saved.load(std::memory_order_relaxed);
  while (const uint32_t counted = saved_since(now)) {
    // Before anybody can see that his reference is an older one.
    t.remembered.fetch_add(counted, std::memory_order_relaxed);
    const uint64_t next = (now + one_write) & ~(one_write - 1);
    if (t.saved.compare_exchange_strong(now, next, std::memory_order_acq_rel)) {
      t.refs.fetch_sub(counted, std::memory_order_acq_rel);  // the writer's own is left
      return;
    }
    t.remembered.fetch_sub(counted, std::memory_order_relaxed);
  }
}

namespace {

/// What the tape keeps of an input. A view keeps its base alive, and with it the history that the
/// base may get: in its place there is a handle without base, with the history that it has now. So
/// it is with symbolic handles: a write points them at another value.
[[gnu::always_inline]] inline void save_input(SavedTensor& to, const Tensor& t, const Edge& edge,
                                              bool keeps_value) {
  const TensorImpl& impl = *t.impl();
  const uint8_t flags = impl.flags;
  if (!(flags & (TensorImpl::is_view | TensorImpl::symbolic))) [[likely]] {
    to = SavedTensor(t);
    return;
  }
  const bool symbolic = flags & TensorImpl::symbolic;
  // What counts the writes to a symbolic handle is made with the first that asks.
  if (symbolic && !impl.storage) t.impl()->storage = new_storage(0, null_device);
  const bool leaf = (flags & TensorImpl::needs_grad) && !impl.node;
  // A graph under construction knows its leaves, and tensors from outside, by their handles.
  if (symbolic ? leaf : bool(modes & Modes::capture)) {
    to = SavedTensor(t);
    return;
  }
  const bool apart = symbolic && keeps_value;  // counts no writes
  Tensor kept = apart ? new_symbolic(impl.spec) : alias(t);
  if (apart) bind_symbolic(kept, impl.extras->recorder, impl.extras->value);
  TensorImpl* k = kept.impl();
  k->flags |= flags & (TensorImpl::needs_grad | TensorImpl::made_in_capture);
  k->node = edge.node;
  k->output_nr = edge.output_nr;
  if (k->node) add_ref(k->node->refs);
  to = SavedTensor(kept);
}

/// A node that is being recorded; given up when that throws.
struct Unfinished {
  Node* node;
  int edges = 0;
  ~Unfinished() {
    if (node) [[unlikely]]
      give_up();
  }
  [[gnu::cold, gnu::noinline]] void give_up() {
    node->n_in = edges;
    release_node(node);
  }
};

/// A node that nobody has yet. `plain`: one result, whose spec all inputs have.
template <bool plain>
[[gnu::always_inline]] inline Node* build(const OpInfo& info, const void* op, const Tensor* in,
                                          int n, const Tensor* out, int n_out) {
  const Spec& first = out[0].impl()->spec;
  // Inputs of the result's spec need no copy of it; a single result's spec is that of its gradient.
  const auto differs = [&](int i) {
    return !plain && in[i].defined() && !identical(in[i].impl()->spec, first);
  };
  int n_specs = n_out;
  if (!plain)
    for (int i = 0; i < n; ++i) n_specs += differs(i);
  const bool saves = info.saves.in.bits | info.saves.out.bits;
  int n_saved = 0;
  if (saves) {
    const uint32_t given = n < 32 ? (1u << n) - 1 : ~0u;
    const int inputs = info.saves.in.bits == ~0u ? n : count_bits(info.saves.in.bits & given);
    n_saved = inputs + count_bits(info.saves.out.bits & ((1u << n_out) - 1));
  }

  Node* node = make_node(&info, op, n, n_saved, n_out, n_specs);
  Unfinished unfinished{node};
  for (int i = 0; i < n_out; ++i) new (node->specs + i) Spec(out[i].impl()->spec);
  int spec = n_out, saved = 0;
  for (int i = 0; i < n; ++i) {
    Edge* edge = new (node->edges + i) Edge;
    unfinished.edges = i + 1;
    if (in[i].defined()) {
      point_at_source(*edge, in[i]);
      if (n_specs > n_out && differs(i)) {
        new (node->specs + spec) Spec(in[i].impl()->spec);
        edge->spec = spec++;
      }
    }
    if (!saves || !saves_input(info.saves, i)) continue;
    if (in[i].defined()) save_input(node->saved[saved], in[i], *edge, info.keeps_values);
    ++saved;
  }
  if (module_path) [[unlikely]] {
    node->extras = new NodeExtras;
    node->extras->path = module_path;
  }
  // The tape keeps an output without its history: the history would keep the tape.
  for (int i = 0; saves && i < n_out; ++i)
    if (info.saves.out.has(i)) node->saved[saved++] = SavedTensor(alias(out[i]));
  unfinished.node = nullptr;
  return node;
}

template <bool plain>
[[gnu::always_inline]] inline void record(const OpInfo& info, const void* op, const Tensor* in,
                                          int n, Tensor* out, int n_out) {
  Node* node = build<plain>(info, op, in, n, out, n_out);
  uint32_t owners = 0;
  for (int i = 0; i < n_out; ++i) {
    TensorImpl* impl = out[i].impl();
    if (!is_floating(impl->spec.dtype)) continue;
    if (impl->node) release_node(impl->node);
    impl->node = node;
    impl->output_nr = uint16_t(i);
    impl->flags |= TensorImpl::needs_grad;
    ++owners;
  }
  if (!owners) return release_node(node);               // no result can carry a gradient
  node->refs.store(owners, std::memory_order_relaxed);  // nobody else has seen it yet
}

}  // namespace

void record_node(const OpInfo& info, const void* op, const Tensor* in, int n, Tensor* out,
                 int n_out) {
  if (info.differentiable) record<false>(info, op, in, n, out, n_out);
}

void record_plain_node(const OpInfo& info, const void* op, const Tensor* in, int n, Tensor& out) {
  if (info.differentiable) record<true>(info, op, in, n, &out, 1);
}

PendingNode::PendingNode(const OpInfo& info, const void* op, const Tensor* in, int n,
                         const Tensor& out, bool plain) {
  if (!info.differentiable) return;
  node_ = plain ? build<true>(info, op, in, n, &out, 1) : build<false>(info, op, in, n, &out, 1);
}

void PendingNode::give(const Tensor& t) noexcept {
  TensorImpl& impl = *t.impl();
  outdate_saved(impl);
  if (impl.node) release_node(impl.node);
  impl.node = std::exchange(node_, nullptr);
  impl.output_nr = 0;
  if (impl.node) impl.flags |= TensorImpl::needs_grad;
}

const Spec& input_spec(const Node& node, int i) { return node.specs[node.edges[i].spec]; }

Tensors run_vjp(Node& node, const Tensors& dy) {
  Tensors dx;
  const OpInfo& info = *node.info;
  const Saved saved(node);
  info.vjp(node.op, saved, dy, dx);
  return dx;
}

}  // namespace detail

void SavedTensor::drop() noexcept {
  TensorImpl* const impl = tensor_.impl();
  uint64_t now = impl->saved.load(std::memory_order_acquire);
  while (uint32_t(now >> 32) == epoch_) {
    // Nobody else can write to the tensor when this is its last handle; the destructor deletes it.
    if (impl->refs.load(std::memory_order_acquire) == 1) return;
    if (impl->saved.compare_exchange_weak(now, now - 1, std::memory_order_acq_rel)) return;
  }
  tensor_.release();  // it was counted out by `outdate_saved`
  if (detail::drop_ref(impl->remembered)) detail::free_impl(impl);
}

namespace {

int slot_in(const IndexSet& set, int i) {
  return set.bits == ~0u ? i : detail::count_bits(set.bits & ((1u << i) - 1));
}

/// The saved tensor, unless it was overwritten since.
const Tensor& unpack(const Node& node, int slot, const char* what, int i) {
  const SavedTensor& s = node.saved[slot];
  if (s.overwritten()) [[unlikely]]
    detail::check_saved(node.info->print(node.op), s, what, i);
  return s.tensor();
}

}  // namespace

const Tensor& Saved::in(int i) const {
  const Saves& s = node_.info->saves;
  require<GradientError>(detail::saves_input(s, i), node_.info->name, ": input ", i,
                         " was not saved for the gradient; list it in `saves`");
  static const Tensor absent;
  return i < node_.n_in ? unpack(node_, slot_in(s.in, i), "input", i) : absent;
}

Tensor Saved::out(int i) const {
  const Saves& s = node_.info->saves;
  require<GradientError>(s.out.has(i), node_.info->name, ": output ", i,
                         " was not saved for the gradient; list it in `saves`");
  int at = slot_in(s.out, i);
  for (int k = 0; k < node_.n_in; ++k) at += detail::saves_input(s, k);
  const Tensor& kept = unpack(node_, at, "output", i);
  if (!detail::grad_enabled()) return kept;
  // Its history was left out, since that would keep the tape alive: it is this node.
  Tensor t = detail::alias(kept);
  t.impl()->node = const_cast<Node*>(&node_);
  t.impl()->output_nr = uint16_t(i);
  t.impl()->flags |= TensorImpl::needs_grad;
  detail::add_ref(node_.refs);
  return t;
}

const Spec& Saved::spec(int input) const { return detail::input_spec(node_, input); }
int Saved::size() const { return node_.n_in; }
bool Saved::needs(int input) const { return input < node_.n_in && node_.edges[input].node; }

}  // namespace tandem
