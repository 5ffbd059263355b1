// If, Loop and Scan: unrolled where the shapes and constants of a run determine their course.
#include <algorithm>
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
constexpr int64_t most_steps = 10'000, most_known_steps = 1'000'000;

const onnx::Graph& body(I& n, std::string_view name) {
  const onnx::Attribute* a = n.attribute(name);
  n.need(a && a->type == onnx::Attribute::Type::graph, "attribute ", name, " is no graph");
  return a->graphs.at(0);
}

/// Both branches become one node where both fit the lengths of this run and give the same shapes;
/// else the condition has to be known, and only the branch that is taken must fit.
GraphValues if_(I& n) {
  const Tensor condition = n.in(0);
  n.need(condition.numel() == 1, "the condition has shape ", condition.shape());
  if (!condition.is_symbolic())
    return n.run_body(body(n, n.number(0) != 0 ? "then_branch" : "else_branch"), GraphValues());
  const onnx::Graph &yes = body(n, "then_branch"), &no = body(n, "else_branch");
  try {
    const auto out = cond(
        reshape(condition, {}), [&] { return n.run_body(yes, Tensors()); },
        [&] { return n.run_body(no, Tensors()); });
    return {out.begin(), out.end()};
  } catch (const NeedsValue&) {
    throw;
  } catch (const Error&) {
    n.needs_value(0);
  }
}

/// How often the bodies around the one at hand run, as far as that is known.
struct KnownSteps {
  KnownSteps(I& n, int64_t steps) : at(n.known_steps()), before(at) {
    n.need(steps < most_known_steps && at * std::max<int64_t>(steps, 1) <= most_known_steps,
           "more than ", most_known_steps, " steps");
    at *= std::max<int64_t>(steps, 1);
  }
  ~KnownSteps() { at = before; }
  int64_t& at;
  const int64_t before;
};

bool are_tensors(const GraphValues& all) {
  for (const GraphValue& v : all)
    if (v.kind != GraphValue::Kind::tensor || v.element) return false;
  return true;
}
bool all_known(const GraphValues& all) {
  for (const GraphValue& v : all)
    if (v.items ? !all_known(*v.items) : v.tensor.defined() && v.tensor.is_symbolic()) return false;
  return true;
}

/// A loop whose course is not known: its variables are the step, whether it goes on, and ONNX's.
GraphValues open_loop(I& n, const onnx::Graph& g, const GraphValues& carried) {
  // Lists and sequences grow by a step: their loops are unrolled once the bounds are known.
  if (g.outputs.size() != carried.size() + 1 || !are_tensors(carried)) {
    for (int i : {0, 1})
      if (n.has(i) && n.in(i).is_symbolic()) n.needs_value(i);
    n.needs_values();
  }
  std::vector<Tensor> start{full({}, 0, i64),
                            n.has(1) ? reshape(n.in(1), {}) : full({}, 1, boolean)};
  for (const GraphValue& v : carried) start.push_back(v.tensor);
  const Tensor most = n.has(0) ? reshape(n.in(0), {}) : Tensor();
  const bool counted = most.defined() && !most.is_symbolic();
  const KnownSteps steps(n, counted ? most.item<int64_t>() : 1);
  // The variables may all be constants, and the loop yet one of the graph.
  std::optional<CaptureScope> scope;
  if (!(modes & Modes::capture)) scope.emplace(n.graph());
  try {
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
  } catch (const NeedsValue&) {
    throw;
  } catch (const Error&) {  // shapes may change from step to step
    scope.reset();
    if (all_known(carried) && counted) throw;
    n.needs_values();
  }
}

/// What a list of no steps is: its elements' shape is that of the graph's result, as far as the
/// file says it.
Tensor no_steps(I& n, const onnx::ValueInfo& v) {
  const auto dtype = onnx::to_dtype(v.type.element);
  if (!dtype || !v.type.shape || v.type.shape->size() >= size_t(max_dims))
    n.unsupported("a list of no steps whose elements have no known shape");
  Shape shape{0};
  for (const onnx::Dim& d : *v.type.shape) shape.push_back(std::max<int64_t>(d.value, 0));
  return zeros(shape, *dtype);
}
GraphValue stacked(I& n, const onnx::ValueInfo& v, const GraphValues& list, int64_t axis = 0) {
  if (list.empty()) return no_steps(n, v);
  if (!are_tensors(list)) n.unsupported("a list of elements that are no plain tensors");
  std::vector<Tensor> all;
  for (const GraphValue& item : list) all.push_back(item.tensor);
  return stack(all, axis);
}

GraphValues loop(I& n) {
  const onnx::Graph& g = body(n, "body");
  GraphValues carried;
  for (int i = 2; i < n.inputs(); ++i) carried.push_back(n.any_in(i));
  n.need(g.outputs.size() > carried.size(), "its graph gives ", g.outputs.size(), " values");
  if ((n.has(0) && n.in(0).is_symbolic()) || (n.has(1) && n.in(1).is_symbolic()))
    return open_loop(n, g, carried);
  const GraphValues start = carried;
  const int64_t most = n.has(0) ? n.whole_number(0) : INT64_MAX;
  bool on = !n.has(1) || n.number(1) != 0;
  if (on && n.has(0) && most > most_steps && g.outputs.size() == carried.size() + 1)
    return open_loop(n, g, start);
  std::vector<GraphValues> scanned(g.outputs.size() - 1 - carried.size());
  for (int64_t step = 0; on && step < most; ++step) {
    if (step >= most_steps && !all_known(carried))
      n.unsupported("more than ", most_steps, " steps");
    GraphValues in{constant_value(full({}, step, i64)), constant_value(full({}, 1, boolean))};
    in.insert(in.end(), carried.begin(), carried.end());
    const GraphValues out = n.run_body(g, in);
    n.need(out[0].tensor.defined() && out[0].tensor.numel() == 1, "its condition is no number");
    if (out[0].tensor.is_symbolic()) return open_loop(n, g, start);
    on = out[0].tensor.item<double>() != 0;
    for (size_t i = 0; i < carried.size(); ++i) carried[i] = out[i + 1];
    for (size_t i = 0; i < scanned.size(); ++i) scanned[i].push_back(out[i + 1 + carried.size()]);
  }
  const size_t first = carried.size();
  for (size_t i = 0; i < scanned.size(); ++i)
    carried.push_back(stacked(n, g.outputs[first + 1 + i], scanned[i]));
  return carried;
}

/// Before operator set 9 the first axis of everything was the batch.
Tensors scan_batches(I& n, const onnx::Graph& g) {
  const int64_t lists = n.integer("num_scan_inputs", 0), states = n.inputs() - 1 - lists;
  n.need(lists > 0 && states >= 0 && g.outputs.size() >= size_t(states), "num_scan_inputs=", lists);
  const size_t results = g.outputs.size() - size_t(states);
  const Ints back = n.list("directions").value_or(Ints(size_t(lists), 0));
  n.need(back.size() == size_t(lists), "its directions are not those of its inputs");
  n.need(n.in(1).dim() > 0 && n.in(int(states) + 1).dim() > 1, "its inputs need a batch");
  const int64_t batch = n.in(1).size(0), length = n.in(int(states) + 1).size(1);
  if (n.has(0))
    for (int64_t l : n.ints(0))
      if (l != length) n.unsupported("sequences of different lengths");
  if (length > most_steps || batch > most_steps) n.unsupported("more than ", most_steps, " steps");
  std::vector<std::vector<Tensor>> all(g.outputs.size());
  for (int64_t b = 0; b < batch; ++b) {
    Tensors carried;
    std::vector<std::vector<Tensor>> scanned(results);
    for (int i = 0; i < states; ++i) carried.push_back(select(n.in(i + 1), 0, b));
    for (int64_t step = 0; step < length; ++step) {
      Tensors in = carried;
      for (int64_t i = 0; i < lists; ++i)
        in.push_back(select(select(n.in(int(states + i) + 1), 0, b), 0,
                            back[size_t(i)] ? length - 1 - step : step));
      const Tensors out = n.run_body(g, in);
      for (size_t i = 0; i < carried.size(); ++i) carried[i] = out[i];
      for (size_t i = 0; i < results; ++i) scanned[i].push_back(out[carried.size() + i]);
    }
    for (size_t i = 0; i < carried.size(); ++i) all[i].push_back(carried[i]);
    for (size_t i = 0; i < results; ++i)
      all[size_t(states) + i].push_back(
          scanned[i].empty() ? no_steps(n, g.outputs[size_t(states) + i]) : stack(scanned[i]));
  }
  Tensors out;
  for (const auto& list : all) {
    n.need(!list.empty(), "a batch of nothing");
    out.push_back(stack(list));
  }
  return out;
}

Tensors scan(I& n) {
  const onnx::Graph& g = body(n, "body");
  if (n.opset() < 9) return scan_batches(n, g);
  const int64_t lists = n.integer("num_scan_inputs", 0), states = n.inputs() - lists;
  n.need(lists > 0 && states >= 0, "num_scan_inputs=", lists);
  n.need(g.outputs.size() >= size_t(states), "its graph gives ", g.outputs.size(), " values");
  const size_t results = g.outputs.size() - size_t(states);
  const Ints in_axes = n.list("scan_input_axes").value_or(Ints(size_t(lists), 0));
  const Ints in_back = n.list("scan_input_directions").value_or(Ints(size_t(lists), 0));
  const Ints out_axes = n.list("scan_output_axes").value_or(Ints(results, 0));
  const Ints out_back = n.list("scan_output_directions").value_or(Ints(results, 0));
  n.need(in_axes.size() == size_t(lists) && in_back.size() == size_t(lists) &&
             out_axes.size() == results && out_back.size() == results,
         "its axes and directions are not those of its inputs and outputs");
  Tensors carried;
  for (int i = 0; i < states; ++i) carried.push_back(n.in(i));
  std::vector<GraphValues> scanned(results);
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
    const Tensor all =
        stacked(n, g.outputs[size_t(states) + i], scanned[i], length ? out_axes[i] : 0).tensor;
    carried.push_back(out_back[i] && length ? flip(all, {out_axes[i]}) : all);
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
    const auto given = n.list("given").value_or(std::vector<int64_t>());
    what.given.assign(given.begin(), given.end());
    const std::vector<Spec> flags(given.size(), Spec{{}, boolean, cpu_device});
    what.body =
        n.region(body(n, "gradient"), with(with(of_body, specs(lower, n.inputs() - lower)), flags));
  }
  return graph::apply_loop_gradient(what, {in.data(), in.size()});
}

void add_control_imports(OnnxImports& t) {
  t.insert({{"If", if_}, {"Loop", loop}, {"Scan", scan}});
}

}  // namespace tandem::detail
