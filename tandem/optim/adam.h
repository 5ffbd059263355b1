#pragma once
#include <array>

#include "tandem/core/by_name.h"
#include "tandem/optim/optimizer.h"

namespace tandem::optim {

/// PyTorch's names and defaults.
struct AdamOptions {
  ByName by_name = ByName();
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  bool amsgrad = false;
  bool maximize = false;
  bool decoupled_weight_decay = false;  ///< decay the parameter, not through the gradient: AdamW
};

/// Adam; the rule is `AdamStep`.
class TANDEM_API Adam : public Optimizer {
 public:
  using Options = AdamOptions;
  /// Errors: ValueError for options out of range, parameters given twice or not floating leaves.
  Adam(const Parameters& parameters, Options options = {});
  void add_param_group(const Parameters& parameters, Options options);
  Options options(int group = 0) const;

 protected:
  Adam(std::string_view name, const Parameters& parameters, Options options);
  Plan plan(std::span<const double> numbers, const std::vector<bool>& flags) const override;
};

/// PyTorch's names and defaults.
struct AdamWOptions {
  ByName by_name = ByName();
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;
  bool amsgrad = false;
  bool maximize = false;
};

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
class TANDEM_API AdamW : public Adam {
 public:
  using Options = AdamWOptions;
  AdamW(const Parameters& parameters, Options options = {});
  void add_param_group(const Parameters& parameters, Options options);
};

}  // namespace tandem::optim
