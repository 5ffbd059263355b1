#pragma once
#include <string>
#include <utility>
#include <vector>

#include "tandem/graph/ir.h"

// What passes share: who makes and reads a value, records by their type, nodes made and dropped.

namespace tandem::graph {

/// Calls f with the id of each value that a run gives to the outside: results, and what assignments
/// and gradients are set to. Effects are none of it: they are cut out before passes run.
template <class F>
void for_each_result(const Graph& g, const F& f) {
  for (ValueId id : g.outputs()) f(id);
  for (const Assignment& a : g.assignments()) f(a.value);
  for (const GradientWrite& w : g.gradients())
    if (w.value >= 0) f(w.value);
}

/// The node that makes each value; -1: none.
std::vector<int> makers(const Graph& g);

/// Who makes and who reads the values of a graph, at the time when this was made.
struct Uses {
  std::vector<int> made;                  ///< by value: the node, or -1
  std::vector<std::vector<int>> readers;  ///< by value: nodes, one that reads it twice twice
  std::vector<bool> kept;                 ///< by value: whether it goes to the outside

  explicit Uses(const Graph& g);
  /// The node that makes the value; -1 when none does, or there is no value.
  int maker(ValueId id) const { return id < 0 ? -1 : made[size_t(id)]; }
  bool unread(ValueId id) const { return !kept[size_t(id)] && readers[size_t(id)].empty(); }
  /// The node that alone reads the value; -1 when there is none or more, or the outside needs it.
  int only_reader(ValueId id) const {
    return !kept[size_t(id)] && readers[size_t(id)].size() == 1 ? readers[size_t(id)][0] : -1;
  }
};

/// The node's record when it is an O, else null.
template <class O>
const O* as(const Node& n) {
  return n.info == &op_info<O>() ? static_cast<const O*>(n.op.get()) : nullptr;
}

template <class O>
void set_record(Node& n, const O& op) {
  n.info = &op_info<O>();
  n.op = copy_record(*n.info, &op);
}

template <class O>
Node make_node(const O& op, std::vector<ValueId> inputs, ValueId output, std::string path) {
  Node n;
  set_record(n, op);
  n.inputs = std::move(inputs);
  n.outputs = {output};
  n.path = std::move(path);
  return n;
}

/// Drops the nodes that are marked; the others keep their order.
void drop_nodes(Graph& g, const std::vector<bool>& gone);

/// The specs of the node's results, by its record and the specs that the graph has for its inputs.
/// Errors: the record's own.
std::vector<Spec> infer(const Graph& g, const Node& n);

}  // namespace tandem::graph
