// The processor's own note that a number was NaN.
#pragma once

#include "tandem/core/export.h"

namespace tandem::cpu {

/// True when a thread of the pool has, since the last call, compared a NaN, taken the larger or
/// smaller of a NaN and a number, or made a NaN of numbers and infinities; also sometimes without
/// (never the other way round). Clears the note. Always true for processors that keep none.
bool take_invalid_flags() noexcept;

}  // namespace tandem::cpu
