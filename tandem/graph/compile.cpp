#include "tandem/graph/compile.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <new>

#include "tandem/core/captured.h"
#include "tandem/core/set_data.h"
#include "tandem/core/short_text.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/backward.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/graph/specialise.h"
#include "tandem/op/copy.h"
#include "tandem/op/tape.h"
#include "tandem/ops/add.h"

namespace tandem::detail {
namespace {

using graph::AxisLength;
using graph::BackwardInstance;
using graph::Graph;
using graph::Plan;
using graph::ValueKind;

/// A gradient that the graph reads, by its leaf: each call may find another tensor there. The
/// graph's own handle looks at it; undefined where there was none.
struct GradientState {
  Tensor leaf, handle;

  const Tensor& now() const { return extras(*leaf.impl()).grad; }
  void look() const {
    if (!handle.defined()) return;
    TensorImpl& to = *handle.impl();
    const TensorImpl& from = *now().impl();
    if (to.storage != from.storage || to.data != from.data) set_data(handle, now());
  }
};

/// Whether an element of one may be an element of the other.
bool share_memory(const Tensor& a, const Tensor& b) {
  const TensorImpl &x = *a.impl(), &y = *b.impl();
  if (x.storage != y.storage || !x.numel || !y.numel) return false;
  auto end = [](const TensorImpl& t) {
    int64_t last = 0;
    for (int i = 0; i < t.spec.shape.size(); ++i) last += (t.spec.shape[i] - 1) * t.strides[i];
    return t.data + (last + 1) * itemsize(t.spec.dtype);
  };
  return x.data < end(y) && y.data < end(x);
}

/// The graph of a capture for arguments of certain shapes, ready to run.
struct Instance {
  std::vector<Shape> shapes;
  std::shared_ptr<Graph> graph;
  size_t results = 0;
  std::shared_ptr<const void> returned;  ///< by the function, without its tensors
  std::vector<size_t> input_gradients;   ///< arguments whose gradients follow the results
  std::vector<size_t> written;           ///< arguments whose new values follow these
  std::vector<bool> with_gradient;       ///< those of them that ops with a gradient wrote to
  std::vector<GradientState> gradients;
  std::shared_ptr<BackwardInstance> backward;
  /// What a call of one thread needs.
  struct Ready {
    Plan plan;
    std::vector<Tensor> operands;
  };
  std::atomic<Ready*> idle{nullptr};  ///< that no thread uses
  uint64_t used = 0;

  ~Instance() { delete idle.load(); }

  bool fits(const Leaves& in) const {
    if (shapes.size() != in.tensors.size()) return false;
    for (size_t k = 0; k < shapes.size(); ++k)
      if (!(shapes[k] == in.tensors[k].impl()->spec.shape)) return false;
    return true;
  }

  std::string explain() {
    std::unique_ptr<Ready> ready(idle.exchange(nullptr));
    if (!ready) return Plan(graph).explain();
    std::string text = ready->plan.explain();
    delete idle.exchange(ready.release());
    return text;
  }
};

/// One capture: the recorded graph, and an instance for each set of shapes that it has met.
struct Capture {
  std::vector<Spec> specs;  ///< of the arguments; an unknown axis has its stand-in
  std::vector<bool> needs_grad;
  std::string key;
  bool grad_mode = true;
  std::shared_ptr<Graph> graph;                     ///< as recorded
  std::shared_ptr<const graph::Backward> backward;  ///< through the results, as recorded
  std::vector<std::pair<Tensor, Spec>> states;      ///< and what was assumed of them
  std::vector<bool> states_need_grad;
  size_t results = 0;
  std::shared_ptr<const void> returned;  ///< by the function, without its tensors
  std::vector<size_t> input_gradients;   ///< arguments whose gradients follow the results
  std::vector<size_t> written;           ///< arguments whose new values follow these
  std::vector<bool> with_gradient;       ///< those of them that ops with a gradient wrote to
  std::vector<GradientState> gradients;
  std::string reason;
  std::vector<std::shared_ptr<Instance>> instances;
};

/// An instance that calls reach without a lock: a thread takes it out, and puts it back when done.
struct Hot {
  std::shared_ptr<const Capture> capture;
  std::shared_ptr<Instance> instance;
};

constexpr size_t most_instances = 32, hot_places = 4;
using Lengths = SmallVector<AxisLength, 8>;

}  // namespace

struct CompiledFunction::Impl {
  CompileOptions options;
  CallSite where;
  mutable std::mutex mutex;
  std::vector<std::shared_ptr<Capture>> captures;  ///< what mismatch() reads of one never changes
  std::array<std::atomic<Hot*>, hot_places> hot{};
  std::vector<GradientState> gradients;  ///< one handle a leaf for all captures
  uint64_t calls = 0;
  std::atomic<bool> profile{false};

  ~Impl() {
    for (auto& h : hot) delete h.load();
  }

  /// The place in `hot` of an instance for these arguments, which is taken out; -1 for none.
  int take(const Leaves& in, std::unique_ptr<Hot>& taken) {
    for (size_t k = 0; k < hot_places; ++k) {
      if (!hot[k].load(std::memory_order_relaxed)) continue;
      std::unique_ptr<Hot> h(hot[k].exchange(nullptr));
      if (!h) continue;
      Lengths lengths;
      if (h->instance->fits(in) && mismatch(*h->capture, in, false, true, lengths).empty()) {
        taken = std::move(h);
        return int(k);
      }
      delete hot[k].exchange(h.release());
    }
    return -1;
  }

  void check_memory(const Instance& i, const Leaves& in) const;
  std::string place() const { return cat(where.file, ":", where.line); }

  /// Whether `shape` is `pattern` with lengths for its unknown axes.
  static bool fits(const Shape& shape, const Shape& pattern, std::span<const int64_t> axes,
                   Lengths& lengths) {
    if (shape.size() != pattern.size()) return false;
    for (int i = 0; i < shape.size(); ++i) {
      if (shape[i] == pattern[i]) continue;
      if (std::find(axes.begin(), axes.end(), pattern[i]) == axes.end()) return false;
      const auto known = std::find_if(lengths.begin(), lengths.end(),
                                      [&](const AxisLength& l) { return l.first == pattern[i]; });
      if (known == lengths.end()) lengths.emplace_back(pattern[i], shape[i]);
      else if (known->second != shape[i]) return false;
    }
    return true;
  }

  /// Empty when the capture fits; else why not, in words when `explain`.
  std::string mismatch(const Capture& c, const Leaves& in, bool explain, bool shapes,
                       Lengths& lengths) const {
    auto no = [&](const auto&... text) { return explain ? cat(text...) : std::string("x"); };
    if (c.specs.size() != in.tensors.size())
      return no(in.tensors.size(), " tensors instead of ", c.specs.size());
    for (size_t i = 0; i < c.specs.size(); ++i) {
      const TensorImpl& t = *in.tensors[i].impl();
      const Spec& want = c.specs[i];
      const bool alike = t.spec.dtype == want.dtype && t.spec.device == want.device &&
                         t.spec.shape.size() == want.shape.size();
      if (!alike || (shapes && !fits(t.spec.shape, want.shape, c.graph->axes(), lengths)))
        return no("argument ", i, " is ", to_string(t.spec), " instead of ",
                  graph::to_string(want, c.graph->axes()));
      if (t.has(TensorImpl::needs_grad) != c.needs_grad[i])
        return no("argument ", i,
                  c.needs_grad[i] ? " requires no gradient now" : " requires a gradient now");
    }
    if (in.key != c.key) return no("an argument that is no tensor has another value");
    if (grad_enabled() != c.grad_mode)
      return no("gradients are switched ", c.grad_mode ? "off" : "on", " now");
    for (const auto& [flag, value] : c.graph->flags())
      if (*flag != value)
        return no("a module is in ", value ? "evaluation" : "training", " mode now");
    for (const GradientState& g : c.gradients) {
      const Tensor &now = g.now(), &was = g.handle;
      if (now.defined() != was.defined())
        return no("a gradient that the function reads ",
                  was.defined() ? "is undefined now" : "was undefined, and is not now");
      if (was.defined() &&
          !(now.impl()->spec == was.impl()->spec && now.impl()->strides == was.impl()->strides))
        return no("a gradient that the function reads was ", to_string(was.spec()), ", and is ",
                  to_string(now.spec()), " now");
    }
    for (size_t i = 0; i < c.states.size(); ++i) {
      const TensorImpl& now = *c.states[i].first.impl();
      const Spec& was = c.states[i].second;
      if (!(now.spec == was))
        return no("a captured ", to_string(was), " is ", to_string(now.spec), " now");
      if (now.has(TensorImpl::needs_grad) != c.states_need_grad[i])
        return no("a captured ", to_string(was), " requires ",
                  c.states_need_grad[i] ? "no gradient now" : "a gradient now");
    }
    return {};
  }

  /// Makes the state that is the gradient `was` of `leaf` whatever gradient it has at a call; the
  /// handle for it.
  Tensor follow(Capture& c, const Tensor& leaf, const Tensor& was) {
    GradientState g{leaf, {}};
    if (was.defined()) {
      for (const GradientState& k : gradients)
        if (k.leaf.is_same(leaf) && k.handle.spec() == was.spec() &&
            k.handle.strides() == was.strides())
          g = k;
      if (!g.handle.defined()) gradients.push_back(g = {leaf, alias(was)});
      for (graph::Value& v : c.graph->edit_values())
        if (v.kind == ValueKind::state && v.tensor.is_same(was)) v.tensor = g.handle;
    }
    c.gradients.push_back(g);
    return g.handle;
  }

  /// Records the function for arguments of these specs.
  std::unique_ptr<Capture> record(const Leaves& in, std::vector<Spec> specs, Trace& trace,
                                  const std::shared_ptr<Graph>& graph) {
    auto c = std::make_unique<Capture>();
    c->key = in.key;
    c->grad_mode = grad_enabled();
    c->graph = graph;
    c->specs = std::move(specs);
    Graph& g = *graph;
    Tensors arguments, symbolic, results;  // symbolic: what the function gets, and may write to
    std::vector<const Node*> histories;
    for (size_t i = 0; i < in.tensors.size(); ++i) {
      c->needs_grad.push_back(in.tensors[i].requires_grad());
      arguments.push_back(g.input(cat("in", i), c->specs[i]));
      if (in.tensors[i].requires_grad()) arguments.back().requires_grad_();
      const bool inner = in.tensors[i].requires_grad() && !in.tensors[i].is_leaf();
      symbolic.push_back(inner ? graph::with_history(arguments[i]) : arguments[i]);
      histories.push_back(symbolic[i].impl()->node);
    }
    const CaptureScope scope(g);
    const RecordedAt recorded_at(where);
    struct Writes {
      Graph& graph;
      ~Writes() { graph.forget_writes(); }
    } const writes{g};
    try {
      c->returned = trace.run(symbolic, results);
      for (size_t i = 0; i < results.size(); ++i) g.output(cat("out", i), results[i]);
    } catch (...) {
      g.take_gradients();
      throw;
    }
    c->results = results.size();
    for (size_t i = 0; i < symbolic.size(); ++i)
      if (Tensor d = arguments[i].grad(); d.defined()) {
        g.output(cat("grad_in", i), d);
        c->input_gradients.push_back(i);
        results.push_back(g.handle(g.id_of(d)));
      }
    for (size_t i = 0; i < symbolic.size(); ++i) {
      if (g.id_of(symbolic[i]) == g.inputs()[i]) continue;
      g.output(cat("written_in", i), symbolic[i]);
      const bool tape = c->grad_mode && symbolic[i].impl()->node != histories[i];
      c->written.push_back(i);
      c->with_gradient.push_back(tape);
      results.push_back(tape ? symbolic[i] : g.handle(g.id_of(symbolic[i])));
      if (tape && arguments[i].is_same(symbolic[i])) arguments[i] = g.handle(g.inputs()[i]);
    }
    g.take_gradients();
    g.end_streams();
    if (c->grad_mode)
      c->backward = graph::record_backward(g, {arguments.data(), arguments.size()},
                                           {results.data(), results.size()});
    for (const graph::GradientRead& r : g.gradients_read()) follow(*c, r.leaf, r.gradient);
    for (graph::GradientWrite& w : g.edit_gradients())
      if (w.accumulates) w.before = follow(*c, w.leaf, w.before);
    auto assume = [&](const Tensor& t) {
      for (const auto& [known, spec] : c->states)
        if (known.is_same(t)) return;
      c->states.emplace_back(t, t.spec());
      c->states_need_grad.push_back(t.requires_grad());
    };
    for (const graph::Value& v : g.values())
      if (v.kind == ValueKind::state) assume(v.tensor);
    if (c->backward)
      for (const graph::Operand& o : c->backward->operands)
        if (o.kind == graph::Operand::state) assume(o.tensor);
    return c;
  }

  /// Whether the function gives this graph for the lengths of `in` too: code may decide by a
  /// length, and has to be asked once for each.
  bool holds(const Capture& c, const Leaves& in, std::span<const AxisLength> lengths,
             Trace& trace) {
    std::vector<Spec> specs;
    for (const Tensor& t : in.tensors) specs.push_back(t.spec());
    const auto now = record(in, std::move(specs), trace, Graph::make());
    return same_structure(*specialise(*c.graph, lengths), *now->graph) &&
           same_gradient(c, *now, lengths);
  }

  /// The recorded graph for given lengths; it gives what the gradient will need as well.
  std::shared_ptr<Graph> for_lengths(const Capture& c, std::span<const AxisLength> lengths) const {
    auto ready = specialise(*c.graph, lengths);
    if (c.backward)
      for (graph::ValueId id : c.backward->values) ready->add_output("kept", id);
    optimize(*ready, options.deterministic);
    return ready;
  }

  static bool same_gradient(const Capture& wide, const Capture& c,
                            std::span<const AxisLength> before) {
    if (!wide.backward || !c.backward) return wide.backward == c.backward;
    return wide.backward->values == c.backward->values &&
           wide.backward->reads == c.backward->reads &&
           wide.backward->failed == c.backward->failed &&
           same_structure(*specialise(*wide.backward->graph, before), *c.backward->graph);
  }

  /// Records the function once more with unknown axes where `in` differs from `c` in length. It
  /// takes the capture's place when it gives the same graph for the first lengths as before.
  bool generalise(std::shared_ptr<Capture>& of, const Leaves& in, Trace& trace) {
    const Capture& c = *of;
    auto g = Graph::make();
    std::vector<Spec> specs = c.specs;
    std::vector<std::pair<AxisLength, int64_t>> known;  // (old, new), stand-in
    std::vector<AxisLength> before;
    for (size_t i = 0; i < specs.size(); ++i)
      for (int a = 0; a < specs[i].shape.size(); ++a) {
        int64_t& d = specs[i].shape[a];
        const int64_t now = in.tensors[i].shape()[a];
        const bool open =
            std::find(c.graph->axes().begin(), c.graph->axes().end(), d) != c.graph->axes().end();
        if (d == now && !open) continue;
        const AxisLength change{d, now};
        auto it = std::find_if(known.begin(), known.end(),
                               [&](const auto& k) { return k.first == change; });
        if (it == known.end()) {
          known.emplace_back(change, g->new_axis());
          it = std::prev(known.end());
          before.emplace_back(it->second, d);
        }
        d = it->second;
      }
    try {
      auto wide = record(in, std::move(specs), trace, g);
      // The stand-ins of an earlier generalisation are lengths like any other here.
      if (!same_structure(*specialise(*g, before), *c.graph) || !same_gradient(*wide, c, before))
        return false;
      wide->reason = c.reason;
      wide->instances = c.instances;
      of = std::move(wide);
      return true;
    } catch (const Error&) {
      return false;  // the code does not allow it; a capture of its own may work
    }
  }

  std::pair<std::shared_ptr<Capture>, Lengths> find(const Leaves& in, Trace& trace) {
    for (const bool ask : {false, true})
      for (size_t k = captures.size(); k-- > 0;) {
        const Capture& c = *captures[k];
        Lengths lengths;
        if (!mismatch(c, in, false, true, lengths).empty()) continue;
        const bool known =
            lengths.empty() || std::any_of(c.instances.begin(), c.instances.end(),
                                           [&](const auto& i) { return i->fits(in); });
        if (known || (ask && holds(c, in, lengths, trace)))
          return {captures[k], std::move(lengths)};
      }
    Lengths lengths;
    bool decided = false;
    for (size_t k = captures.size(); k-- > 0;) {
      if (!mismatch(*captures[k], in, false, false, lengths).empty() ||
          !generalise(captures[k], in, trace))
        continue;
      lengths.clear();
      if (!mismatch(*captures[k], in, false, true, lengths).empty()) continue;
      if (holds(*captures[k], in, lengths, trace)) return {captures[k], std::move(lengths)};
      decided = true;
    }
    std::string reason = "the first call";
    if (!captures.empty()) reason = mismatch(*captures.back(), in, true, true, lengths);
    if (decided) reason = "the function does something else for these lengths";
    require<Error>(int(captures.size()) < options.max_captures, "compile() at ", place(),
                   ": capture ", int64_t(captures.size()) + 1,
                   " is more than max_captures; the reason: ", reason);
    std::vector<Spec> specs;
    for (const Tensor& t : in.tensors) specs.push_back(t.spec());
    captures.push_back(record(in, std::move(specs), trace, Graph::make()));
    captures.back()->reason = cat(place(), ": ", reason);
    return {captures.back(), {}};
  }

  std::shared_ptr<Instance> instance(Capture& c, const Leaves& in,
                                     std::span<const AxisLength> lengths) {
    for (const auto& i : c.instances) {
      if (!i->fits(in)) continue;
      i->used = ++calls;
      return i;
    }
    if (c.instances.size() >= most_instances)
      c.instances.erase(
          std::min_element(c.instances.begin(), c.instances.end(),
                           [](const auto& a, const auto& b) { return a->used < b->used; }));
    auto fresh = std::make_shared<Instance>();
    for (const Tensor& t : in.tensors) fresh->shapes.push_back(t.shape());
    fresh->graph = for_lengths(c, lengths);
    if (c.backward)
      fresh->backward =
          std::make_shared<BackwardInstance>(c.backward, c.graph, lengths, options.deterministic);
    fresh->results = c.results;
    fresh->returned = c.returned;
    fresh->input_gradients = c.input_gradients;
    fresh->written = c.written;
    fresh->with_gradient = c.with_gradient;
    fresh->gradients = c.gradients;
    fresh->used = ++calls;
    c.instances.push_back(fresh);
    return fresh;
  }
};

/// A graph reads its arguments when a call begins: what it writes must be none of them.
void CompiledFunction::Impl::check_memory(const Instance& i, const Leaves& in) const {
  auto refuse = [&](size_t other, const std::string& what) {
    throw ValueError(cat("compile() at ", place(), ": argument ", int64_t(other),
                         " shares memory with ", what,
                         ", which the function writes to; give it a clone()"));
  };
  auto apart_from_state = [&](const Tensor& state, size_t k) {
    if (share_memory(state, in.tensors[k]))
      refuse(k, cat("a tensor from outside, ", to_string(state.spec())));
  };
  for (size_t k = 0; k < in.tensors.size(); ++k) {
    for (size_t w : i.written)
      if (w != k && share_memory(in.tensors[w], in.tensors[k]))
        refuse(k, cat("argument ", int64_t(w)));
    for (const graph::Assignment& a : i.graph->assignments())
      apart_from_state(i.graph->value(a.state).tensor, k);
  }
  for (size_t w : i.written)
    for (const graph::Value& v : i.graph->values())
      if (v.kind == ValueKind::state) apart_from_state(v.tensor, w);
}

CompiledFunction::CompiledFunction(CompileOptions options, CallSite where)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  impl_->where = where;
}
CompiledFunction::~CompiledFunction() = default;

std::pair<Tensors, std::shared_ptr<const void>> CompiledFunction::call(const Leaves& in,
                                                                       Trace& trace) try {
  for (size_t i = 0; i < in.tensors.size(); ++i)
    if (!in.tensors[i].defined())
      throw ValueError(
          cat("compile() at ", impl_->place(), ": argument ", int64_t(i), " is undefined"));
  std::unique_ptr<Hot> hot;
  int place = impl_->take(in, hot);
  if (place < 0) {
    const std::lock_guard lock(impl_->mutex);
    const auto [capture, lengths] = impl_->find(in, trace);
    hot.reset(new Hot{capture, impl_->instance(*capture, in, lengths)});
    place = int(impl_->calls % hot_places);
  }
  const std::shared_ptr<Instance>& instance = hot->instance;
  std::unique_ptr<Instance::Ready> ready(instance->idle.exchange(nullptr));
  if (!ready) ready.reset(new Instance::Ready{Plan(instance->graph), {}});
  ready->plan.set_profile(impl_->profile.load(std::memory_order_relaxed));
  for (const GradientState& g : instance->gradients) g.look();
  if (!instance->written.empty() || !instance->graph->assignments().empty())
    impl_->check_memory(*instance, in);
  // What is overwritten below, with the values and the history that it has now.
  Tensors before;
  for (size_t i = 0; i < instance->written.size(); ++i) {
    if (!instance->with_gradient[i]) continue;
    const size_t at = instance->written[i];
    if (before.empty()) before = in.tensors;
    require<GradientError>(!in.tensors[at].is_leaf() || !in.tensors[at].requires_grad(),
                           "compile() at ", impl_->place(), ": argument ", at,
                           ": in-place write to a leaf that requires a gradient; use NoGrad, or an "
                           "op that makes a copy");
    before[at] = in.tensors[at].clone();
  }
  // The results get their history before anything is written: what comes behind cannot fail.
  auto attach = [&](Tensors& results) {
    const Tensors& given = before.empty() ? in.tensors : before;
    BackwardInstance::attach(
        instance->backward, {given.data(), given.size()}, results,
        instance->results + instance->input_gradients.size() + instance->written.size(),
        ready->operands);
  };
  Plan::Ready with_history;
  if (instance->backward)
    with_history = {
        [](void* self, Tensors& results) { (*static_cast<decltype(attach)*>(self))(results); },
        &attach};
  Tensors out = ready->plan.run({in.tensors.data(), in.tensors.size()}, with_history);
  if (instance->backward) instance->backward->settle(out);
  delete instance->idle.exchange(ready.release());

  for (size_t i = 0; i < instance->input_gradients.size(); ++i) {
    const Tensor& leaf = in.tensors[instance->input_gradients[i]];
    const NoGrad guard;
    Tensor& grad = extras(*leaf.impl()).grad;
    const Tensor& d = out[instance->results + i];
    grad = grad.defined() ? grad + d : d;
  }
  for (size_t i = 0; i < instance->written.size(); ++i) {
    const Tensor& to = in.tensors[instance->written[i]];
    const Tensor& now = out[instance->results + instance->input_gradients.size() + i];
    if (instance->with_gradient[i]) {
      Tensor(to).copy_(now);
      continue;
    }
    copy_data(to, now);
    bump_version(to, "a compiled function");
  }
  out.resize(instance->results);
  std::shared_ptr<const void> returned = instance->returned;
  delete impl_->hot[size_t(place)].exchange(hot.release());
  return {std::move(out), std::move(returned)};
} catch (const OutOfMemory&) {
  rethrow_for(
      ShortText("compile() at ", impl_->where.file, ":", int64_t(impl_->where.line)).view());
} catch (const std::bad_alloc&) {
  rethrow_for("compile()");
}

int CompiledFunction::captures() const {
  const std::lock_guard lock(impl_->mutex);
  return int(impl_->captures.size());
}

std::vector<std::string> CompiledFunction::reasons() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<std::string> all;
  for (const auto& c : impl_->captures) all.push_back(c->reason);
  return all;
}

std::shared_ptr<const Graph> CompiledFunction::graph(size_t capture) const {
  const std::lock_guard lock(impl_->mutex);
  require<IndexError>(capture < impl_->captures.size(), "graph(", capture, "): there are ",
                      impl_->captures.size(), " captures");
  return impl_->captures[capture]->graph;
}

void CompiledFunction::set_profile(bool on) { impl_->profile.store(on, std::memory_order_relaxed); }

std::string CompiledFunction::explain() const {
  const std::lock_guard lock(impl_->mutex);
  std::string s;
  for (const auto& c : impl_->captures) {
    s += cat("capture of ", c->reason, "\n");
    for (const auto& i : c->instances) {
      s += i->explain();
      if (i->backward) s += cat("gradient through the results\n", i->backward->explain());
    }
  }
  return s;
}

}  // namespace tandem::detail
