#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/graph/specialise.h"
#include "tandem/io/onnx_file.h"

namespace tandem::detail {

class OnnxImporter;
/// An operator's shape depends on a value that a run is given.
class NeedsValue : public NotImplemented {
 public:
  using NotImplemented::NotImplemented;
};
/// The results of the node that the importer is at.
using OnnxImport = Tensors (*)(OnnxImporter&);
using OnnxImports = std::unordered_map<std::string_view, OnnxImport>;

void add_math_imports(OnnxImports& table);
void add_shape_imports(OnnxImports& table);
void add_layer_imports(OnnxImports& table);
void add_recurrent_imports(OnnxImports& table);
void add_control_imports(OnnxImports& table);
void add_einsum_imports(OnnxImports& table);
void add_quantized_imports(OnnxImports& table);
/// The domain "tandem"'s own node for the gradient of a loop.
Tensors import_loop_gradient(OnnxImporter& importer);
/// ONNX's own operators that can be imported.
const OnnxImports& onnx_imports();

/// The lengths that the inputs of a run have, by the names that the file gives them.
using NamedLengths = std::map<std::string, int64_t>;

/// Runs the nodes of an ONNX graph for inputs of known shapes: on the values of a graph under
/// construction they become its nodes; what depends on constants and shapes alone is computed.
class OnnxImporter {
 public:
  using Values = std::unordered_map<std::string, Tensor>;

  OnnxImporter(graph::Graph& graph, const onnx::Model& model, NamedLengths lengths)
      : graph_(graph), model_(model), lengths_(std::move(lengths)) {}

  void set_opset(int64_t v) { scopes_.back().opset = v; }
  void set(const std::string& name, const Tensor& t) { scopes_.back().values[name] = t; }
  /// Errors: ValueError when nothing of that name was computed.
  Tensor value(const std::string& name) const;
  void run(const onnx::Graph& graph);
  /// The outputs of a graph inside a node, which sees the values around it.
  Tensors run_body(const onnx::Graph& graph, const Tensors& inputs);
  /// A graph inside a node as one of its own, which sees only constants around it.
  std::shared_ptr<graph::Graph> region(const onnx::Graph& graph, const std::vector<Spec>& inputs);

  // --- The node at hand ---------------------------------------------------------------------
  const onnx::Node& node() const { return *node_; }
  graph::Graph& graph() { return graph_; }
  int64_t opset() const { return scopes_.back().opset; }
  int inputs() const { return int(node_->inputs.size()); }
  bool has(int i) const { return i < inputs() && !node_->inputs[size_t(i)].empty(); }
  /// ValueError when it was left out.
  Tensor in(int i) const;
  Tensor in_or_none(int i) const { return has(i) ? in(i) : Tensor(); }
  const onnx::Attribute* attribute(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double real(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  std::optional<std::vector<int64_t>> list(std::string_view name) const;
  /// The numbers of input `i`; NotImplemented when they depend on what a run is given.
  std::vector<int64_t> ints(int i) const;
  double number(int i) const;
  /// What newer operator sets have as input `i`, older ones as an attribute.
  std::optional<std::vector<int64_t>> list(std::string_view name, int i) const;
  /// "Conv \"conv1\""
  std::string where() const;
  template <class... A>
  [[noreturn]] void unsupported(const A&... what) const {
    throw NotImplemented(cat("load_graph(): ", where(), " cannot be imported: ", what...));
  }
  /// Input `i` has no value yet.
  [[noreturn]] void needs_value(int i) const {
    throw NeedsValue(
        cat("load_graph(): ", where(), ": input ", i, " depends on what a run is given"));
  }
  template <class... A>
  void need(bool ok, const A&... what) const {
    require(ok, "load_graph(): ", where(), ": ", what...);
  }

 private:
  struct Scope {
    Values values;
    const onnx::Node* caller = nullptr;  ///< of a function: gives its attributes
    const onnx::Function* function = nullptr;
    int64_t opset = 17;
    bool closed = false;  ///< does not see the scopes around it
  };

  void run(const std::vector<onnx::Node>& nodes);
  Tensors run_node();
  Tensors run_record();
  Tensors run_function(const onnx::Function& f);
  const onnx::Attribute* resolve(const onnx::Attribute* a) const;

  graph::Graph& graph_;
  const onnx::Model& model_;
  NamedLengths lengths_;
  std::vector<Scope> scopes_{1};
  const onnx::Node* node_ = nullptr;
};

/// [1, ..., length, ..., 1]
inline Shape along_axis(int rank, int axis, int64_t length) {
  Shape s;
  for (int i = 0; i < rank; ++i) s.push_back(i == axis ? length : 1);
  return s;
}
/// Conv with the attributes of the node at hand.
Tensor import_conv(OnnxImporter& n, Tensor x, const Tensor& weight, const Tensor& bias);

/// Checks what can be known without running: names defined once and before their use, operators
/// that exist. Errors: ValueError, NotImplemented.
void check_onnx_model(const onnx::Model& model);
/// The operator set of ONNX's own operators; 1 when the list has none.
int64_t onnx_opset(const std::vector<onnx::OperatorSet>& sets);
const onnx::Function* find_function(const onnx::Model& model, const onnx::Node& node);

}  // namespace tandem::detail
