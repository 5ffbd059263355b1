#pragma once
// What a point op's header needs beside op.h: the function mark of its body and the result rule.
#include <cstdint>

#include "tandem/op/math.h"
#include "tandem/op/simd.h"

namespace tandem {

/// What dtype a point op gives: that of its promoted inputs, the same but integers become f32, or
/// bool. A record says `static constexpr Result result`; `static constexpr bool integers = false`
/// keeps a record without an integer kernel.
enum class Result : uint8_t { same, floating, boolean };

}  // namespace tandem
