#include "tandem/ops/adagrad_step.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(AdagradStep)

std::vector<Spec> AdagradStep::infer(Specs in) const {
  std::vector<Spec> out;
  detail::update_infer(op_info<AdagradStep>(), this, hyper_size, in, out);
  return out;
}

void AdagradStep::cpu(Inputs in, Outputs out) const {
  detail::update_cpu(op_info<AdagradStep>(), this, in, out);
}

Samples<AdagradStep> AdagradStep::samples() {
  using namespace sample;
  const InputSpec hyper = listed({4}, {0.1, 0.01, 0.05, 1e-10});
  const InputSpec step = listed({}, {2});
  return {.ok = {{{}, {hyper, step, {{3, 5}}, {{3, 5}}, positive({3, 5})}},
                 {{.maximize = true}, {hyper, step, {{}}, {{}}, positive({})}},
                 {{}, {hyper, step, {{0}}, {{0}}, {{0}}}}},
          .errors = {{{},
                      {{{3}}, step, {{3}}, {{3}}, {{3}}},
                      "adagrad_step(maximize=false): hyper has shape [3], needs [4]"}}};
}

}  // namespace tandem
