#pragma once
#include "tandem/graph/ir.h"
#include "tandem/log/summary_writer.h"

namespace tandem {

/// The graph as a serialised tensorflow.GraphDef, for TensorBoard's graph page: a node for each
/// record, grouped by module path, with shapes and attributes.
TANDEM_API std::string to_graph_def(const graph::Graph& graph);

/// Shows the graph on TensorBoard's graph page.
inline void add_graph(SummaryWriter& writer, const graph::Graph& graph) {
  writer.add_graph_def(to_graph_def(graph));
}

}  // namespace tandem
