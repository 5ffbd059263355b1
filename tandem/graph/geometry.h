#pragma once
#include <vector>

#include "tandem/graph/ir.h"

namespace tandem::graph {

/// What a pass may know of where elements will lie: shapes and strides as a plan will have them.
class Geometry {
 public:
  explicit Geometry(const Graph& graph);
  /// State and constants themselves, views and strided inputs as they lie, all else row-major.
  Tensor operator[](ValueId id);

 private:
  const Graph& graph_;
  std::vector<Tensor> tensors_;
};

}  // namespace tandem::graph
