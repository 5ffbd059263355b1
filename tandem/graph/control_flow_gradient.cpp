// The gradients of branches and of a recorded loop, and derivatives of the latter.
#include <utility>

#include "tandem/autograd/autograd.h"
#include "tandem/autograd/taken.h"
#include "tandem/core/factory.h"
#include "tandem/graph/control_flow.h"
#include "tandem/graph/control_flow_node.h"
#include "tandem/op/copy.h"
#include "tandem/op/gate.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/add.h"

namespace tandem::graph {
namespace {

/// The derivative of a loop of some order as a node. Inputs: those of the next lower order (order
/// 0 is the loop itself), then gradients of its floating results. Results: one for each floating
/// input of the lower order.
struct LoopGradient {
  OpInfo info;
  std::shared_ptr<const ControlFlow> loop;
  int order = 1;
  size_t lower = 0;  ///< inputs of the next lower order
  /// Order 1: of (body's inputs, gradients) to the gradients.
  std::shared_ptr<RegionGraph> body;
  std::vector<bool> reached;  ///< order 1: whether a gradient has a path through the body
  /// Order 1, where plain code may miss a gradient at some step: of which results it has one at
  /// first. The body then takes a boolean for each of them besides, and gives one for each of its
  /// gradients, as the node does.
  std::vector<bool> given;
};
/// Of a boolean that says whether plain code has a gradient.
Spec flag_spec() { return {{}, boolean, cpu_device}; }

struct HeldGradient {
  std::shared_ptr<const LoopGradient> node;
};
const LoopGradient& gradient_of(const void* op) {
  return *static_cast<const HeldGradient*>(op)->node;
}

Tensors floating(Inputs list) {
  Tensors some;
  for (const Tensor& t : list)
    if (is_floating(t.dtype())) some.push_back(t);
  return some;
}

size_t loop_inputs(const ControlFlow& n) {
  return n.first->inputs() + n.second->inputs() - size_t(n.variables);
}

void infer_gradient(const void* op, Specs in, Spec* out) {
  int k = 0;
  for (int i = 0; i < int(gradient_of(op).lower); ++i)
    if (is_floating(in[i].dtype)) out[k++] = in[i];
  for (; k < gradient_of(op).info.outputs; ++k) out[k] = flag_spec();
}

/// Forward once more, keeping every iteration's variables, then backward through the body's
/// gradient. `has`: what the node gives besides.
Tensors first_derivative(const LoopGradient& g, Inputs in, Tensors& has) {
  const ControlFlow& n = *g.loop;
  const Inputs loop_in = in.first(g.lower), body_in = n.of_first(loop_in);
  Tensors d(in.begin() + std::ptrdiff_t(g.lower), in.end());
  std::vector<Tensors> history;
  iterate(n, loop_in, [&](const Tensors& vars) { history.push_back(vars); });
  const size_t n_vars = d.size();
  Tensors given;
  for (const bool yes : g.given) given.push_back(full({}, yes, boolean));
  Tensors outer;  // gradients of what the body uses besides
  for (const Tensor& t : floating(body_in)) outer.push_back(zeros_like(t));
  std::vector<bool> used(given.empty() ? 0 : outer.size());
  for (size_t i = history.size(); i-- > 0;) {
    const Tensors args = joined(joined(joined(history[i], body_in), d), given);
    const Tensors step = g.body->run({args.data(), args.size()});
    const size_t flags = n_vars + outer.size();
    for (size_t k = 0; k < given.size(); ++k) given[k] = step[flags + k];
    for (size_t k = 0; k < used.size(); ++k) used[k] = used[k] || truth(step[flags + n_vars + k]);
    for (size_t k = 0; k < n_vars; ++k) d[k] = step[k];
    for (size_t k = 0; k < outer.size(); ++k) outer[k] = outer[k] + step[n_vars + k];
    history.pop_back();
  }
  has = given;
  for (const bool yes : used) has.push_back(full({}, yes, boolean));
  return joined(d, outer);
}

/// The loop, op by op on the tape.
Tensors run_on_tape(const ControlFlow& n, Inputs in) {
  std::vector<Spec> specs;
  for (const Tensor& t : in.first(n.first->inputs())) specs.push_back(t.spec());
  const auto body = with_input_specs(*n.first->graph(), specs);
  Tensors vars(in.begin(), in.begin() + std::ptrdiff_t(n.variables));
  for (int64_t i = 0; n.maximum < 0 || i < n.maximum; ++i) {
    const Tensors c = joined(vars, n.of_second(in));
    if (!truth(n.second->run({c.data(), c.size()})[0])) break;
    const Tensors b = joined(vars, n.of_first(in));
    vars = body->run({b.data(), b.size()});
  }
  return vars;
}

/// A derivative of that order by the tape: what it gives has a history when `create` and its inputs
/// want a gradient.
Tensors derivative_on_tape(const ControlFlow& n, int order, Inputs in, bool create) {
  if (order == 0) return run_on_tape(n, in);
  size_t lower = loop_inputs(n), results = floating(in.first(size_t(n.variables))).size();
  for (int k = 1; k < order; ++k) {
    const size_t gradients = floating(in.first(lower)).size();
    lower += std::exchange(results, gradients);
  }
  Tensors given, wanted;
  for (const Tensor& t : in.first(lower)) {
    given.push_back(t);
    if (!is_floating(t.dtype())) continue;
    if (!t.requires_grad()) given.back() = detail::alias(t).requires_grad_();
    wanted.push_back(given.back());
  }
  const Tensors all =
      floating(derivative_on_tape(n, order - 1, {given.data(), given.size()}, true));
  Tensors roots, seeds, found(wanted.size());
  for (size_t k = 0; k < all.size(); ++k)
    if (all[k].requires_grad()) {
      roots.push_back(all[k]);
      seeds.push_back(in[lower + k]);
    }
  if (!roots.empty())
    found = grad({roots.data(), roots.size()}, {wanted.data(), wanted.size()},
                 {seeds.data(), seeds.size()}, {.create_graph = create, .allow_unused = true});
  for (size_t k = 0; k < found.size(); ++k)
    if (!found[k].defined()) found[k] = zeros_like(wanted[k]);
  return found;
}

void run_gradient(const void* op, Inputs in, Outputs out) {
  const LoopGradient& g = gradient_of(op);
  Tensors found, has;
  if (g.order == 1) {
    found = first_derivative(g, in, has);
  } else {
    const detail::Uncaptured now;
    const EnableGrad on;
    Tensors own;  // whatever history the inputs have, it ends here
    for (const Tensor& t : in) own.push_back(detail::alias(t));
    found = derivative_on_tape(*g.loop, g.order, {own.data(), own.size()}, false);
  }
  const size_t floats = out.size() - has.size();
  for (size_t k = 0; k < floats; ++k)
    // The condition is not differentiable.
    detail::copy_data(out[k], k < found.size() ? found[k] : zeros_like(out[k]));
  for (size_t k = 0; k < has.size(); ++k) detail::copy_data(out[floats + k], has[k]);
}

/// Also says whether plain code has all gradients for which there is a path, and those of all
/// variables, at each step, once it has those of all results.
std::shared_ptr<RegionGraph> body_gradient(LoopGradient& node, Inputs dy, bool& has_all) {
  const ControlFlow& n = *node.loop;
  auto g = Graph::make();
  const Graph& body = *n.first->graph();
  const detail::CaptureScope scope(*g);
  Tensors inputs, given;
  for (size_t i = 0; i < body.inputs().size(); ++i)
    inputs.push_back(g->input(cat("in", i), body.value(body.inputs()[i]).spec));
  for (size_t i = 0; i < dy.size(); ++i) given.push_back(g->input(cat("d", i), dy[i].spec()));
  for (size_t i = 0; i < node.given.size(); ++i)
    given[i] = detail::where_taken(given[i], {g->input(cat("has", i), flag_spec()), true}, true);
  node.reached.clear();
  const Tensors found = region_gradients(body, {inputs.data(), inputs.size()},
                                         {given.data(), given.size()}, &node.reached);
  for (size_t i = 0; i < found.size(); ++i) g->output(cat("g", i), detail::settled(found[i]));
  has_all = true;
  for (size_t i = 0; i < found.size(); ++i) {
    const detail::Taken when = detail::taken_of(found[i]);
    const bool always = node.reached[i] && when.always();
    has_all = has_all && (always || (i >= dy.size() && !node.reached[i]));
    if (node.given.empty()) continue;
    g->output(cat("has_", i),
              always || !node.reached[i] ? full({}, always, boolean) : detail::as_boolean(when));
  }
  return std::make_shared<RegionGraph>(std::move(g));
}

void gradient_vjp(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx);

std::shared_ptr<LoopGradient> make_gradient(std::shared_ptr<const ControlFlow> loop, int order,
                                            size_t lower, int results) {
  auto node = std::make_shared<LoopGradient>();
  OpInfo& r = node->info;
  r = region_row("while_loop_grad", results);
  r.infer = infer_gradient;
  r.cpu = run_gradient;
  r.vjp = gradient_vjp;
  r.copy = [](void* to, const void* from) {
    new (to) HeldGradient(*static_cast<const HeldGradient*>(from));
  };
  r.destroy = [](void* o) { static_cast<HeldGradient*>(o)->~HeldGradient(); };
  r.print = [](const void* o) { return cat("while_loop_grad(order=", gradient_of(o).order, ")"); };
  r.hash = [](const void* o) { return uint64_t(reinterpret_cast<uintptr_t>(&gradient_of(o))); };
  r.equal = [](const void* a, const void* b) { return &gradient_of(a) == &gradient_of(b); };
  node->loop = std::move(loop);
  node->order = order;
  node->lower = lower;
  return node;
}

/// Whether a condition holds for all runs, since it is made of constants.
bool surely_holds(const Graph& condition, Inputs in) {
  std::vector<bool> used(condition.values().size(), false);
  for (const Node& n : condition.nodes())
    for (ValueId id : n.inputs)
      if (id >= 0) used[size_t(id)] = true;
  used[size_t(condition.outputs()[0])] = true;
  const detail::Uncaptured now;
  Tensors values;
  for (size_t i = 0; i < in.size(); ++i) {
    Tensor t = in[i];
    if (t.is_symbolic()) {
      const TensorExtras& e = *t.impl()->extras;
      const auto* g = dynamic_cast<const Graph*>(e.recorder.get());
      t = g ? g->value(e.value).tensor : Tensor();
      if (g && g->value(e.value).kind != ValueKind::constant) t = {};
    } else if (!t.impl()->has(TensorImpl::made_in_capture)) {
      t = {};
    }
    const ValueId id = condition.inputs()[i];
    if (!t.defined() && used[size_t(id)]) return false;
    const Spec& spec = condition.value(id).spec;
    if (!t.defined() && !spec.shape.is_known()) return false;
    values.push_back(t.defined() ? t : empty(spec));
  }
  for (const Node& n : condition.nodes())
    if (n.info->number || n.inputs.empty()) return false;  // may be made of unknown lengths
  return truth(condition.run({values.data(), values.size()})[0]);
}

/// In plain code a variable has a gradient unless the node says otherwise; what the body uses
/// besides has one when there is a path and the loop turns, or the node says so.
void mark_turns(const LoopGradient& node, Inputs in, Tensors& found) {
  const ControlFlow& n = *node.loop;
  const size_t variables = floating(in.first(size_t(n.variables))).size(),
               body = variables + floating(n.of_first(in)).size(), all = floating(in).size();
  const Tensors c = joined(in.first(size_t(n.variables)), n.of_second(in));
  detail::Taken turns;
  if (node.given.empty() && variables < body && detail::modes & Modes::capture &&
      !surely_holds(*n.second->graph(), c)) {
    const NoGrad off;
    turns = {n.second->graph()->run({c.data(), c.size()})[0], true};
  }
  for (size_t k = 0; k < all; ++k) {
    const bool path = k < variables || (k < body && node.reached[k]);
    detail::Taken when = k < variables ? detail::Taken() : turns;
    if (path && !node.given.empty()) when = {found[all + k], true};
    found[k] = path ? detail::where_taken(found[k], when, true) : Tensor();
  }
  found.resize(all);
}

/// The node of that order on the inputs of the next lower order and gradients of its results, which
/// plain code has where `given` says so.
Tensors apply_gradient(const std::shared_ptr<const ControlFlow>& loop, int order, Inputs in,
                       Inputs dy, const std::vector<bool>& given) {
  const auto node = make_gradient(loop, order, in.size(), int(floating(in).size()));
  if (order == 1) {
    bool has_all;
    node->body = body_gradient(*node, dy, has_all);
    if (!has_all || std::find(given.begin(), given.end(), false) != given.end()) {
      node->given = given;
      node->body = body_gradient(*node, dy, has_all);
      node->info.outputs += int(node->body->graph()->outputs().size()) / 2;
    }
  }
  const HeldGradient op{node};
  const Tensors args = joined(in, dy);
  Tensors found = detail::apply_all(node->info, &op, args.data(), int(args.size()));
  if (order == 1) mark_turns(*node, in, found);
  return found;
}

void gradient_vjp(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx) {
  const LoopGradient& g = gradient_of(op);
  Tensors in;
  for (int i = 0; i < saved.size(); ++i) in.push_back(saved.in(i));
  const Inputs all(in.data(), in.size()), gradients(dy.data(), floating(all.first(g.lower)).size());
  const Tensors found = apply_gradient(g.loop, g.order + 1, all, gradients, {});
  size_t k = 0;
  for (const Tensor& t : in) dx.push_back(is_floating(t.dtype()) ? found[k++] : Tensor());
}

}  // namespace

Tensors while_gradients(const std::shared_ptr<const ControlFlow>& loop, Inputs in,
                        const Tensors& dy, const std::vector<bool>& given) {
  return apply_gradient(loop, 1, in, {dy.data(), dy.size()}, given);
}

bool is_loop_gradient(const OpInfo& info) { return info.infer == infer_gradient; }

LoopGradientRegions loop_gradient_regions(const void* op) {
  const LoopGradient& g = gradient_of(op);
  const ControlFlow& n = *g.loop;
  return {{true, n.variables, n.maximum, n.first->graph(), n.second->graph()},
          g.order,
          g.body ? g.body->graph() : nullptr,
          g.given};
}

Tensors apply_loop_gradient(const LoopGradientRegions& what, Inputs in) {
  const auto need = [&](bool ok, std::string_view rule) {
    require(ok, "while_loop_grad(order=", what.order, "): ", rule);
  };
  const Regions& r = what.loop;
  const size_t variables = size_t(r.variables), body = r.first->inputs().size(),
               all = body + r.second->inputs().size() - variables;
  need(what.order >= 1 && what.order <= 8, "its order is not in [1, 8]");
  need(r.variables >= 0 && variables <= body && variables <= r.second->inputs().size() &&
           in.size() >= all,
       "its inputs are not those of a loop");
  const auto fits = [&](const Graph& g, size_t first, size_t from) {
    for (size_t i = first; i < g.inputs().size(); ++i)
      need(g.value(g.inputs()[i]).spec == in[from + i - first].spec(),
           "an input is not what a region takes");
  };
  fits(*r.first, 0, 0);
  fits(*r.second, variables, body);
  need(r.first->outputs().size() == variables && r.second->outputs().size() == 1 &&
           r.second->value(r.second->outputs()[0]).spec.shape.numel() == 1,
       "the body gives the variables, the condition one number");
  for (size_t i = 0; i < variables; ++i)
    need(r.first->value(r.first->outputs()[i]).spec == in[i].spec() &&
             r.second->value(r.second->inputs()[i]).spec == in[i].spec(),
         "the body changes the spec of a variable");
  // Each order's inputs are those of the order below and gradients of its results.
  size_t lower = all;
  Tensors results = floating(in.first(variables));
  for (int k = 1;; ++k) {
    need(in.size() >= lower + results.size(), "gradients are missing");
    for (size_t i = 0; i < results.size(); ++i)
      need(in[lower + i].spec() == results[i].spec(), "a gradient has another spec than its value");
    if (k == what.order) break;
    Tensors next = floating(in.first(lower));
    lower += results.size();
    results = std::move(next);
  }
  need(in.size() == lower + results.size(), "it has too many inputs");

  const auto loop = make_node(true, r.first->clone(), r.second->clone());
  loop->variables = r.variables;
  loop->maximum = r.maximum;
  const auto node = make_gradient(loop, what.order, lower, int(floating(in.first(lower)).size()));
  if (what.order == 1) {
    need(what.given.empty() || what.given.size() == results.size(),
         "it says of too few or too many gradients whether they are given");
    auto specs = [&](const Tensors& tensors, size_t flags) {
      std::vector<Spec> list;
      for (const Tensor& t : tensors) list.push_back(t.spec());
      if (!what.given.empty()) list.insert(list.end(), flags, flag_spec());
      return list;
    };
    const Tensors wanted = floating(in.first(body));
    auto are = [&](const std::vector<ValueId>& ids, const std::vector<Spec>& list) {
      return std::equal(ids.begin(), ids.end(), list.begin(), list.end(),
                        [&](ValueId id, const Spec& s) { return what.body->value(id).spec == s; });
    };
    need(what.body != nullptr &&
             are(what.body->inputs(), specs(joined(in.first(body), results), results.size())),
         "the body's gradient takes other inputs");
    need(are(what.body->outputs(), specs(wanted, wanted.size())),
         "the body's gradient gives other results");
    node->given = what.given;
    if (!what.given.empty()) node->info.outputs += int(wanted.size());
    node->body = std::make_shared<RegionGraph>(what.body->clone());
  }
  const HeldGradient op{node};
  return detail::apply_all(node->info, &op, in.data(), int(in.size()));
}

LoopDerivative loop_derivative(const void* op) {
  return {gradient_of(op).loop, gradient_of(op).order};
}

std::shared_ptr<void> with_loop(const void* op, const std::shared_ptr<const ControlFlow>& loop,
                                const LengthValues& lengths, const OpInfo*& row) {
  const LoopGradient& g = gradient_of(op);
  const auto fresh = make_gradient(loop, g.order, g.lower, g.info.outputs);
  fresh->given = g.given;
  if (g.body) fresh->body = std::make_shared<RegionGraph>(specialise(*g.body->graph(), lengths));
  row = &fresh->info;
  const HeldGradient held{fresh};
  return copy_record(fresh->info, &held);
}

bool same_loop_gradient(const void* a, const void* b) {
  const LoopGradient &x = gradient_of(a), &y = gradient_of(b);
  std::string why;
  return x.order == y.order && x.lower == y.lower && x.given == y.given &&
         same_control_flow(*x.loop, *y.loop) &&
         (!x.body || same_program(*x.body->graph(), *y.body->graph(), why));
}

// --- Of a node with regions ---------------------------------------------------------------------

Tensors region_gradients(const Graph& g, Inputs in, Inputs dy, std::vector<bool>* reached) {
  // Code that runs at once may want further derivatives; a region is differentiated as a whole.
  const bool further = detail::grad_enabled() && !(detail::modes & Modes::capture);
  const EnableGrad on;
  Tensors leaves, wanted, outs, given;
  for (const Tensor& t : in) {
    if (further && t.requires_grad()) {
      wanted.push_back(t);
      leaves.push_back(t);
      continue;
    }
    Tensor leaf = detail::alias(t);
    if (is_floating(t.dtype())) {
      leaf.requires_grad_();
      wanted.push_back(leaf);
    }
    leaves.push_back(leaf);
  }
  const Tensors all = g.run({leaves.data(), leaves.size()});
  size_t k = 0;
  for (const Tensor& t : all) {
    if (!is_floating(t.dtype())) continue;
    if (t.requires_grad() && dy[k].defined()) {
      outs.push_back(t);
      given.push_back(dy[k]);
    }
    ++k;
  }
  Tensors found(wanted.size());
  if (!outs.empty() && !wanted.empty())
    found = grad({outs.data(), outs.size()}, {wanted.data(), wanted.size()},
                 {given.data(), given.size()}, {.create_graph = further, .allow_unused = true});
  const NoGrad off;
  for (size_t i = 0; i < found.size(); ++i) {
    if (reached) reached->push_back(found[i].defined());
    if (!found[i].defined()) found[i] = zeros_like(wanted[i]);
  }
  return found;
}

namespace {

bool holds_regions(const Graph& g) {
  return std::any_of(g.nodes().begin(), g.nodes().end(),
                     [](const Node& n) { return has_regions(*n.info); });
}

}  // namespace

void regions_vjp(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx) {
  const auto& held = static_cast<const Held*>(op)->node;
  const ControlFlow& n = *held;
  Tensors in;
  for (int i = 0; i < saved.size(); ++i) in.push_back(saved.in(i));
  Tensors given;  // of the floating results; undefined where plain code has none
  std::vector<Spec> specs;
  for (size_t i = 0; i < dy.size(); ++i) {
    const Graph& first = *n.first->graph();
    const Spec& spec = first.value(first.outputs()[i]).spec;
    if (!is_floating(spec.dtype)) continue;
    given.push_back(dy[i]);
    specs.push_back(spec);
  }
  const Inputs all(in.data(), in.size());
  Tensors found;
  if (n.loop) {
    std::vector<bool> has;
    for (size_t k = 0; k < given.size(); ++k) {
      has.push_back(given[k].defined());
      if (!has[k]) given[k] = zeros(specs[k].shape, specs[k].dtype);
    }
    found = while_gradients(held, all, given, has);
  } else if (!in[0].is_symbolic() && !(detail::modes & Modes::capture)) {
    const bool yes = truth(in[0]);
    const Inputs list = yes ? n.of_first(all) : n.of_second(all);
    std::vector<bool> reached;
    const Tensors taken = region_gradients(*(yes ? n.first : n.second)->graph(), list,
                                           {given.data(), given.size()}, &reached);
    auto skip = [&](Inputs others) {
      for (const Tensor& t : others)
        if (is_floating(t.dtype())) found.push_back(Tensor());
    };
    if (!yes) skip(n.of_first(all));
    for (size_t k = 0; k < taken.size(); ++k) found.push_back(reached[k] ? taken[k] : Tensor());
    if (yes) skip(n.of_second(all));
    dx.push_back(Tensor());
  } else {
    auto zeros_of = [](Inputs list) {
      Tensors z;
      for (const Tensor& t : list)
        if (is_floating(t.dtype())) z.push_back(zeros_like(t));
      return z;
    };
    // In a graph the branch takes these handles, which have a history, for further derivatives.
    auto gradients_of = [&](const RegionGraph& branch, Inputs list, std::vector<bool>& reached) {
      Tensors inside(list.begin(), list.end());
      if (detail::modes & Modes::capture) {
        Graph& g = *as_graph(detail::capturing);
        for (Tensor& t : inside) t = g.handle(g.id_of(t));
      }
      return region_gradients(*branch.graph(), {inside.data(), inside.size()},
                              {given.data(), given.size()}, &reached);
    };
    const Inputs a = n.of_first(all), b = n.of_second(all);
    std::vector<bool> by_yes, by_no;
    // Where a branch has regions inside, it says of each gradient whether plain code has it.
    const bool says_a = holds_regions(*n.first->graph()),
               says_b = holds_regions(*n.second->graph());
    auto add_taken = [](const Tensors& gradients, bool says, Tensors& to) {
      for (size_t k = 0; says && k < gradients.size(); ++k) {
        const detail::Taken when = detail::taken_of(gradients[k]);
        to.push_back(when.always() ? ones({}, boolean) : detail::as_boolean(when));
      }
    };
    auto branch = [&](bool yes) {
      const Tensors own =
          yes ? gradients_of(*n.first, a, by_yes) : gradients_of(*n.second, b, by_no);
      const Tensors other = zeros_of(yes ? b : a);
      Tensors mine = yes ? joined(own, other) : joined(other, own);
      const size_t others = (yes ? says_b : says_a) ? other.size() : 0;
      if (yes) add_taken(own, says_a, mine);
      for (size_t k = 0; k < others; ++k) mine.push_back(zeros({}, boolean));
      if (!yes) add_taken(own, says_b, mine);
      return mine;
    };
    const auto both = cond(
        in[0], [&] { return branch(true); }, [&] { return branch(false); });
    // Plain code has the gradients of the branch that it took.
    const size_t of_a = by_yes.size(), gradients = of_a + by_no.size();
    for (size_t k = 0; k < gradients; ++k) {
      const bool yes = k < of_a;
      detail::Taken when{in[0], yes};
      if (yes && says_a) when = {both[gradients + k], true};
      if (!yes && says_b) when = {both[gradients + (says_a ? of_a : 0) + k - of_a], true};
      const bool reached = yes ? by_yes[k] : by_no[k - of_a];
      found.push_back(reached ? detail::where_taken(both[k], when, true) : Tensor());
    }
    dx.push_back(Tensor());
  }
  size_t k = 0;
  for (size_t i = dx.size(); i < in.size(); ++i)
    dx.push_back(is_floating(in[i].dtype()) ? found[k++] : Tensor());
}

}  // namespace tandem::graph
