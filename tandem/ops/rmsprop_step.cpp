#include "tandem/ops/rmsprop_step.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(RmspropStep)

std::vector<Spec> RmspropStep::infer(Specs in) const {
  const int states = 1 + centered + with_momentum, given = 1 + in.has(5) + in.has(6);
  check(given == states, *this, "takes ", states, " states, got ", given);
  std::vector<Spec> out;
  detail::update_infer(op_info<RmspropStep>(), this, hyper_size, in, out);
  return out;
}

void RmspropStep::cpu(Inputs in, Outputs out) const {
  detail::update_cpu(op_info<RmspropStep>(), this, in, out);
}

Samples<RmspropStep> RmspropStep::samples() {
  using namespace sample;
  const InputSpec hyper = listed({5}, {0.01, 0.9, 1e-8, 0.1, 0.7});
  const InputSpec step = listed({}, {2}), high = filled({3, 5}, InputSpec::positive, f64, 1, 0);
  const InputSpec low = sample::scaled({3, 5}, 0.1);
  return {.ok = {{{}, {hyper, step, {{3, 5}}, {{3, 5}}, high}},
                 {{.centered = true}, {hyper, step, {{3, 5}}, {{3, 5}}, high, low}},
                 {{.with_momentum = true}, {hyper, step, {{3, 5}}, {{3, 5}}, high, {{3, 5}}}},
                 {{.centered = true, .with_momentum = true},
                  {hyper, step, {{3, 5}}, {{3, 5}}, high, low, {{3, 5}}}},
                 {{.maximize = true}, {hyper, step, {{}}, {{}}, positive({})}},
                 {{}, {hyper, step, {{0}}, {{0}}, {{0}}}}},
          .errors = {{{.centered = true},
                      {hyper, step, {{3, 5}}, {{3, 5}}, high},
                      "rmsprop_step(centered=true, with_momentum=false, maximize=false): takes 2 "
                      "states, got 1"}}};
}

}  // namespace tandem
