#include "tandem/graph/compile.h"

#include <atomic>
#include <mutex>

#include "tandem/core/tensor_extras.h"
#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/op/tape.h"
#include "tandem/ops/add.h"

namespace tandem::detail {
namespace {

using graph::Graph;
using graph::Plan;
using graph::ValueKind;

/// One capture: the graph for inputs of these specs, and its plans.
struct Capture {
  std::vector<Spec> specs;
  std::vector<bool> needs_grad;
  std::string key;
  bool grad_mode = true;
  std::shared_ptr<Graph> graph;
  std::vector<std::pair<Tensor, Spec>> states;  ///< and what was assumed of them
  size_t results = 0;
  std::vector<size_t> input_gradients;  ///< inputs whose gradients are the outputs after results
  std::string reason;
  std::atomic<Plan*> idle{nullptr};  ///< a plan that no thread runs

  ~Capture() { delete idle.load(); }
};

std::string describe(const Spec& s) { return to_string(s); }

}  // namespace

struct CompiledFunction::Impl {
  CompileOptions options;
  std::source_location where;
  mutable std::mutex mutex;
  std::vector<std::unique_ptr<Capture>> captures;

  /// Empty when the capture fits; else why not.
  std::string mismatch(const Capture& c, const Leaves& in, bool explain) const {
    auto no = [&](const auto&... text) { return explain ? cat(text...) : std::string("x"); };
    if (c.specs.size() != in.tensors.size())
      return no(in.tensors.size(), " tensors instead of ", c.specs.size());
    for (size_t i = 0; i < c.specs.size(); ++i) {
      const TensorImpl& t = *in.tensors[i].impl();
      if (!(t.spec == c.specs[i]))
        return no("argument ", i, " is ", describe(t.spec), " instead of ", describe(c.specs[i]));
      if (t.has(TensorImpl::needs_grad) != c.needs_grad[i])
        return no("argument ", i,
                  c.needs_grad[i] ? " requires no gradient now" : " requires a gradient now");
    }
    if (in.key != c.key) return no("an argument that is no tensor has another value");
    if (grad_enabled() != c.grad_mode)
      return no("gradients are switched ", c.grad_mode ? "off" : "on", " now");
    for (const auto& [t, spec] : c.states)
      if (!(t.impl()->spec == spec))
        return no("a captured ", describe(spec), " is ", describe(t.spec()), " now");
    return {};
  }

  std::string place() const { return cat(where.file_name(), ":", int64_t(where.line())); }

  Capture& capture(const Leaves& in, Trace& trace) {
    std::string reason = "the first call";
    if (!captures.empty()) reason = mismatch(*captures.back(), in, true);
    require<Error>(int(captures.size()) < options.max_captures, "compile() at ", place(),
                   ": capture ", int64_t(captures.size()) + 1,
                   " is more than max_captures; the reason: ", reason);
    auto c = std::make_unique<Capture>();
    c->reason = cat(place(), ": ", reason);
    c->key = in.key;
    c->grad_mode = grad_enabled();
    c->graph = Graph::make();
    Graph& g = *c->graph;
    Tensors symbolic, results;
    for (size_t i = 0; i < in.tensors.size(); ++i) {
      const Tensor& t = in.tensors[i];
      require(t.defined(), "compile(): argument ", i, " is undefined");
      c->specs.push_back(t.spec());
      c->needs_grad.push_back(t.requires_grad());
      symbolic.push_back(g.input(cat("in", i), t.spec()));
      if (t.requires_grad()) symbolic.back().requires_grad_();
    }
    {
      const CaptureScope scope(g);
      try {
        trace.run(symbolic, results);
      } catch (...) {
        g.take_gradients();
        throw;
      }
      for (size_t i = 0; i < results.size(); ++i) g.output(cat("out", i), results[i]);
      c->results = results.size();
      for (size_t i = 0; i < symbolic.size(); ++i)
        if (Tensor d = symbolic[i].grad(); d.defined()) {
          g.output(cat("grad_in", i), d);
          c->input_gradients.push_back(i);
        }
      g.take_gradients();
    }
    for (const graph::Value& v : g.values())
      if (v.kind == ValueKind::state) c->states.emplace_back(v.tensor, v.spec);
    graph::optimize(g, options.deterministic);
    captures.push_back(std::move(c));
    return *captures.back();
  }
};

CompiledFunction::CompiledFunction(CompileOptions options, std::source_location where)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  impl_->where = where;
}
CompiledFunction::~CompiledFunction() = default;

std::pair<Tensors, size_t> CompiledFunction::call(const Leaves& in, Trace& trace) {
  Capture* found = nullptr;
  size_t which = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    for (size_t k = impl_->captures.size(); k-- > 0 && !found;)
      if (impl_->mismatch(*impl_->captures[k], in, false).empty()) {
        found = impl_->captures[k].get();
        which = k;
      }
    if (!found) {
      found = &impl_->capture(in, trace);
      which = impl_->captures.size() - 1;
    }
  }
  std::unique_ptr<Plan> plan(found->idle.exchange(nullptr));
  if (!plan) plan = std::make_unique<Plan>(found->graph);
  Tensors out = plan->run({in.tensors.data(), in.tensors.size()});
  delete found->idle.exchange(plan.release());

  for (size_t i = 0; i < found->input_gradients.size(); ++i) {
    const Tensor& leaf = in.tensors[found->input_gradients[i]];
    const NoGrad guard;
    Tensor& grad = extras(*leaf.impl()).grad;
    const Tensor& d = out[found->results + i];
    grad = grad.defined() ? grad + d : d;
  }
  out.resize(found->results);
  return {std::move(out), which};
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

std::string CompiledFunction::explain() const {
  const std::lock_guard lock(impl_->mutex);
  std::string s;
  for (const auto& c : impl_->captures)
    s += cat("capture of ", c->reason, "\n", Plan(c->graph).explain());
  return s;
}

}  // namespace tandem::detail
