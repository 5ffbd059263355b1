#pragma once
#include <string>

#include "tandem/core/error.h"

namespace tandem::testing {

/// What the error of type E that `f` must throw says; "no error" when it throws none.
template <class E = Error, class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace tandem::testing
