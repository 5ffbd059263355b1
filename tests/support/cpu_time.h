#pragma once
#include <ctime>

#include <algorithm>

namespace tandem::testing {

/// Seconds of this thread's own work: what other processes do is not in it.
inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

/// How much more a step of f(many) costs than one of f(few), which f gives in seconds. The least of
/// several tries, since a machine at work only adds; no more tries than it takes to be below
/// `enough`. Linear work is near 1, quadratic work near many / few.
template <class F>
double growth(F f, int few, int many, double enough) {
  double small = 1e9, large = 1e9, ratio = 1e9;
  f(few);
  for (int i = 0; i < 8 && ratio >= enough; ++i) {
    small = std::min(small, f(few) / few);
    large = std::min(large, f(many) / many);
    ratio = large / small;
  }
  return ratio;
}

}  // namespace tandem::testing
