#include "tandem/optim/adam.h"

#include "tandem/ops/adam_step.h"

namespace tandem::optim {
namespace {

constexpr std::array<Number, 5> number_table{
    {{"lr"}, {"beta1", 0, 1}, {"beta2", 0, 1}, {"eps"}, {"weight_decay"}}};
constexpr std::array<std::string_view, 3> flag_names{"amsgrad", "maximize",
                                                     "decoupled_weight_decay"};

AdamOptions decoupled(const AdamWOptions& o) {
  return {.lr = o.lr,
          .betas = o.betas,
          .eps = o.eps,
          .weight_decay = o.weight_decay,
          .amsgrad = o.amsgrad,
          .maximize = o.maximize,
          .decoupled_weight_decay = true};
}

}  // namespace

Adam::Adam(std::string_view name, const Parameters& parameters, Options options)
    : Optimizer(name, number_table, flag_names) {
  add_param_group(parameters, options);
}
Adam::Adam(const Parameters& parameters, Options options) : Adam("Adam", parameters, options) {}

void Adam::add_param_group(const Parameters& parameters, Options o) {
  add_group(parameters, {o.lr, o.betas[0], o.betas[1], o.eps, o.weight_decay},
            {o.amsgrad, o.maximize, o.decoupled_weight_decay});
}

Adam::Options Adam::options(int group) const {
  return {.lr = number(group, "lr"),
          .betas = {number(group, "beta1"), number(group, "beta2")},
          .eps = number(group, "eps"),
          .weight_decay = number(group, "weight_decay"),
          .amsgrad = flag(group, "amsgrad"),
          .maximize = flag(group, "maximize"),
          .decoupled_weight_decay = flag(group, "decoupled_weight_decay")};
}

Optimizer::Plan Adam::plan(std::span<const double>, const std::vector<bool>& flags) const {
  AdamStep op;
  op.maximize = flags[1];
  op.decoupled = flags[2];
  Plan p{&op_info<AdamStep>(),
         std::make_shared<AdamStep>(op),
         {"exp_avg", "exp_avg_sq"},
         AdamStep::hyper_size};
  if (flags[0]) p.states.push_back("max_exp_avg_sq");
  return p;
}

AdamW::AdamW(const Parameters& parameters, Options options)
    : Adam("AdamW", parameters, decoupled(options)) {}
void AdamW::add_param_group(const Parameters& parameters, Options options) {
  Adam::add_param_group(parameters, decoupled(options));
}

}  // namespace tandem::optim
