#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/optim/optimizer.h"

namespace tandem::optim {

/// The base of schedules of the learning rate; `step()` goes after the optimizer's, once an epoch
/// or once a batch. The optimizer must outlive it. The rates are those of PyTorch, to the bit: most
/// follow from the rate before, so that changes by hand are kept.
class TANDEM_API Scheduler {
 public:
  virtual ~Scheduler() = default;
  /// Sets the learning rates of the next epoch.
  virtual void step();
  /// The rates set last, one a group.
  virtual std::vector<double> last_lr() const;
  /// How often `step` was called.
  int64_t last_epoch() const { return last_epoch_; }

  /// Everything a resumed run needs.
  NamedTensors state_dict() const;
  /// Errors: ValueError when entries are missing or unexpected.
  void load_state_dict(const NamedTensors& state);

 protected:
  explicit Scheduler(Optimizer& optimizer);
  /// The rate at `last_epoch_`, given the one before.
  virtual double next(int group, double lr) = 0;
  /// The rate at `last_epoch_`, from the base rate.
  virtual double closed_form(int group, double lr) { return next(group, lr); }
  /// Visits the state by name: numbers that change between steps.
  class State {
   public:
    virtual ~State() = default;
    virtual void visit(const std::string& name, int64_t& v) = 0;
    virtual void visit(const std::string& name, double& v) = 0;
  };
  virtual void state(State& s, const std::string& prefix);
  /// The first step; the last line of a schedule's constructor.
  void start();

  Optimizer* optimizer_;
  std::vector<double> base_lrs_;
  int64_t last_epoch_ = -1, step_count_ = 0;
  bool starting_ = false;

 private:
  friend class SequentialLR;
  void update(bool from_base);
  virtual void undo() { --last_epoch_; }
};

/// lr *= gamma every `step_size` epochs.
class TANDEM_API StepLR : public Scheduler {
 public:
  StepLR(Optimizer& optimizer, int64_t step_size, double gamma = 0.1);

 private:
  double next(int group, double lr) override;
  double closed_form(int group, double lr) override;
  int64_t step_size_;
  double gamma_;
};

/// lr *= gamma at each milestone (given twice: twice).
class TANDEM_API MultiStepLR : public Scheduler {
 public:
  MultiStepLR(Optimizer& optimizer, std::vector<int64_t> milestones, double gamma = 0.1);

 private:
  double next(int group, double lr) override;
  double closed_form(int group, double lr) override;
  std::vector<int64_t> milestones_;
  double gamma_;
};

/// lr *= gamma every epoch.
class TANDEM_API ExponentialLR : public Scheduler {
 public:
  ExponentialLR(Optimizer& optimizer, double gamma);

 private:
  double next(int group, double lr) override;
  double closed_form(int group, double lr) override;
  double gamma_;
};

/// Half a cosine from the base rate to `eta_min` over `T_max` epochs (Loshchilov & Hutter 2017,
/// equation 5, without restarts).
class TANDEM_API CosineAnnealingLR : public Scheduler {
 public:
  CosineAnnealingLR(Optimizer& optimizer, int64_t T_max, double eta_min = 0);

 private:
  double next(int group, double lr) override;
  double closed_form(int group, double lr) override;
  int64_t t_max_;
  double eta_min_;
};

/// From start_factor * base to end_factor * base over `total_iters` epochs: warm-up.
class TANDEM_API LinearLR : public Scheduler {
 public:
  /// Errors: ValueError unless 0 < start_factor <= 1 and 0 <= end_factor <= 1.
  LinearLR(Optimizer& optimizer, double start_factor = 1.0 / 3, double end_factor = 1,
           int64_t total_iters = 5);

 private:
  double next(int group, double lr) override;
  double closed_form(int group, double lr) override;
  double start_factor_, end_factor_;
  int64_t total_iters_;
};

/// base * f(epoch).
template <class F>
class LambdaLR : public Scheduler {
 public:
  LambdaLR(Optimizer& optimizer, F f) : Scheduler(optimizer), f_(std::move(f)) { start(); }

 private:
  double next(int group, double) override { return base_lrs_[size_t(group)] * f_(last_epoch_); }
  F f_;
};

/// `schedulers(LinearLR(opt), CosineAnnealingLR(opt, 90))`, for SequentialLR.
template <class... S>
std::vector<std::unique_ptr<Scheduler>> schedulers(S... s) {
  std::vector<std::unique_ptr<Scheduler>> out;
  (out.push_back(std::make_unique<S>(std::move(s))), ...);
  return out;
}

/// One schedule after the other: the i-th until epoch milestones[i].
class TANDEM_API SequentialLR : public Scheduler {
 public:
  /// Errors: ValueError unless there is one milestone fewer than schedules of this optimizer.
  SequentialLR(Optimizer& optimizer, std::vector<std::unique_ptr<Scheduler>> schedulers,
               std::vector<int64_t> milestones);
  void step() override;

 private:
  double next(int, double lr) override { return lr; }
  void undo() override;
  void state(State& s, const std::string& prefix) override;
  size_t active() const;
  std::vector<std::unique_ptr<Scheduler>> schedulers_;
  std::vector<int64_t> milestones_;
};

struct OneCycleOptions {
  ByName by_name = ByName();
  int64_t total_steps = 0;  ///< or epochs * steps_per_epoch
  int64_t epochs = 0, steps_per_epoch = 0;
  double pct_start = 0.3;               ///< share of the steps that go up
  std::string anneal_strategy = "cos";  ///< or "linear"
  bool cycle_momentum = true;           ///< momentum, or beta1, goes the other way
  double base_momentum = 0.85, max_momentum = 0.95;
  double div_factor = 25;         ///< starts at max_lr / div_factor
  double final_div_factor = 1e4;  ///< ends at that / final_div_factor
  bool three_phase = false;
};
/// Up to `max_lr` and down to nearly nothing in one cycle (Smith & Topin 2019); a step a batch.
class TANDEM_API OneCycleLR : public Scheduler {
 public:
  using Options = OneCycleOptions;
  /// One maximum for all groups, or one each. Errors: ValueError for options out of range.
  OneCycleLR(Optimizer& optimizer, double max_lr, Options options);
  OneCycleLR(Optimizer& optimizer, std::vector<double> max_lr, Options options);

 private:
  double next(int group, double lr) override;
  double anneal(double from, double to, double share) const;
  Options options_;
  std::vector<double> max_lrs_;
};

struct PlateauOptions {
  ByName by_name = ByName();
  std::string mode = "min";  ///< or "max": what a good metric does
  double factor = 0.1;
  int64_t patience = 10;  ///< epochs without progress that are borne
  double threshold = 1e-4;
  std::string threshold_mode = "rel";  ///< or "abs"
  int64_t cooldown = 0;
  double min_lr = 0;
  double eps = 1e-8;  ///< smaller changes are not made
};
/// lr *= factor when a metric no longer improves.
class TANDEM_API ReduceLROnPlateau : public Scheduler {
 public:
  using Options = PlateauOptions;
  ReduceLROnPlateau(Optimizer& optimizer, Options options = {});
  /// Errors: ValueError, the metric must be given.
  void step() override;
  void step(double metric);

 private:
  double next(int, double lr) override { return lr; }
  void state(State& s, const std::string& prefix) override;
  bool better(double a) const;
  Options options_;
  double best_;
  int64_t bad_epochs_ = 0, cooldown_left_ = 0;
};

}  // namespace tandem::optim
