#pragma once
#include <memory>

#include "tandem/graph/fused_point.h"
#include "tandem/graph/jit.h"

namespace tandem::graph {

/// What the records of the program compute, written down by their point functors. False when one of
/// them computes with other types than f32 and bool, or in a way that lanes do not have.
TANDEM_API bool write_down(const FusedPoint& p, lanes::Program& program);
/// Machine code of the program; null when there is none.
std::shared_ptr<const Jit> make_jit(const FusedPoint& p, bool streaming);

}  // namespace tandem::graph
