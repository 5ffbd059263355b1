#include "tandem/core/autotune.h"

#include <atomic>

namespace tandem {
namespace {

constinit std::atomic<bool> measures{false};

}  // namespace

void set_autotune(bool on) noexcept { measures.store(on, std::memory_order_relaxed); }
bool autotune() noexcept { return measures.load(std::memory_order_relaxed); }

}  // namespace tandem
