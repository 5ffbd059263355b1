#include "tandem/graph/control_flow.h"

#include <algorithm>

#include "tandem/autograd/autograd.h"
#include "tandem/autograd/taken.h"
#include "tandem/core/factory.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/control_flow_node.h"
#include "tandem/graph/passes.h"
#include "tandem/op/copy.h"
#include "tandem/op/gate.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem {
namespace graph {

Tensors RegionGraph::run(Inputs inputs) const {
  const auto fitted = [&] {
    std::vector<Spec> specs;
    for (const Tensor& t : inputs) specs.push_back(t.spec());
    return with_input_specs(*graph_, specs);
  };
  if (detail::modes & Modes::anomaly) [[unlikely]] {
    const auto g = fitted();
    make_watchable(*g);
    return Plan(g, true).run(inputs);
  }
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
    const auto g = fitted();
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

bool truth(const Tensor& t) {
  require<ShapeError>(t.numel() == 1, "cond(): the condition has shape ", t.shape(),
                      ", it needs one element");
  return t.item<double>() != 0;
}

OpInfo region_row(std::string_view name, int outputs) {
  OpInfo r{};
  r.name = name;
  r.inputs = "x...";
  r.min_inputs = 0;
  r.max_inputs = 1 << 16;
  r.all_defined = true;
  r.outputs = outputs;
  r.differentiable = true;
  r.keeps_values = true;
  r.saves.in.bits = ~0u;
  r.size = sizeof(std::shared_ptr<void>);
  r.align = alignof(std::shared_ptr<void>);
  r.visit = [](void*, FieldVisitor&) {};
  return r;
}

namespace {

void infer_regions(const void* op, Specs in, Spec* out) {
  const ControlFlow& n = node_of(op);
  std::vector<Spec> specs;
  for (int i = 0; i < in.size(); ++i) specs.push_back(in[i]);
  std::span<const Spec> all(specs);
  if (n.loop) {
    std::copy_n(specs.begin(), n.variables, out);
    const auto next = n.first->infer(all.first(n.first->inputs()));
    for (size_t i = 0; i < next.size(); ++i)
      require<ShapeError>(detail::may_equal(next[i], specs[i]),
                          "while_loop(): the body makes variable ", i, " a ", next[i],
                          ", it was a ", specs[i]);
    return;
  }
  const auto yes = n.first->infer(all.subspan(1, n.first->inputs()));
  const auto no = n.second->infer(all.subspan(1 + n.first->inputs()));
  for (size_t i = 0; i < yes.size(); ++i) {
    require<ShapeError>(detail::may_equal(yes[i], no[i]), "cond(): result ", i, " is ", yes[i],
                        " in one branch and ", no[i], " in the other");
    out[i] = yes[i];
  }
}

void run_regions(const void* op, Inputs in, Outputs out) {
  const ControlFlow& n = node_of(op);
  Tensors results;
  if (n.loop) results = iterate(n, in, [](const Tensors&) {});
  else if (truth(in[0])) results = n.first->run(n.of_first(in));
  else results = n.second->run(n.of_second(in));
  for (size_t i = 0; i < out.size(); ++i) detail::copy_data(out[i], results[i]);
}

}  // namespace

Graph* as_graph(Recorder* recorder) {
  auto* g = dynamic_cast<Graph*>(recorder);
  require<Error>(g || !recorder, "cond() and while_loop(): recorded by something that is no graph");
  return g;
}

std::shared_ptr<ControlFlow> make_node(bool loop, std::shared_ptr<Graph> first,
                                       std::shared_ptr<Graph> second) {
  auto n = std::make_shared<ControlFlow>();
  n->info = region_row(loop ? "while_loop" : "cond", int(first->outputs().size()));
  OpInfo& r = n->info;
  r.infer = infer_regions;
  r.cpu = run_regions;
  r.vjp = regions_vjp;
  r.misses_gradients = true;
  r.copy = [](void* to, const void* from) { new (to) Held(*static_cast<const Held*>(from)); };
  r.destroy = [](void* op) { static_cast<Held*>(op)->~Held(); };
  r.print = [](const void* op) { return cat(node_of(op).info.name, "()"); };
  r.hash = [](const void* op) { return uint64_t(reinterpret_cast<uintptr_t>(&node_of(op))); };
  r.equal = [](const void* a, const void* b) { return &node_of(a) == &node_of(b); };
  n->loop = loop;
  n->first = std::make_shared<RegionGraph>(std::move(first));
  n->second = std::make_shared<RegionGraph>(std::move(second));
  return n;
}

namespace {

Tensors record(Graph& parent, const std::shared_ptr<const ControlFlow>& n, Tensors in) {
  const Held op{n};
  // The gradient takes the values that tensors have now, whatever is written to them later.
  for (Tensor& t : in)
    if (!t.is_symbolic() && !t.requires_grad() && !t.impl()->has(TensorImpl::wrapped_number))
      t = parent.handle(parent.id_of(t));
  return detail::apply_all(n->info, &op, in.data(), int(in.size()));
}

/// Records a region; `arguments` become its first inputs.
std::shared_ptr<Graph> trace(Graph& parent, detail::Region& region, const Tensors& arguments) {
  auto g = Graph::make_region(parent);
  const detail::CaptureScope scope(*g);
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

Graph* recorder_of(const Tensor& t) {
  if (detail::modes & Modes::capture) return as_graph(detail::capturing);
  return t.is_symbolic() ? as_graph(t.impl()->extras->recorder.get()) : nullptr;
}

using Generators = std::vector<std::shared_ptr<Generator>>;
void add_generators(const Graph& region, Generators& all) {
  for (const RandomStream& s : region.streams())
    if (std::find(all.begin(), all.end(), s.generator) == all.end()) all.push_back(s.generator);
}
/// The next keys of those generators become inputs of the region, from position `at` on, and, when
/// `gives`, its last results.
void open_streams(Graph& region, const Generators& all, size_t at, bool gives) {
  for (size_t k = 0; k < all.size(); ++k) {
    ValueId first = -1, now = -1;
    for (const RandomStream& s : region.streams())
      if (s.generator == all[k]) {
        first = s.begin;
        now = s.now;
      }
    if (first < 0) first = now = region.add_value({{2}, i64, {}}, {}, ValueKind::input);
    auto& inputs = region.edit_inputs();
    inputs.insert(inputs.begin() + std::ptrdiff_t(at + k), first);
    if (gives) region.add_output(cat("stream", k), now);
  }
}
Tensors stream_keys(Graph& parent, const Generators& all) {
  Tensors keys;
  for (const auto& g : all) keys.push_back(parent.stream_key(*g));
  return keys;
}
/// The last results are the keys that come next.
void advance_streams(Graph& parent, const Generators& all, Tensors& results) {
  const size_t own = results.size() - all.size();
  for (size_t k = 0; k < all.size(); ++k) parent.advance_stream(*all[k], results[own + k]);
  results.resize(own);
}

/// The tensors from around the regions that one of them writes.
std::vector<Tensor> written_by(const Graph& a, const Graph& b) {
  std::vector<Tensor> all = a.written();
  for (const Tensor& t : b.written()) {
    auto same = [&](const Tensor& have) {
      return have.raw_data() == t.raw_data() && have.spec() == t.spec() &&
             have.strides() == t.strides();
    };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(t);
  }
  return all;
}
/// What they hold in the end becomes the last results of the region.
void give_written(Graph& region, const std::vector<Tensor>& written) {
  for (size_t k = 0; k < written.size(); ++k)
    region.add_output(cat("written", k), region.last_value(written[k]));
  region.edit_assignments().clear();
}
/// The last results are written to the tensors; by `effects`, when another one is fetched.
void take_written(Graph& parent, const std::vector<Tensor>& written, bool effects,
                  Tensors& results) {
  const size_t own = results.size() - written.size();
  const bool on_fetch = effects && !parent.is_region();
  std::vector<Assignment> all;
  for (size_t k = 0; k < written.size(); ++k) {
    if (on_fetch) all.push_back({parent.capture(written[k]), parent.id_of(results[own + k])});
    else parent.assign(written[k], results[own + k]);
  }
  results.resize(own);
  if (effects && parent.is_region()) parent.set_effects();
  if (!on_fetch) return;
  for (Tensor& t : results) {
    const ValueId id = parent.id_of(t);
    const Tensor effect = parent.effect({.assignments = all, .also = {}, .value = id});
    detail::bind_symbolic(t, parent.shared_from_this(), parent.id_of(effect));
  }
}

}  // namespace

bool has_regions(const OpInfo& info) { return info.infer == infer_regions; }

Regions regions_of(const void* op) {
  const ControlFlow& n = node_of(op);
  return {n.loop, n.variables, n.maximum, n.first->graph(), n.second->graph()};
}

std::shared_ptr<void> specialise_regions(const OpInfo& info, const void* op,
                                         const LengthValues& lengths, const OpInfo*& row) {
  const bool gradient = is_loop_gradient(info);
  const ControlFlow& n = gradient ? *loop_derivative(op).loop : node_of(op);
  auto fresh = make_node(n.loop, specialise(*n.first->graph(), lengths),
                         specialise(*n.second->graph(), lengths));
  fresh->variables = n.variables;
  fresh->maximum = n.maximum;
  if (gradient) return with_loop(op, fresh, lengths, row);
  row = &fresh->info;
  const Held held{fresh};
  return copy_record(fresh->info, &held);
}

bool same_control_flow(const ControlFlow& a, const ControlFlow& b) {
  std::string why;
  return a.loop == b.loop && a.variables == b.variables && a.maximum == b.maximum &&
         same_program(*a.first->graph(), *b.first->graph(), why) &&
         same_program(*a.second->graph(), *b.second->graph(), why);
}

bool same_regions(const Node& a, const Node& b) {
  if (has_regions(*a.info) && has_regions(*b.info))
    return same_control_flow(node_of(a.op.get()), node_of(b.op.get()));
  return is_loop_gradient(*a.info) && is_loop_gradient(*b.info) &&
         same_loop_gradient(a.op.get(), b.op.get());
}

}  // namespace graph

namespace detail {

using graph::ControlFlow;
using graph::Graph;

namespace {

/// What comes out of a region is nobody else's, as in a graph: writing to it reaches no tensor from
/// around the region.
Tensors separate(Tensors results) {
  auto shared = [](const TensorImpl& t) {
    const uint32_t by_tape = uint32_t(t.saved.load(std::memory_order_relaxed));
    return t.refs.load(std::memory_order_relaxed) - by_tape > 1;
  };
  for (Tensor& r : results) {
    if (!r.defined() || r.is_symbolic()) continue;
    const TensorImpl& t = *r.impl();
    const bool looks =
        t.base ? shared(*t.base)
               : !t.node && t.storage && t.storage->refs.load(std::memory_order_relaxed) > 1;
    if (looks || shared(t)) r = r.clone();
  }
  return results;
}

}  // namespace

Tensors run_cond(const Tensor& condition, Region& yes, Region& no) {
  require<ShapeError>(detail::may_equal(condition.numel(), 1), "cond(): the condition has shape ",
                      condition.shape(), ", it needs one element");
  Graph* parent = graph::recorder_of(condition);
  if (!parent) return separate(graph::truth(condition) ? yes.run({}) : no.run({}));
  const auto a = graph::trace(*parent, yes, {}), b = graph::trace(*parent, no, {});
  require(a->outputs().size() == b->outputs().size(), "cond(): one branch gives ",
          a->outputs().size(), " results, the other ", b->outputs().size());
  graph::Generators generators;
  graph::add_generators(*a, generators);
  graph::add_generators(*b, generators);
  const Tensors keys = graph::stream_keys(*parent, generators);
  const std::vector<Tensor> written = graph::written_by(*a, *b);
  Tensors in{condition};
  for (const auto& region : {a, b}) {
    graph::open_streams(*region, generators, 0, true);
    graph::give_written(*region, written);
    for (const Tensor& t : keys) in.push_back(t);
    for (const Tensor& t : region->outer()) in.push_back(t);
    region->forget_outer();
  }
  Tensors results = graph::record(*parent, graph::make_node(false, a, b), in);
  graph::take_written(*parent, written, a->has_effects() || b->has_effects(), results);
  graph::advance_streams(*parent, generators, results);
  return results;
}

namespace {

/// A condition that draws random numbers or writes: what it says is a variable, asked for ahead of
/// the loop and at the end of each step, as often as in plain code.
Tensors while_condition_acts(Graph& parent, Region& condition, Region& body, Tensors variables,
                             LoopOptions options) {
  const int64_t most = options.maximum_iterations;
  const CaptureScope scope(parent);
  if (most == 0) {
    for (Tensor& t : variables) t = t.clone();
    return variables;
  }
  const size_t n = variables.size();
  auto holds = [&](const Tensors& v) {
    const Tensor c = condition.run(v)[0];
    require<ShapeError>(detail::may_equal(c.numel(), 1), "while_loop(): the condition has shape ",
                        c.shape(), ", it needs one element");
    return c.reshape({}).to(boolean);
  };
  variables.push_back(holds(variables));
  variables.push_back(full({}, 1, i64));  // the number of the step
  auto going = [&](const Tensors& v) { return v[n]; };
  auto step = [&](const Tensors& v) {
    Tensors own(v.begin(), v.begin() + std::ptrdiff_t(n));
    Tensors next = body.run(own);
    require(next.size() == n, "while_loop(): the body gives ", next.size(), " variables for ", n);
    own = next;
    next.push_back(most < 0 ? holds(own)
                            : cond(
                                  v[n + 1] < Tensor(most), [&] { return holds(own); },
                                  [] { return zeros({}, boolean); }));
    next.push_back(v[n + 1] + Tensor(int64_t(1)));
    return next;
  };
  RegionOf<decltype(going)> c(going);
  RegionOf<decltype(step)> b(step);
  Tensors results = run_while(c, b, std::move(variables), {});
  results.resize(n);
  return results;
}

}  // namespace

Tensors run_while(Region& condition, Region& body, Tensors variables, LoopOptions options) {
  Graph* parent = modes & Modes::capture ? graph::as_graph(capturing) : nullptr;
  for (const Tensor& t : variables)
    if (!parent) parent = graph::recorder_of(t);
  if (!parent) {
    for (int64_t i = 0; options.maximum_iterations < 0 || i < options.maximum_iterations; ++i) {
      if (!graph::truth(condition.run(variables)[0])) break;
      Tensors next = body.run(variables);
      require(next.size() == variables.size(), "while_loop(): the body gives ", next.size(),
              " variables for ", variables.size());
      for (size_t k = 0; k < next.size(); ++k)
        require<ShapeError>(next[k].spec() == variables[k].spec(),
                            "while_loop(): the body makes variable ", k, " a ", next[k].spec(),
                            ", it was a ", variables[k].spec());
      variables = std::move(next);
    }
    return separate(std::move(variables));
  }
  const auto b = graph::trace(*parent, body, variables);
  const auto c = graph::trace(*parent, condition, variables);
  require(b->outputs().size() == variables.size(), "while_loop(): the body gives ",
          b->outputs().size(), " variables for ", variables.size());
  if (!c->streams().empty() || !c->written().empty())
    return while_condition_acts(*parent, condition, body, std::move(variables), options);
  graph::Generators generators;
  graph::add_generators(*b, generators);
  graph::open_streams(*b, generators, variables.size(), true);
  graph::open_streams(*c, generators, variables.size(), false);
  Tensors in =
      graph::joined({variables.data(), variables.size()}, graph::stream_keys(*parent, generators));
  const std::vector<Tensor> written = b->written();
  graph::give_written(*b, written);
  for (const Tensor& t : written) {
    for (const auto& region : {b, c}) {
      const graph::ValueId id = region->take_outer(t);
      auto& inputs = region->edit_inputs();
      inputs.insert(inputs.begin() + std::ptrdiff_t(in.size()), id);
    }
    in.push_back(t);
  }
  const auto node = graph::make_node(true, b, c);
  node->variables = int64_t(in.size());
  node->maximum = options.maximum_iterations;
  for (const auto& region : {b, c}) {
    for (const Tensor& t : region->outer()) in.push_back(t);
    region->forget_outer();
  }
  Tensors results = graph::record(*parent, node, in);
  graph::take_written(*parent, written, b->has_effects(), results);
  graph::advance_streams(*parent, generators, results);
  return results;
}

Tensor is_number(const Tensor& index, int64_t n) { return index == Tensor(n); }

Tensor run_fold(Fold kind, Region& f, const Tensor& elements, const Tensor& start) {
  const Length n = elements.size(0);
  Graph* parent = graph::recorder_of(elements);
  if (!parent && start.defined()) parent = graph::recorder_of(start);
  auto call = [&](const Tensor& acc, const Tensor& x) {
    Tensors out = kind == Fold::map ? f.run({x}) : f.run({acc, x});
    return Tensor(out[0]);
  };
  const bool keeps = kind == Fold::scan || kind == Fold::map;
  if (!parent) {
    Tensor acc = start;
    std::vector<Tensor> steps;
    for (int64_t i = 0; i < n; ++i) {
      const Tensor next =
          call(acc, elements.select(0, kind == Fold::right ? n - 1 - i : Length(i)));
      if (kind != Fold::map)
        require<ShapeError>(next.spec() == acc.spec(),
                            kind == Fold::left    ? "foldl"
                            : kind == Fold::right ? "foldr"
                                                  : "scan",
                            "(): f makes the accumulator a ", next.spec(), ", it was a ",
                            acc.spec());
      acc = next;
      if (keeps) steps.push_back(acc);
    }
    if (!keeps) return separate({acc})[0];
    if (n > 0) return stack(steps, 0);
    // Nothing, of the shape that one result would have: as in a graph, f is only recorded.
    Spec one = elements.spec();
    one.shape.erase(0);
    const auto trial = Graph::make();
    const Tensor element = trial->input("x", one);
    {
      const CaptureScope scope(*trial);
      const NoGrad off;
      one = call(start, element).spec();
    }
    one.shape.insert(0, 0);
    return separate({cast(reshape(elements, one.shape), one.dtype)})[0];
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
  const Tensor begin = full({1}, kind == Fold::right ? n - 1 : Length(0), i64);
  auto going = [&](const Tensor& i) {
    const Tensor at = i.reshape({});
    return kind == Fold::right ? at >= Tensor(int64_t(0)) : at < Tensor(n);
  };
  std::vector<Tensor> vars{begin};
  if (kind != Fold::map) vars.push_back(start);
  if (keeps) {
    // The shape of one result, from a region that nobody uses.
    const auto trial = Graph::make_region(*parent);
    Spec one;
    {
      const CaptureScope scope(*trial);
      const NoGrad off;
      one = call(start, element(begin)).spec();
    }
    one.shape.insert(0, n);
    vars.push_back(zeros(one.shape, one.dtype));
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
