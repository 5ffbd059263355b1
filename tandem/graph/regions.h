#pragma once
#include <mutex>
#include <span>

#include "tandem/graph/ir.h"
#include "tandem/graph/plan.h"
#include "tandem/graph/specialise.h"

namespace tandem::graph {

/// A graph without state that runs on whatever shapes come, by a plan for each.
class RegionGraph {
 public:
  explicit RegionGraph(std::shared_ptr<Graph> graph) : graph_(std::move(graph)) {}
  const std::shared_ptr<Graph>& graph() const { return graph_; }
  size_t inputs() const { return graph_->inputs().size(); }
  Tensors run(Inputs inputs) const;
  /// The specs of the results for inputs of these specs.
  std::vector<Spec> infer(std::span<const Spec> inputs) const;

 private:
  std::shared_ptr<Graph> graph_;
  mutable std::mutex mutex_;
  mutable std::vector<std::pair<std::vector<Shape>, std::unique_ptr<Plan>>> plans_;
};

/// Whether a record is a node with regions.
bool has_regions(const OpInfo& info);
/// What such a node holds. cond: `first` if its input 0 holds, else `second`; their inputs follow,
/// one after the other. while_loop: `first` makes the next `variables` as long as `second` holds;
/// its inputs are the variables, what `first` uses besides, and what `second` does.
struct Regions {
  bool loop;
  int64_t variables, maximum;  ///< maximum: of steps; -1 is without bound
  std::shared_ptr<const Graph> first, second;
};
Regions regions_of(const void* op);
/// Whether a record is a derivative of a loop.
bool is_loop_gradient(const OpInfo& info);
/// What such a node holds: the loop, how often it was differentiated, and for the first derivative
/// the body's gradient, from the body's inputs and the gradients of its floating results. Where
/// `given` is not empty it says which of these plain code has; the body takes and gives booleans
/// that do so at each step.
struct LoopGradientRegions {
  Regions loop;
  int order;
  std::shared_ptr<const Graph> body;
  std::vector<bool> given;
};
LoopGradientRegions loop_gradient_regions(const void* op);
/// Such a node on these inputs, as a loop's `vjp` would make it. Errors: ValueError when the
/// regions and the inputs do not belong together.
Tensors apply_loop_gradient(const LoopGradientRegions& what, Inputs in);
/// The record with its regions made for given lengths of unknown axes.
std::shared_ptr<void> specialise_regions(const OpInfo& info, const void* op,
                                         const LengthValues& lengths, const OpInfo*& row);
/// Whether two such nodes, or gradients of loops, do the same.
bool same_regions(const Node& a, const Node& b);
/// The graph with other specs at its inputs, everything inferred anew.
std::shared_ptr<Graph> with_input_specs(const Graph& graph, std::span<const Spec> specs);

}  // namespace tandem::graph
