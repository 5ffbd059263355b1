#pragma once
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tandem/graph/ir.h"
#include "tandem/io/onnx.h"
#include "tandem/io/onnx_file.h"

namespace tandem::detail {

class OnnxExporter;

/// How a record is written in ONNX's own operators: false, before anything was emitted, when this
/// one cannot be.
struct OnnxRuleFor {
  bool (*call)(OnnxExporter&, const void* op, void (*rule)());
  void (*rule)();
};
class OnnxRules {
 public:
  template <class O>
  void add(bool (*rule)(OnnxExporter&, const O&)) {
    rules_[O::name] = {[](OnnxExporter& e, const void* op, void (*f)()) {
                         return reinterpret_cast<bool (*)(OnnxExporter&, const O&)>(f)(
                             e, *static_cast<const O*>(op));
                       },
                       reinterpret_cast<void (*)()>(rule)};
  }
  const OnnxRuleFor* find(std::string_view name) const {
    const auto it = rules_.find(name);
    return it == rules_.end() ? nullptr : &it->second;
  }

 private:
  std::unordered_map<std::string_view, OnnxRuleFor> rules_;
};
void add_math_rules(OnnxRules& rules);
void add_shape_rules(OnnxRules& rules);
void add_layer_rules(OnnxRules& rules);
void add_loss_rules(OnnxRules& rules);

/// Whether an attribute of an operator on that type, which ONNX holds as f32, has all its digits.
inline bool is_exact(double attribute, DType dtype) {
  return dtype != f64 || double(float(attribute)) == attribute;
}

/// Writes a graph. Rules see the node that is being written: its inputs by number, its specs, and
/// the operators emitted so far by the names of their results.
class OnnxExporter {
 public:
  using Names = std::vector<std::string>;
  using Attributes = std::vector<onnx::Attribute>;

  OnnxExporter(const graph::Graph& graph, const SaveGraphOptions& options);
  onnx::Model write();

  // --- The node that is being written -------------------------------------------------------
  int inputs() const { return int(node_->inputs.size()); }
  bool has(int i) const { return i < inputs() && node_->inputs[size_t(i)] >= 0; }
  const Spec& spec(int i) const { return graph_->value(node_->inputs[size_t(i)]).spec; }
  DType dtype(int i) const { return spec(i).dtype; }
  int rank(int i) const { return spec(i).shape.size(); }
  const Spec& out(int i = 0) const { return graph_->value(node_->outputs[size_t(i)]).spec; }
  /// Whether anybody needs output `i`.
  bool used(int i) const { return used_[size_t(node_->outputs[size_t(i)])]; }
  std::string in(int i) { return name_of(node_->inputs[size_t(i)]); }
  /// Converted where its dtype is another; "" when it was left out.
  std::string in(int i, DType as);

  // --- Emitting -----------------------------------------------------------------------------
  /// Appends an operator and gives the name of its first result.
  std::string emit(std::string op, Names in, Attributes attributes = {});
  /// Appends the operator that gives the node's output 0.
  bool result(std::string op, Names in, Attributes attributes = {}) {
    return results(std::move(op), std::move(in), 1, std::move(attributes));
  }
  /// Likewise its first `n` outputs: those that are used, or `all`.
  bool results(std::string op, Names in, int n, Attributes attributes = {}, bool all = false);
  /// The record under its own name, for this library, and what it means as a function of ONNX's
  /// operators from `x` to `y`, for others: where its formula in those operators is less exact than
  /// the record is, or has another gradient.
  bool record_as_function(const std::string& x, std::vector<onnx::Node> body);
  /// A recurrent operator: its results without ONNX's axis of directions are the node's outputs.
  bool recurrent(std::string op, Names in, Attributes attributes, int states);
  std::string cast(const std::string& name, DType from, DType to);
  std::string ints(const std::vector<int64_t>& values);
  std::string scalar(double value, DType dtype);
  std::string scalar(Length value, DType dtype);
  std::string scalar(Number value, DType dtype);
  std::string filled(double value, int64_t n, DType dtype);
  /// An i64 vector; what depends on unknown lengths is computed from the inputs' shapes.
  std::string lengths(std::span<const Length> list);
  std::string shape(const Shape& shape) { return lengths({shape.begin(), size_t(shape.size())}); }
  /// Whether a length is not known.
  bool open(Length v) const { return !v.is_known(); }
  bool open(const Shape& shape) const;
  /// An expression with the names that lengths have in the file.
  std::string text_of(Length d) const;
  std::string text_of(Number v) const;
  std::string reshape(const std::string& x, const Shape& to) {
    return emit("Reshape", {x, shape(to)}, {onnx::Attribute::of("allowzero", 1)});
  }
  std::string transpose(const std::string& x, std::vector<int64_t> axes) {
    return emit("Transpose", {x}, {onnx::Attribute::of("perm", std::move(axes))});
  }

 private:
  using Id = graph::ValueId;

  void find_roots(const SaveGraphOptions& options);
  void name_axes();
  void name_values(const SaveGraphOptions& options);
  std::string unique(std::string name);
  std::string name_of(Id id);
  std::string tensor(Id id);
  template <class F>
  std::string once(const std::string& key, const F& make);
  std::string length(Length d);
  std::string emit_length(Length d);
  std::string number(Number v);
  std::string emit_number(Number v);
  void write_node(const graph::Node& n);
  bool touches_bf16(const graph::Node& n) const;
  void write_in_f32(const graph::Node& n, const OnnxRuleFor& rule);
  void write_regions(const graph::Node& n);
  Names write_region(const graph::Graph& region, const Names& inputs);
  onnx::Graph write_branch(const graph::Graph& region, const Names& inputs);
  onnx::Graph write_closed(const graph::Graph& region);
  void write_loop_gradient(const graph::Node& n);
  const graph::RandomStream* stream_of(Id state) const;
  void count_uses();
  void write_tandem(const graph::Node& n);
  onnx::ValueInfo info(const std::string& name, const Spec& spec) const;
  void add_initializer(const std::string& name, const Tensor& t);

  std::shared_ptr<graph::Graph> graph_;
  const graph::Node* node_ = nullptr;
  onnx::Model model_;
  std::vector<bool> used_;
  /// By unknown length: an input and its axis that have it.
  struct InputAxis {
    graph::ValueId input = -1;
    int64_t axis = 0;
    std::string name;  ///< of the input
  };
  std::vector<InputAxis> lengths_;
  std::vector<std::string> names_, axis_names_;
  mutable std::set<int> read_lengths_;  ///< symbols that the file speaks of
  std::set<graph::ValueId> needed_;     ///< inputs of the file
  std::vector<std::pair<std::string, Id>> outputs_;
  std::vector<std::pair<std::string, Id>> next_;  ///< the output that a state becomes
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, std::string> emitted_;  ///< casts, constants and shapes
  bool tandem_ = false;
};

}  // namespace tandem::detail
