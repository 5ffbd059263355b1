// If, Loop and Scan whose course the shapes and constants of a run determine: they are unrolled.
#include <utility>

#include "tandem/core/factory.h"
#include "tandem/graph/control_flow.h"
#include "tandem/graph/regions.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;
constexpr int64_t most_steps = 10'000;

const onnx::Graph& body(I& n, std::string_view name) {
  const onnx::Attribute* a = n.attribute(name);
  n.need(a && a->type == onnx::Attribute::Type::graph, "attribute ", name, " is no graph");
  return a->graphs.at(0);
}

Tensors if_(I& n) {
  if (const Tensor condition = n.in(0); condition.is_symbolic()) {
    const onnx::Graph &yes = body(n, "then_branch"), &no = body(n, "else_branch");
    const auto out = cond(
        condition, [&] { return n.run_body(yes, {}); }, [&] { return n.run_body(no, {}); });
    return {out.begin(), out.end()};
  }
  return n.run_body(body(n, n.number(0) != 0 ? "then_branch" : "else_branch"), {});
}

/// A loop whose course is not known: its variables are the step, whether it goes on, and ONNX's.
Tensors open_loop(I& n, const onnx::Graph& g) {
  std::vector<Tensor> start{full({}, 0, i64),
                            n.has(1) ? reshape(n.in(1), {}) : full({}, 1, boolean)};
  for (int i = 2; i < n.inputs(); ++i) start.push_back(n.in(i));
  n.need(g.outputs.size() + 1 >= start.size(), "its graph gives ", g.outputs.size(), " values");
  if (g.outputs.size() + 1 > start.size()) n.unsupported("lists of a loop of unknown length");
  const Tensor most = n.has(0) ? reshape(n.in(0), {}) : Tensor();
  // The variables may all be constants, and the loop yet one of the graph.
  std::optional<CaptureScope> scope;
  if (!(modes & Modes::capture)) scope.emplace(n.graph());
  const auto last = while_loop(
      [&](const Tensors& v) { return most.defined() ? logical_and(v[1], v[0] < most) : v[1]; },
      [&](const Tensors& v) {
        Tensors next = n.run_body(g, v);
        next[0] = reshape(next[0], {});
        Tensors all{v[0] + 1};
        for (const Tensor& t : next) all.push_back(t);
        return all;
      },
      start);
  return {last.begin() + 2, last.end()};
}

Tensors loop(I& n) {
  const onnx::Graph& g = body(n, "body");
  if ((n.has(0) && n.in(0).is_symbolic()) || (n.has(1) && n.in(1).is_symbolic()))
    return open_loop(n, g);
  const int64_t most = n.has(0) ? int64_t(n.number(0)) : most_steps + 1;
  bool on = !n.has(1) || n.number(1) != 0;
  Tensors carried;
  for (int i = 2; i < n.inputs(); ++i) carried.push_back(n.in(i));
  n.need(g.outputs.size() > carried.size(), "its graph gives ", g.outputs.size(), " values");
  std::vector<std::vector<Tensor>> scanned(g.outputs.size() - 1 - carried.size());
  for (int64_t step = 0; on && step < most; ++step) {
    if (step == most_steps) {
      if (scanned.empty()) return open_loop(n, g);
      n.unsupported("more than ", most_steps, " steps");
    }
    Tensors in{full({}, step, i64), full({}, 1, boolean)};
    for (const Tensor& t : carried) in.push_back(t);
    const Tensors out = n.run_body(g, in);
    if (out[0].is_symbolic()) return open_loop(n, g);
    on = out[0].item<double>() != 0;
    for (size_t i = 0; i < carried.size(); ++i) carried[i] = out[i + 1];
    for (size_t i = 0; i < scanned.size(); ++i) scanned[i].push_back(out[i + 1 + carried.size()]);
  }
  for (const auto& list : scanned) {
    if (list.empty()) n.unsupported("a list of no steps");
    carried.push_back(stack(list));
  }
  return carried;
}

Tensors scan(I& n) {
  if (n.opset() < 9) n.unsupported("operator set ", n.opset());
  const onnx::Graph& g = body(n, "body");
  const int64_t lists = n.integer("num_scan_inputs", 0), states = n.inputs() - lists;
  n.need(lists > 0 && states >= 0, "num_scan_inputs=", lists);
  const size_t results = g.outputs.size() - size_t(states);
  n.need(g.outputs.size() >= size_t(states), "its graph gives ", g.outputs.size(), " values");
  const Ints in_axes = n.list("scan_input_axes").value_or(Ints(size_t(lists), 0));
  const Ints in_back = n.list("scan_input_directions").value_or(Ints(size_t(lists), 0));
  const Ints out_axes = n.list("scan_output_axes").value_or(Ints(results, 0));
  const Ints out_back = n.list("scan_output_directions").value_or(Ints(results, 0));
  n.need(in_axes.size() == size_t(lists) && in_back.size() == size_t(lists) &&
             out_axes.size() == results && out_back.size() == results,
         "its axes and directions are not those of its inputs and outputs");
  Tensors carried;
  for (int i = 0; i < states; ++i) carried.push_back(n.in(i));
  std::vector<std::vector<Tensor>> scanned(results);
  const int64_t length = n.in(int(states)).size(int(in_axes[0]));
  if (length > most_steps) n.unsupported("more than ", most_steps, " steps");
  for (int64_t step = 0; step < length; ++step) {
    Tensors in = carried;
    for (int64_t i = 0; i < lists; ++i)
      in.push_back(select(n.in(int(states + i)), in_axes[size_t(i)],
                          in_back[size_t(i)] ? length - 1 - step : step));
    const Tensors out = n.run_body(g, in);
    for (size_t i = 0; i < carried.size(); ++i) carried[i] = out[i];
    for (size_t i = 0; i < results; ++i) scanned[i].push_back(out[carried.size() + i]);
  }
  for (size_t i = 0; i < results; ++i) {
    if (scanned[i].empty()) n.unsupported("a list of no steps");
    const Tensor all = stack(scanned[i], out_axes[i]);
    carried.push_back(out_back[i] ? flip(all, {out_axes[i]}) : all);
  }
  return carried;
}

}  // namespace

Tensors import_loop_gradient(OnnxImporter& n) {
  const onnx::Graph &first = body(n, "body"), &second = body(n, "condition");
  const int64_t variables = n.integer("variables", 0), order = n.integer("order", 1);
  const int64_t used_first = int64_t(first.inputs.size()) - variables,
                used_second = int64_t(second.inputs.size()) - variables;
  n.need(order >= 1 && variables >= 0 && used_first >= 0 && used_second >= 0 &&
             variables + used_first + used_second <= n.inputs(),
         "its inputs are not those of a loop of ", variables, " variables");
  Tensors in;
  for (int i = 0; i < n.inputs(); ++i) in.push_back(n.in(i));
  auto specs = [&](int64_t from, int64_t count) {
    std::vector<Spec> list;
    for (int64_t i = from; i < from + count; ++i) list.push_back(in[size_t(i)].spec());
    return list;
  };
  auto with = [](std::vector<Spec> a, const std::vector<Spec>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const auto of_body = specs(0, variables + used_first);
  graph::LoopGradientRegions what;
  what.order = int(std::min<int64_t>(order, 100));
  what.loop = {
      true, variables, n.integer("maximum", -1), n.region(first, of_body),
      n.region(second, with(specs(0, variables), specs(variables + used_first, used_second)))};
  if (order == 1) {
    const int64_t lower = variables + used_first + used_second;
    what.body = n.region(body(n, "gradient"), with(of_body, specs(lower, n.inputs() - lower)));
  }
  return graph::apply_loop_gradient(what, {in.data(), in.size()});
}

void add_control_imports(OnnxImports& t) {
  t.insert({{"If", if_}, {"Loop", loop}, {"Scan", scan}});
}

}  // namespace tandem::detail
