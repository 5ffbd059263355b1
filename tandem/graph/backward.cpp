#include "tandem/graph/backward.h"

#include <algorithm>

#include "tandem/autograd/autograd.h"
#include "tandem/autograd/taken.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/passes.h"

namespace tandem::graph {
namespace {

/// Hooks of tensors from outside are called by the pass that the gradients are given to, so not
/// while the gradient is recorded.
class WithoutHooks {
 public:
  explicit WithoutHooks(Inputs tensors) {
    for (const Tensor& t : tensors) {
      if (t.is_symbolic()) continue;
      tandem::Node* node = detail::gradient_edge(t).node;
      held_.emplace_back(node, std::exchange(node->extras, nullptr));
    }
  }
  ~WithoutHooks() {
    while (!held_.empty()) {
      auto [node, extras] = held_.back();
      held_.pop_back();
      if (extras) node->extras = extras;
      detail::release_node(node);
    }
  }
  WithoutHooks(const WithoutHooks&) = delete;
  WithoutHooks& operator=(const WithoutHooks&) = delete;

 private:
  std::vector<std::pair<tandem::Node*, NodeExtras*>> held_;
};

class Recording {
 public:
  Recording(Graph& g, Inputs arguments, Inputs results)
      : g_(g), arguments_(arguments), results_(results), made_(g.values().size(), -1) {
    for (size_t k = 0; k < g.nodes().size(); ++k)
      for (ValueId id : g.nodes()[k].outputs) made_[size_t(id)] = int(k);
  }

  std::shared_ptr<const Backward> run() {
    find_targets();
    for (size_t k = 0; k < results_.size(); ++k) {
      if (!results_[k].requires_grad()) continue;
      const auto first = std::find_if(results_.begin(), results_.begin() + std::ptrdiff_t(k),
                                      [&](const Tensor& t) { return t.is_same(results_[k]); });
      const size_t at = size_t(first - results_.begin());
      if (at < k) b_->copies.emplace_back(k, at);
      else b_->results.push_back(k);
    }
    if (b_->results.empty() || wanted_.empty()) return nullptr;
    Tensors found;
    try {
      found = record(b_->results);
    } catch (const Error&) {
      std::vector<size_t> good;
      for (size_t k : b_->results) {
        try {
          record({k});
          good.push_back(k);
        } catch (const Error& e) {
          b_->failed.push_back(k);
          b_->error = e.what();
        }
      }
      b_->results = good;
      found = record(good);
    }
    std::vector<Operand> reached;
    for (size_t i = 0; i < found.size(); ++i) {
      if (!found[i].defined()) continue;
      b_->targets.push_back(reached.size());
      r_->output(cat("g", i), found[i]);
      reached.push_back(b_->operands[i]);
    }
    for (size_t i = 0, k = 0; i < found.size(); ++i) {
      if (!found[i].defined()) continue;
      if (taken_[i].defined()) {
        r_->output(cat("taken", i), taken_[i]);
        b_->conditions.push_back(k);
      }
      ++k;
    }
    b_->operands = std::move(reached);
    if (b_->operands.empty() && b_->failed.empty()) return nullptr;
    find_reads();
    find_repeats();
    r_->end_streams();
    r_->forget_outer();
    b_->graph = r_;
    return b_;
  }

 private:
  void find_targets() {
    for (size_t i = 0; i < arguments_.size(); ++i)
      if (arguments_[i].requires_grad()) {
        b_->operands.push_back({Operand::argument, i, {}, false});
        wanted_.push_back(arguments_[i]);
      }
    for (const Value& v : g_.values())
      if (v.kind == ValueKind::state && v.tensor.requires_grad()) {
        b_->operands.push_back({Operand::state, 0, v.tensor, false});
        wanted_.push_back(v.tensor);
      }
  }

  /// The gradients of some results, in a fresh region.
  Tensors record(const std::vector<size_t>& which) {
    r_ = Graph::make_region(g_, true);
    const detail::CaptureScope scope(*r_);
    const WithoutHooks quiet({wanted_.data(), wanted_.size()});
    Tensors roots, given;
    for (size_t k : which) {
      roots.push_back(results_[k]);
      given.push_back(r_->input(cat("d", k), results_[k].spec()));
    }
    taken_ = Tensors(wanted_.size());
    if (roots.empty()) return Tensors(wanted_.size());
    Tensors found =
        grad({roots.data(), roots.size()}, {wanted_.data(), wanted_.size()},
             {given.data(), given.size()}, {.retain_graph = true, .allow_unused = true});
    for (size_t i = 0; i < found.size(); ++i)
      if (detail::is_partial(found[i])) taken_[i] = detail::as_boolean(detail::taken_of(found[i]));
    return found;
  }

  size_t operand(Operand o) {
    for (size_t i = 0; i < b_->operands.size(); ++i) {
      Operand& have = b_->operands[i];
      if (have.kind != o.kind || have.index != o.index || !have.tensor.is_same(o.tensor)) continue;
      have.kept = true;
      return i;
    }
    o.kept = true;
    b_->operands.push_back(std::move(o));
    return b_->operands.size() - 1;
  }
  size_t operand_of(ValueId id) {
    const Value& v = g_.value(id);
    const auto& inputs = g_.inputs();
    if (v.kind == ValueKind::state) return operand({Operand::state, 0, v.tensor, true});
    if (v.kind == ValueKind::input)
      return operand({Operand::argument,
                      size_t(std::find(inputs.begin(), inputs.end(), id) - inputs.begin()),
                      {},
                      true});
    auto& values = b_->values;
    const auto at = size_t(std::find(values.begin(), values.end(), id) - values.begin());
    if (at == values.size()) values.push_back(id);
    return operand({Operand::value, at, {}, true});
  }

  /// What the gradient uses of the function becomes an input, given by the call; a look at a value
  /// is taken again instead of being kept.
  void find_reads() {
    Graph& r = *r_;
    const size_t given = b_->results.size();
    std::vector<ValueId> inputs(r.inputs().begin(), r.inputs().begin() + std::ptrdiff_t(given));
    std::vector<std::pair<ValueId, ValueId>> known;  // of the function, of the region
    std::vector<Node> looks;
    std::vector<std::pair<ValueId, size_t>> reads;
    for (size_t i = 0; i < r.outer().size(); ++i) {
      const Tensor& t = r.outer()[i];
      const ValueId id = r.inputs()[given + i];
      if (t.is_symbolic()) known.emplace_back(t.impl()->extras->value, id);
      else reads.emplace_back(id, operand({Operand::state, 0, t, true}));
    }
    std::vector<bool> done(known.size(), false);
    auto need = [&](auto& self, ValueId id) -> ValueId {
      auto it = std::find_if(known.begin(), known.end(), [&](auto& k) { return k.first == id; });
      if (it == known.end()) {
        known.emplace_back(id, r.add_value(g_.value(id).spec, {}, ValueKind::input));
        done.push_back(false);
        it = std::prev(known.end());
      }
      const size_t k = size_t(it - known.begin());
      const ValueId mine = it->second;
      if (done[k]) return mine;
      done[k] = true;
      const int from = made_[size_t(id)];
      const Node* n = from >= 0 ? &g_.nodes()[size_t(from)] : nullptr;
      if (n && n->info->view && n->inputs.size() == 1 && n->outputs.size() == 1) {
        Node look = *n;
        look.inputs = {self(self, n->inputs[0])};
        look.outputs = {mine};
        r.edit_values()[size_t(mine)].kind = ValueKind::result;
        looks.push_back(std::move(look));
      } else {
        reads.emplace_back(mine, operand_of(id));
      }
      return mine;
    };
    const size_t direct = known.size();
    for (size_t k = 0; k < direct; ++k) need(need, known[k].first);
    for (const auto& [id, at] : reads) {
      inputs.push_back(id);
      b_->reads.push_back(at);
    }
    r.edit_inputs() = std::move(inputs);
    r.edit_nodes().insert(r.edit_nodes().begin(), looks.begin(), looks.end());
  }

  /// A derivative of the gradient runs the function once more, on the tape: what that reads.
  void find_repeats() {
    std::vector<ValueId> stack = b_->values;
    std::vector<bool> seen(g_.values().size(), false);
    while (!stack.empty()) {
      const ValueId id = stack.back();
      stack.pop_back();
      if (id < 0 || seen[size_t(id)]) continue;
      seen[size_t(id)] = true;
      const Value& v = g_.value(id);
      if (v.kind == ValueKind::result) {
        const Node& n = g_.nodes()[size_t(made_[size_t(id)])];
        stack.insert(stack.end(), n.inputs.begin(), n.inputs.end());
      } else if (v.kind != ValueKind::constant) {
        b_->repeats.push_back(operand_of(id));
        for (const Assignment& a : g_.assignments())
          if (a.state == id) b_->repeatable = false;
      }
    }
  }

  Graph& g_;
  Inputs arguments_, results_;
  std::vector<int> made_;  ///< node by value
  std::shared_ptr<Backward> b_ = std::make_shared<Backward>();
  std::shared_ptr<Graph> r_;
  Tensors wanted_, taken_;
};

struct Held {
  std::shared_ptr<BackwardInstance> instance;
};
const Held& held(const void* op) { return *static_cast<const Held*>(op); }

constexpr OpInfo make_row() {
  OpInfo r{};
  r.name = "compiled";
  r.inputs = "x...";
  r.max_inputs = 1 << 16;
  r.outputs = 1;
  r.differentiable = true;
  r.size = sizeof(Held);
  r.align = alignof(Held);
  r.copy = [](void* to, const void* from) { new (to) Held(held(from)); };
  r.destroy = [](void* op) { static_cast<Held*>(op)->~Held(); };
  r.print = [](const void*) { return std::string("compiled()"); };
  return r;
}
constexpr OpInfo make_compiled() {
  OpInfo r = make_row();
  r.saves.in.bits = ~0u;
  r.vjp = [](const void* op, const Saved& saved, const Tensors& dy, Tensors& dx) {
    held(op).instance->gradients(saved, dy, dx);
  };
  return r;
}
constexpr OpInfo make_failed() {
  OpInfo r = make_row();
  r.vjp = [](const void* op, const Saved&, const Tensors&, Tensors&) {
    throw GradientError(
        cat("through the result of a compiled function: ", held(op).instance->what().error));
  };
  return r;
}
constexpr OpInfo make_argument() {
  OpInfo r = make_row();
  r.name = "argument";
  r.max_inputs = 1;
  r.vjp = [](const void*, const Saved&, const Tensors& dy, Tensors& dx) { dx.push_back(dy[0]); };
  return r;
}
constinit const OpInfo argument_row = make_argument();
constinit const OpInfo compiled_row = make_compiled(), failed_row = make_failed();

}  // namespace

Tensor with_history(const Tensor& leaf) {
  const Held op;
  Tensor out = detail::alias(leaf);
  const TensorExtras& e = *leaf.impl()->extras;
  detail::bind_symbolic(out, e.recorder, e.value);
  detail::record_node(argument_row, &op, &leaf, 1, &out, 1);
  return out;
}

std::shared_ptr<const Backward> record_backward(Graph& g, Inputs arguments, Inputs results) {
  return Recording(g, arguments, results).run();
}

BackwardInstance::BackwardInstance(std::shared_ptr<const Backward> what,
                                   std::shared_ptr<const Graph> function, bool deterministic)
    : what_(std::move(what)), function_(std::move(function)), ready_(what_->graph->clone()) {
  optimize(*ready_, deterministic);
}

void BackwardInstance::attach(const std::shared_ptr<BackwardInstance>& self, Inputs arguments,
                              Tensors& out, size_t values, std::vector<Tensor>& room) {
  const Backward& b = *self->what_;
  for (const Operand& o : b.operands) {
    if (o.kind == Operand::argument) room.push_back(arguments[o.index]);
    else if (o.kind == Operand::state) room.push_back(o.tensor);
    else room.push_back(detail::alias(out[values + o.index]));
  }
  const Held op{self};
  auto give = [&](const OpInfo& row, const std::vector<size_t>& which, int inputs) {
    if (which.empty()) return;
    Tensors mine;
    for (size_t k : which) {
      // Equal results are one tensor; each has a history of its own.
      if (out[k].impl()->node || out[k].impl()->refs.load() > 1) out[k] = detail::alias(out[k]);
      mine.push_back(out[k]);
    }
    detail::record_node(row, &op, room.data(), inputs, mine.data(), int(mine.size()));
  };
  give(compiled_row, b.results, int(room.size()));
  if (!b.results.empty()) {
    tandem::Node& node = *out[b.results[0]].impl()->node;
    for (size_t i = 0; i < b.operands.size(); ++i)
      if (!b.operands[i].kept) node.saved[i] = SavedTensor();
  }
  give(failed_row, b.failed, 0);
  room.clear();
}

void BackwardInstance::settle(Tensors& out) const noexcept {
  const Backward& b = *what_;
  if (!b.results.empty()) {
    tandem::Node& node = *out[b.results[0]].impl()->node;
    for (int i = 0; i < node.n_saved; ++i)
      if (const Tensor& t = node.saved[i].tensor(); t.defined())
        node.saved[i].version = t.version();
  }
  for (const auto& [copy, of] : b.copies) out[copy] = out[of];
}

/// The operands of the gradient with their history, by running the function once more.
Tensors BackwardInstance::repeat(const Saved& saved) {
  require<NotImplemented>(what_->repeatable,
                          "a derivative of the gradient of a compiled function that overwrites "
                          "what it read; differentiate inside the function");
  {
    const std::lock_guard lock(mutex_);
    if (!again_) {
      auto g = function_->clone();
      g->edit_outputs() = what_->values;
      g->edit_assignments().clear();
      g->edit_gradients().clear();
      std::vector<ValueId> inputs;
      for (size_t i : what_->repeats) {
        const Operand& o = what_->operands[i];
        if (o.kind == Operand::state) continue;
        const ValueId id =
            o.kind == Operand::argument ? g->inputs()[o.index] : what_->values[o.index];
        g->edit_values()[size_t(id)].kind = ValueKind::input;
        inputs.push_back(id);
        again_inputs_.push_back(i);
      }
      g->edit_inputs() = inputs;
      eliminate_dead_code(*g);
      again_ = std::move(g);
    }
  }
  Tensors in;
  for (size_t i : what_->repeats) saved.in(int(i));  // states were not overwritten
  for (size_t i : again_inputs_) in.push_back(saved.in(int(i)));
  const Tensors found = again_->run({in.data(), in.size()});
  Tensors reads;
  for (size_t i : what_->reads) {
    const Operand& o = what_->operands[i];
    reads.push_back(o.kind == Operand::value ? found[o.index] : saved.in(int(i)));
  }
  return reads;
}

void BackwardInstance::gradients(const Saved& saved, const Tensors& dy, Tensors& dx) {
  bool recorded = detail::grad_enabled() || (detail::modes & Modes::capture);
  for (const Tensor& d : dy) recorded = recorded || d.is_symbolic();
  Tensors in(dy), out;
  if (recorded) {
    for (const Tensor& t : repeat(saved)) in.push_back(t);
    out = what_->graph->run({in.data(), in.size()});
  } else if (detail::modes & Modes::anomaly) {
    for (size_t i : what_->reads) in.push_back(saved.in(int(i)));
    const auto g = what_->graph->clone();
    make_watchable(*g);
    out = Plan(g, true).run({in.data(), in.size()});
  } else {
    for (size_t i : what_->reads) in.push_back(saved.in(int(i)));
    std::unique_ptr<Plan> plan(idle_.exchange(nullptr));
    if (!plan) plan = std::make_unique<Plan>(ready_);
    out = plan->run({in.data(), in.size()});
    delete idle_.exchange(plan.release());
  }
  dx.resize(what_->operands.size());
  const size_t reached = what_->targets.size();
  for (size_t k = 0; k < reached; ++k) dx[what_->targets[k]] = out[k];
  // Of those that depend on a branch plain code has the ones that it took.
  for (size_t k = 0; k < what_->conditions.size(); ++k) {
    Tensor& d = dx[what_->targets[what_->conditions[k]]];
    const Tensor& taken = out[reached + k];
    if (taken.is_symbolic()) d = detail::where_taken(d, {taken, true}, true);
    else if (!taken.item<bool>()) d = Tensor();
  }
}

}  // namespace tandem::graph
