#pragma once
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tandem/core/named_tensors.h"
#include "tandem/nn/module.h"

namespace tandem::optim {

/// What an optimizer is given: tensors, tensors with names, or all parameters of a module.
class TANDEM_API Parameters {
 public:
  Parameters(const std::vector<Tensor>& tensors);
  Parameters(std::initializer_list<Tensor> tensors);
  Parameters(NamedTensors tensors) : list_(std::move(tensors)) {}
  Parameters(const nn::ModuleBase& module) : list_(module.named_parameters()) {}
  const NamedTensors& list() const { return list_; }

 private:
  NamedTensors list_;
};

/// A numeric option of an optimizer: at least `min`, below `limit`.
struct Number {
  std::string_view name;
  double min = 0, limit = 1e300;
};

/// The base of all optimizers: parameters in groups, each group with options of its own; a state
/// per parameter; one fused pass over all parameters of a group per step. Gradients are only read.
class TANDEM_API Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient. State is made at the first step.
  /// Errors: ShapeError, DTypeError when a gradient does not fit its parameter.
  void step();
  /// `loss = closure()` with gradients enabled, then a step; gives the loss back.
  template <class F>
  requires std::is_invocable_r_v<Tensor, F&> Tensor step(F closure) {
    Tensor loss;
    {
      const EnableGrad guard;
      loss = closure();
    }
    step();
    return loss;
  }
  /// Drops the gradients, or fills them with zeros.
  void zero_grad(bool set_to_none = true);

  int groups() const { return int(groups_.size()); }
  /// The parameters of a group, in the order given. Errors: IndexError.
  std::vector<Tensor> parameters(int group = 0) const;
  double lr(int group = 0) const { return number(group, "lr"); }
  /// Sets the learning rate of every group, or of one.
  void set_lr(double lr);
  void set_lr(int group, double lr) { set_number(group, "lr", lr); }
  /// An option by its name, "weight_decay". Errors: IndexError, ValueError for unknown names.
  double number(int group, std::string_view name) const;
  void set_number(int group, std::string_view name, double value);
  bool has_number(std::string_view name) const;
  /// The learning rate that schedules count from: the one before the first schedule.
  double initial_lr(int group);
  void set_initial_lr(int group, double lr);

  /// Everything a resumed run needs: "groups.0.lr"…, and per parameter, by its position and name,
  /// "state.0.fc.weight.exp_avg"…. The tensors are copies.
  NamedTensors state_dict() const;
  /// Errors: ValueError that lists missing, unexpected and misshapen entries; nothing changes then.
  void load_state_dict(const NamedTensors& state);

 protected:
  /// How the parameters of a group are updated, given its options.
  struct Plan {
    const OpInfo* rule;
    std::shared_ptr<const void> op;  ///< the record of the rule, with its flags
    std::vector<std::string_view> states;
    int64_t hyper;    ///< how many of the numbers the rule reads
    double fill = 0;  ///< what fresh states hold
  };

  /// `flags` and `numbers` name the options; the first numbers are the rule's hyperparameters.
  Optimizer(std::string_view name, std::span<const Number> numbers,
            std::span<const std::string_view> flags);
  void add_group(const Parameters& parameters, std::initializer_list<double> numbers,
                 std::initializer_list<bool> flags);
  bool flag(int group, std::string_view name) const;
  virtual Plan plan(std::span<const double> numbers, const std::vector<bool>& flags) const = 0;

 private:
  friend class Scheduler;
  friend class OneCycleLR;
  struct Slot;
  struct Group;
  Group& group_at(int group) const;
  size_t number_at(std::string_view name) const;
  void check_number(size_t i, double value) const;
  // Schedules may leave the range of an option, as PyTorch's do.
  void write_number(int group, std::string_view name, double value);
  static void prepare(Slot& slot, const Plan& plan);
  void collect(Group& group, size_t& at);
  static void convert(Group& group, const Slot& slot, const Tensor& gradient,
                      tandem::detail::UpdateItem& item);
  static void uncount(Group& group, size_t slots);
  void update(Group& group);
  void step_symbolic(Group& group, Slot& slot, const Tensor& gradient);

  std::string_view name_;
  std::span<const Number> numbers_;
  std::span<const std::string_view> flags_;
  std::vector<std::unique_ptr<Group>> groups_;
};

}  // namespace tandem::optim
