#pragma once
#include "tandem/core/export.h"

namespace tandem {

/// Off, as at the start: a kernel is chosen by rules that know the shapes alone, so that the same
/// program, with as many threads, gives the same bits in every process. On: where several
/// algorithms differ in the last bits (convolutions), the first call with a shape times them and
/// the process keeps the fastest. That takes longer once, and results may differ from run to run.
TANDEM_API void set_autotune(bool on) noexcept;
TANDEM_API bool autotune() noexcept;

}  // namespace tandem
