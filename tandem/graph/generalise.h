#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tandem/graph/ir.h"

namespace tandem::graph {

/// Recordings of one function for arguments of different lengths, and the one graph with unknown
/// lengths that explains them: where they differ in a number, it has an expression of the lengths
/// that gives the number of each.
class TANDEM_API Generalisation {
 public:
  /// `names` has, by input, the names of its axes' lengths, as dim() gives them; it may be empty.
  explicit Generalisation(std::shared_ptr<const Graph> first, std::vector<Shape> names = {});

  /// Takes a recording in. False when it is another program than the others, or a number in it is
  /// explained by no expression: then `why` says which.
  bool add(const std::shared_ptr<const Graph>& recording, std::string& why);

  /// The graph for all of them, as far as numbers can stand in it as expressions. Errors:
  /// LengthError that names the op whose attribute cannot, and what to do.
  std::shared_ptr<Graph> graph() const;
  /// The same, or the first recording where that has no answer.
  std::shared_ptr<const Graph> graph_or_first() const;

 private:
  bool fit(const std::vector<std::shared_ptr<const Graph>>& recordings, std::string& why);
  bool predicts(const Graph& recording) const;

  std::vector<std::shared_ptr<const Graph>> recordings_;
  std::vector<Shape> names_;
  std::shared_ptr<Graph> wide_;
  std::string gap_;  ///< what keeps `wide_` from standing for all lengths; empty when nothing does
};

}  // namespace tandem::graph
