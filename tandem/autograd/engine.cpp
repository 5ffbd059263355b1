#include <algorithm>
#include <functional>
#include <new>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tandem/autograd/anomaly.h"
#include "tandem/autograd/autograd.h"
#include "tandem/autograd/taken.h"
#include "tandem/core/factory.h"
#include "tandem/op/gate.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/sum.h"

namespace tandem {
namespace {

/// Where the gradient of an asked-for input appears.
struct Capture {
  Node* node;
  int output_nr;
  size_t index;
};

/// What a pass keeps for a node that another thread's pass has claimed.
struct ForeignState {
  int32_t pending = 0;
  bool wanted = false;
  std::vector<Tensor> gradients;
};

bool uniquely_owned(const Tensor& t) {
  const TensorImpl& i = *t.impl();
  return i.refs.load(std::memory_order_acquire) == 1 && i.storage && !i.base &&
         i.storage->refs.load(std::memory_order_acquire) == 1 && i.has(TensorImpl::contiguous);
}

class Pass;
constinit thread_local Pass* innermost __attribute__((tls_model("initial-exec"))) = nullptr;

/// Brings the history of a view up to date with writes through other handles of its memory.
void refresh(const Tensor& t) {
  if (t.defined() && t.impl()->has(TensorImpl::is_view)) detail::refresh_view(t);
}

/// One run of the engine. Counts and gradient slots live inside the nodes, so that a pass needs no
/// map; a node that another pass holds is tracked aside.
///
/// Saved tensors are given back while a pass runs, by the pass that holds the node and by nobody
/// else. A pass of another thread that meets such a node waits or fails (`meet`); one that only
/// reads keeps them from being given back at all: it sets `Node::locked`, which ops do not use
/// otherwise. The order of these two atomics is the whole protocol, so both are sequentially
/// consistent; a pass that meets nobody pays one load for it.
class Pass {
 public:
  Pass(BackwardOptions options, bool accumulate)
      : options_(options),
        accumulate_(accumulate),
        frees_(!options.retain_graph && !options.create_graph),
        outer_(innermost) {
    static std::atomic<uint64_t> passes{0};
    id_ = ++passes << 1 | uint64_t(frees_);
    innermost = this;
  }
  ~Pass() {
    innermost = outer_;
    for (Node* n : claimed_) {
      for (int i = 0; i < n->n_out; ++i) n->gradients[i] = Tensor();
      n->pending = 0;
      n->wanted = false;
      n->owner.store(0, std::memory_order_release);
    }
    for (Node* n : roots_) detail::release_node(n);
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  void add_root(const Tensor& output, const Tensor& gradient);
  void capture(const Tensor& input, size_t index);
  void run(Tensors& captured);

 private:
  bool ours(Node* n) const { return n->owner.load(std::memory_order_relaxed) == id_; }
  int32_t& pending(Node* n) { return ours(n) ? n->pending : foreign_[n].pending; }
  bool& wanted(Node* n) { return ours(n) ? n->wanted : foreign_[n].wanted; }
  Tensor& slot(Node* n, int i) {
    if (ours(n)) return n->gradients[i];
    auto& g = foreign_[n].gradients;
    if (g.empty()) g.resize(n->n_out);
    return g[size_t(i)];
  }
  /// True the first time.
  bool claim(Node* n) {
    // Once tracked aside, always: the other pass may end and free the node meanwhile.
    if (known(n)) return false;
    uint64_t nobody = 0;
    if (n->owner.compare_exchange_strong(nobody, id_)) {
      claimed_.push_back(n);
      return true;
    }
    return meet(n);
  }
  bool known(Node* n) const { return ours(n) || (!foreign_.empty() && foreign_.contains(n)); }
  bool meet(Node* n);
  bool runs_below(uint64_t id) const {
    const Pass* p = outer_;
    while (p && p->id_ != id) p = p->outer_;
    return p;
  }
  void discover();
  void mark_wanted();
  void visit(Node* n, Tensors& captured);
  void propagate(Node* n);
  static void watch(const Node& n, int input, const Tensor& gradient);
  void deliver(Node* n, const Tensor& gradient);
  void add_gradient(Tensor& slot, Tensor gradient);

  BackwardOptions options_;
  bool accumulate_;
  bool frees_;   ///< gives saved tensors back
  Pass* outer_;  ///< the pass of this thread in whose hook or function this one runs
  uint64_t id_;  ///< a running number and, in the lowest bit, `frees_`
  std::vector<Node*> claimed_, roots_, starts_, all_;
  std::vector<std::pair<Edge, Tensor>> seeds_;
  std::vector<Capture> captures_;
  std::unordered_map<Node*, ForeignState> foreign_;
};

/// A node that another pass holds: true when it is ours after all, or tracked aside from now on.
bool Pass::meet(Node* n) {
  while (n->info && n->n_saved) {
    uint64_t other = n->owner.load();
    if (other == 0) {
      if (!n->owner.compare_exchange_strong(other, id_)) continue;
      claimed_.push_back(n);
      return true;
    }
    if (runs_below(other)) break;  // it stands still while we run
    if (other & 1) {
      // The later pass gives way, the earlier one waits: no two wait for each other.
      require<GradientError>(
          other > id_, "backward(): the graph of ", [&] { return n->info->print(n->op); },
          " is being freed by a pass of another thread; use retain_graph in "
          "every thread that shares it");
      std::this_thread::yield();
      continue;
    }
    n->locked.store(true);
    if (n->owner.load() == other) break;
  }
  return foreign_.try_emplace(n).second;
}

void Pass::add_root(const Tensor& output, const Tensor& gradient) {
  refresh(output);
  require<GradientError>(output.requires_grad(), "backward(): the output of shape ", output.shape(),
                         " has no history: no input required a gradient");
  Tensor g = gradient;
  if (!g.defined()) {
    require<GradientError>(detail::must_equal(output.numel(), 1),
                           "backward(): a gradient must be given for shape ", output.shape(),
                           "; it may be left out for one element only");
    g = ones_like(output);
  }
  require<ShapeError>(detail::may_equal(g.shape(), output.shape()),
                      "backward(): the gradient of shape ", g.shape(),
                      " does not fit the output of shape ", output.shape());
  if (g.dtype() != output.dtype()) g = cast(g, output.dtype());
  const Edge e = detail::gradient_edge(output);
  roots_.push_back(e.node);
  seeds_.emplace_back(e, std::move(g));
}

void Pass::capture(const Tensor& input, size_t index) {
  refresh(input);
  require<GradientError>(input.requires_grad(), "grad(): input ", int64_t(index), " of shape ",
                         input.shape(), " does not require a gradient");
  const Edge e = detail::gradient_edge(input);
  roots_.push_back(e.node);  // keeps it alive for the pass
  captures_.push_back({e.node, e.output_nr, index});
}

void Pass::discover() {
  std::vector<Node*> stack;
  for (auto& [edge, g] : seeds_)
    if (claim(edge.node)) starts_.push_back(edge.node);
  stack = starts_;
  if (!captures_.empty()) all_ = starts_;
  while (!stack.empty()) {
    Node* n = stack.back();
    stack.pop_back();
    for (int i = 0; i < int(n->n_in); ++i) {
      Node* next = n->edges[i].node;
      if (!next) continue;
      if (claim(next)) {
        if (!captures_.empty()) all_.push_back(next);
        stack.push_back(next);
      }
      ++pending(next);
    }
  }
}

/// Only nodes between the outputs and an asked-for input are run.
void Pass::mark_wanted() {
  // Topological order by removing edges, then the marks flow back from the inputs.
  std::vector<Node*> order, ready;
  std::unordered_map<Node*, int32_t> left;
  for (Node* n : all_)
    if (pending(n) == 0) ready.push_back(n);
  while (!ready.empty()) {
    Node* n = ready.back();
    ready.pop_back();
    order.push_back(n);
    for (int i = 0; i < int(n->n_in); ++i)
      if (Node* next = n->edges[i].node) {
        auto [it, fresh] = left.try_emplace(next, pending(next));
        if (--it->second == 0) ready.push_back(next);
      }
  }
  for (const Capture& c : captures_)
    if (known(c.node)) wanted(c.node) = true;
  // A node without inputs stands for a history that is gone: its gradient says so.
  for (Node* n : order)
    if (n->info && n->n_in == 0) wanted(n) = true;
  for (auto it = order.rbegin(); it != order.rend(); ++it)
    for (int i = 0; i < int((*it)->n_in); ++i)
      if (Node* next = (*it)->edges[i].node; next && wanted(next)) wanted(*it) = true;
}

void Pass::run(Tensors& captured) {
  EnableGrad mode(options_.create_graph);
  discover();
  if (!captures_.empty()) {
    std::sort(captures_.begin(), captures_.end(),
              [](const Capture& a, const Capture& b) { return std::less<>()(a.node, b.node); });
    mark_wanted();
  }
  for (auto& [edge, g] : seeds_) add_gradient(slot(edge.node, edge.output_nr), std::move(g));
  std::vector<Node*> ready;
  for (Node* n : starts_)
    if (pending(n) == 0) ready.push_back(n);
  while (!ready.empty()) {
    Node* n = ready.back();
    ready.pop_back();
    visit(n, captured);
    for (int i = 0; i < n->n_out; ++i) slot(n, i) = Tensor();
    for (int i = 0; i < int(n->n_in); ++i)
      if (Node* next = n->edges[i].node)
        if (--pending(next) == 0) ready.push_back(next);
  }
}

void Pass::visit(Node* n, Tensors& captured) {
  bool any = false;
  for (int i = 0; i < n->n_out; ++i) any = any || slot(n, i).defined();
  if (!any) return;
  auto c = std::lower_bound(captures_.begin(), captures_.end(), n,
                            [](const Capture& a, Node* b) { return std::less<>()(a.node, b); });
  // What leaves the pass is zero where plain code has no gradient.
  if (n->extras || !n->info || (c != captures_.end() && c->node == n))
    for (int i = 0; i < n->n_out; ++i)
      if (Tensor& g = slot(n, i); detail::is_partial(g)) [[unlikely]]
        g = detail::settled(g);
  if (n->extras) {
    const auto hooks = n->extras->hooks;  // a hook may remove itself
    for (const HookEntry& h : hooks) {
      Tensor& g = slot(n, h.output_nr);
      if (!g.defined()) continue;
      if (Tensor changed = h.hook->call(g); changed.defined()) {
        require<ShapeError>(detail::may_equal(changed.shape(), g.shape()), "hook: returned shape ",
                            changed.shape(), " for a gradient of shape ", g.shape());
        g = changed.dtype() == g.dtype() ? std::move(changed) : cast(changed, g.dtype());
      }
    }
  }
  for (; c != captures_.end() && c->node == n; ++c) captured[c->index] = slot(n, c->output_nr);
  if (!n->info) {
    if (accumulate_) deliver(n, slot(n, 0));
    return;
  }
  // An asked-for result is not taken further down unless another input lies there.
  bool further = captures_.empty() || n->n_in == 0;
  for (int i = 0; i < int(n->n_in) && !further; ++i)
    further = n->edges[i].node && wanted(n->edges[i].node);
  if (further) propagate(n);
}

void Pass::propagate(Node* n) {
  const OpInfo& info = *n->info;
  require<GradientError>(
      !n->released, "backward(): the graph of ", [&] { return info.print(n->op); },
      " was freed by an earlier pass; use retain_graph to keep it");
  Tensors dy(n->n_out);
  bool partial = false;
  for (int i = 0; i < n->n_out; ++i) {
    dy[size_t(i)] = slot(n, i);
    partial = partial || detail::is_partial(dy[size_t(i)]);
  }
  const detail::Taken taken = partial ? detail::common(dy) : detail::Taken();
  for (int i = 0; i < n->n_out; ++i) {
    const Spec& spec = n->specs[i];
    if (!dy[size_t(i)].defined() && is_floating(spec.dtype) && !info.misses_gradients)
      dy[size_t(i)] = zeros(spec.shape, spec.dtype, spec.device);
  }
  Tensors dx = detail::run_vjp(*n, dy);
  if (frees_ && n->n_saved && ours(n) && !n->locked.load()) {
    for (int i = 0; i < n->n_saved; ++i) n->saved[i] = SavedTensor();
    n->released = true;
  }
  for (int i = 0; i < int(n->n_in) && i < int(dx.size()); ++i) {
    const Edge& e = n->edges[i];
    Tensor& g = dx[size_t(i)];
    const Spec& want = n->specs[e.spec];
    if (!e.node || !g.defined()) continue;
    const bool marks = !taken.always() || detail::is_partial(g);
    const detail::Taken when = marks ? detail::both(detail::taken_of(g), taken) : taken;
    const bool zero = marks && detail::stays_zero(g, taken);
    if (info.broadcasts && !detail::identical(g.shape(), want.shape)) g = sum_to(g, want.shape);
    if (g.dtype() != e.dtype) g = cast(g, e.dtype);
    require<GradientError>(
        detail::may_equal(g.shape(), want.shape), "backward(): ", [&] { return info.print(n->op); },
        " gave a gradient of shape ", g.shape(), " for input ", int64_t(i), " of shape ",
        want.shape);
    if (!captures_.empty() && !wanted(e.node)) continue;
    if (marks) [[unlikely]]
      g = detail::where_taken(g, when, zero);
    if (g.is_symbolic() || (detail::modes & Modes::anomaly)) [[unlikely]]
      watch(*n, i, g);
    add_gradient(slot(e.node, e.output_nr), std::move(g));
  }
}

/// For AnomalyMode: of a value, each run will see whether it is NaN.
void Pass::watch(const Node& n, int input, const Tensor& gradient) {
  const std::string path = n.extras ? n.extras->path : std::string();
  if (gradient.is_symbolic()) {
    const TensorExtras& e = *gradient.impl()->extras;
    e.recorder->gradient_of(e.value, n.info->print(n.op), input, path, e.taken, e.taken_if);
  } else if (detail::has_nan(gradient)) {
    detail::throw_nan_gradient(n.info->print(n.op), input, gradient,
                               path.empty() ? path : cat(" in module ", path));
  }
}

void Pass::add_gradient(Tensor& slot, Tensor gradient) {
  if (!slot.defined()) slot = std::move(gradient);
  else if (detail::is_partial(slot) || detail::is_partial(gradient)) [[unlikely]]
    slot = detail::sum_of_partial(slot, gradient);
  else if (!options_.create_graph && !slot.is_symbolic() && !gradient.is_symbolic() &&
           uniquely_owned(slot))
    slot += gradient;
  else slot = slot + gradient;
}

/// A gradient that code may write to must not have several elements in one place.
bool is_expanded(const Tensor& t) {
  for (int i = 0; i < t.dim() && !t.is_contiguous(); ++i)
    if (detail::must_equal(t.strides()[i], 0) && !detail::must_equal(t.shape()[i], 1)) return true;
  return false;
}

void Pass::deliver(Node* n, const Tensor& gradient) {
  const Tensor leaf = detail::lock_leaf(*n);
  if (!leaf.defined()) return;
  if (detail::capturing) detail::capturing->gradient_changes(leaf, true);
  detail::LeafLock lock(*n);
  Tensor& grad = detail::extras(*leaf.impl()).grad;
  if (grad.defined() && (detail::is_partial(grad) || detail::is_partial(gradient))) {
    grad = detail::sum_of_partial(grad, gradient);
  } else if (options_.create_graph || gradient.is_symbolic() ||
             (grad.defined() && grad.is_symbolic())) {
    if (grad.defined()) grad = grad + gradient;
    else grad = is_expanded(gradient) ? gradient.clone() : gradient;
  } else if (grad.defined()) {
    grad += gradient;
  } else {
    // The slot's own memory becomes the gradient when nobody else can see it.
    Tensor& mine = slot(n, 0);
    grad = uniquely_owned(mine) ? std::move(mine) : gradient.detach().clone();
  }
}

}  // namespace

void backward(std::span<const Tensor> outputs, std::span<const Tensor> gradients,
              BackwardOptions options) try {
  require(gradients.empty() || gradients.size() == outputs.size(), "backward(): ", gradients.size(),
          " gradients for ", outputs.size(), " outputs");
  Pass pass(options, true);
  for (size_t i = 0; i < outputs.size(); ++i)
    pass.add_root(outputs[i], gradients.empty() ? Tensor() : gradients[i]);
  Tensors none;
  pass.run(none);
} catch (const std::bad_alloc&) {
  detail::rethrow_for("backward()");
}

Tensors grad(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
             std::span<const Tensor> gradients, GradOptions options) try {
  require(gradients.empty() || gradients.size() == outputs.size(), "grad(): ", gradients.size(),
          " gradients for ", outputs.size(), " outputs");
  Pass pass({.retain_graph = options.retain_graph, .create_graph = options.create_graph}, false);
  for (size_t i = 0; i < outputs.size(); ++i)
    pass.add_root(outputs[i], gradients.empty() ? Tensor() : gradients[i]);
  for (size_t i = 0; i < inputs.size(); ++i) pass.capture(inputs[i], i);
  Tensors captured(inputs.size());
  pass.run(captured);
  for (size_t i = 0; i < captured.size(); ++i)
    require<GradientError>(captured[i].defined() || options.allow_unused, "grad(): input ",
                           int64_t(i), " of shape ", inputs[i].shape(),
                           " is not used by the outputs; allow_unused gives an undefined tensor");
  return captured;
} catch (const std::bad_alloc&) {
  detail::rethrow_for("grad()");
}

Tensor& Tensor::requires_grad_(bool on) {
  TensorImpl& t = checked();
  require<GradientError>(!t.node, "requires_grad_(): only leaves can be changed, this is a result");
  require<DTypeError>(!on || is_floating(t.spec.dtype), "requires_grad_(): ", t.spec.dtype,
                      " tensors have no gradient");
  if (on) t.flags |= TensorImpl::needs_grad;
  else t.flags &= uint8_t(~TensorImpl::needs_grad);
  return *this;
}

Tensor Tensor::grad() const {
  checked();
  if (detail::modes & Modes::capture) [[unlikely]]
    detail::capturing->gradient_is_read(*this);
  return impl_->extras ? impl_->extras->grad : Tensor();
}

void Tensor::set_grad(Tensor grad) const {
  require<ShapeError>(!grad.defined() || detail::may_equal(grad.shape(), shape()),
                      "set_grad(): shape ", grad.defined() ? grad.shape() : Shape(),
                      " for a tensor of shape ", shape());
  if (detail::capturing) detail::capturing->gradient_changes(*this);
  detail::extras(checked()).grad = std::move(grad);
}

void Tensor::backward(const Tensor& gradient, bool retain_graph, bool create_graph) const {
  tandem::backward({this, 1}, {&gradient, 1},
                   {.retain_graph = retain_graph, .create_graph = create_graph});
}

Tensor Tensor::detach() const {
  const TensorImpl& from = checked();
  const bool constant = detail::modes & Modes::capture && from.has(TensorImpl::made_in_capture) &&
                        !from.has(TensorImpl::wrapped_number);
  if (from.has(TensorImpl::symbolic) || constant) [[unlikely]]
    return detail::symbolic_detach(*this);
  return detail::alias(*this);
}

namespace detail {

int64_t add_hook(const Tensor& t, std::shared_ptr<GradientHook> hook) {
  refresh(t);
  require<GradientError>(t.requires_grad(), "register_hook(): the tensor requires no gradient");
  static std::atomic<int64_t> ids{0};
  const Edge e = gradient_edge(t);
  if (!e.node->extras) e.node->extras = new NodeExtras;
  const int64_t id = ++ids;
  e.node->extras->hooks.push_back({e.output_nr, id, std::move(hook)});
  release_node(e.node);
  return id;
}

}  // namespace detail

void remove_hook(const Tensor& t, int64_t id) {
  if (!t.requires_grad()) return;
  const Edge e = detail::gradient_edge(t);
  if (e.node->extras)
    std::erase_if(e.node->extras->hooks, [&](const HookEntry& h) { return h.id == id; });
  detail::release_node(e.node);
}

}  // namespace tandem
