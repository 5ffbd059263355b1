#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tandem/op/recorder.h"

namespace tandem::graph {

using ValueId = int64_t;

/// One op of a graph: the same record that eager code runs, its attributes beside it.
struct Node {
  const OpInfo* info = nullptr;
  std::shared_ptr<void> op;
  std::vector<ValueId> inputs;  ///< -1: an optional input that was left out
  std::vector<ValueId> outputs;
};

/// What is known of a value. `constant` is set for captured tensors.
struct Value {
  Spec spec;
  std::string name;
  Tensor constant;
};

/// An SSA graph: every value is defined once, by an input, a captured tensor or a node. Building
/// one is running ordinary code on the tensors that `input()` gives.
class TANDEM_API Graph final : public Recorder, public std::enable_shared_from_this<Graph> {
 public:
  static std::shared_ptr<Graph> make() { return std::shared_ptr<Graph>(new Graph); }

  /// A symbolic tensor of that spec. Names must be unique; ValueError otherwise.
  Tensor input(std::string name, const Spec& spec);
  /// Marks a value as a result. ValueError when `t` is no value of this graph.
  void output(std::string name, const Tensor& t);

  const std::vector<Node>& nodes() const { return nodes_; }
  const Value& value(ValueId id) const { return values_[size_t(id)]; }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }

  /// Runs the nodes in order on concrete inputs. Errors: ShapeError and DTypeError that name the
  /// input whose spec differs.
  Tensors run(Inputs inputs) const;

  void record(const OpInfo& info, const void* op, Inputs in, Outputs out) override;

 private:
  Graph() = default;
  ValueId add_value(const Spec& spec, std::string name);
  ValueId id_of(const Tensor& t);

  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<ValueId> inputs_, outputs_;
};

/// One line a node: "%3: f32[4, 8] = matmul(%0, %1)".
TANDEM_API std::string to_string(const Graph& graph);

}  // namespace tandem::graph
