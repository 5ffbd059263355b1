#pragma once
// The nodes of cond() and while_loop() and of their gradients.
#include <memory>

#include "tandem/graph/regions.h"

namespace tandem::graph {

/// A node with regions. Inputs of cond: condition, then what `first` (yes) and `second` (no) use;
/// of while: the variables, then what `first` (body) and `second` (condition) use besides.
struct ControlFlow {
  OpInfo info;
  std::shared_ptr<RegionGraph> first, second;
  bool loop = false;
  int64_t variables = 0, maximum = -1;

  Inputs of_first(Inputs in) const {
    return loop ? in.subspan(size_t(variables), first->inputs() - size_t(variables))
                : in.subspan(1, first->inputs());
  }
  Inputs of_second(Inputs in) const {
    return loop ? in.subspan(first->inputs()) : in.subspan(1 + first->inputs());
  }
};
struct Held {
  std::shared_ptr<const ControlFlow> node;
};
inline const ControlFlow& node_of(const void* op) { return *static_cast<const Held*>(op)->node; }

/// A node of a cond or a loop; the caller sets a loop's variables.
std::shared_ptr<ControlFlow> make_node(bool loop, std::shared_ptr<Graph> first,
                                       std::shared_ptr<Graph> second);

/// Whether a condition holds. ShapeError unless it has one element.
bool truth(const Tensor& t);

inline Tensors joined(Inputs a, Inputs b) {
  Tensors all(a.begin(), a.end());
  for (const Tensor& t : b) all.push_back(t);
  return all;
}

/// Calls step(variables) once an iteration with what the body starts from; gives the final ones.
template <class Step>
Tensors iterate(const ControlFlow& n, Inputs in, Step step) {
  Tensors vars(in.begin(), in.begin() + std::ptrdiff_t(n.variables));
  const Inputs body = n.of_first(in), condition = n.of_second(in);
  for (int64_t i = 0; n.maximum < 0 || i < n.maximum; ++i) {
    const Tensors c = joined(vars, condition);
    if (!truth(n.second->run(Inputs(c.data(), c.size()))[0])) break;
    step(vars);
    const Tensors b = joined(vars, body);
    vars = n.first->run(Inputs(b.data(), b.size()));
  }
  return vars;
}

/// The gradients of a graph's results by its floating inputs, written in ops: zeros where there is
/// no path, of which `reached` says no. `dy`: of each floating result, undefined for none.
Tensors region_gradients(const Graph& g, Inputs in, Inputs dy, std::vector<bool>* reached);
/// The gradient of a node with regions: what its row calls.
void regions_vjp(const void* op, const Saved& saved, const Tensors& dy, Tensors& dx);
/// The graph that is being recorded; null for none.
Graph* as_graph(Recorder* recorder);
/// What the rows of these nodes have in common.
OpInfo region_row(std::string_view name, int outputs);
/// A node of the gradient of a loop, recorded or run: gradients of its floating inputs. Plain code
/// has gradients of the floating results where `given` says so; the others are zero in `dy`.
Tensors while_gradients(const std::shared_ptr<const ControlFlow>& loop, Inputs in,
                        const Tensors& dy, const std::vector<bool>& given);
/// A loop gradient's record on another loop.
std::shared_ptr<void> with_loop(const void* op, const std::shared_ptr<const ControlFlow>& loop,
                                const LengthValues& lengths, const OpInfo*& row);
bool same_loop_gradient(const void* a, const void* b);
/// A loop gradient: the loop, and how often it was differentiated.
struct LoopDerivative {
  std::shared_ptr<const ControlFlow> loop;
  int order;
};
LoopDerivative loop_derivative(const void* op);
bool same_control_flow(const ControlFlow& a, const ControlFlow& b);

}  // namespace tandem::graph
