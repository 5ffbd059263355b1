#include "tandem/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "tandem/core/captured.h"
#include "tandem/core/factory.h"

namespace tandem::optim {

// The formulas, and the order of their operations, are PyTorch's: equal rates to the last bit.

namespace {
constexpr double pi = std::numbers::pi;
}

Scheduler::Scheduler(Optimizer& optimizer) : optimizer_(&optimizer) {
  for (int g = 0; g < optimizer.groups(); ++g) base_lrs_.push_back(optimizer.initial_lr(g));
}

void Scheduler::start() {
  step_count_ = 0;
  starting_ = true;
  ++step_count_;
  ++last_epoch_;
  update(false);
  starting_ = false;
}

void Scheduler::step() {
  detail::refuse_in_compiled("Scheduler::step()");
  ++step_count_;
  ++last_epoch_;
  update(false);
}

void Scheduler::update(bool from_base) {
  // All rates first: a schedule that throws leaves the optimizer as it was.
  std::vector<double> lrs;
  for (int g = 0; g < int(base_lrs_.size()); ++g)
    lrs.push_back(from_base ? closed_form(g, optimizer_->lr(g)) : next(g, optimizer_->lr(g)));
  for (int g = 0; g < int(lrs.size()); ++g) optimizer_->write_number(g, "lr", lrs[size_t(g)]);
}

std::vector<double> Scheduler::last_lr() const {
  std::vector<double> out;
  for (int g = 0; g < optimizer_->groups(); ++g) out.push_back(optimizer_->lr(g));
  return out;
}

// --- State ------------------------------------------------------------------------------------

void Scheduler::state(State& s, const std::string& prefix) {
  s.visit(prefix + "last_epoch", last_epoch_);
  s.visit(prefix + "step_count", step_count_);
  for (size_t g = 0; g < base_lrs_.size(); ++g) s.visit(cat(prefix, "base_lrs.", g), base_lrs_[g]);
}

NamedTensors Scheduler::state_dict() const {
  struct Writer final : State {
    NamedTensors out;
    void visit(const std::string& name, int64_t& v) override {
      out.emplace_back(name, full({}, v, i64));
    }
    void visit(const std::string& name, double& v) override {
      out.emplace_back(name, full({}, v, f64));
    }
  } writer;
  const_cast<Scheduler*>(this)->state(writer, "");
  return std::move(writer.out);
}

void Scheduler::load_state_dict(const NamedTensors& state_dict) {
  struct Reader final : State {
    explicit Reader(const NamedTensors& list) : in(list) {}
    const NamedTensors& in;
    bool write = false;
    size_t known = 0;
    std::string missing;
    Tensor read(const std::string& name) {
      const Tensor t = find(in, name);
      if (!t.defined() || t.numel() != 1) {
        missing += cat(missing.empty() ? "" : ", ", name);
        return {};
      }
      ++known;
      return write ? t : Tensor();
    }
    void visit(const std::string& name, int64_t& v) override {
      if (const Tensor t = read(name); t.defined()) v = t.item<int64_t>();
    }
    void visit(const std::string& name, double& v) override {
      if (const Tensor t = read(name); t.defined()) v = t.item<double>();
    }
  } reader(state_dict);
  state(reader, "");
  require(reader.missing.empty(), "Scheduler: load_state_dict(): missing: ", reader.missing);
  require(reader.known == state_dict.size(),
          "Scheduler: load_state_dict(): ", state_dict.size() - reader.known,
          " unexpected entries");
  reader.write = true;
  state(reader, "");
}

// --- The schedules ----------------------------------------------------------------------------

StepLR::StepLR(Optimizer& optimizer, int64_t step_size, double gamma)
    : Scheduler(optimizer), step_size_(step_size), gamma_(gamma) {
  require(step_size > 0, "StepLR(step_size=", step_size, "): step_size must be positive");
  start();
}
double StepLR::next(int, double lr) {
  return last_epoch_ == 0 || last_epoch_ % step_size_ != 0 ? lr : lr * gamma_;
}
double StepLR::closed_form(int group, double) {
  return base_lrs_[size_t(group)] * std::pow(gamma_, double(last_epoch_ / step_size_));
}

MultiStepLR::MultiStepLR(Optimizer& optimizer, std::vector<int64_t> milestones, double gamma)
    : Scheduler(optimizer), milestones_(std::move(milestones)), gamma_(gamma) {
  std::sort(milestones_.begin(), milestones_.end());
  start();
}
double MultiStepLR::next(int, double lr) {
  const auto n = std::count(milestones_.begin(), milestones_.end(), last_epoch_);
  return n == 0 ? lr : lr * std::pow(gamma_, double(n));
}
double MultiStepLR::closed_form(int group, double) {
  const auto after = std::upper_bound(milestones_.begin(), milestones_.end(), last_epoch_);
  return base_lrs_[size_t(group)] * std::pow(gamma_, double(after - milestones_.begin()));
}

ExponentialLR::ExponentialLR(Optimizer& optimizer, double gamma)
    : Scheduler(optimizer), gamma_(gamma) {
  start();
}
double ExponentialLR::next(int, double lr) { return starting_ ? lr : lr * gamma_; }
double ExponentialLR::closed_form(int group, double) {
  return base_lrs_[size_t(group)] * std::pow(gamma_, double(last_epoch_));
}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, int64_t T_max, double eta_min)
    : Scheduler(optimizer), t_max_(T_max), eta_min_(eta_min) {
  require(T_max > 0, "CosineAnnealingLR(T_max=", T_max, "): T_max must be positive");
  start();
}
double CosineAnnealingLR::next(int group, double lr) {
  const double base = base_lrs_[size_t(group)], t = double(t_max_);
  if (starting_) return lr;
  if (step_count_ == 1 && last_epoch_ > 0)
    return eta_min_ + (base - eta_min_) * (1 + std::cos(double(last_epoch_) * pi / t)) / 2;
  // At the turning point the recursion would divide by zero.
  if ((last_epoch_ - 1 - t_max_) % (2 * t_max_) == 0)
    return lr + (base - eta_min_) * (1 - std::cos(pi / t)) / 2;
  return (1 + std::cos(pi * double(last_epoch_) / t)) /
             (1 + std::cos(pi * double(last_epoch_ - 1) / t)) * (lr - eta_min_) +
         eta_min_;
}
double CosineAnnealingLR::closed_form(int group, double) {
  const double base = base_lrs_[size_t(group)];
  return eta_min_ +
         (base - eta_min_) * (1 + std::cos(pi * double(last_epoch_) / double(t_max_))) / 2;
}

LinearLR::LinearLR(Optimizer& optimizer, double start_factor, double end_factor,
                   int64_t total_iters)
    : Scheduler(optimizer),
      start_factor_(start_factor),
      end_factor_(end_factor),
      total_iters_(total_iters) {
  require(start_factor > 0 && start_factor <= 1, "LinearLR(start_factor=", start_factor,
          "): start_factor must be above 0 and at most 1");
  require(end_factor >= 0 && end_factor <= 1, "LinearLR(end_factor=", end_factor,
          "): end_factor must be in [0, 1]");
  start();
}
double LinearLR::next(int, double lr) {
  if (last_epoch_ == 0) return lr * start_factor_;
  if (starting_ || last_epoch_ > total_iters_) return lr;
  const double rise = end_factor_ - start_factor_;
  return lr *
         (1.0 + rise / (double(total_iters_) * start_factor_ + double(last_epoch_ - 1) * rise));
}
double LinearLR::closed_form(int group, double) {
  return base_lrs_[size_t(group)] *
         (start_factor_ + (end_factor_ - start_factor_) *
                              double(std::min(total_iters_, last_epoch_)) / double(total_iters_));
}

SequentialLR::SequentialLR(Optimizer& optimizer, std::vector<std::unique_ptr<Scheduler>> schedulers,
                           std::vector<int64_t> milestones)
    : Scheduler(optimizer), schedulers_(std::move(schedulers)), milestones_(std::move(milestones)) {
  require(!schedulers_.empty() && milestones_.size() + 1 == schedulers_.size(),
          "SequentialLR: needs one milestone fewer than schedules, got ", milestones_.size(),
          " and ", schedulers_.size());
  for (const auto& s : schedulers_) {
    require(s->optimizer_ == &optimizer, "SequentialLR: a schedule belongs to another optimizer");
    require(!dynamic_cast<ReduceLROnPlateau*>(s.get()),
            "SequentialLR: ReduceLROnPlateau needs a metric at each step");
  }
  last_epoch_ = 0;
  for (int g = 0; g < optimizer.groups(); ++g) optimizer.set_lr(g, optimizer.initial_lr(g));
  for (auto& s : schedulers_) s->undo();
  schedulers_[active()]->start();
}
size_t SequentialLR::active() const {
  return size_t(std::upper_bound(milestones_.begin(), milestones_.end(), last_epoch_) -
                milestones_.begin());
}
void SequentialLR::step() {
  detail::refuse_in_compiled("Scheduler::step()");
  ++last_epoch_;
  const size_t i = active();
  Scheduler& s = *schedulers_[i];
  if (i > 0 && milestones_[i - 1] == last_epoch_) {
    s.last_epoch_ = 0;
    s.update(true);
  } else {
    s.step();
  }
}
void SequentialLR::undo() {
  for (auto& s : schedulers_) s->undo();
}
void SequentialLR::state(State& s, const std::string& prefix) {
  Scheduler::state(s, prefix);
  for (size_t i = 0; i < schedulers_.size(); ++i) schedulers_[i]->state(s, cat(prefix, i, "."));
}

OneCycleLR::OneCycleLR(Optimizer& optimizer, double max_lr, Options options)
    : OneCycleLR(optimizer, std::vector<double>(size_t(optimizer.groups()), max_lr),
                 std::move(options)) {}
OneCycleLR::OneCycleLR(Optimizer& optimizer, std::vector<double> max_lr, Options options)
    : Scheduler(optimizer), options_(std::move(options)), max_lrs_(std::move(max_lr)) {
  Options& o = options_;
  if (o.total_steps == 0) o.total_steps = o.epochs * o.steps_per_epoch;
  require(o.total_steps > 0, "OneCycleLR: needs total_steps, or epochs and steps_per_epoch");
  require(o.pct_start >= 0 && o.pct_start <= 1, "OneCycleLR(pct_start=", o.pct_start,
          "): pct_start must be in [0, 1]");
  require(o.anneal_strategy == "cos" || o.anneal_strategy == "linear",
          "OneCycleLR(anneal_strategy=", o.anneal_strategy, "): must be cos or linear");
  require(max_lrs_.size() == base_lrs_.size(), "OneCycleLR: ", max_lrs_.size(), " max_lr for ",
          base_lrs_.size(), " groups");
  require(!o.cycle_momentum || optimizer.has_number("momentum") || optimizer.has_number("beta1"),
          "OneCycleLR(cycle_momentum=true): the optimizer has neither momentum nor beta1");
  for (size_t g = 0; g < base_lrs_.size(); ++g) {
    base_lrs_[g] = max_lrs_[g] / o.div_factor;
    optimizer.set_initial_lr(int(g), base_lrs_[g]);
  }
  start();
}
double OneCycleLR::anneal(double from, double to, double share) const {
  if (options_.anneal_strategy == "linear") return (to - from) * share + from;
  const double c = std::cos(pi * share) + 1;
  return to + (from - to) / 2.0 * c;
}
double OneCycleLR::next(int group, double) {
  const Options& o = options_;
  require(last_epoch_ <= o.total_steps, "OneCycleLR: step ", last_epoch_, " of ", o.total_steps);
  const double low = base_lrs_[size_t(group)], high = max_lrs_[size_t(group)];
  const double least = low / o.final_div_factor, n = double(last_epoch_);
  const double total = double(o.total_steps), m = o.max_momentum, b = o.base_momentum;
  struct Phase {
    double end, from, to, momentum_from, momentum_to;
  };
  const double top = o.pct_start * total - 1;
  std::vector<Phase> phases{{top, low, high, m, b}};
  if (o.three_phase) {
    phases.push_back({2 * o.pct_start * total - 2, high, low, b, m});
    phases.push_back({total - 1, low, least, m, m});
  } else {
    phases.push_back({total - 1, high, least, b, m});
  }
  double begin = 0;
  size_t i = 0;
  while (i + 1 < phases.size() && n > phases[i].end) begin = phases[i++].end;
  const Phase& p = phases[i];
  const double share = (n - begin) / (p.end - begin);
  if (o.cycle_momentum)
    optimizer_->write_number(group, optimizer_->has_number("beta1") ? "beta1" : "momentum",
                             anneal(p.momentum_from, p.momentum_to, share));
  return anneal(p.from, p.to, share);
}

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, Options options)
    : Scheduler(optimizer), options_(std::move(options)) {
  const Options& o = options_;
  require(o.factor < 1, "ReduceLROnPlateau(factor=", o.factor, "): factor must be below 1");
  require(o.mode == "min" || o.mode == "max", "ReduceLROnPlateau(mode=", o.mode,
          "): mode must be min or max");
  require(o.threshold_mode == "rel" || o.threshold_mode == "abs",
          "ReduceLROnPlateau(threshold_mode=", o.threshold_mode, "): must be rel or abs");
  best_ = (o.mode == "min" ? 1 : -1) * std::numeric_limits<double>::infinity();
  last_epoch_ = 0;
}
void ReduceLROnPlateau::step() {
  throw ValueError("ReduceLROnPlateau: step() needs the metric: step(loss)");
}
bool ReduceLROnPlateau::better(double a) const {
  const double t = options_.threshold;
  const bool relative = options_.threshold_mode == "rel";
  if (options_.mode == "min") return a < (relative ? best_ * (1 - t) : best_ - t);
  return a > (relative ? best_ * (t + 1) : best_ + t);
}
void ReduceLROnPlateau::step(double metric) {
  detail::refuse_in_compiled("Scheduler::step()");
  ++last_epoch_;
  if (better(metric)) {
    best_ = metric;
    bad_epochs_ = 0;
  } else {
    ++bad_epochs_;
  }
  if (cooldown_left_ > 0) {
    --cooldown_left_;
    bad_epochs_ = 0;
  }
  if (bad_epochs_ <= options_.patience) return;
  for (int g = 0; g < optimizer_->groups(); ++g) {
    const double lr = optimizer_->lr(g), reduced = std::max(lr * options_.factor, options_.min_lr);
    if (lr - reduced > options_.eps) optimizer_->set_lr(g, reduced);
  }
  cooldown_left_ = options_.cooldown;
  bad_epochs_ = 0;
}
void ReduceLROnPlateau::state(State& s, const std::string& prefix) {
  Scheduler::state(s, prefix);
  s.visit(prefix + "best", best_);
  s.visit(prefix + "bad_epochs", bad_epochs_);
  s.visit(prefix + "cooldown_left", cooldown_left_);
}

}  // namespace tandem::optim
