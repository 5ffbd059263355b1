#include "tandem/optim/adagrad.h"

#include <array>

#include "tandem/ops/adagrad_step.h"

namespace tandem::optim {
namespace {
constexpr std::array<Number, 5> number_table{
    {{"lr"}, {"lr_decay"}, {"weight_decay"}, {"eps"}, {"initial_accumulator_value"}}};
constexpr std::array<std::string_view, 1> flag_names{"maximize"};
}  // namespace

Adagrad::Adagrad(const Parameters& parameters, Options options)
    : Optimizer("Adagrad", number_table, flag_names) {
  add_param_group(parameters, options);
}

void Adagrad::add_param_group(const Parameters& parameters, Options o) {
  add_group(parameters, {o.lr, o.lr_decay, o.weight_decay, o.eps, o.initial_accumulator_value},
            {o.maximize});
}

Adagrad::Options Adagrad::options(int group) const {
  Options o;
  o.lr = number(group, "lr");
  o.lr_decay = number(group, "lr_decay");
  o.weight_decay = number(group, "weight_decay");
  o.eps = number(group, "eps");
  o.initial_accumulator_value = number(group, "initial_accumulator_value");
  o.maximize = flag(group, "maximize");
  return o;
}

Optimizer::Plan Adagrad::plan(std::span<const double> numbers,
                              const std::vector<bool>& flags) const {
  AdagradStep op;
  op.maximize = flags[0];
  return {&op_info<AdagradStep>(),
          std::make_shared<AdagradStep>(op),
          {"sum"},
          AdagradStep::hyper_size,
          numbers[4]};
}

}  // namespace tandem::optim
