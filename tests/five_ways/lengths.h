#pragma once
// What `x.size(0)` is, and what arithmetic on it makes: plain numbers, or symbols where the library
// has them. Programs are run through these types, so that they say what a user's code would say.
#include "tandem/core/tensor.h"
#if __has_include("tandem/core/length.h")
#include "tandem/core/length.h"
#define TANDEM_FIVE_WAYS_SYMBOLS 1
#else
#define TANDEM_FIVE_WAYS_SYMBOLS 0
#endif

namespace tandem::five_ways {

#if TANDEM_FIVE_WAYS_SYMBOLS
using tandem::Length;
using tandem::Number;
#else
using Length = int64_t;
using Number = double;
#endif
/// Whether unknown lengths have names; else those of one axis are one length in a whole graph.
inline constexpr bool named_lengths = TANDEM_FIVE_WAYS_SYMBOLS;

}  // namespace tandem::five_ways
