#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tandem/graph/plan.h"
#include "tandem/io/detail/onnx_import.h"

namespace tandem {
namespace detail {

/// Values by name that a part of a model is given.
struct OnnxGiven {
  std::vector<std::string> names;
  GraphValues values;
  /// One for each tensor in `values`, in order: whether a run feeds it; else it is the same in
  /// every run of the part.
  enum class Role : uint8_t { fed, constant };
  std::vector<Role> roles;
  std::set<std::string> needed;  ///< those whose elements a shape or a loop depends on
};

/// A part of a model planned for inputs of certain shapes, and certain elements of those that are
/// needed: from one node up to the end, or up to the node whose course depends on values that this
/// part computes. The part behind it is planned once these are known.
struct OnnxPart {
  size_t first = 0, last = 0;  ///< nodes of the model
  bool whole = true;           ///< `gives` are the model's outputs
  std::vector<Shape> shapes;   ///< of the tensors that are fed
  std::vector<Tensor> frozen;  ///< the elements of those that are needed
  std::string structure;       ///< of what it is given: tensors, texts, sequences
  std::shared_ptr<graph::Graph> graph;
  std::shared_ptr<const graph::Graph> ready;       ///< optimised
  OnnxGiven gives;                                 ///< its fed tensors are the graph's outputs
  std::vector<std::unique_ptr<graph::Plan>> idle;  ///< plans that no thread runs now
  std::vector<std::shared_ptr<OnnxPart>> next;     ///< by what this part gave
};

}  // namespace detail

/// A model that was read, and the plans made from it so far.
struct LoadedGraph::Impl {
  using Given = detail::OnnxGiven;
  using Part = detail::OnnxPart;
  using Parts = std::vector<std::shared_ptr<Part>>;

  detail::OnnxModel model;
  std::vector<GraphPort> inputs, outputs;
  /// Inputs with a value in the file, which a run may replace.
  std::vector<GraphPort> defaults;
  NamedTensors state;
  std::vector<std::pair<std::string, GraphValue>> constants;
  std::map<std::string, std::string> next;  ///< the output that a state becomes
  /// The first key that regions draw, and the output that says where the generator is afterwards.
  std::vector<std::pair<std::string, std::string>> random;
  std::mutex mutex;  ///< of all parts
  Parts parts;

  explicit Impl(onnx::Model m);
  /// Values for the inputs, and for some of the defaults behind them.
  detail::GraphValues run(Given given);
  std::shared_ptr<const graph::Graph> graph(std::span<const Shape> shapes);

 private:
  detail::NamedLengths check(const Given& given) const;
  std::shared_ptr<Part> part(Parts& among, size_t first, const Given& given,
                             const detail::NamedLengths& lengths);
  std::shared_ptr<Part> build(size_t first, const Given& given, const detail::NamedLengths& lengths,
                              bool known) const;
  void finish(Part& p, detail::OnnxImporter& importer) const;
  bool cut(Part& p, detail::OnnxImporter& importer, const Given& given, const Tensor& needed) const;
  detail::GraphValues run_part(Part& p, const Given& given);
};

}  // namespace tandem
