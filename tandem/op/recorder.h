#pragma once
#include "tandem/op/op.h"

namespace tandem {

/// A graph under construction: receives every op that touches one of its values.
class Recorder {
 public:
  virtual ~Recorder() = default;
  /// Appends a node. `out` arrives with specs inferred and is given its value numbers. Concrete
  /// inputs become captured constants.
  virtual void record(const OpInfo& info, const void* op, Inputs in, Outputs out) = 0;
};

namespace detail {
/// A symbolic tensor of this spec, not yet a value of any graph.
TANDEM_API Tensor new_symbolic(const Spec& spec);
TANDEM_API void bind_symbolic(const Tensor& t, std::shared_ptr<Recorder> recorder, int64_t value);
}  // namespace detail
}  // namespace tandem
