#include "tandem/graph/update_rules.h"

#include "tandem/ops/adagrad_step.h"
#include "tandem/ops/adam_step.h"
#include "tandem/ops/rmsprop_step.h"
#include "tandem/ops/sgd_step.h"

namespace tandem::graph {

const detail::UpdateRule* update_rule_of(const OpInfo& info) {
  for (const detail::UpdateRule* rule :
       {&detail::update_rule<SgdStep>(), &detail::update_rule<AdamStep>(),
        &detail::update_rule<RmspropStep>(), &detail::update_rule<AdagradStep>()})
    if (rule->info == &info) return rule;
  return nullptr;
}

}  // namespace tandem::graph
