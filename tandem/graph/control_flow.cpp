#include "tandem/graph/control_flow.h"

#include <algorithm>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/regions.h"
#include "tandem/op/copy.h"
#include "tandem/op/gate.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem {
namespace graph {

Tensors RegionGraph::run(Inputs inputs) const {
  std::vector<Shape> shapes;
  for (const Tensor& t : inputs) shapes.push_back(t.shape());
  std::unique_ptr<Plan> plan;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [known, ready] : plans_)
      if (known == shapes && ready) {
        plan = std::move(ready);
        break;
      }
  }
  if (!plan) {
    std::vector<Spec> specs;
    for (const Tensor& t : inputs) specs.push_back(t.spec());
    auto g = with_input_specs(*graph_, specs);
    optimize(*g, true);
    plan = std::make_unique<Plan>(g);
  }
  Tensors out = plan->run(inputs);
  const std::lock_guard lock(mutex_);
  for (auto& [known, ready] : plans_)
    if (known == shapes && !ready) {
      ready = std::move(plan);
      return out;
    }
  constexpr size_t most = 16;
  if (plans_.size() >= most) plans_.erase(plans_.begin());
  plans_.emplace_back(std::move(shapes), std::move(plan));
  return out;
}

std::vector<Spec> RegionGraph::infer(std::span<const Spec> inputs) const {
  const auto g = with_input_specs(*graph_, inputs);
  std::vector<Spec> out;
  for (ValueId id : g->outputs()) out.push_back(g->value(id).spec);
  return out;
}

std::shared_ptr<Graph> with_input_specs(const Graph& graph, std::span<const Spec> specs) {
  auto g = graph.clone();
  for (size_t i = 0; i < specs.size(); ++i)
    g->edit_values()[size_t(g->inputs()[i])].spec = specs[i];
  return specialise(*g, {});
}

namespace {

/// A node with regions. Inputs of cond: condition, then what `first` (yes) and `second` (no) use;
/// of while: the variables, then what `first` (body) and `second` (condition) use besides.
struct ControlFlow {
  OpInfo info;
  std::shared_ptr<RegionGraph> first, second;
  bool loop = false;
  int64_t variables = 0, maximum = -1;

  Inputs of_first(Inputs in) const {
    return loop ? in.subspan(size_t(variables), first->inputs() - size_t(variables))
                : in.subspan(1, first->inputs());
  }
  Inputs of_second(Inputs in) const {
    return loop ? in.subspan(first->inputs()) : in.subspan(1 + first->inputs());
  }
};
struct Held {
  std::shared_ptr<const ControlFlow> node;
};
const ControlFlow& node_of(const void* op) { return *static_cast<const Held*>(op)->node; }

bool truth(const Tensor& t) {
  require<ShapeError>(t.numel() == 1, "cond(): the condition has shape ", t.shape(),
                      ", it needs one element");
  return t.item<double>() != 0;
}

Tensors joined(Inputs a, Inputs b) {
  Tensors all(a.begin(), a.end());
  for (const Tensor& t : b) all.push_back(t);
  return all;
}

void infer_regions(const void* op, Specs in, Spec* out) {
  const ControlFlow& n = node_of(op);
  std::vector<Spec> specs;
  for (int i = 0; i < in.size(); ++i) specs.push_back(in[i]);
  std::span<const Spec> all(specs);
  if (n.loop) {
    std::copy_n(specs.begin(), n.variables, out);
    const auto next = n.first->infer(all.first(n.first->inputs()));
    for (size_t i = 0; i < next.size(); ++i)
      require<ShapeError>(next[i] == specs[i], "while_loop(): the body makes variable ", i, " a ",
                          to_string(next[i]), ", it was a ", to_string(specs[i]));
    return;
  }
  const auto yes = n.first->infer(all.subspan(1, n.first->inputs()));
  const auto no = n.second->infer(all.subspan(1 + n.first->inputs()));
  for (size_t i = 0; i < yes.size(); ++i) {
    require<ShapeError>(yes[i] == no[i], "cond(): result ", i, " is ", to_string(yes[i]),
                        " in one branch and ", to_string(no[i]), " in the other");
    out[i] = yes[i];
  }
}

/// Calls step(variables) once an iteration with what the body starts from; gives the final ones.
template <class Step>
Tensors iterate(const ControlFlow& n, Inputs in, Step step) {
  Tensors vars(in.begin(), in.begin() + std::ptrdiff_t(n.variables));
  const Inputs body = n.of_first(in), condition = n.of_second(in);
  for (int64_t i = 0; n.maximum < 0 || i < n.maximum; ++i) {
    const Tensors c = joined(vars, condition);
    if (!truth(n.second->run(Inputs(c.data(), c.size()))[0])) break;
    step(vars);
    const Tensors b = joined(vars, body);
    vars = n.first->run(Inputs(b.data(), b.size()));
  }
  return vars;
}

void run_regions(const void* op, Inputs in, Outputs out) {
  const ControlFlow& n = node_of(op);
  Tensors results;
  if (n.loop) results = iterate(n, in, [](const Tensors&) {});
  else if (truth(in[0])) results = n.first->run(n.of_first(in));
  else results = n.second->run(n.of_second(in));
  for (size_t i = 0; i < out.size(); ++i) detail::copy_data(out[i], results[i]);
}

/// The gradients of a graph's results by its floating inputs, written in ops: zeros where there is
/// no path. `dy` has a gradient for each floating result.
Tensors region_gradients(const Graph& g, Inputs in, Inputs dy) {
  const EnableGrad on;
  Tensors leaves, wanted, outs, given;
  for (const Tensor& t : in) {
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
    if (t.requires_grad()) {
      outs.push_back(t);
      given.push_back(dy[k]);
    }
    ++k;
  }
  Tensors found(wanted.size());
  if (!outs.empty() && !wanted.empty())
    found = grad({outs.data(), outs.size()}, {wanted.data(), wanted.size()},
                 {given.data(), given.size()}, {.allow_unused = true});
  const NoGrad off;
  for (size_t i = 0; i < found.size(); ++i)
    if (!found[i].defined()) found[i] = zeros_like(wanted[i]);
  return found;
}

Tensors defined_gradients(const Tensors& dy, const std::vector<Spec>& specs) {
  Tensors all;
  for (size_t i = 0; i < dy.size(); ++i)
    if (is_floating(specs[i].dtype))
      all.push_back(dy[i].defined() ? dy[i] : zeros(specs[i].shape, specs[i].dtype));
  return all;
}

Tensors while_gradients(const std::shared_ptr<const ControlFlow>& n, Inputs in, const Tensors& dy);

void regions_vjp(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx) {
  const auto& held = static_cast<const Held*>(op)->node;
  const ControlFlow& n = *held;
  Tensors in;
  std::vector<Spec> results;
  for (int i = 0; i < saved.size(); ++i) in.push_back(saved.in(i));
  for (ValueId id : n.first->graph()->outputs())
    results.push_back(n.first->graph()->value(id).spec);
  const Tensors given = defined_gradients(dy, results);
  const Inputs all(in.data(), in.size());
  Tensors found;
  if (n.loop) {
    found = while_gradients(held, all, given);
  } else {
    auto zeros_of = [](Inputs list) {
      Tensors z;
      for (const Tensor& t : list)
        if (is_floating(t.dtype())) z.push_back(zeros_like(t));
      return z;
    };
    const Inputs a = n.of_first(all), b = n.of_second(all), d(given.data(), given.size());
    const auto both = cond(
        in[0], [&] { return joined(region_gradients(*n.first->graph(), a, d), zeros_of(b)); },
        [&] { return joined(zeros_of(a), region_gradients(*n.second->graph(), b, d)); });
    found = Tensors(both.begin(), both.end());
    dx.push_back(Tensor());
  }
  size_t k = 0;
  for (size_t i = dx.size(); i < in.size(); ++i)
    dx.push_back(is_floating(in[i].dtype()) ? found[k++] : Tensor());
}

OpInfo make_row(std::string_view name, int outputs) {
  OpInfo r{};
  r.name = name;
  r.inputs = "x...";
  r.min_inputs = 0;
  r.max_inputs = 1 << 16;
  r.outputs = outputs;
  r.size = sizeof(Held);
  r.align = alignof(Held);
  r.infer = infer_regions;
  r.cpu = run_regions;
  r.copy = [](void* to, const void* from) { new (to) Held(*static_cast<const Held*>(from)); };
  r.destroy = [](void* op) { static_cast<Held*>(op)->~Held(); };
  r.print = [](const void* op) { return cat(node_of(op).info.name, "()"); };
  r.hash = [](const void* op) { return uint64_t(reinterpret_cast<uintptr_t>(&node_of(op))); };
  r.equal = [](const void* a, const void* b) { return &node_of(a) == &node_of(b); };
  r.visit = [](void*, FieldVisitor&) {};
  return r;
}

std::shared_ptr<ControlFlow> make_node(bool loop, std::shared_ptr<Graph> first,
                                       std::shared_ptr<Graph> second) {
  auto n = std::make_shared<ControlFlow>();
  n->info = make_row(loop ? "while_loop" : "cond", int(first->outputs().size()));
  n->info.differentiable = true;
  n->info.vjp = regions_vjp;
  n->info.saves.in.bits = ~0u;
  n->loop = loop;
  n->first = std::make_shared<RegionGraph>(std::move(first));
  n->second = std::make_shared<RegionGraph>(std::move(second));
  return n;
}

Tensors record(const std::shared_ptr<const ControlFlow>& n, const Tensors& in) {
  // The tape lists what it saves in 32 bits.
  require<NotImplemented>(in.size() <= 32, n->info.name, "(): ", in.size(),
                          " tensors from outside are used, more than 32");
  const Held op{n};
  return detail::apply_all(n->info, &op, in.data(), int(in.size()));
}

/// The gradient of a loop as a node: forward once more, keeping every iteration's variables, then
/// backward through the body's gradient. Inputs: those of the loop, then gradients of its floating
/// variables. Outputs: one for each floating input of the loop.
struct LoopGradient {
  OpInfo info;
  std::shared_ptr<const ControlFlow> loop;
  std::shared_ptr<RegionGraph> body;  ///< of (body's inputs, gradients) to the gradients
};
struct HeldGradient {
  std::shared_ptr<const LoopGradient> node;
};
const LoopGradient& gradient_of(const void* op) {
  return *static_cast<const HeldGradient*>(op)->node;
}

void infer_loop_gradient(const void* op, Specs in, Spec* out) {
  const ControlFlow& n = *gradient_of(op).loop;
  const int inputs = int(n.first->inputs() + n.second->inputs()) - int(n.variables);
  for (int i = 0, k = 0; i < inputs; ++i)
    if (is_floating(in[i].dtype)) out[k++] = in[i];
}

void run_loop_gradient(const void* op, Inputs in, Outputs out) {
  const LoopGradient& g = gradient_of(op);
  const ControlFlow& n = *g.loop;
  const size_t inputs = n.first->inputs() + n.second->inputs() - size_t(n.variables);
  const Inputs loop_in = in.first(inputs), body_in = n.of_first(loop_in);
  Tensors d(in.begin() + std::ptrdiff_t(inputs), in.end());
  std::vector<Tensors> history;
  iterate(n, loop_in, [&](const Tensors& vars) { history.push_back(vars); });
  const size_t n_vars = d.size();
  Tensors outer;  // gradients of what the body uses besides
  for (const Tensor& t : body_in)
    if (is_floating(t.dtype())) outer.push_back(zeros_like(t));
  for (size_t i = history.size(); i-- > 0;) {
    Tensors args = joined(joined(history[i], body_in), d);
    const Tensors step = g.body->run({args.data(), args.size()});
    for (size_t k = 0; k < n_vars; ++k) d[k] = step[k];
    for (size_t k = 0; k < outer.size(); ++k) outer[k] = outer[k] + step[n_vars + k];
    history.pop_back();
  }
  size_t k = 0;
  for (const Tensor& t : d) detail::copy_data(out[k++], t);
  for (const Tensor& t : outer) detail::copy_data(out[k++], t);
  // The condition is not differentiable.
  for (; k < out.size(); ++k) detail::copy_data(out[k], zeros_like(out[k]));
}

Tensors while_gradients(const std::shared_ptr<const ControlFlow>& n, Inputs in, const Tensors& dy) {
  auto g = Graph::make();
  const Graph& body = *n->first->graph();
  {
    const detail::CaptureScope scope(*g);
    Tensors inputs, given;
    for (size_t i = 0; i < body.inputs().size(); ++i)
      inputs.push_back(g->input(cat("in", i), body.value(body.inputs()[i]).spec));
    for (size_t i = 0; i < dy.size(); ++i) given.push_back(g->input(cat("d", i), dy[i].spec()));
    const Tensors found =
        region_gradients(body, {inputs.data(), inputs.size()}, {given.data(), given.size()});
    for (size_t i = 0; i < found.size(); ++i) g->output(cat("g", i), found[i]);
  }
  auto node = std::make_shared<LoopGradient>();
  int outputs = 0;
  for (const Tensor& t : in) outputs += is_floating(t.dtype());
  node->info = make_row("while_loop_grad", outputs);
  node->info.not_differentiable = "the gradient of a recorded loop has no further gradient";
  node->info.infer = infer_loop_gradient;
  node->info.cpu = run_loop_gradient;
  node->info.copy = [](void* to, const void* from) {
    new (to) HeldGradient(*static_cast<const HeldGradient*>(from));
  };
  node->info.destroy = [](void* op) { static_cast<HeldGradient*>(op)->~HeldGradient(); };
  node->info.print = [](const void*) { return std::string("while_loop_grad()"); };
  node->info.hash = [](const void* op) {
    return uint64_t(reinterpret_cast<uintptr_t>(&gradient_of(op)));
  };
  node->info.equal = [](const void* a, const void* b) {
    return &gradient_of(a) == &gradient_of(b);
  };
  node->loop = n;
  node->body = std::make_shared<RegionGraph>(std::move(g));
  const HeldGradient op{node};
  const Tensors args = joined(in, {dy.data(), dy.size()});
  return detail::apply_all(node->info, &op, args.data(), int(args.size()));
}

/// Records a region; `arguments` become its first inputs.
std::shared_ptr<Graph> trace(Recorder& parent, bool repeats, detail::Region& region,
                             const Tensors& arguments) {
  auto g = Graph::make_region(parent, repeats);
  const detail::CaptureScope scope(*g);
  const NoGrad off;
  Tensors inside;
  for (size_t i = 0; i < arguments.size(); ++i)
    inside.push_back(g->input(cat("in", i), arguments[i].spec()));
  const Tensors out = region.run(inside);
  for (size_t i = 0; i < out.size(); ++i) {
    require(out[i].defined(), "cond() and while_loop(): result ", i, " is undefined");
    g->output(cat("out", i), out[i]);
  }
  return g;
}

Recorder* recorder_of(const Tensor& t) {
  if (detail::modes & Modes::capture) return detail::capturing;
  return t.is_symbolic() ? t.impl()->extras->recorder.get() : nullptr;
}

}  // namespace

bool has_regions(const OpInfo& info) { return info.infer == infer_regions; }

Regions regions_of(const void* op) {
  const ControlFlow& n = node_of(op);
  return {n.loop, n.variables, n.maximum, n.first->graph(), n.second->graph()};
}

std::shared_ptr<void> specialise_regions(const OpInfo& info, const void* op,
                                         std::span<const AxisLength> lengths, const OpInfo*& row) {
  const ControlFlow& n = node_of(op);
  auto fresh = make_node(n.loop, specialise(*n.first->graph(), lengths),
                         specialise(*n.second->graph(), lengths));
  fresh->variables = n.variables;
  fresh->maximum = n.maximum;
  row = &fresh->info;
  const Held held{fresh};
  (void)info;
  return copy_record(fresh->info, &held);
}

}  // namespace graph

namespace detail {

using graph::ControlFlow;
using graph::Graph;

Tensors run_cond(const Tensor& condition, Region& yes, Region& no) {
  require<ShapeError>(condition.numel() == 1, "cond(): the condition has shape ", condition.shape(),
                      ", it needs one element");
  Recorder* parent = graph::recorder_of(condition);
  if (!parent) return graph::truth(condition) ? yes.run({}) : no.run({});
  const auto a = graph::trace(*parent, false, yes, {}), b = graph::trace(*parent, false, no, {});
  require(a->outputs().size() == b->outputs().size(), "cond(): one branch gives ",
          a->outputs().size(), " results, the other ", b->outputs().size());
  const auto node = graph::make_node(false, a, b);
  Tensors in{condition};
  for (const Tensor& t : a->outer()) in.push_back(t);
  for (const Tensor& t : b->outer()) in.push_back(t);
  a->forget_outer();
  b->forget_outer();
  return graph::record(node, in);
}

Tensors run_while(Region& condition, Region& body, Tensors variables, LoopOptions options) {
  Recorder* parent = modes & Modes::capture ? capturing : nullptr;
  for (const Tensor& t : variables)
    if (!parent && t.is_symbolic()) parent = t.impl()->extras->recorder.get();
  if (!parent) {
    for (int64_t i = 0; options.maximum_iterations < 0 || i < options.maximum_iterations; ++i) {
      if (!graph::truth(condition.run(variables)[0])) break;
      Tensors next = body.run(variables);
      require(next.size() == variables.size(), "while_loop(): the body gives ", next.size(),
              " variables for ", variables.size());
      for (size_t k = 0; k < next.size(); ++k)
        require<ShapeError>(
            next[k].spec() == variables[k].spec(), "while_loop(): the body makes variable ", k,
            " a ", to_string(next[k].spec()), ", it was a ", to_string(variables[k].spec()));
      variables = std::move(next);
    }
    return variables;
  }
  const auto b = graph::trace(*parent, true, body, variables);
  const auto c = graph::trace(*parent, true, condition, variables);
  require(b->outputs().size() == variables.size(), "while_loop(): the body gives ",
          b->outputs().size(), " variables for ", variables.size());
  const auto node = graph::make_node(true, b, c);
  node->variables = int64_t(variables.size());
  node->maximum = options.maximum_iterations;
  Tensors in = variables;
  for (const Tensor& t : b->outer()) in.push_back(t);
  for (const Tensor& t : c->outer()) in.push_back(t);
  b->forget_outer();
  c->forget_outer();
  return graph::record(node, in);
}

Tensor is_number(const Tensor& index, int64_t n) { return index == Tensor(n); }

Tensor run_fold(Fold kind, Region& f, const Tensor& elements, const Tensor& start) {
  const int64_t n = elements.size(0);
  const bool symbolic = (modes & Modes::capture) || elements.is_symbolic() ||
                        (start.defined() && start.is_symbolic());
  auto call = [&](const Tensor& acc, const Tensor& x) {
    Tensors out = kind == Fold::map ? f.run({x}) : f.run({acc, x});
    return Tensor(out[0]);
  };
  const bool keeps = kind == Fold::scan || kind == Fold::map;
  if (!symbolic) {
    Tensor acc = start;
    std::vector<Tensor> steps;
    for (int64_t i = 0; i < n; ++i) {
      acc = call(acc, elements.select(0, kind == Fold::right ? n - 1 - i : i));
      if (keeps) steps.push_back(acc);
    }
    require(!keeps || n > 0, "scan() and map_fn(): there are no elements");
    return keeps ? stack(steps, 0) : acc;
  }
  // A loop over (i, accumulator, results so far).
  auto element = [&](const Tensor& i) {
    return index_select(elements, 0, i.reshape({1})).reshape([&] {
      Shape s = elements.shape();
      s.erase(0);
      return s;
    }());
  };
  const Tensor first = kind == Fold::right ? Tensor(n - 1) : Tensor(int64_t(0));
  const Tensor step = kind == Fold::right ? Tensor(int64_t(-1)) : Tensor(int64_t(1));
  const Tensor begin = full({1}, kind == Fold::right ? n - 1 : 0, i64);
  auto going = [&](const Tensor& i) {
    const Tensor at = i.reshape({});
    return kind == Fold::right ? at >= Tensor(int64_t(0)) : at < Tensor(n);
  };
  std::vector<Tensor> vars{begin};
  if (kind != Fold::map) vars.push_back(start);
  if (keeps) {
    // The shape of one result, from a trial on values that nobody uses.
    const Tensor one = call(start, element(begin));
    Shape s = one.shape();
    s.insert(0, n);
    vars.push_back(zeros(s, one.dtype()));
  }
  const auto last =
      while_loop([&](const Tensors& v) { return going(v[0]); },
                 [&](const Tensors& v) {
                   const Tensor acc = call(kind == Fold::map ? Tensor() : v[1], element(v[0]));
                   Tensors next{v[0] + step};
                   if (kind != Fold::map) next.push_back(acc);
                   if (keeps) next.push_back(index_put(v[v.size() - 1], {v[0]}, acc.unsqueeze(0)));
                   return next;
                 },
                 vars);
  return keeps ? last.back() : last[1];
}

}  // namespace detail
}  // namespace tandem
