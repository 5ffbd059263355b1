#include "tandem/ops/sgd_step.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(SgdStep)

std::vector<Spec> SgdStep::infer(Specs in) const {
  std::vector<Spec> out;
  detail::update_infer(op_info<SgdStep>(), this, hyper_size, in, out);
  return out;
}

void SgdStep::cpu(Inputs in, Outputs out) const {
  detail::update_cpu(op_info<SgdStep>(), this, in, out);
}

Samples<SgdStep> SgdStep::samples() {
  using namespace sample;
  const InputSpec hyper = listed({4}, {0.1, 0.9, 0.2, 0.05});
  const InputSpec step = listed({}, {2}), first = listed({}, {0});
  return {
      .ok = {{{}, {hyper, step, {{3, 5}}, {{3, 5}}}},
             {{}, {hyper, step, {{3, 5}}, {{3, 5}}, {{3, 5}}}},
             {{}, {hyper, first, {{3, 5}}, {{3, 5}}, filled({3, 5}, InputSpec::normal, f64, 0)}},
             {{.nesterov = true}, {hyper, step, strided({4, 3}), {{4, 3}}, strided({4, 3})}},
             {{.maximize = true}, {hyper, step, {{}}, {{}}, {{}}}},
             {{}, {hyper, step, {{0}}, {{0}}, {{0}}}}},
      .errors = {{{},
                  {{{4, 1}}, step, {{3}}, {{3}}},
                  "sgd_step(nesterov=false, maximize=false): hyper has shape [4, 1], needs [4]"},
                 {{},
                  {hyper, {{2}}, {{3}}, {{3}}},
                  "sgd_step(nesterov=false, maximize=false): step has shape [2], needs one "
                  "element"}}};
}

}  // namespace tandem
