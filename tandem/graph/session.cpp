#include "tandem/graph/session.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <unordered_map>

#include "tandem/core/factory.h"
#include "tandem/core/length_table.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/graph/rewrite.h"
#include "tandem/graph/specialise.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/sum.h"

namespace tandem {
namespace {

using graph::Assignment;
using graph::Effect;
using graph::Plan;
using graph::Value;
using graph::ValueId;
using graph::ValueKind;

/// The graph of this thread's GraphScope, or the region of it that is being recorded.
Graph& current(std::string_view caller) {
  auto* g = dynamic_cast<Graph*>(detail::capturing);
  require(g, caller, "(): needs a GraphScope");
  return *g;
}
Graph& outside_regions(std::string_view caller) {
  Graph& g = current(caller);
  require<NotImplemented>(!g.is_region(), caller,
                          "(): cannot stand inside cond() and while_loop(); make it outside");
  return g;
}

Graph& graph_of(const Tensor& t, std::string_view caller) {
  if (auto* g = dynamic_cast<Graph*>(detail::capturing); g && g->is_region()) return *g;
  if (t.defined() && t.is_symbolic())
    if (auto* g = dynamic_cast<Graph*>(t.impl()->extras->recorder.get())) return *g;
  return current(caller);
}

bool watched_now() { return detail::modes & Modes::anomaly; }

/// Whether a variable or tensor from outside is part of the graph.
bool is_used(Graph& g, ValueId id) {
  for (const Graph::Variable& v : g.variables())
    if (v.state == id) return true;
  for (const graph::Node& n : g.nodes())
    if (std::find(n.inputs.begin(), n.inputs.end(), id) != n.inputs.end()) return true;
  for (ValueId v = 0; v < ValueId(g.values().size()); ++v)
    if (const Effect* e = g.find_effect(v)) {
      const auto is = [&](const Assignment& a) { return a.state == id || a.value == id; };
      if (e->value == id || std::any_of(e->assignments.begin(), e->assignments.end(), is))
        return true;
    }
  return false;
}

}  // namespace

Tensor placeholder(std::string name, const Shape& shape, DType dtype) {
  Graph& g = outside_regions("placeholder");
  Shape known = shape;
  for (int i = 0; i < known.size(); ++i) {
    Length& d = known[i];
    if (const std::string* length = detail::LengthTable::dim_name(d)) d = g.unknown_length(*length);
    if (!d.is_known()) continue;
    require<ShapeError>(d >= -1, "placeholder(", name, "): a length of shape ", shape,
                        " is below -1");
    if (d < 0) d = g.unknown_length();
  }
  const Tensor t = g.input(std::move(name), {known, dtype, {}});
  t.impl()->extras->fed_as = g.id_of(t);  // a write to it gives the handle another value
  return t;
}

namespace {
ValueId fed_value(Graph& g, const Tensor& t) {
  const ValueId id = g.id_of(t);
  return t.is_symbolic() && t.impl()->extras->fed_as >= 0 ? t.impl()->extras->fed_as : id;
}
}  // namespace

Tensor variable(std::string name, const Tensor& initial, bool trainable) {
  Graph& g = outside_regions("variable");
  for (const Value& v : g.values())
    require(v.name != name, "variable(): the name \"", name, "\" is taken");
  Tensor handle;
  {
    const detail::Uncaptured now;
    handle = zeros(initial.shape(), initial.dtype());
  }
  if (trainable && is_floating(initial.dtype())) handle.requires_grad_();
  const ValueId state = g.capture(handle);
  g.rename(state, std::move(name));
  g.variables().push_back({state, g.id_of(initial), handle.requires_grad()});
  return handle;
}

std::vector<Tensor> variables(bool trainable_only) {
  Graph& g = current("variables");
  std::vector<Tensor> all;
  for (const auto& v : g.variables())
    if (v.trainable || !trainable_only) all.push_back(g.value(v.state).tensor);
  return all;
}

Tensor assign(const Tensor& variable, const Tensor& value) {
  Graph& g = graph_of(value, "assign");
  require(!variable.is_symbolic(), "assign(): the target is a ", variable.spec(),
          " that an op made; only variables and tensors from outside can be assigned");
  require<ShapeError>(detail::may_equal(value.shape(), variable.shape()), "assign(): shape ",
                      value.shape(), " for a variable of shape ", variable.shape());
  require<DTypeError>(value.dtype() == variable.dtype(), "assign(): ", value.dtype(),
                      " for a variable of ", variable.dtype());
  const ValueId to = g.id_of(value);
  if (g.is_region()) {
    g.assign(variable, value);
    g.set_effects();
    return g.handle(to);
  }
  return g.effect({.assignments = {{g.capture(variable), to}}, .also = {}, .value = to});
}
Tensor assign_add(const Tensor& variable, const Tensor& value) {
  const NoGrad guard;
  return assign(variable, variable + value);
}
Tensor assign_sub(const Tensor& variable, const Tensor& value) {
  const NoGrad guard;
  return assign(variable, variable - value);
}

Tensor group(std::span<const Tensor> ops) {
  Graph& g = current("group");
  // In a region they happen with its results.
  if (g.is_region()) return zeros({0});
  Effect e;
  for (const Tensor& t : ops) e.also.push_back(g.id_of(t));
  return g.effect(std::move(e));
}

Tensor with_dependencies(std::span<const Tensor> first, const Tensor& value) {
  Graph& g = current("with_dependencies");
  if (g.is_region()) return value;
  Effect e;
  for (const Tensor& t : first) e.also.push_back(g.id_of(t));
  e.value = g.id_of(value);
  return g.effect(std::move(e));
}

std::vector<Tensor> gradients(const Tensor& loss, std::span<const Tensor> variables) {
  current("gradients");
  for (size_t i = 0; i < variables.size(); ++i)
    require<GradientError>(
        variables[i].requires_grad(), "gradients(): variable ", int64_t(i), ", a ",
        variables[i].spec(),
        ", does not require a gradient; call requires_grad_() on it before it is used");
  const Tensor total = detail::must_equal(loss.numel(), 1) ? loss : sum(loss);
  // The graph is there to be added to: further gradients, a minimize(), gradients of these.
  const Tensors found = grad({&total, 1}, variables, {},
                             {.retain_graph = true, .create_graph = true, .allow_unused = true});
  std::vector<Tensor> all;
  for (size_t i = 0; i < variables.size(); ++i)
    all.push_back(found[i].defined() ? found[i] : zeros_like(variables[i]));
  return all;
}

Tensor global_variables_initializer() {
  Graph& g = outside_regions("global_variables_initializer");
  Effect e;
  for (const auto& v : g.variables()) e.assignments.push_back({v.state, v.initial});
  return g.effect(std::move(e));
}

namespace detail {

EffectScope::EffectScope()
    : graph_(std::static_pointer_cast<Graph>(outside_regions("minimize").shared_from_this())) {}

Tensor EffectScope::finish() {
  graph_->take_gradients();
  graph_->edit_gradients().clear();
  graph_->forget_writes();
  return graph_->effect({.assignments = graph_->take_assignments(), .also = {}, .value = -1});
}

}  // namespace detail

// --- Session ----------------------------------------------------------------------------------

struct Session::Impl {
  struct Program {
    std::vector<ValueId> fetches, feeds;
    std::vector<Shape> shapes;
    std::shared_ptr<Graph> graph;
    bool assigns = false;                      ///< a run writes to state
    bool watched = false;                      ///< for runs in AnomalyMode
    std::vector<std::unique_ptr<Plan>> plans;  ///< those that no thread runs now
    std::vector<int> output_of;                ///< by fetch; -1 for effects without a value
    std::vector<size_t> reads;                 ///< variables that must have a value before
    std::vector<size_t> writes;                ///< variables that have one after
  };

  std::shared_ptr<Graph> graph;
  std::unordered_map<ValueId, size_t> variable_of;  ///< by state
  std::vector<Tensor> values;
  std::vector<bool> initialised;
  std::vector<std::shared_ptr<Program>> programs;
  mutable std::mutex mutex;   ///< held for what is here, not while a plan runs
  std::shared_mutex running;  ///< alone for runs that write to state
  int64_t nodes = 0;
  bool profile = false;

  /// Variables may be added to the graph while a session lives.
  void know_variables() {
    const detail::Uncaptured now;
    auto& list = graph->variables();
    for (size_t i = values.size(); i < list.size(); ++i) {
      const Spec& spec = graph->value(list[i].state).spec;
      values.push_back(zeros(spec.shape, spec.dtype));
      initialised.push_back(false);
      variable_of[list[i].state] = i;
    }
  }

  std::shared_ptr<Program> build(std::vector<ValueId> fetches, std::vector<ValueId> feeds,
                                 std::span<const Feed> given);
  std::shared_ptr<Program> find(std::span<const Tensor> fetches, std::span<const Feed> feeds);
  Tensors run(Program& p, Inputs in);
};

std::shared_ptr<Session::Impl::Program> Session::Impl::build(std::vector<ValueId> fetches,
                                                             std::vector<ValueId> feeds,
                                                             std::span<const Feed> given) {
  auto p = std::make_shared<Program>();
  graph::LengthBinder lengths(*graph);
  for (size_t i = 0; i < feeds.size(); ++i) {
    const Value& v = graph->value(feeds[i]);
    const Tensor& t = given[i].with;
    const auto what = [&] {
      return v.kind == ValueKind::input ? cat("placeholder \"", v.name, "\"")
                                        : cat("value ", feeds[i]);
    };
    require(!t.is_symbolic(), "Session::run(): what is fed to ", what,
            " is symbolic; make it outside of the GraphScope");
    require<DTypeError>(t.dtype() == v.spec.dtype, "Session::run(): ", what, " is ", v.spec,
                        ", fed ", t.spec());
    std::string before;
    const bool fits = lengths.bind(v.spec.shape, t.shape(), before);
    require<ShapeError>(fits, "Session::run(): ", what, " is ", v.spec, ", fed ", t.spec(), before);
    p->shapes.push_back(t.shape());
  }
  lengths.check();

  auto g = graph->clone();
  // A fed value is an input, whoever computes it otherwise.
  std::vector<bool> fed(g->values().size(), false);
  for (ValueId id : feeds) {
    fed[size_t(id)] = true;
    g->edit_values()[size_t(id)].kind = ValueKind::input;
  }
  for (graph::Node& n : g->edit_nodes())
    for (ValueId& id : n.outputs)
      if (size_t(id) < fed.size() && fed[size_t(id)]) id = g->add_value(g->value(id).spec);
  g->edit_inputs() = feeds;

  auto operand = [&](ValueId id) {
    while (const Effect* e = id >= 0 ? g->find_effect(id) : nullptr) {
      if (size_t(id) < fed.size() && fed[size_t(id)]) break;
      require(e->value >= 0, "Session::run(): a group of effects is used as a value");
      id = e->value;
    }
    return id;
  };
  // What the fetches need, and the effects on the way.
  const std::vector<int> made = graph::makers(*g);
  std::vector<bool> seen(g->values().size(), false);
  std::vector<ValueId> stack(fetches.begin(), fetches.end());
  auto& assignments = g->edit_assignments();
  assignments.clear();
  std::vector<bool> read(values.size(), false), written(values.size(), false);
  while (!stack.empty()) {
    const ValueId id = stack.back();
    stack.pop_back();
    if (id < 0 || seen[size_t(id)]) continue;
    seen[size_t(id)] = true;
    if (size_t(id) < fed.size() && fed[size_t(id)]) continue;
    const Value& v = g->value(id);
    if (const Effect* e = g->find_effect(id)) {
      for (const Assignment& a : e->assignments) {
        const auto same = [&](const Assignment& b) { return b.state == a.state; };
        const auto known = std::find_if(assignments.begin(), assignments.end(), same);
        require(known == assignments.end() || known->value == a.value,
                "Session::run(): two assignments to variable \"", g->value(a.state).name,
                "\" in one run");
        if (known == assignments.end()) assignments.push_back(a);
        stack.push_back(a.value);
      }
      for (ValueId other : e->also) stack.push_back(other);
      stack.push_back(e->value);
      continue;
    }
    require(v.kind != ValueKind::input, "Session::run(): placeholder \"", v.name, "\" of ", v.spec,
            " is needed and was not fed");
    if (const auto it = variable_of.find(id); it != variable_of.end()) read[it->second] = true;
    if (made[size_t(id)] >= 0)
      for (ValueId in : g->nodes()[size_t(made[size_t(id)])].inputs) stack.push_back(in);
  }

  // A stream goes on from the last key that was drawn.
  for (const graph::RandomStream& s : g->streams())
    for (size_t k = s.later.size(); k-- > 0;)
      if (seen[size_t(k ? s.later[k - 1] : s.begin)]) {
        assignments.push_back({s.state, s.later[k]});
        break;
      }

  auto& outputs = g->edit_outputs();
  outputs.clear();
  for (ValueId id : fetches) {
    const Effect* e = g->find_effect(id);
    const bool silent = e && e->value < 0;
    p->output_of.push_back(silent ? -1 : int(outputs.size()));
    if (!silent) outputs.push_back(operand(id));
  }
  for (graph::Node& n : g->edit_nodes())
    for (ValueId& id : n.inputs)
      if (id >= 0 && seen[size_t(id)]) id = operand(id);
  for (Assignment& a : assignments) {
    a.value = operand(a.value);
    if (const auto it = variable_of.find(a.state); it != variable_of.end())
      written[it->second] = true;
  }
  for (const auto& [state, index] : variable_of) {
    g->edit_values()[size_t(state)].tensor = values[index];
    if (read[index]) p->reads.push_back(index);
    if (written[index]) p->writes.push_back(index);
  }
  eliminate_dead_code(*g);
  p->graph = specialise(*g, lengths.values());
  p->watched = watched_now();
  if (p->watched) make_watchable(*p->graph);
  else optimize(*p->graph, false);
  p->plans.push_back(std::make_unique<Plan>(p->graph, p->watched));
  p->assigns = !p->graph->assignments().empty();
  p->fetches = std::move(fetches);
  p->feeds = std::move(feeds);
  return p;
}

std::shared_ptr<Session::Impl::Program> Session::Impl::find(std::span<const Tensor> fetches,
                                                            std::span<const Feed> feeds) {
  for (const Tensor& t : fetches) require(t.defined(), "Session::run(): a fetch is undefined");
  for (const Feed& f : feeds)
    require(f.value.defined() && f.with.defined(), "Session::run(): a feed is undefined");
  const bool watched = watched_now();
  auto same = [&](const Program& p) {
    if (p.fetches.size() != fetches.size() || p.feeds.size() != feeds.size() ||
        p.watched != watched)
      return false;
    for (size_t i = 0; i < fetches.size(); ++i)
      if (p.fetches[i] != graph->id_of(fetches[i])) return false;
    for (size_t i = 0; i < feeds.size(); ++i)
      if (p.feeds[i] != fed_value(*graph, feeds[i].value) ||
          !(p.shapes[i] == feeds[i].with.shape()) ||
          graph->value(p.feeds[i]).spec.dtype != feeds[i].with.dtype() ||
          feeds[i].with.is_symbolic())
        return false;
    return true;
  };
  for (const auto& p : programs)
    if (same(*p)) return p;
  std::vector<ValueId> out, in;
  for (const Tensor& t : fetches) out.push_back(graph->id_of(t));
  for (const Feed& f : feeds) {
    const ValueId id = fed_value(*graph, f.value);
    require(f.value.is_symbolic() || is_used(*graph, id), "Session::run(): a ", f.value.spec(),
            " is fed that is no value of the graph");
    const Value& v = graph->value(id);
    require(
        std::find(in.begin(), in.end(), id) == in.end(), "Session::run(): ",
        [&] { return v.name.empty() ? cat("value ", id) : cat("\"", v.name, "\""); },
        " is fed twice");
    in.push_back(id);
  }
  know_variables();
  constexpr size_t most = 64;
  if (programs.size() >= most) programs.erase(programs.begin());
  programs.push_back(build(std::move(out), std::move(in), feeds));
  return programs.back();
}

Tensors Session::Impl::run(Program& p, Inputs in) {
  std::shared_lock together(running, std::defer_lock);
  std::unique_lock alone(running, std::defer_lock);
  if (p.assigns) alone.lock();
  else together.lock();
  struct Borrowed {
    Impl& session;
    Program& of;
    std::unique_ptr<Plan> plan;
    ~Borrowed() {
      const std::lock_guard lock(session.mutex);
      if (plan) of.plans.push_back(std::move(plan));
    }
  } b{*this, p, nullptr};
  bool measured = false;
  {
    const std::lock_guard lock(mutex);
    measured = profile;
    if (!p.plans.empty()) {
      b.plan = std::move(p.plans.back());
      p.plans.pop_back();
    }
  }
  if (!b.plan) b.plan = std::make_unique<Plan>(p.graph, p.watched);
  b.plan->set_profile(measured);
  return b.plan->run(in);
}

Session::Session(std::shared_ptr<Graph> graph) : impl_(std::make_unique<Impl>()) {
  impl_->graph = std::move(graph);
  impl_->know_variables();
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Tensor> Session::run(std::span<const Tensor> fetches, std::span<const Feed> feeds) try {
  const detail::Uncaptured now;
  std::unique_lock lock(impl_->mutex);
  const std::shared_ptr<Impl::Program> found = impl_->find(fetches, feeds);
  const Impl::Program& p = *found;
  for (size_t i : p.reads)
    require(impl_->initialised[i], "Session::run(): variable \"",
            impl_->graph->value(impl_->graph->variables()[i].state).name,
            "\" has no value yet; run global_variables_initializer()");
  Tensors in;
  for (const Feed& f : feeds) in.push_back(f.with);
  std::vector<Tensor> results(p.output_of.size());
  for (size_t i = 0; i < results.size(); ++i)
    if (p.output_of[i] < 0) results[i] = empty({0});
  lock.unlock();
  const Tensors out = impl_->run(*found, {in.data(), in.size()});
  lock.lock();
  impl_->nodes += int64_t(p.graph->nodes().size());
  for (size_t i : p.writes) impl_->initialised[i] = true;
  for (size_t i = 0; i < results.size(); ++i)
    if (const int at = p.output_of[i]; at >= 0) results[i] = out[size_t(at)];
  return results;
} catch (const std::bad_alloc&) {
  detail::rethrow_for("Session::run()");
}

Tensor Session::value(const Tensor& variable) const {
  const std::lock_guard lock(impl_->mutex);
  impl_->know_variables();
  const auto it = impl_->variable_of.find(impl_->graph->capture(variable));
  require(it != impl_->variable_of.end(), "Session::value(): a ", variable.spec(),
          " is no variable of the graph");
  return impl_->values[it->second];
}

NamedTensors Session::state_dict() const {
  const std::lock_guard lock(impl_->mutex);
  impl_->know_variables();
  NamedTensors all;
  for (size_t i = 0; i < impl_->values.size(); ++i)
    all.emplace_back(impl_->graph->value(impl_->graph->variables()[i].state).name,
                     impl_->values[i]);
  return all;
}

void Session::load_state_dict(const NamedTensors& state) {
  const NamedTensors own = state_dict();
  std::string problems;
  for (const auto& [name, t] : own) {
    const Tensor have = find(state, name);
    if (!have.defined()) problems += cat(" missing ", name, ";");
    else if (!(have.spec() == t.spec()))
      problems += cat(" ", name, " is ", have.spec(), ", needs ", t.spec(), ";");
  }
  for (const auto& [name, t] : state)
    if (!find(own, name).defined()) problems += cat(" unexpected ", name, ";");
  require(problems.empty(), "Session::load_state_dict():", problems);
  const detail::Uncaptured now;
  const NoGrad guard;
  const std::lock_guard alone(impl_->running);
  const std::lock_guard lock(impl_->mutex);
  for (size_t i = 0; i < own.size(); ++i) {
    Tensor t = own[i].second;
    t.copy_(find(state, own[i].first));
    impl_->initialised[i] = true;
  }
}

std::string Session::explain(std::span<const Tensor> fetches) const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<ValueId> wanted;
  for (const Tensor& t : fetches) {
    require(t.defined(), "Session::explain(): a fetch is undefined");
    wanted.push_back(impl_->graph->id_of(t));
  }
  std::string s;
  for (const auto& p : impl_->programs) {
    if (p->fetches != wanted || p->watched) continue;
    s += "run";
    for (size_t i = 0; i < p->feeds.size(); ++i) {
      const Value& v = impl_->graph->value(p->feeds[i]);
      const std::string name = v.name.empty() ? cat("value ", p->feeds[i]) : v.name;
      s += cat(i ? ", " : " with ", name, ": ", Spec{p->shapes[i], v.spec.dtype, {}});
    }
    // The plan of the first run; a run in progress has it.
    s += cat("\n", p->plans.empty() ? Plan(p->graph).explain() : p->plans.front()->explain());
  }
  require(!s.empty(),
          "Session::explain(): these fetches were not run yet, and their plan depends "
          "on the shapes that are fed; run them first");
  return s;
}

void Session::set_profile(bool on) {
  const std::lock_guard lock(impl_->mutex);
  impl_->profile = on;
}

int64_t Session::nodes_run() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->nodes;
}

}  // namespace tandem
