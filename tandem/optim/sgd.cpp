#include "tandem/optim/sgd.h"

#include <array>

#include "tandem/ops/sgd_step.h"

namespace tandem::optim {
namespace {
constexpr std::array<Number, 4> number_table{
    {{"lr"}, {"momentum"}, {"dampening", -1e300}, {"weight_decay"}}};
constexpr std::array<std::string_view, 2> flag_names{"nesterov", "maximize"};
}  // namespace

SGD::SGD(const Parameters& parameters, Options options)
    : Optimizer("SGD", number_table, flag_names) {
  add_param_group(parameters, options);
}

void SGD::add_param_group(const Parameters& parameters, Options o) {
  require(!o.nesterov || (o.momentum > 0 && o.dampening == 0),
          "SGD(nesterov=true): needs momentum above 0 and dampening 0, got ", o.momentum, " and ",
          o.dampening);
  add_group(parameters, {o.lr, o.momentum, o.dampening, o.weight_decay}, {o.nesterov, o.maximize});
}

SGD::Options SGD::options(int group) const {
  Options o;
  o.lr = number(group, "lr");
  o.momentum = number(group, "momentum");
  o.dampening = number(group, "dampening");
  o.weight_decay = number(group, "weight_decay");
  o.nesterov = flag(group, "nesterov");
  o.maximize = flag(group, "maximize");
  return o;
}

Optimizer::Plan SGD::plan(std::span<const double> numbers, const std::vector<bool>& flags) const {
  SgdStep op;
  op.nesterov = flags[0];
  op.maximize = flags[1];
  Plan p{&op_info<SgdStep>(), std::make_shared<SgdStep>(op), {}, SgdStep::hyper_size};
  if (numbers[1] != 0) p.states.push_back("momentum_buffer");
  return p;
}

}  // namespace tandem::optim
