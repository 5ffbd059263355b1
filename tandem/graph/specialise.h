#pragma once
#include <memory>

#include "tandem/core/length_table.h"
#include "tandem/graph/ir.h"

namespace tandem::graph {

using detail::LengthValues;

/// The graph for given values of its unknown lengths: attributes that depend on them become
/// numbers, and every shape is inferred anew. Without any values only the shapes are. Errors: what
/// the records' shape rules throw; ValueError for lengths that have no value.
TANDEM_API std::shared_ptr<Graph> specialise(const Graph& graph, const LengthValues& lengths);

/// Finds the unknown lengths of what a run is given, input by input.
class TANDEM_API LengthBinder {
 public:
  explicit LengthBinder(const Graph& graph);
  /// Whether `given` can be `want`; lengths that `want` leaves open get their values. When it
  /// cannot, `why` says so in words if the reason is a length that was given before.
  bool bind(const Shape& want, const Shape& given, std::string& why);
  /// Compares the lengths that are expressions of others, once all are known. ShapeError.
  void check() const;
  const LengthValues& values() const { return values_; }

 private:
  std::shared_ptr<detail::LengthTable> table_;
  LengthValues values_;
  std::vector<std::pair<Length, int64_t>> later_;
};

/// Whether two recordings of one function are the same program but for its numbers: the same nodes
/// on the same captured tensors, whose lengths and numbers may differ. Else `why` says where.
bool same_program(const Graph& a, const Graph& b, std::string& why);

/// Whether both graphs are the same nodes on the same captured tensors and equal constants.
bool same_structure(const Graph& a, const Graph& b);

}  // namespace tandem::graph
