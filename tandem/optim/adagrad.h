#pragma once
#include "tandem/core/by_name.h"
#include "tandem/optim/optimizer.h"

namespace tandem::optim {

/// PyTorch's names and defaults.
struct AdagradOptions {
  ByName by_name = ByName();
  double lr = 1e-2;
  double lr_decay = 0;
  double weight_decay = 0;
  double initial_accumulator_value = 0;
  double eps = 1e-10;
  bool maximize = false;
};

/// Adagrad; the rule is `AdagradStep`.
class TANDEM_API Adagrad : public Optimizer {
 public:
  using Options = AdagradOptions;
  /// Errors: ValueError for options out of range, parameters given twice or not floating leaves.
  Adagrad(const Parameters& parameters, Options options = {});
  void add_param_group(const Parameters& parameters, Options options);
  Options options(int group = 0) const;

 protected:
  Plan plan(std::span<const double> numbers, const std::vector<bool>& flags) const override;
};

}  // namespace tandem::optim
