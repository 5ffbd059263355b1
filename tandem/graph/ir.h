#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tandem/core/length_table.h"
#include "tandem/op/recorder.h"

namespace tandem::graph {

using ValueId = int64_t;

/// One op of a graph: the same record that eager code runs, its attributes beside it.
struct Node {
  const OpInfo* info = nullptr;
  std::shared_ptr<void> op;
  std::vector<ValueId> inputs;  ///< -1: an optional input that was left out
  std::vector<ValueId> outputs;
  std::string path;  ///< the module that ran it, "Net.encoder.0"; empty outside of modules
  bool stops_gradient = false;  ///< recorded under NoGrad: on a tape its results have no history
};

enum class ValueKind : uint8_t {
  result,    ///< of a node
  input,     ///< given to each run
  constant,  ///< `tensor` never changes
  state,     ///< `tensor` by reference: what it holds when a run begins
  key,       ///< i64[2] drawn from `generator` by each run
  effect     ///< stands for assignments that are made when it is fetched, see Effect
};

struct Value {
  Spec spec;
  std::string name;
  ValueKind kind = ValueKind::result;
  Tensor tensor;
  std::shared_ptr<Generator> generator;  ///< a twin, see Generator::twin()
  bool number = false;                   ///< a result that promotes as a C++ number does
  Strides strides;                       ///< of an input that steps read as it lies; else none
};

/// After a run the state value's tensor holds `value`.
struct Assignment {
  ValueId state, value;
};

/// `value` is the gradient of input `input` of the op `op`, which AnomalyMode watches.
struct GradientOf {
  ValueId value;
  std::string op;
  int input;
  std::string where;  ///< " in module Net.act", " in the function compiled at net.cpp:12"
  ValueId when = -1;  ///< else plain code has it only where this condition is `holds`
  bool holds = true;
};

/// After a run the gradient of `leaf` is `value`; -1 when it has none, -2 when it stays the tensor
/// that it was, which is state.
struct GradientWrite {
  Tensor leaf, before;
  ValueId value = -1;
  bool accumulates = false;  ///< what is written depends on `before`, the gradient at the start
};

/// The gradient that `leaf` had when the code looked at it, undefined for none.
struct GradientRead {
  Tensor leaf, gradient;
};

/// The draws of a generator where how many there are depends on values: the next key is a value.
struct RandomStream {
  std::shared_ptr<Generator> generator;
  ValueId now = -1;            ///< the next key
  ValueId begin = -1;          ///< the next key at the begin; an input of a region
  ValueId state = -1;          ///< others: what the generator's state is set to from after a run
  std::vector<ValueId> later;  ///< others: each value that `now` had
};

/// What fetching an effect value does. Used as an operand, it is `value`.
struct Effect {
  std::vector<Assignment> assignments;
  std::vector<ValueId> also;  ///< effects and values that are computed with it
  ValueId value = -1;
};

/// An SSA graph: every value is defined once, by an input, a captured tensor or a node. Building
/// one is running ordinary code on the tensors that `input()` gives, or under a CaptureScope.
/// Concrete tensors that the code touches are captured by reference, and writing to them in place
/// becomes an assignment at the end of a run.
class TANDEM_API Graph final : public Recorder, public std::enable_shared_from_this<Graph> {
 public:
  static std::shared_ptr<Graph> make() { return std::shared_ptr<Graph>(new Graph); }
  ~Graph() override;
  /// The inside of a control-flow node of `parent`: everything from outside that it uses becomes an
  /// input, listed in `outer()`. Random numbers too are `parent`'s, by a stream, unless it `draws`
  /// keys of its own.
  static std::shared_ptr<Graph> make_region(Recorder& parent, bool draws = false);
  const std::vector<Tensor>& outer() const { return outer_; }
  bool is_region() const { return parent_; }
  /// A region: the tensors around it that it writes. The node gives their new values as results.
  std::vector<Tensor> written() const;
  /// What a tensor from outside is at the end of the region.
  ValueId last_value(const Tensor& outside);
  /// Its value at the begin, no longer one of `outer()`: the node has another place for it.
  ValueId take_outer(const Tensor& outside);
  /// The region was given to `assign()`: the writes are those of the node's results, when fetched.
  void set_effects() { effects_inside_ = true; }
  bool has_effects() const { return effects_inside_; }
  /// Once the node is recorded: the handles would keep the parent alive, and it the region.
  void forget_outer() { outer_.clear(); }

  /// A symbolic tensor of that spec. Names must be unique; ValueError otherwise.
  Tensor input(std::string name, const Spec& spec);
  /// Marks a value as a result; a concrete tensor is captured. ValueError when `t` is a value of
  /// another graph.
  void output(std::string name, const Tensor& t);
  /// State that each Session has a tensor of its own for.
  struct Variable {
    ValueId state, initial;
    bool trainable;
  };
  std::vector<Variable>& variables() { return variables_; }
  const std::vector<RandomStream>& streams() const { return streams_; }
  /// The key of the next draw; afterwards `advance_stream` says which one is next.
  Tensor stream_key(Generator& generator);
  void advance_stream(Generator& generator, const Tensor& next);
  /// For a graph that was read: after a run the generator is where the key `last` says, the first
  /// of the keys being `begin`.
  void set_stream(Generator& generator, ValueId begin, ValueId last);
  /// Ends the capture: after a run the generators have made the draws of their streams.
  void end_streams();
  void rename(ValueId id, std::string name) { values_[size_t(id)].name = std::move(name); }

  /// A value whose fetch makes the effect happen.
  Tensor effect(Effect e);
  const Effect* find_effect(ValueId id) const;
  /// Takes the assignments made since `from` out of the graph: they become an effect's.
  std::vector<Assignment> take_assignments(size_t from = 0);

  /// The graph in Graphviz's language.
  std::string to_dot() const;

  /// A copy that passes may change; the records are shared.
  std::shared_ptr<Graph> clone() const;

  /// A length that is not known while the graph is built: of a name always the same one, without a
  /// name another one each time.
  Length unknown_length(const std::string& name = {});
  /// Takes part in the lengths of another graph: a region, or what will be one.
  void share_lengths(const Graph& g) { lengths_ = g.lengths_; }
  /// The unknown lengths; null when there are none. A region has those of its parent.
  const std::shared_ptr<detail::LengthTable>& lengths() const { return lengths_; }
  /// ", after the length that was read at net.cpp:12": the last one that the code read before it
  /// recorded node `k`; empty when it read none.
  std::string read_before(size_t k) const;
  void length_is_read(const CallSite& where) override;
  /// The switches that the code looked at, and what they were.
  /// A switch that the recorded code depends on, with the value that it had; no value: on its
  /// owner.
  struct UsedSwitch {
    std::shared_ptr<const OwnedSwitch> of;
    std::optional<bool> value;
    bool holds() const { return of->owned && (!value || *value == of->on); }
  };
  const std::vector<UsedSwitch>& switches() const { return switches_; }

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const Value& value(ValueId id) const { return values_[size_t(id)]; }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  const std::vector<std::string>& output_names() const { return output_names_; }
  const std::vector<Assignment>& assignments() const { return assignments_; }
  const std::vector<GradientWrite>& gradients() const { return gradients_; }
  const std::vector<GradientRead>& gradients_read() const { return gradients_read_; }
  /// In the order in which they are computed. Passes forget them.
  const std::vector<GradientOf>& gradients_of() const { return gradients_of_; }

  /// The value that stands for `t` now. Errors: ValueError when `t` is a value of another graph.
  ValueId id_of(const Tensor& t);
  /// The state or constant that a concrete tensor is, whatever was assigned to it since.
  ValueId capture(const Tensor& t);
  /// A symbolic handle to a value.
  Tensor handle(ValueId id);

  /// Runs the nodes in order on concrete inputs, without writing the assignments. Errors:
  /// ShapeError and DTypeError that name the input whose spec differs.
  Tensors run(Inputs inputs) const;

  void record(const OpInfo& info, const void* op, Inputs in, Outputs out) override;
  void assign(const Tensor& target, const Tensor& value) override;
  Tensor random_key(Generator& generator) override;
  void gradient_changes(const Tensor& leaf, bool accumulates = false) override;
  void gradient_is_read(const Tensor& leaf) override;
  void depends_on(const std::shared_ptr<const OwnedSwitch>& s, bool by_value) override;
  void gradient_of(int64_t value, std::string op, int input, std::string path,
                   const Tensor& condition, bool holds) override;
  /// No code may add to it any more: its handles belong to `what`, which has ended.
  void close(std::string what) { closed_ = std::move(what); }
  std::string origin(int64_t value) const override;
  /// Recording a write changes nothing, but what the recorded tape saved before it is another value
  /// afterwards. So the versions of such tensors are raised while the graph is being recorded, and
  /// only then: a tape of eager code sees no write before a run makes it. `forget_writes`: for
  /// good, when the recorded writes were taken out of the graph or the recording is over.
  void begin_recording();
  void end_recording();
  void forget_writes();
  /// Ends the capture: symbolic gradients become GradientWrites, and every leaf gets back the
  /// gradient that it had.
  void take_gradients();

  /// Whether plans must take the kernels that eager code takes.
  bool same_kernels() const { return same_kernels_; }

  // --- What passes change --------------------------------------------------------------------
  std::vector<Node>& edit_nodes() { return nodes_; }
  std::vector<Value>& edit_values() { return values_; }
  std::vector<ValueId>& edit_inputs() { return inputs_; }
  void add_output(std::string name, ValueId id) {
    outputs_.push_back(id);
    output_names_.push_back(std::move(name));
  }
  std::vector<ValueId>& edit_outputs() { return outputs_; }
  std::vector<Assignment>& edit_assignments() { return assignments_; }
  std::vector<GradientWrite>& edit_gradients() { return gradients_; }
  ValueId add_value(const Spec& spec, std::string name = {}, ValueKind kind = ValueKind::result);
  ValueId add_constant(const Tensor& t);
  void set_same_kernels(bool on) { same_kernels_ = on; }

 private:
  /// One region of memory: handles that look at the same one are the same state.
  struct Region {
    const Storage* storage;
    const char* data;
    auto operator<=>(const Region&) const = default;
  };
  Graph() = default;

  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<ValueId> inputs_, outputs_;
  std::vector<std::string> output_names_;
  std::vector<Assignment> assignments_;
  std::vector<GradientWrite> gradients_;
  std::vector<GradientRead> gradients_read_;
  std::vector<GradientOf> gradients_of_;
  std::map<ValueId, Effect> effects_;
  std::vector<Tensor> recorded_writes_;
  int recording_ = 0;  ///< scopes that are open
  std::vector<Variable> variables_;
  std::vector<RandomStream> streams_;
  std::shared_ptr<detail::LengthTable> lengths_;
  std::vector<UsedSwitch> switches_;
  std::string closed_;
  std::vector<std::pair<size_t, CallSite>> reads_;  ///< of lengths, by how many nodes there were
  std::map<Region, std::vector<ValueId>> captured_;
  std::map<Region, ValueId> constants_;
  bool same_kernels_ = false;
  // Regions only.
  Recorder* parent_ = nullptr;
  bool draws_ = false, effects_inside_ = false;
  std::vector<Tensor> outer_;
  std::vector<ValueId> outer_ids_;
  ValueId from_outside(const Tensor& t);
  ValueId number_again(const Tensor& t);
  RandomStream* find_stream(Generator& generator);
};

/// An owned copy of a record.
TANDEM_API std::shared_ptr<void> copy_record(const OpInfo& info, const void* op);
/// The graph that such a text describes; state is zero, gradients and effects have no text.
/// Errors: ValueError with the line and the rule that it breaks. `verify` checks the rest.
TANDEM_API std::shared_ptr<Graph> parse(std::string_view text);
/// The graph in Graphviz's language: `dot -Tsvg` draws it.
TANDEM_API std::string to_dot(const Graph& graph);
/// One line a node: "%3: f32[4, 8] = matmul(%0, %1)".
TANDEM_API std::string to_string(const Graph& graph);

}  // namespace tandem::graph
