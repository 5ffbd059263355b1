#include "tandem/ops/adam_step.h"

#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(AdamStep)

std::vector<Spec> AdamStep::infer(Specs in) const {
  std::vector<Spec> out;
  detail::update_infer(op_info<AdamStep>(), this, hyper_size, in, out);
  return out;
}

void AdamStep::cpu(Inputs in, Outputs out) const {
  detail::update_cpu(op_info<AdamStep>(), this, in, out);
}

Samples<AdamStep> AdamStep::samples() {
  using namespace sample;
  const InputSpec hyper = listed({5}, {0.01, 0.9, 0.999, 1e-8, 0.1});
  const InputSpec step = listed({}, {2});
  return {.ok = {{{}, {hyper, step, {{3, 5}}, {{3, 5}}, {{3, 5}}, positive({3, 5})}},
                 {{.maximize = true}, {hyper, step, {{7}}, {{7}}, {{7}}, positive({7})}},
                 {{.decoupled = true},
                  {hyper, step, strided({4, 3}), {{4, 3}}, strided({4, 3}), positive({4, 3})}},
                 {{}, {hyper, listed({}, {0}), {{6}}, {{6}}, {{6}}, positive({6}), positive({6})}},
                 {{}, {hyper, step, {{}}, {{}}, {{}}, positive({})}},
                 {{}, {hyper, step, {{0}}, {{0}}, {{0}}, {{0}}}}},
          .errors = {{{},
                      {{{4}}, step, {{3}}, {{3}}, {{3}}, {{3}}},
                      "adam_step(maximize=false, decoupled=false): hyper has shape [4], needs [5]"},
                     {{},
                      {hyper, step, {{3}}, {{2}}, {{3}}, {{3}}},
                      "adam_step(maximize=false, decoupled=false): input 3 has shape [2], the "
                      "parameter has [3]"},
                     {{},
                      {hyper, step, {{3}, i64}, {{3}}, {{3}}, {{3}}},
                      "adam_step(maximize=false, decoupled=false): needs floating inputs, got i64 "
                      "for input 2"}}};
}

}  // namespace tandem
