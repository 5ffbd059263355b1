#include "tests/five_ways/runs.h"

#include <cxxabi.h>

#include <cstdlib>
#include <typeinfo>

#include "tandem/tandem.h"

namespace tandem::five_ways {
namespace {

std::string type_text(const std::type_info& type) {
  int status = 0;
  char* readable = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  std::string text = status == 0 ? readable : type.name();
  std::free(readable);
  constexpr std::string_view ours = "tandem::";
  return text.starts_with(ours) ? text.substr(ours.size()) : text;
}

NamedTensors named(const NamedTensors& leaves, const std::vector<Tensor>& gradients) {
  NamedTensors all;
  for (size_t i = 0; i < gradients.size(); ++i)
    all.emplace_back(cat("gradient of ", leaves[i].first), detail::as_contiguous(gradients[i]));
  return all;
}

/// A copy of the state now.
NamedTensors snapshot(const State& state) {
  const NoGrad off;
  NamedTensors all;
  for (const auto& [name, t] : state.all()) all.emplace_back(name, t.detach().clone());
  return all;
}

// --- Plain code --------------------------------------------------------------------------------

class Plain final : public Run {
 public:
  Plain(const Program& p, const Noise* noise) : p_(p), noise_(noise), state_(p) {
    if (!noise) return;
    const NoGrad off;
    for (auto& [name, t] : state_.all())
      if (is_floating(t.dtype())) t.copy_(disturb(t));
  }

  Result call(int c) override {
    seed_draws(p_, c);
    Result r;
    std::vector<Tensor> fed = fed_inputs(p_, c);
    if (noise_)
      for (Tensor& t : fed) {
        if (!is_floating(t.dtype())) continue;
        const bool wants = t.requires_grad();
        const NoGrad off;
        t = disturb(t);
        if (wants) t.requires_grad_();
      }
    Machine machine(p_, state_, noise_);
    std::vector<Tensor> out;
    attempt(r.forward, [&] {
      out = evaluate(machine, p_, fed);
      r.forward.values = kept(p_, out);
    });
    if (!r.forward.error.empty() || !p_.has_gradient()) return r;
    attempt(r.gradient, [&] {
      const NamedTensors leaves = leaves_of(p_, machine, state_);
      r.gradient.values = named(leaves, gradients_of(out, leaves));
    });
    return r;
  }
  NamedTensors end() override { return snapshot(state_); }

 private:
  Tensor disturb(const Tensor& t) {
    testing::Random random(noise_->seed * 77777 + count_++);
    std::vector<double> factors(size_t(t.numel()));
    const double unit = t.dtype() == f64 ? 0x1p-53 : t.dtype() == f32 ? 0x1p-24 : 0x1p-11;
    for (double& f : factors) f = 1 + unit * (2 * random.uniform() - 1);
    // In f64, so that 16-bit numbers round to their neighbours now and then.
    const Tensor wide = t.detach().to(f64) * wrap(std::move(factors), t.shape());
    return wide.to(t.dtype());
  }

  const Program& p_;
  const Noise* noise_;
  State state_;
  uint64_t count_ = 0;
};

// --- compile() ---------------------------------------------------------------------------------

class CompiledRun final : public Run {
 public:
  CompiledRun(const Program& p, Gradient gradient, bool deterministic)
      : p_(p),
        inside_(gradient == Gradient::inside),
        state_(p),
        function_(compile(Body{this},
                          CompileOptions{.every_length = true, .deterministic = deterministic})) {}

  Result call(int c) override {
    seed_draws(p_, c);
    Result r;
    const std::vector<Tensor> fed = fed_inputs(p_, c);
    std::vector<Tensor> out;
    attempt(r.forward, [&] {
      out = function_(fed);
      results_ = p_.results.size();
      r.forward.values = kept(p_, {out.begin(), out.begin() + long(results_)});
    });
    if (!p_.has_gradient()) return r;
    if (!r.forward.error.empty()) {
      // An error of the gradient inside is one of the call.
      if (inside_) std::swap(r.gradient, r.forward);
      return r;
    }
    attempt(r.gradient, [&] {
      Machine machine(p_, state_);
      feed(machine, p_, fed);
      const NamedTensors leaves = leaves_of(p_, machine, state_);
      r.gradient.values =
          named(leaves, inside_ ? std::vector<Tensor>(out.begin() + long(results_), out.end())
                                : gradients_of(out, leaves));
    });
    return r;
  }
  NamedTensors end() override { return snapshot(state_); }

  static void feed(Machine& machine, const Program& p, const std::vector<Tensor>& fed) {
    size_t i = 0;
    for (const Input& in : p.inputs)
      if (in.role == Input::fed) machine.feed(in.id, fed[i++]);
  }

 private:
  struct Body {
    CompiledRun* self;
    std::vector<Tensor> operator()(const std::vector<Tensor>& fed) const {
      Machine machine(self->p_, self->state_);
      std::vector<Tensor> out = evaluate(machine, self->p_, fed);
      if (!self->inside_) return out;
      for (Tensor& g : gradients_of(out, leaves_of(self->p_, machine, self->state_)))
        out.push_back(g);
      return out;
    }
  };
  const Program& p_;
  bool inside_;
  State state_;
  size_t results_ = 0;
  Compiled<Body> function_;
};

// --- Sessions and files ------------------------------------------------------------------------

/// The program as a graph: placeholders, results, gradients.
struct Static {
  std::shared_ptr<Graph> graph = Graph::make();
  State state;
  std::vector<Tensor> placeholders, results, gradients;
  NamedTensors leaves;
  Outcome forward, gradient;  ///< errors of the building

  explicit Static(const Program& p) : state(p) {
    const GraphScope scope(graph);
    attempt(forward, [&] {
      Machine machine(p, state);
      for (const Input& in : p.inputs)
        if (in.role == Input::fed) machine.feed(in.id, add(in));
      machine.run(p.steps);
      results = machine.results();
      if (!p.has_gradient()) return;
      leaves = leaves_of(p, machine, state);
      attempt(gradient, [&] { differentiate(); });
    });
  }

  std::vector<Feed> feeds(const std::vector<Tensor>& fed) const {
    std::vector<Feed> all;
    for (size_t i = 0; i < fed.size(); ++i) all.push_back({placeholders[i], fed[i]});
    return all;
  }

 private:
  Tensor add(const Input& in) {
    placeholders.push_back(make_placeholder(in));
    return placeholders.back();
  }
  void differentiate() {
    const Tensor loss = loss_of(results);
    std::vector<Tensor> by;
    for (const auto& [name, t] : leaves) by.push_back(t);
    if (loss.defined()) gradients = tandem::gradients(loss, by);
    else
      for (const Tensor& t : by) gradients.push_back(zeros_like(t));
  }
};

class SessionRun final : public Run {
 public:
  explicit SessionRun(const Program& p) : p_(p), static_(p), session_(static_.graph) {}

  Result call(int c) override {
    Result r;
    r.forward = static_.forward;
    r.gradient = static_.gradient;
    if (!r.forward.error.empty()) return r;
    const std::vector<Tensor> fed = fed_inputs(p_, c);
    const std::vector<Feed> feeds = static_.feeds(fed);
    attempt(r.forward, [&] {
      seed_draws(p_, c);
      r.forward.values = kept(p_, session_.run(static_.results, feeds));
    });
    if (!r.gradient.ran || !r.gradient.error.empty() || !r.forward.error.empty()) return r;
    attempt(r.gradient, [&] {
      seed_draws(p_, c);
      r.gradient.values = named(static_.leaves, session_.run(static_.gradients, feeds));
    });
    return r;
  }

 private:
  const Program& p_;
  Static static_;
  Session session_;
};

class SavedRun final : public Run {
 public:
  SavedRun(const Program& p, const std::string& folder) : p_(p), static_(p) {
    forward_ = static_.forward;
    gradient_ = static_.gradient;
    if (forward_.error.empty())
      save_part(forward_, folder + "/forward.onnx", static_.results, forward_file_);
    if (gradient_.ran && gradient_.error.empty() && !static_.gradients.empty())
      save_part(gradient_, folder + "/gradient.onnx", static_.gradients, gradient_file_);
  }

  Result call(int c) override {
    Result r;
    r.forward = forward_;
    r.gradient = gradient_;
    if (!r.forward.error.empty()) return r;
    attempt(r.forward, [&] { r.forward.values = kept(p_, run(*forward_file_, c)); });
    if (!gradient_file_ || !r.gradient.error.empty() || !r.forward.error.empty()) return r;
    attempt(r.gradient,
            [&] { r.gradient.values = named(static_.leaves, run(*gradient_file_, c)); });
    return r;
  }

 private:
  void save_part(Outcome& o, const std::string& path, const std::vector<Tensor>& values,
                 std::optional<LoadedGraph>& file) {
    attempt(o, [&] {
      SaveGraphOptions options;
      // A result may be a tensor from outside, too.
      for (size_t i = 0; i < values.size(); ++i)
        options.outputs.emplace_back(cat("y", i),
                                     static_.graph->handle(static_.graph->id_of(values[i])));
      save(*static_.graph, path, options);
      file = load_graph(path);
    });
  }
  std::vector<Tensor> run(LoadedGraph& file, int c) {
    const std::vector<Tensor> fed = fed_inputs(p_, c);
    NamedTensors in;
    size_t i = 0;
    for (const Input& input : p_.inputs) {
      if (input.role != Input::fed) continue;
      const std::string name = cat("v", input.id);
      for (const GraphPort& port : file.inputs())
        if (port.name == name) in.emplace_back(name, fed[i].detach());
      ++i;
    }
    seed_draws(p_, c);
    return file.run(in);
  }

  const Program& p_;
  Static static_;
  Outcome forward_, gradient_;
  std::optional<LoadedGraph> forward_file_, gradient_file_;
};

}  // namespace

// --- What all share ----------------------------------------------------------------------------

void note_error(Outcome& o) {
  try {
    throw;
  } catch (const std::exception& e) {
    o.error = type_text(typeid(e));
    o.text = e.what();
  } catch (...) {
    o.error = "an exception of another type";
  }
}

void seed_draws(const Program& p, int call) { manual_seed(p.seed % 1000 + uint64_t(call)); }

std::vector<Tensor> fed_inputs(const Program& p, int call) {
  std::vector<Tensor> fed;
  for (const Input& in : p.inputs) {
    if (in.role != Input::fed) continue;
    fed.push_back(make_input(p, in, call));
    if (in.gradient) fed.back().requires_grad_();
  }
  return fed;
}

Tensor make_placeholder(const Input& in) {
  Shape shape;
  for (const Input::Axis& a : in.shape) {
#if TANDEM_FIVE_WAYS_SYMBOLS
    if (a.symbol >= 0) shape.push_back(dim(cat("n", a.symbol)));
    else shape.push_back(a.length);
#else
    shape.push_back(a.symbol >= 0 ? -1 : a.length);
#endif
  }
  Tensor t = placeholder(cat("v", in.id), shape, in.dtype);
  if (in.gradient) t.requires_grad_();
  return t;
}

std::vector<Tensor> evaluate(Machine& machine, const Program& p, const std::vector<Tensor>& fed) {
  CompiledRun::feed(machine, p, fed);
  machine.run(p.steps);
  return machine.results();
}

NamedTensors kept(const Program& p, const std::vector<Tensor>& results) {
  const NoGrad off;
  NamedTensors all;
  for (size_t i = 0; i < results.size(); ++i)
    all.emplace_back(cat("result v", p.results[i]),
                     results[i].defined() ? results[i].detach().clone() : Tensor());
  return all;
}

std::vector<Result> run_plain(const Program& p, const Noise* noise) {
  const auto run = plain_run(p, noise);
  std::vector<Result> all;
  for (size_t c = 0; c < p.calls.size(); ++c) all.push_back(run->call(int(c)));
  return all;
}

std::unique_ptr<Run> plain_run(const Program& p, const Noise* noise) {
  return std::make_unique<Plain>(p, noise);
}
std::unique_ptr<Run> compiled_run(const Program& p, Gradient gradient, bool deterministic) {
  return std::make_unique<CompiledRun>(p, gradient, deterministic);
}
std::unique_ptr<Run> session_run(const Program& p) { return std::make_unique<SessionRun>(p); }
std::unique_ptr<Run> saved_run(const Program& p, const std::string& folder) {
  return std::make_unique<SavedRun>(p, folder);
}

}  // namespace tandem::five_ways
