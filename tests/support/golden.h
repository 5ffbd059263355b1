#pragma once
#include <map>
#include <optional>
#include <string>

#include "tandem/core/tensor.h"

namespace tandem::testing {

/// Expected values of one op, written by tests/golden/make_goldens.py with PyTorch:
/// `checks` (checksums of the samples' inputs, i64), `N.outK`, `N.gradI` (f64 samples), `N.dtypes`
/// (i8: for every dtype put in the place of f64, the result's dtype, or -1 when it is refused) and
/// `N.DTYPE.outK` (integer results).
class Golden {
 public:
  /// Null when the op has no file.
  static const Golden* of(std::string_view op);
  explicit Golden(std::map<std::string, Tensor> arrays) : arrays_(std::move(arrays)) {}
  /// Undefined when there is none.
  Tensor get(const std::string& name) const;

 private:
  std::map<std::string, Tensor> arrays_;
};

}  // namespace tandem::testing
