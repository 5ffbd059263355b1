#pragma once
#include "tandem/core/by_name.h"
#include "tandem/optim/optimizer.h"

namespace tandem::optim {

/// PyTorch's names and defaults.
struct RMSpropOptions {
  ByName by_name = ByName();
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;
  bool maximize = false;
};

/// RMSprop, plain, centered, or with momentum; the rule is `RmspropStep`.
class TANDEM_API RMSprop : public Optimizer {
 public:
  using Options = RMSpropOptions;
  /// Errors: ValueError for options out of range, parameters given twice or not floating leaves.
  RMSprop(const Parameters& parameters, Options options = {});
  void add_param_group(const Parameters& parameters, Options options);
  Options options(int group = 0) const;

 protected:
  Plan plan(std::span<const double> numbers, const std::vector<bool>& flags) const override;
};

}  // namespace tandem::optim
