#pragma once
// Runs a program: on tensors with values, or on those of a graph under construction.
#include <map>

#include "tests/five_ways/catalogue.h"
#include "tests/support/inputs.h"

namespace tandem::five_ways {

/// What an input holds at a call; the same numbers each time.
Tensor make_input(const Program& p, const Input& in, int call);
/// The same for given lengths.
Tensor make_input(const Program& p, const Input& in, int call, const Shape& shape, double below);

/// The seed of its numbers, and for indices the length that bounds them (else their scale).
uint64_t input_seed(const Program& p, const Input& in, int call);
double below_of(const Program& p, const Input& in, int call);

/// What outlives the calls of one way: parameters, and layers with their state.
class State {
 public:
  explicit State(const Program& p);
  void add(const Program& p, const Input& in);
  void add(const Program& p, const Step& step);

  const Tensor& parameter(int id) const { return parameters_.at(id); }
  Layer& layer(int id) { return layers_.at(id); }
  /// Tensors that want gradients, with names: "v3", "layer5.weight".
  NamedTensors leaves() const;
  /// Everything that a call may change: `leaves`, other parameters, and buffers.
  NamedTensors all() const;

 private:
  std::map<int, Tensor> parameters_;
  std::map<int, Layer> layers_;
};

/// Makes the results of steps a little wrong, as other roundings would. What changes by it cannot
/// be told from what a way changes.
struct Noise {
  uint64_t seed = 0;
};

class Machine {
 public:
  Machine(const Program& p, State& state, const Noise* noise = nullptr);

  /// From now on blocks run that plain code would not enter: graphs hold them all the same.
  void enter_all_blocks() { all_blocks_ = true; }
  /// Gives a fed input its tensor, or its placeholder.
  void feed(int id, const Tensor& t) { values_[size_t(id)] = t; }
  void run(const std::vector<Step>& steps) {
    for (const Step& s : steps) run(s);
  }
  void run(const Step& s);
  const Tensor& value(int id) const { return values_[size_t(id)]; }
  void forget(int id) { values_[size_t(id)] = Tensor(); }
  /// Room for values of numbers below `count`.
  void grow(int count);
  std::vector<Tensor> results() const;

  Length length(const Expr& e) const;
  Number real(const Expr& e) const;
  Tensors run(const Block& b, const Tensors& arguments);

 private:
  Tensor operand(const Operand& o) const;
  Tensors operands(const Step& s) const;
  Values attributes(const Step& s) const;
  std::vector<Index> index(const Step& s) const;
  void bind(const Step& s, Tensors out, const Tensors& in);
  Tensor disturbed(const Tensor& t);

  void run_record(const Step& s);
  void run_write(const Step& s);
  void run_region(const Step& s);
  void enter_blocks(const Step& s, const Tensors& in);
  void run_walk(const Step& s);
  void run_decision(const Step& s);

  const Program& program_;
  State& state_;
  const Noise* noise_;
  uint64_t disturbances_ = 0;
  bool all_blocks_ = false;
  std::vector<Tensor> values_;
};

/// The leaves that a call differentiates by: fed inputs that want gradients, then the state's.
NamedTensors leaves_of(const Program& p, const Machine& machine, const State& state);
/// The sum over all floating results that have a history, each element with a weight of its own;
/// undefined when there is none.
Tensor loss_of(const std::vector<Tensor>& results);
/// The gradients of `loss_of(results)`; zeros where the loss does not depend on a leaf.
std::vector<Tensor> gradients_of(const std::vector<Tensor>& results, const NamedTensors& leaves);

}  // namespace tandem::five_ways
