#include "tandem/graph/compile.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <new>

#include "tandem/core/captured.h"
#include "tandem/core/log.h"
#include "tandem/core/set_data.h"
#include "tandem/core/short_text.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/backward.h"
#include "tandem/graph/generalise.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/graph/specialise.h"
#include "tandem/op/copy.h"
#include "tandem/op/tape.h"
#include "tandem/ops/add.h"

namespace tandem::detail {
namespace {

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
    for (int i = 0; i < t.spec.shape.size(); ++i)
      last += (int64_t(t.spec.shape[i]) - 1) * int64_t(t.strides[i]);
    return t.data + (last + 1) * itemsize(t.spec.dtype);
  };
  return x.data < end(y) && y.data < end(x);
}

/// What the function did for arguments of certain shapes.
struct Recording {
  std::vector<Spec> specs;       ///< of the arguments
  std::vector<Strides> strides;  ///< of those that are not row-major; others have none
  std::vector<bool> needs_grad;
  std::string key;
  bool grad_mode = true;
  std::shared_ptr<Graph> graph;
  std::shared_ptr<const graph::Backward> backward;  ///< through the results
  std::vector<std::pair<Tensor, Spec>> states;      ///< and what was assumed of them
  std::vector<bool> states_need_grad;
  size_t results = 0;
  std::shared_ptr<const void> returned;  ///< by the function, without its tensors
  std::vector<size_t> input_gradients;   ///< arguments whose gradients follow the results
  std::vector<size_t> written;           ///< arguments whose new values follow these
  std::vector<bool> with_gradient;       ///< those of them that ops with a gradient wrote to
  std::vector<GradientState> gradients;
  std::vector<std::shared_ptr<Generator>> generators;  ///< that it draws from
};

/// A recording ready to run.
struct Instance {
  std::shared_ptr<const Recording> recording;
  std::shared_ptr<Graph> graph;
  std::shared_ptr<BackwardInstance> backward;
  /// What a call of one thread needs.
  struct Ready {
    Plan plan;
    std::vector<Tensor> operands;
  };
  std::atomic<Ready*> idle{nullptr};  ///< that no thread uses
  uint64_t used = 0;

  ~Instance() { delete idle.load(); }

  std::string explain() {
    std::unique_ptr<Ready> ready(idle.exchange(nullptr));
    if (!ready) return Plan(graph).explain();
    std::string text = ready->plan.explain();
    delete idle.exchange(ready.release());
    return text;
  }
};

/// One program: the recordings that differ in their lengths and numbers only, made into instances.
struct Capture {
  std::shared_ptr<const Recording> first;
  graph::Generalisation all;
  std::string reason;
  std::vector<std::shared_ptr<Instance>> instances;
};

using HotInstance = std::shared_ptr<Instance>;

constexpr size_t most_instances = 32, hot_places = 4;

/// Recordings for new lengths that are made at once, and how many plain calls may take together
/// what one more recording takes.
constexpr double first_lengths = 2, patience = 1;

/// How many plain calls take as long as a recording of this program and its plan; from its sizes,
/// not by a clock, so that the same calls are recorded in every process.
double price(const Graph& g) {
  double elements = 0;
  for (const graph::Value& v : g.values())
    if (const Length n = v.spec.shape.numel(); n.is_known()) elements += double(n.bits());
  const double nodes = double(g.nodes().size());
  return (150 + 12 * nodes) / (0.1 + 0.05 * nodes + 1e-4 * elements);
}

}  // namespace

struct CompiledFunction::Impl {
  CompileOptions options;
  CallSite where;
  mutable std::mutex mutex;
  std::vector<std::unique_ptr<Capture>> captures;
  /// Instances that calls reach without a lock: a thread takes one out, and puts it back when done.
  std::array<std::atomic<HotInstance*>, hot_places> hot{};
  std::vector<GradientState> gradients;  ///< one handle a leaf for all captures
  uint64_t calls = 0;
  std::atomic<bool> profile{false};
  std::atomic<int64_t> eager_calls{0};  ///< made as plain code
  int64_t beyond_captures = 0;          ///< those of them for which max_captures left no place
  double credit = first_lengths;        ///< recordings for new lengths that have paid

  ~Impl() {
    for (auto& h : hot) delete h.load();
  }

  /// The place in `hot` of an instance for these arguments, which is taken out; -1 for none.
  int take(const Leaves& in, std::unique_ptr<HotInstance>& taken) {
    for (size_t k = 0; k < hot_places; ++k) {
      if (!hot[k].load(std::memory_order_relaxed)) continue;
      std::unique_ptr<HotInstance> h(hot[k].exchange(nullptr));
      if (!h) continue;
      if (mismatch(*(*h)->recording, in, false, true).empty()) {
        taken = std::move(h);
        return int(k);
      }
      delete hot[k].exchange(h.release());
    }
    return -1;
  }

  void check_memory(const Instance& i, const Leaves& in) const;
  const graph::Generalisation& all(size_t capture) const;
  std::string place() const { return cat(where.file, ":", where.line); }

  /// Empty when the recording fits; else why not, in words when `explain`: with the specs of
  /// `shown`.
  static std::string mismatch(const Recording& r, const Leaves& in, bool explain, bool shapes,
                              const Graph* shown = nullptr) {
    auto no = [&](const auto&... text) { return explain ? cat(text...) : std::string("x"); };
    if (r.specs.size() != in.tensors.size())
      return no(in.tensors.size(), " tensors instead of ", r.specs.size());
    for (size_t i = 0; i < r.specs.size(); ++i) {
      const TensorImpl& t = *in.tensors[i].impl();
      const Spec& want = r.specs[i];
      const bool alike = t.spec.dtype == want.dtype && t.spec.device == want.device &&
                         t.spec.shape.size() == want.shape.size();
      if (!alike || (shapes && !identical(t.spec.shape, want.shape)))
        return no("argument ", i, " is ", t.spec, " instead of ",
                  shown ? shown->value(shown->inputs()[i]).spec : want);
      // Whether a look at it is a copy may depend on how it lies.
      if (shapes && (t.has(TensorImpl::contiguous) ? !r.strides[i].empty()
                                                   : !identical(t.strides, r.strides[i])))
        return no("argument ", i, " lies otherwise in memory: its strides are ", t.strides);
      if (t.has(TensorImpl::needs_grad) != r.needs_grad[i])
        return no("argument ", i,
                  r.needs_grad[i] ? " requires no gradient now" : " requires a gradient now");
    }
    if (in.key != r.key) return no("an argument that is no tensor has another value");
    if (grad_enabled() != r.grad_mode)
      return no("gradients are switched ", r.grad_mode ? "off" : "on", " now");
    for (const Graph::UsedSwitch& s : r.graph->switches())
      if (!s.holds())
        return s.of->owned
                   ? no("a module is in ", *s.value ? "evaluation" : "training", " mode now")
                   : no("a module that the function called is gone, or another one now");
    for (const auto& g : r.generators)
      if (!g->is_owned()) return no("a generator that the function drew from is gone");
    for (const GradientState& g : r.gradients) {
      const Tensor &now = g.now(), &was = g.handle;
      if (now.defined() != was.defined())
        return no("a gradient that the function reads ",
                  was.defined() ? "is undefined now" : "was undefined, and is not now");
      if (was.defined() && !(identical(now.impl()->spec, was.impl()->spec) &&
                             identical(now.impl()->strides, was.impl()->strides)))
        return no("a gradient that the function reads was ", was.spec(), ", and is ", now.spec(),
                  " now");
    }
    for (size_t i = 0; i < r.states.size(); ++i) {
      const TensorImpl& now = *r.states[i].first.impl();
      const Spec& was = r.states[i].second;
      if (!identical(now.spec, was)) return no("a captured ", was, " is ", now.spec, " now");
      if (now.has(TensorImpl::needs_grad) != r.states_need_grad[i])
        return no("a captured ", was, " requires ",
                  r.states_need_grad[i] ? "no gradient now" : "a gradient now");
    }
    return {};
  }

  /// Makes the state that is the gradient `was` of `leaf` whatever gradient it has at a call; the
  /// handle for it.
  Tensor follow(Recording& c, const Tensor& leaf, const Tensor& was) {
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

  /// Records what the function does for these arguments.
  std::shared_ptr<const Recording> record(const Leaves& in, Trace& trace) {
    auto c = std::make_shared<Recording>();
    c->key = in.key;
    c->grad_mode = grad_enabled();
    c->graph = Graph::make();
    for (const Tensor& t : in.tensors) c->specs.push_back(t.spec());
    Graph& g = *c->graph;
    Tensors arguments, symbolic, results;  // symbolic: what the function gets, and may write to
    std::vector<const Node*> histories;
    for (size_t i = 0; i < in.tensors.size(); ++i) {
      c->needs_grad.push_back(in.tensors[i].requires_grad());
      arguments.push_back(g.input(cat("in", i), c->specs[i]));
      c->strides.push_back(in.tensors[i].is_contiguous() ? Strides() : in.tensors[i].strides());
      if (!in.tensors[i].is_contiguous()) {
        arguments.back().impl()->strides = c->strides.back();
        arguments.back().impl()->flags &= uint8_t(~TensorImpl::contiguous);
      }
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
      w.before = w.accumulates ? follow(*c, w.leaf, w.before) : Tensor();
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
    for (const graph::Value& v : g.values())
      if (v.generator &&
          std::find(c->generators.begin(), c->generators.end(), v.generator) == c->generators.end())
        c->generators.push_back(v.generator);
    g.close(cat("the function compiled at ", place()));
    return c;
  }

  /// Whether the recording is one of the capture's program, in its gradient too.
  static bool takes(Capture& c, const Recording& b, std::string& why) {
    const Recording& a = *c.first;
    if (!graph::same_program(*a.graph, *b.graph, why)) return false;
    const bool same = !a.backward || !b.backward
                          ? a.backward == b.backward
                          : a.backward->values == b.backward->values &&
                                a.backward->reads == b.backward->reads &&
                                a.backward->failed == b.backward->failed &&
                                graph::same_program(*a.backward->graph, *b.backward->graph, why);
    if (!same && why.empty()) why = "its gradient is another one";
    return same && c.all.add(b.graph, why);
  }

  /// What a call computes: the results, then what the gradient through them keeps.
  static std::shared_ptr<Graph> as_recorded(const Recording& r) {
    auto g = r.graph->clone();
    if (r.backward)
      for (graph::ValueId id : r.backward->values) g->add_output("kept", id);
    return g;
  }

  /// Whether only lengths, or numbers among the arguments, tell these arguments from recorded ones.
  static bool differs_in_numbers(const Recording& r, const Leaves& in) {
    if (in.key == r.key) return mismatch(r, in, false, false).empty();
    bool alike = r.specs.size() == in.tensors.size() && r.grad_mode == grad_enabled();
    for (size_t i = 0; alike && i < r.specs.size(); ++i) {
      const TensorImpl& t = *in.tensors[i].impl();
      alike = t.spec.dtype == r.specs[i].dtype && t.spec.device == r.specs[i].device &&
              t.spec.shape.size() == r.specs[i].shape.size() &&
              t.has(TensorImpl::needs_grad) == r.needs_grad[i];
    }
    return alike;
  }

  /// False when recordings for new numbers have taken more time than calls.
  bool pays(const Leaves& in) {
    for (size_t k = captures.size(); k-- > 0;) {
      if (!differs_in_numbers(*captures[k]->first, in)) continue;
      credit = std::min(first_lengths, credit + patience / price(*captures[k]->first->graph));
      if (credit < 1) return false;
      credit -= 1;
      break;
    }
    return true;
  }

  /// An instance for these arguments; null when they need more captures than are allowed, or more
  /// recordings than pay.
  std::shared_ptr<Instance> find(const Leaves& in, Trace& trace) {
    for (size_t k = captures.size(); k-- > 0;)
      for (const auto& i : captures[k]->instances)
        if (mismatch(*i->recording, in, false, true).empty()) {
          i->used = ++calls;
          return i;
        }
    // Who wants an error beyond max_captures wants no plain code in front of it either.
    if (!options.every_length && !options.throw_beyond && !pays(in)) return nullptr;
    std::string reason = "the first call";
    if (!captures.empty())
      reason = mismatch(*captures.back()->first, in, true, true,
                        captures.back()->all.graph_or_first().get());
    std::shared_ptr<const Recording> now;
    for (size_t k = captures.size(); k-- > 0;) {
      if (!mismatch(*captures[k]->first, in, false, false).empty()) continue;
      if (!now) now = record(in, trace);
      std::string why;
      if (takes(*captures[k], *now, why)) return instance(*captures[k], now);
      reason = cat("the function does something else for these lengths: ", why);
    }
    if (int(captures.size()) >= options.max_captures) {
      const std::string text =
          cat("compile() at ", place(), ": capture ", int64_t(captures.size()) + 1,
              " is more than max_captures; the reason: ", reason);
      require<Error>(!options.throw_beyond, text);
      if (beyond_captures++ == 0)
        log(LogLevel::warning, text + "; from here on such calls run as plain code");
      return nullptr;
    }
    if (!now) now = record(in, trace);
    captures.push_back(std::unique_ptr<Capture>(
        new Capture{now, graph::Generalisation(now->graph), cat(place(), ": ", reason), {}}));
    return instance(*captures.back(), now);
  }

  std::shared_ptr<Instance> instance(Capture& c, const std::shared_ptr<const Recording>& r) {
    if (c.instances.size() >= most_instances)
      c.instances.erase(
          std::min_element(c.instances.begin(), c.instances.end(),
                           [](const auto& a, const auto& b) { return a->used < b->used; }));
    auto fresh = std::make_shared<Instance>();
    fresh->recording = r;
    fresh->graph = as_recorded(*r);
    // A product's last bits depend on how its factors lie.
    if (options.deterministic)
      for (size_t i = 0; i < r->strides.size(); ++i)
        fresh->graph->edit_values()[size_t(r->graph->inputs()[i])].strides = r->strides[i];
    if (r->backward)
      fresh->backward =
          std::make_shared<BackwardInstance>(r->backward, r->graph, options.deterministic);
    optimize(*fresh->graph, options.deterministic);
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
    if (share_memory(state, in.tensors[k])) refuse(k, cat("a tensor from outside, ", state.spec()));
  };
  for (size_t k = 0; k < in.tensors.size(); ++k) {
    for (size_t w : i.recording->written)
      if (w != k && share_memory(in.tensors[w], in.tensors[k]))
        refuse(k, cat("argument ", int64_t(w)));
    for (const graph::Assignment& a : i.graph->assignments())
      apart_from_state(i.graph->value(a.state).tensor, k);
  }
  for (size_t w : i.recording->written)
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
  std::unique_ptr<HotInstance> hot;
  int place = impl_->take(in, hot);
  if (place < 0) {
    const std::lock_guard lock(impl_->mutex);
    auto found = impl_->find(in, trace);
    if (found) {
      hot.reset(new HotInstance(std::move(found)));
      place = int(impl_->calls % hot_places);
    }
  }
  if (!hot) {
    ++impl_->eager_calls;
    Tensors results;
    auto returned = trace.run(in.tensors, results);
    return {std::move(results), std::move(returned)};
  }
  const std::shared_ptr<Instance>& instance = *hot;
  const Recording& recording = *instance->recording;
  const bool watched = modes & Modes::anomaly;
  std::unique_ptr<Instance::Ready> ready;
  if (watched) [[unlikely]] {
    const std::shared_ptr<Graph> g = Impl::as_recorded(recording);
    graph::make_watchable(*g);
    ready.reset(new Instance::Ready{Plan(g, true), {}});
  } else {
    ready.reset(instance->idle.exchange(nullptr));
  }
  if (!ready) ready.reset(new Instance::Ready{Plan(instance->graph), {}});
  ready->plan.set_profile(impl_->profile.load(std::memory_order_relaxed));
  for (const GradientState& g : recording.gradients) g.look();
  if (!recording.written.empty() || !instance->graph->assignments().empty())
    impl_->check_memory(*instance, in);
  // What is overwritten below, with the values and the history that it has now.
  Tensors before;
  for (size_t i = 0; i < recording.written.size(); ++i) {
    if (!recording.with_gradient[i]) continue;
    const size_t at = recording.written[i];
    if (before.empty()) before = in.tensors;
    require<GradientError>(
        !in.tensors[at].is_leaf() || !in.tensors[at].requires_grad(), "compile() at ",
        [&] { return impl_->place(); }, ": argument ", at,
        ": in-place write to a leaf that requires a gradient; use NoGrad, or an "
        "op that makes a copy");
    before[at] = in.tensors[at].clone();
  }
  // The results get their history before anything is written: what comes behind cannot fail.
  auto attach = [&](Tensors& results) {
    const Tensors& given = before.empty() ? in.tensors : before;
    BackwardInstance::attach(
        instance->backward, {given.data(), given.size()}, results,
        recording.results + recording.input_gradients.size() + recording.written.size(),
        ready->operands);
  };
  Plan::Ready with_history;
  if (instance->backward)
    with_history = {
        [](void* self, Tensors& results) { (*static_cast<decltype(attach)*>(self))(results); },
        &attach};
  Tensors out = ready->plan.run({in.tensors.data(), in.tensors.size()}, with_history);
  if (instance->backward) instance->backward->settle(out);
  if (!watched) delete instance->idle.exchange(ready.release());

  for (size_t i = 0; i < recording.input_gradients.size(); ++i) {
    const Tensor& leaf = in.tensors[recording.input_gradients[i]];
    const NoGrad guard;
    Tensor& grad = extras(*leaf.impl()).grad;
    const Tensor& d = out[recording.results + i];
    grad = grad.defined() ? grad + d : d;
  }
  for (size_t i = 0; i < recording.written.size(); ++i) {
    const Tensor& to = in.tensors[recording.written[i]];
    const Tensor& now = out[recording.results + recording.input_gradients.size() + i];
    if (recording.with_gradient[i]) {
      Tensor(to).copy_(now);
      continue;
    }
    copy_data(to, now);
    bump_version(to, "a compiled function");
  }
  out.resize(recording.results);
  std::shared_ptr<const void> returned = recording.returned;
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

const graph::Generalisation& CompiledFunction::Impl::all(size_t capture) const {
  require<IndexError>(capture < captures.size(), "graph(", capture, "): there are ",
                      captures.size(), " captures");
  return captures[capture]->all;
}
std::shared_ptr<const Graph> CompiledFunction::graph(size_t capture) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->all(capture).graph_or_first();
}
std::shared_ptr<const Graph> CompiledFunction::graph_for_all_lengths(size_t capture) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->all(capture).graph();
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
  if (const int64_t n = impl_->beyond_captures)
    s += cat(n, " calls ran as plain code: they need more captures than max_captures allows\n");
  if (const int64_t n = impl_->eager_calls.load() - impl_->beyond_captures)
    s += cat(n, " calls ran as plain code: recordings for their new lengths do not pay yet\n");
  return s;
}

}  // namespace tandem::detail
