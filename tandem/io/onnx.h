#pragma once
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/core/named_tensors.h"
#include "tandem/graph/compile.h"
#include "tandem/graph/session.h"

namespace tandem {

namespace onnx {
enum class ElementType : int32_t;
}

/// How a graph is written as an ONNX model.
struct SaveGraphOptions {
  ByName by_name = ByName();
  /// What captured tensors are called in the file: `model.state_dict()` and the like. Others are
  /// "state0", "state1", ...
  NamedTensors names = {};
  /// The values of a Session's variables: `session.state_dict()`.
  NamedTensors variables = {};
  /// What the model gives; when empty, what `Graph::output` listed. Values with effects, such as
  /// `minimize(...)`, make the saved graph write its state.
  NamedTensors outputs = {};
  /// The shapes of a module's inputs: -1 for a length that each run may choose, dim("batch") for
  /// one with a name. When empty: those of the examples, with any length on axis 0; inputs whose
  /// examples are of one length there share it.
  std::vector<Shape> shapes = {};
  /// Initializers of more bytes go to FILE.data, see onnx::WriteOptions.
  std::optional<int64_t> external_above = {};
};

/// Writes a graph as an ONNX model (operator set 17, IR version 8). Records that are an ONNX
/// operator, or a few of them, become those; any other one becomes a node of the domain "tandem"
/// with the record's name and attributes, so that every graph can be saved, training steps
/// included. Captured tensors become initializers, and what a run writes to them becomes further
/// outputs that the model's metadata name ("tandem.state.NAME"). Gradients that a run leaves in
/// `.grad` are not kept. Writing is atomic. Errors: IOError; ValueError for variables without a
/// value; NotImplemented for lengths that no input has.
TANDEM_API void save(const graph::Graph& graph, const std::string& path,
                     const SaveGraphOptions& options = {});

/// The first graph that a compiled function captured: for any lengths where those of its calls have
/// differed. Errors: IndexError when it never ran; LengthError when no graph stands for all
/// lengths.
template <class F>
void save(const Compiled<F>& function, const std::string& path,
          const SaveGraphOptions& options = {}) {
  save(*function.graph_for_all_lengths(), path, options);
}

namespace detail {
/// Code that can be recorded as often as one likes.
class Recordable {
 public:
  virtual void run(const Tensors& inputs, Tensors& results) = 0;

 protected:
  ~Recordable() = default;
};
/// Records it for the examples, and for other lengths where they may differ, until one graph
/// explains all. Errors: LengthError that says why none does.
TANDEM_API std::shared_ptr<graph::Graph> record_for_lengths(std::span<const Tensor> examples,
                                                            const SaveGraphOptions& options,
                                                            Recordable& code);
template <class M, size_t... I>
auto call_with(M& model, const Tensors& x, std::index_sequence<I...>) {
  return model(x[I]...);
}
}  // namespace detail

/// Captures `model(examples...)` in evaluation mode and saves it; initializers are called as in its
/// state_dict. `Inputs` is how many tensors the model takes. The model runs several times, with
/// other lengths where they may differ. Errors: LengthError when it does something else for some
/// lengths, with the place where it read one.
template <size_t Inputs = 1, class M>
requires requires(M& m) {
  m.state_dict();
  m.eval();
}
void save(M& model, const std::string& path, std::initializer_list<Tensor> examples,
          SaveGraphOptions options = {}) {
  require(examples.size() == Inputs, "save(", path, "): ", examples.size(),
          " examples for a model of ", Inputs, " inputs");
  struct Mode {
    M& model;
    bool before;
    ~Mode() { model.train(before); }
  } mode{model, model.is_training()};
  model.eval();
  const NoGrad no_grad;
  struct Code final : detail::Recordable {
    M& model;
    explicit Code(M& m) : model(m) {}
    void run(const Tensors& inputs, Tensors& results) override {
      auto result = detail::call_with(model, inputs, std::make_index_sequence<Inputs>{});
      auto output = [&](auto& leaf) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Tensor>)
          if (leaf.defined()) results.push_back(leaf);
      };
      detail::each_leaf(result, output);
    }
  } code(model);
  const auto graph = detail::record_for_lengths({examples.begin(), examples.size()}, options, code);
  for (const auto& entry : model.state_dict()) options.names.push_back(entry);
  save(*graph, path, options);
}

/// What an ONNX graph takes or gives: a tensor, texts, a list of values, or nothing (an optional
/// value that is not there).
struct TANDEM_API GraphValue {
  enum class Kind : uint8_t { nothing, tensor, texts, sequence };
  struct Texts {
    Shape shape;
    std::vector<std::string> values;
  };

  Kind kind = Kind::nothing;
  Tensor tensor = {};
  std::shared_ptr<const Texts> texts = {};
  std::shared_ptr<const std::vector<GraphValue>> items = {};
  /// What the file calls the elements where Tandem has no such dtype (4- and 8-bit floats, integers
  /// of fewer than 8 bits): `tensor` then holds exactly their values, in f32, i8 or u8.
  std::optional<onnx::ElementType> element = {};

  GraphValue() = default;
  GraphValue(Tensor t) : kind(t.defined() ? Kind::tensor : Kind::nothing), tensor(std::move(t)) {}
  static GraphValue of_texts(std::vector<std::string> values, const Shape& shape);
  static GraphValue of_items(std::vector<GraphValue> items);
};

/// An input or output of a loaded graph.
struct GraphPort {
  std::string name;
  DType dtype = f32;
  std::optional<Shape> shape;     ///< -1: any length; without: any rank
  std::vector<std::string> axes;  ///< the names of unknown lengths, "" for the others
  /// Empty for a plain tensor; else what the port takes: "STRING", "FLOAT8E5M2", "sequence of f32",
  /// "optional f32".
  std::string kind = {};
  std::optional<onnx::ElementType> element = {};  ///< as in GraphValue
  bool optional = false;                          ///< may be nothing
};
/// "x: f32[batch, 3]"
TANDEM_API std::string to_string(const GraphPort& port);

/// An ONNX model ready to run. A handle: copies are the same graph. One made from a training step
/// writes its state at every run and so goes on training. Several threads may run it at once.
class TANDEM_API LoadedGraph {
 public:
  const std::vector<GraphPort>& inputs() const;
  const std::vector<GraphPort>& outputs() const;
  /// Inputs that the file gives a value, which a run may replace by name.
  const std::vector<GraphPort>& defaults() const;

  /// The outputs for inputs in the order of `inputs()`. Errors: ShapeError and DTypeError that name
  /// the input, ValueError for a wrong number of them; what the records throw, with the node's
  /// name.
  std::vector<Tensor> run(std::span<const Tensor> inputs);
  std::vector<Tensor> run(std::initializer_list<Tensor> inputs) {
    return run(std::span<const Tensor>(inputs.begin(), inputs.size()));
  }
  /// By name; ValueError lists what is missing or unknown.
  std::vector<Tensor> run(const NamedTensors& inputs);
  /// The same for graphs with texts, sequences and optional values. Errors: as `run`.
  std::vector<GraphValue> run_values(std::span<const GraphValue> inputs);

  /// Parameters and other state by name: the graph's own tensors, not copies.
  NamedTensors state_dict() const;
  /// Copies values in. Strict: ValueError lists missing, unexpected and misshapen names.
  void load_state_dict(const NamedTensors& state);

  /// The graph in Tandem's records for inputs of these shapes.
  std::shared_ptr<const graph::Graph> graph(std::span<const Shape> shapes);
  /// Inputs, outputs, state, and how many nodes of which operator.
  std::string describe() const;

 private:
  friend LoadedGraph load_graph(const std::string& path);
  friend LoadedGraph parse_graph(std::span<const uint8_t> bytes, std::string_view name);
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Reads an ONNX model: operator sets up to 28, as far as Tandem has their operators, and the
/// domain "tandem". If, Loop and Scan are unrolled where constants and shapes say how they go.
/// Where shapes or loops depend on values that a run is given, the graph is planned in parts, each
/// for the values that the parts before it gave. Errors:
/// IOError for bytes that are no ONNX file, ValueError for graphs that break ONNX's rules,
/// NotImplemented that names operator, domain, operator set and node.
TANDEM_API LoadedGraph load_graph(const std::string& path);
/// As `load_graph`, of bytes in memory; `name` is what errors call them.
TANDEM_API LoadedGraph parse_graph(std::span<const uint8_t> bytes, std::string_view name = "onnx");

}  // namespace tandem
