#include "tandem/optim/rmsprop.h"

#include <array>

#include "tandem/ops/rmsprop_step.h"

namespace tandem::optim {
namespace {
constexpr std::array<Number, 5> number_table{
    {{"lr"}, {"alpha"}, {"eps"}, {"weight_decay"}, {"momentum"}}};
constexpr std::array<std::string_view, 2> flag_names{"centered", "maximize"};
}  // namespace

RMSprop::RMSprop(const Parameters& parameters, Options options)
    : Optimizer("RMSprop", number_table, flag_names) {
  add_param_group(parameters, options);
}

void RMSprop::add_param_group(const Parameters& parameters, Options o) {
  add_group(parameters, {o.lr, o.alpha, o.eps, o.weight_decay, o.momentum},
            {o.centered, o.maximize});
}

RMSprop::Options RMSprop::options(int group) const {
  Options o;
  o.lr = number(group, "lr");
  o.alpha = number(group, "alpha");
  o.eps = number(group, "eps");
  o.weight_decay = number(group, "weight_decay");
  o.momentum = number(group, "momentum");
  o.centered = flag(group, "centered");
  o.maximize = flag(group, "maximize");
  return o;
}

Optimizer::Plan RMSprop::plan(std::span<const double> numbers,
                              const std::vector<bool>& flags) const {
  RmspropStep op;
  op.centered = flags[0];
  op.with_momentum = numbers[4] != 0;
  op.maximize = flags[1];
  Plan p{&op_info<RmspropStep>(),
         std::make_shared<RmspropStep>(op),
         {"square_avg"},
         RmspropStep::hyper_size};
  if (op.centered) p.states.push_back("grad_avg");
  if (op.with_momentum) p.states.push_back("momentum_buffer");
  return p;
}

}  // namespace tandem::optim
