// Whole training steps: forward, backward and the optimizer's update, plain, compiled, in a
// session.
#include "tandem/tandem.h"
#include "tests/five_ways/runs.h"

namespace tandem::five_ways {
namespace {

std::unique_ptr<optim::Optimizer> make_optimizer(const std::string& name, const State& state) {
  const NamedTensors leaves = state.leaves();
  if (name == "SGD") return std::make_unique<optim::SGD>(leaves, optim::SGDOptions{.lr = 0.1});
  if (name == "momentum")
    return std::make_unique<optim::SGD>(
        leaves, optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  if (name == "Adam") return std::make_unique<optim::Adam>(leaves, optim::AdamOptions{.lr = 0.01});
  if (name == "AdamW")
    return std::make_unique<optim::AdamW>(leaves, optim::AdamWOptions{.lr = 0.01});
  if (name == "RMSprop")
    return std::make_unique<optim::RMSprop>(leaves, optim::RMSpropOptions{.lr = 0.01});
  return std::make_unique<optim::Adagrad>(leaves, optim::AdagradOptions{.lr = 0.01});
}

NamedTensors parameters_of(const State& state) {
  const NoGrad off;
  NamedTensors all;
  for (const auto& [name, t] : state.all()) all.emplace_back(name, t.detach().clone());
  return all;
}

/// The forward pass, and what the optimizer needs; gives copies, since a result may be a view of a
/// parameter.
std::vector<Tensor> step(const Program& p, State& state, optim::Optimizer& optimizer,
                         const std::vector<Tensor>& fed, const Noise* noise = nullptr) {
  Machine machine(p, state, noise);
  const std::vector<Tensor> out = evaluate(machine, p, fed);
  std::vector<Tensor> copies;
  for (const Tensor& t : out) copies.push_back(t.detach().clone());
  optimizer.zero_grad();
  if (const Tensor loss = loss_of(out); loss.defined()) loss.backward();
  if (p.clips) optim::clip_grad_norm_(optimizer.parameters(), 1);
  optimizer.step();
  return copies;
}

class PlainTraining final : public Run {
 public:
  PlainTraining(const Program& p, const Noise* noise)
      : p_(p), noise_(noise), state_(p), optimizer_(make_optimizer(p.optimizer, state_)) {}
  Result call(int c) override {
    Result r;
    seed_draws(p_, c);
    attempt(r.forward, [&] {
      r.forward.values = kept(p_, step(p_, state_, *optimizer_, fed_inputs(p_, c), noise_));
    });
    return r;
  }
  NamedTensors end() override { return parameters_of(state_); }

 private:
  const Program& p_;
  const Noise* noise_;
  State state_;
  std::unique_ptr<optim::Optimizer> optimizer_;
};

class CompiledTraining final : public Run {
 public:
  CompiledTraining(const Program& p, bool deterministic)
      : p_(p),
        state_(p),
        optimizer_(make_optimizer(p.optimizer, state_)),
        function_(compile(Body{this},
                          CompileOptions{.every_length = true, .deterministic = deterministic})) {}
  Result call(int c) override {
    Result r;
    seed_draws(p_, c);
    attempt(r.forward, [&] { r.forward.values = kept(p_, function_(fed_inputs(p_, c))); });
    return r;
  }
  NamedTensors end() override { return parameters_of(state_); }

 private:
  struct Body {
    CompiledTraining* self;
    std::vector<Tensor> operator()(const std::vector<Tensor>& fed) const {
      return step(self->p_, self->state_, *self->optimizer_, fed);
    }
  };
  const Program& p_;
  State state_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Compiled<Body> function_;
};

class SessionTraining final : public Run {
 public:
  explicit SessionTraining(const Program& p)
      : p_(p), state_(p), optimizer_(make_optimizer(p.optimizer, state_)), graph_(Graph::make()) {
    const GraphScope scope(graph_);
    attempt(built_, [&] {
      Machine machine(p_, state_);
      for (const Input& in : p_.inputs) {
        if (in.role != Input::fed) continue;
        placeholders_.push_back(make_placeholder(in));
        machine.feed(in.id, placeholders_.back());
      }
      machine.run(p_.steps);
      const std::vector<Tensor> out = machine.results();
      for (const Tensor& t : out) fetches_.push_back(t.detach().clone());
      if (const Tensor loss = loss_of(out); loss.defined())
        fetches_.push_back(minimize(*optimizer_, loss));
      else trains_ = false;
    });
  }

  Result call(int c) override {
    Result r;
    if (!trains_) return r;
    r.forward = built_;
    if (!built_.error.empty()) return r;
    seed_draws(p_, c);
    attempt(r.forward, [&] {
      if (!session_) session_.emplace(graph_);
      std::vector<Feed> feeds;
      const std::vector<Tensor> fed = fed_inputs(p_, c);
      for (size_t i = 0; i < fed.size(); ++i) feeds.push_back({placeholders_[i], fed[i]});
      std::vector<Tensor> out = session_->run(fetches_, feeds);
      out.resize(p_.results.size());
      r.forward.values = kept(p_, out);
    });
    return r;
  }
  NamedTensors end() override { return trains_ ? parameters_of(state_) : NamedTensors(); }

 private:
  const Program& p_;
  State state_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::shared_ptr<Graph> graph_;
  std::vector<Tensor> placeholders_, fetches_;
  std::optional<Session> session_;
  Outcome built_;
  bool trains_ = true;  ///< a run of results alone changes no statistics
};

}  // namespace

std::unique_ptr<Run> plain_training(const Program& p, const Noise* noise) {
  return std::make_unique<PlainTraining>(p, noise);
}
std::unique_ptr<Run> compiled_training(const Program& p, bool deterministic) {
  return std::make_unique<CompiledTraining>(p, deterministic);
}
std::unique_ptr<Run> session_training(const Program& p) {
  return std::make_unique<SessionTraining>(p);
}

}  // namespace tandem::five_ways
