#pragma once
#include <cstdint>
#include <limits>
#include <string>

#include "tandem/core/allocator.h"
#include "tandem/core/tensor.h"
#include "tests/support/cpu_time.h"
#include "tests/support/sanitizer.h"

namespace tandem::testing {

/// Whole numbers far from any use.
inline constexpr int64_t extremes[] = {std::numeric_limits<int64_t>::min(),
                                       std::numeric_limits<int64_t>::min() + 1,
                                       -(int64_t(3) << 61),  // where lengths keep handles
                                       -(int64_t(1) << 62),
                                       -(int64_t(1) << 32),
                                       -1,
                                       0,
                                       int64_t(1) << 31,
                                       int64_t(1) << 32,
                                       int64_t(1) << 62,
                                       std::numeric_limits<int64_t>::max()};
/// No more memory than this may be asked for, and no more time be taken.
inline constexpr size_t most_bytes = size_t(100) << 20;
inline constexpr double most_seconds = TANDEM_TEST_SANITIZER ? 10 : 1;

/// How often the program asked for more than `most_bytes` beside Tandem's allocator: the test
/// program replaces operator new.
int refused_requests();

/// What one way of running gives.
struct Outcome {
  Tensors results;
  std::string error;
  std::string wrong;  ///< about the way itself
};

/// Runs `f`, which gives Tensors, with little memory to spare, and looks at the clock.
template <class F>
Outcome outcome_of(const F& f) {
  Outcome o;
  const int before = refused_requests();
  set_memory_limit(memory_stats().reserved + int64_t(most_bytes));
  const double start = thread_seconds();
  try {
    o.results = f();
  } catch (const Error& e) {
    o.error = e.what();
  } catch (const std::exception& e) {
    o.wrong = cat("throws an error of no type: ", e.what());
  }
  const double seconds = thread_seconds() - start;
  set_memory_limit(0);
  if (seconds > most_seconds) o.wrong += cat("takes ", seconds, " s");
  if (refused_requests() != before) o.wrong += "asks for much memory beside the allocator's";
  return o;
}

}  // namespace tandem::testing
