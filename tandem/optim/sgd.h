#pragma once
#include "tandem/core/by_name.h"
#include "tandem/optim/optimizer.h"

namespace tandem::optim {

/// PyTorch's names and defaults.
struct SGDOptions {
  ByName by_name = ByName();
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  bool maximize = false;
};

/// Stochastic gradient descent, with momentum and Nesterov's variant; the rule is `SgdStep`.
class TANDEM_API SGD : public Optimizer {
 public:
  using Options = SGDOptions;
  /// Errors: ValueError for options out of range, parameters given twice or not floating leaves.
  SGD(const Parameters& parameters, Options options = {});
  void add_param_group(const Parameters& parameters, Options options);
  Options options(int group = 0) const;

 protected:
  Plan plan(std::span<const double> numbers, const std::vector<bool>& flags) const override;
};

}  // namespace tandem::optim
