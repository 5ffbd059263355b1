#pragma once
#include "tandem/op/op.h"

namespace tandem::detail {
struct UpdateRule;
}

namespace tandem::graph {

/// The multi-tensor form of an optimizer's update record; null for other records.
const detail::UpdateRule* update_rule_of(const OpInfo& info);

}  // namespace tandem::graph
