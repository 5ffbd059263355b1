#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/graph/specialise.h"
#include "tandem/io/onnx.h"
#include "tandem/io/onnx_file.h"

namespace tandem::detail {

class OnnxImporter;
using GraphValues = std::vector<GraphValue>;
/// An operator's course or shape depends on a value that a run is given.
class NeedsValue : public NotImplemented {
 public:
  NeedsValue(const std::string& text, Tensor value)
      : NotImplemented(text), value_(std::move(value)) {}
  /// The symbolic value that has to be known; undefined: all that the node takes.
  const Tensor& value() const { return value_; }

 private:
  Tensor value_;
};

/// How an operator becomes records: a function that gives the results of the node at hand.
struct OnnxImport {
  Tensors (*tensors)(OnnxImporter&) = nullptr;
  GraphValues (*values)(OnnxImporter&) = nullptr;  ///< of texts, sequences and optional values
  /// Elements are moved and not looked at: those of any type will do.
  bool moves = false;

  OnnxImport(Tensors (*f)(OnnxImporter&)) : tensors(f) {}
  OnnxImport(GraphValues (*f)(OnnxImporter&)) : values(f) {}
};
using OnnxImports = std::unordered_map<std::string_view, OnnxImport>;

void add_math_imports(OnnxImports& table);
void add_shape_imports(OnnxImports& table);
void add_index_imports(OnnxImports& table);
void add_layer_imports(OnnxImports& table);
void add_pool_imports(OnnxImports& table);
void add_attention_imports(OnnxImports& table);
void add_vision_imports(OnnxImports& table);
void add_resize_imports(OnnxImports& table);
void add_text_imports(OnnxImports& table);
void add_learning_imports(OnnxImports& table);
void add_signal_imports(OnnxImports& table);
void add_set_imports(OnnxImports& table);
void add_sequence_imports(OnnxImports& table);
void add_recurrent_imports(OnnxImports& table);
void add_control_imports(OnnxImports& table);
void add_einsum_imports(OnnxImports& table);
void add_quantized_imports(OnnxImports& table);
void add_cast_imports(OnnxImports& table);
void add_microsoft_imports(OnnxImports& table);
void add_microsoft_int8_imports(OnnxImports& table);
/// The domain "tandem"'s own node for the gradient of a loop.
Tensors import_loop_gradient(OnnxImporter& importer);
/// ONNX's own operators that can be imported; those of its other domains as "domain.Name".
const OnnxImports& onnx_imports();
/// Null when there is none.
const OnnxImport* find_import(const onnx::Node& node);

/// A model as the importer looks things up in it.
class OnnxModel {
 public:
  explicit OnnxModel(onnx::Model m);
  const onnx::Model& model() const { return model_; }
  /// Null when the node is no call of one.
  const onnx::Function* function(const onnx::Node& node) const;
  int64_t opset() const { return opset_; }
  /// How many nodes may be run while the file is imported once, calls and steps of loops included.
  int64_t most_nodes() const { return most_nodes_; }
  /// The names that node `i` of the graph takes from outside, those of graphs inside it as well.
  const std::vector<std::string>& uses(size_t i) const { return uses_[i]; }

 private:
  onnx::Model model_;
  std::unordered_map<std::string, const onnx::Function*> functions_;
  std::vector<std::vector<std::string>> uses_;
  int64_t opset_ = 1, most_nodes_ = 0;
};

/// The lengths that the inputs of a run have, by the names that the file gives them.
using NamedLengths = std::map<std::string, int64_t>;

/// Runs the nodes of an ONNX graph for inputs of known shapes: on the values of a graph under
/// construction they become its nodes; what depends on constants and shapes alone is computed.
class OnnxImporter {
 public:
  using Values = std::unordered_map<std::string, GraphValue>;

  OnnxImporter(graph::Graph& graph, const OnnxModel& model, NamedLengths lengths)
      : graph_(graph), model_(model), lengths_(std::move(lengths)) {
    scopes_.back().opset = model.opset();
  }

  void set(const std::string& name, GraphValue v) { scopes_.back().values[name] = std::move(v); }
  /// Errors: ValueError when nothing of that name was computed.
  const GraphValue& value(const std::string& name) const;
  /// Null when nothing of that name was computed.
  const GraphValue* find(const std::string& name) const;
  /// Runs the model's nodes from the number `first` on. Gives the number of the one whose course
  /// depends on a value that is not known, with that value; else the number of all nodes.
  size_t run_from(size_t first, std::optional<NeedsValue>& stopped);
  /// The outputs of a graph inside a node, which sees the values around it.
  GraphValues run_body(const onnx::Graph& graph, const GraphValues& inputs);
  Tensors run_body(const onnx::Graph& graph, const Tensors& inputs);
  /// A graph inside a node as one of its own, which sees only constants around it.
  std::shared_ptr<graph::Graph> region(const onnx::Graph& graph, const std::vector<Spec>& inputs);
  /// While loops are recorded without being unrolled: how often their bodies run, as far as that is
  /// known, is limited, too.
  int64_t& known_steps() { return known_steps_; }

  // --- The node at hand ---------------------------------------------------------------------
  const onnx::Node& node() const { return *node_; }
  graph::Graph& graph() { return graph_; }
  int64_t opset() const { return scopes_.back().opset; }
  int inputs() const { return int(node_->inputs.size()); }
  int outputs() const { return int(node_->outputs.size()); }
  bool has(int i) const { return i < inputs() && !node_->inputs[size_t(i)].empty(); }
  /// Whether output `i` is wanted.
  bool wants(int i) const { return i < outputs() && !node_->outputs[size_t(i)].empty(); }
  /// A tensor; ValueError when it was left out, NotImplemented when it is another kind of value.
  Tensor in(int i) const;
  Tensor in_or_none(int i) const { return has(i) ? in(i) : Tensor(); }
  /// A value of any kind; nothing when it was left out.
  GraphValue any_in(int i) const;
  const onnx::Attribute* attribute(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  /// An integer that is 0 or 1.
  bool flag(std::string_view name, bool otherwise) const;
  double real(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  std::optional<std::vector<int64_t>> list(std::string_view name) const;
  std::optional<std::vector<float>> reals(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  /// The numbers of input `i`; NeedsValue when they depend on what a run is given.
  std::vector<int64_t> ints(int i) const;
  double number(int i) const;
  int64_t whole_number(int i) const;
  /// Input `i` with its elements; NeedsValue when they depend on what a run is given.
  Tensor known(int i) const;
  /// What newer operator sets have as input `i`, older ones as an attribute.
  std::optional<std::vector<int64_t>> list(std::string_view name, int i) const;
  /// "Conv \"conv1\""
  std::string where() const;
  template <class... A>
  [[noreturn]] void unsupported(const A&... what) const {
    throw NotImplemented(cat("load_graph(): ", where(), " cannot be imported: ", what...));
  }
  /// Input `i` has no value yet.
  [[noreturn]] void needs_value(int i) const;
  /// Some of the inputs have none, or values that the graphs inside take.
  [[noreturn]] void needs_values() const;
  template <class... A>
  void need(bool ok, A&&... what) const {
    require(
        ok, "load_graph(): ", [&] { return where(); }, ": ", std::forward<A>(what)...);
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
  void run(const onnx::Node& node);
  GraphValues run_node();
  Tensors run_record();
  GraphValues run_function(const onnx::Function& f);
  const onnx::Attribute* resolve(const onnx::Attribute* a) const;
  GraphValues run_tensors(const OnnxImport& import);

  graph::Graph& graph_;
  const OnnxModel& model_;
  NamedLengths lengths_;
  std::vector<Scope> scopes_{1};
  const onnx::Node* node_ = nullptr;
  int64_t nodes_run_ = 0, known_steps_ = 1;
  bool moving_ = false;  ///< elements of any type may be read
};

/// What the file and its shapes determine is a constant of the graph.
GraphValue constant_value(GraphValue v);
/// An initializer or an attribute as a constant.
GraphValue value_of(const onnx::TensorData& t);
/// [1, ..., length, ..., 1]
inline Shape along_axis(int rank, int axis, int64_t length) {
  Shape s;
  for (int i = 0; i < rank; ++i) s.push_back(i == axis ? length : 1);
  return s;
}
/// From the front. Errors: ValueError.
int axis_of(OnnxImporter& n, int64_t axis, int rank);
/// Errors: ValueError for more than 8 axes.
Shape shape_of(OnnxImporter& n, const std::vector<int64_t>& list);
/// The same for lengths, which are not negative.
Shape lengths_of(OnnxImporter& n, const std::vector<int64_t>& list);
/// i64, one axis.
Tensor numbers(std::vector<int64_t> v);
/// Input `i`'s places along an axis of that length; negative ones count from the end.
Tensor places(const Tensor& index, int64_t length);
/// Whether texts are equal, input 0 and input 1.
GraphValue equal_texts(OnnxImporter& n);
/// The dtype of an attribute's element type. Errors: NotImplemented.
DType dtype_of(OnnxImporter& n, int64_t type);
/// Conv with the attributes of the node at hand.
Tensor import_conv(OnnxImporter& n, Tensor x, const Tensor& weight, const Tensor& bias);

/// Checks what can be known without running: names defined once and before their use, operators
/// that exist. Errors: ValueError, NotImplemented.
void check_onnx_model(const OnnxModel& model);
/// The operator set of ONNX's own operators; 1 when the list has none.
int64_t onnx_opset(const std::vector<onnx::OperatorSet>& sets);
/// Whether it is the domain of ONNX's own operators.
bool own_domain(std::string_view domain);

}  // namespace tandem::detail
