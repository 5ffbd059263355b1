// Nodes with regions as ONNX's If and Loop.
#include <algorithm>
#include <utility>

#include "tandem/graph/regions.h"
#include "tandem/io/detail/onnx_export.h"

namespace tandem::detail {

using graph::ValueId;
using onnx::Attribute;

/// The nodes of a region on the values of those names; the names of its results.
OnnxExporter::Names OnnxExporter::write_region(const graph::Graph& region, const Names& inputs) {
  const auto graph = graph_;
  const graph::Node* node = node_;
  auto names = std::move(names_);
  auto used = std::move(used_);
  graph_ = region.clone();
  count_uses();
  names_.assign(graph_->values().size(), "");
  for (size_t i = 0; i < inputs.size(); ++i) names_[size_t(graph_->inputs()[i])] = inputs[i];
  for (const graph::Node& n : graph_->nodes()) write_node(n);
  Names out;
  for (ValueId id : graph_->outputs()) out.push_back(name_of(id));
  graph_ = graph;
  node_ = node;
  names_ = std::move(names);
  used_ = std::move(used);
  return out;
}

onnx::Graph OnnxExporter::write_branch(const graph::Graph& region, const Names& inputs) {
  // What is emitted inside is not seen outside.
  auto outside = std::exchange(model_.graph.nodes, {});
  const auto emitted = emitted_;
  const Names out = write_region(region, inputs);
  onnx::Graph g;
  g.name = unique("branch");
  for (size_t i = 0; i < out.size(); ++i)
    g.outputs.push_back(info(emit("Identity", {out[i]}), region.value(region.outputs()[i]).spec));
  g.nodes = std::exchange(model_.graph.nodes, std::move(outside));
  emitted_ = emitted;
  return g;
}

/// A region that sees nothing around it: what it uses are its graph's inputs and constants.
onnx::Graph OnnxExporter::write_closed(const graph::Graph& region) {
  Names names;
  std::vector<onnx::ValueInfo> infos;
  for (ValueId id : region.inputs()) {
    names.push_back(unique("variable"));
    infos.push_back(info(names.back(), region.value(id).spec));
  }
  auto outside = std::exchange(model_.graph.initializers, {});
  auto emitted = std::exchange(emitted_, {});
  onnx::Graph g = write_branch(region, names);
  g.inputs = std::move(infos);
  g.initializers = std::exchange(model_.graph.initializers, std::move(outside));
  emitted_ = std::move(emitted);
  return g;
}

/// ONNX has no operator that goes back through the steps of a loop, so this one is Tandem's own.
void OnnxExporter::write_loop_gradient(const graph::Node& n) {
  const graph::LoopGradientRegions r = graph::loop_gradient_regions(n.op.get());
  const auto& steps = r.loop.first->nodes();
  require<NotImplemented>(
      r.order == 1 || std::none_of(steps.begin(), steps.end(),
                                   [](const graph::Node& s) { return s.stops_gradient; }),
      "save(): a further derivative of a loop whose body calls detach() or uses NoGrad");
  Names in;
  for (ValueId id : n.inputs) in.push_back(name_of(id));
  Attributes attributes{
      Attribute::of("order", r.order), Attribute::of("variables", r.loop.variables),
      Attribute::of("maximum", r.loop.maximum), Attribute::of("body", write_closed(*r.loop.first)),
      Attribute::of("condition", write_closed(*r.loop.second))};
  if (r.body) attributes.push_back(Attribute::of("gradient", write_closed(*r.body)));
  if (!r.given.empty())
    attributes.push_back(
        Attribute::of("given", std::vector<int64_t>(r.given.begin(), r.given.end())));
  results("while_loop_grad", std::move(in), int(n.outputs.size()), std::move(attributes));
  model_.graph.nodes.back().domain = "tandem";
  tandem_ = true;
}

/// cond as If, while_loop as Loop.
void OnnxExporter::write_regions(const graph::Node& n) {
  const graph::Regions r = graph::regions_of(n.op.get());
  Names all, out;
  for (ValueId id : n.inputs) all.push_back(name_of(id));
  for (ValueId id : n.outputs) out.push_back(name_of(id));
  auto part = [&](size_t from, size_t count) {
    return Names(all.begin() + std::ptrdiff_t(from), all.begin() + std::ptrdiff_t(from + count));
  };
  onnx::Node node{.name = unique(std::string(n.info->name)), .outputs = out};
  const size_t first = r.first->inputs().size(), second = r.second->inputs().size();
  if (!r.loop) {
    node.op_type = "If";
    node.inputs = {in(0, boolean)};
    node.attributes = {
        Attribute::of("then_branch", write_branch(*r.first, part(1, first))),
        Attribute::of("else_branch", write_branch(*r.second, part(1 + first, second)))};
    model_.graph.nodes.push_back(std::move(node));
    return;
  }
  const size_t variables = size_t(r.variables);
  const Names used_by_first = part(variables, first - variables);
  const Names used_by_second = part(first, second - variables);
  auto with = [](Names a, const Names& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  auto holds = [&](const Names& now) {
    const std::string c = write_region(*r.second, with(now, used_by_second))[0];
    const DType d = r.second->value(r.second->outputs()[0]).spec.dtype;
    return reshape(cast(c, d, boolean), {});
  };
  node.op_type = "Loop";
  node.inputs = {r.maximum >= 0 ? scalar(double(r.maximum), i64) : "", holds(part(0, variables))};
  auto outside = std::exchange(model_.graph.nodes, {});
  const auto emitted = emitted_;
  onnx::Graph body;
  body.name = unique("body");
  body.inputs = {info(unique("step"), {{}, i64, {}}), info(unique("going"), {{}, boolean, {}})};
  Names now;
  for (size_t i = 0; i < variables; ++i) {
    node.inputs.push_back(all[i]);
    now.push_back(unique("variable"));
    body.inputs.push_back(info(now.back(), graph_->value(n.inputs[i]).spec));
  }
  const Names next = write_region(*r.first, with(now, used_by_first));
  body.outputs.push_back(info(emit("Identity", {holds(next)}), {{}, boolean, {}}));
  for (size_t i = 0; i < variables; ++i)
    body.outputs.push_back(info(emit("Identity", {next[i]}), graph_->value(n.inputs[i]).spec));
  body.nodes = std::exchange(model_.graph.nodes, std::move(outside));
  emitted_ = emitted;
  node.attributes = {Attribute::of("body", std::move(body))};
  model_.graph.nodes.push_back(std::move(node));
}

}  // namespace tandem::detail
