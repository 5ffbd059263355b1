// Runs of an ONNX model. It is planned for the shapes of its inputs; where its course depends on
// elements that a run computes (the places of what is not zero, the steps of a loop), it is planned
// in parts, each for the values that the parts before it gave.
#include <algorithm>
#include <cstring>

#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/graph/passes.h"
#include "tandem/io/detail/onnx_loaded.h"
#include "tandem/op/copy.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/cast.h"

namespace tandem {

using detail::GraphValues;
using detail::OnnxImporter;

namespace {

constexpr size_t most_plans = 32;  // for inputs of so many shapes
constexpr size_t most_parts = 4;   // for so many values of what a part gave

/// Calls f with each tensor of a value, in order.
template <class F>
void each_tensor(const GraphValue& v, const F& f) {
  if (v.tensor.defined()) f(v.tensor);
  if (v.items)
    for (const GraphValue& item : *v.items) each_tensor(item, f);
}
/// The value with f(tensor) in the place of each tensor.
template <class F>
GraphValue with_tensors(const GraphValue& v, const F& f) {
  GraphValue out = v;
  if (v.tensor.defined()) out.tensor = f(v.tensor);
  if (v.items) {
    std::vector<GraphValue> items;
    for (const GraphValue& item : *v.items) items.push_back(with_tensors(item, f));
    out.items = std::make_shared<const std::vector<GraphValue>>(std::move(items));
  }
  return out;
}

void add_structure(const GraphValue& v, std::string& text) {
  text += char('a' + int(v.kind));
  if (v.element) text += cat(int(*v.element));
  if (v.texts) {
    text += cat(v.texts->shape);
    for (const std::string& s : v.texts->values) text += cat(s.size(), ':', s);
  }
  if (v.items) {
    text += '[';
    for (const GraphValue& item : *v.items) add_structure(item, text);
    text += ']';
  }
}

bool same_elements(const Tensor& a, const Tensor& b) {
  return a.spec() == b.spec() &&
         std::memcmp(a.raw_data(), b.raw_data(), size_t(a.numel() * itemsize(a.dtype()))) == 0;
}

using Given = detail::OnnxGiven;
using Role = Given::Role;

/// Calls f(tensor, name, role) for each tensor in order.
template <class F>
void each_given(const Given& g, const F& f) {
  size_t at = 0;
  for (size_t i = 0; i < g.values.size(); ++i)
    each_tensor(g.values[i], [&](const Tensor& t) { f(t, g.names[i], g.roles[at++]); });
}

/// The number of a symbolic value in the graph; -1 when it is one of another.
graph::ValueId id_in(graph::Graph& g, const Tensor& t) {
  try {
    return t.is_symbolic() ? g.id_of(t) : -1;
  } catch (const ValueError&) {
    return -1;
  }
}

std::string structure_of(const Given& g) {
  std::string text;
  for (size_t i = 0; i < g.values.size(); ++i) {
    text += cat(g.names[i], ' ');
    add_structure(g.values[i], text);
  }
  return text;
}

bool fits(const detail::OnnxPart& p, const Given& g, const std::string& structure) {
  if (p.structure != structure) return false;
  size_t shape = 0, frozen = 0;
  bool same = true;
  each_given(g, [&](const Tensor& t, const std::string& name, Role role) {
    if (role == Role::constant || !same) return;
    if (g.needed.contains(name)) same = same_elements(p.frozen[frozen++], t);
    else same = p.shapes[shape++] == t.shape();
  });
  return same;
}

Given given_tensors(const std::vector<GraphPort>& ports, GraphValues values) {
  Given g;
  for (const GraphPort& p : ports) g.names.push_back(p.name);
  g.values = std::move(values);
  for (const GraphValue& v : g.values)
    each_tensor(v, [&](const Tensor&) { g.roles.push_back(Role::fed); });
  return g;
}

/// What a run gives for a port, or the reason why it does not fit.
void check_value(const GraphPort& p, GraphValue& v) {
  const std::string_view kind = p.kind;
  if (kind.empty()) {
    require(
        v.tensor.defined(), "LoadedGraph::run(): input ", [&] { return to_string(p); },
        " is undefined");
    require<DTypeError>(
        v.tensor.dtype() == p.dtype, "LoadedGraph::run(): input ", [&] { return to_string(p); },
        ", got ", v.tensor.dtype());
  } else if (v.kind == GraphValue::Kind::nothing) {
    require(
        p.optional, "LoadedGraph::run(): input ", [&] { return to_string(p); }, " is missing");
  } else {
    std::string_view inner = kind;
    if (inner.starts_with("optional ")) inner.remove_prefix(9);
    const bool good = inner.starts_with("sequence ") ? v.items != nullptr
                      : inner == "STRING"            ? v.texts != nullptr
                                                     : v.tensor.defined();
    require(
        good, "LoadedGraph::run(): input ", [&] { return to_string(p); },
        " is given another kind of value");
    if (p.element && v.tensor.defined()) v.element = p.element;
  }
  v = with_tensors(v, [](const Tensor& t) { return detail::as_contiguous(t); });
}

}  // namespace

// --- Planning -----------------------------------------------------------------------------------

/// The lengths of the file's unknown axes.
detail::NamedLengths LoadedGraph::Impl::check(const Given& given) const {
  std::map<std::string, std::pair<int64_t, std::string>> named;
  for (size_t i = 0; i < given.names.size(); ++i) {
    const GraphPort& p =
        i < inputs.size() ? inputs[i]
                          : *std::find_if(defaults.begin(), defaults.end(),
                                          [&](const auto& d) { return d.name == given.names[i]; });
    if (!p.shape || !given.values[i].tensor.defined()) continue;
    const Shape& shape = given.values[i].tensor.shape();
    bool fits = p.shape->size() == shape.size();
    for (int a = 0; fits && a < shape.size(); ++a) {
      const int64_t want = (*p.shape)[a], have = shape[a];
      if (want >= 0) fits = want == have;
      const std::string& axis = p.axes[size_t(a)];
      if (want >= 0 || axis.empty()) continue;
      const auto& first = named.emplace(axis, std::pair(have, p.name)).first->second;
      require<ShapeError>(
          first.first == have, "LoadedGraph::run(): input ", [&] { return to_string(p); },
          ", got shape ", shape, ": the length ", axis, " is ", first.first, " in input ",
          first.second);
    }
    require<ShapeError>(
        fits, "LoadedGraph::run(): input ", [&] { return to_string(p); }, ", got shape ", shape);
  }
  detail::NamedLengths lengths;
  for (const auto& [name, found] : named) lengths.emplace(name, found.first);
  return lengths;
}

void LoadedGraph::Impl::finish(Part& p, OnnxImporter& importer) const {
  graph::Graph& g = *p.graph;
  for (const GraphPort& port : outputs) {
    const GraphValue& value = importer.value(port.name);
    if (port.kind.empty()) {
      require<NotImplemented>(
          value.tensor.defined() && !value.element, "load_graph(): output ",
          [&] { return to_string(port); }, " is no plain tensor");
      require<DTypeError>(
          value.tensor.dtype() == port.dtype, "load_graph(): output ",
          [&] { return to_string(port); }, " is ", value.tensor.spec());
    }
    int count = 0;
    p.gives.names.push_back(port.name);
    p.gives.values.push_back(with_tensors(value, [&](const Tensor& t) {
      const Tensor own = t.is_symbolic() ? t : g.handle(g.capture(t));
      g.output(count++ ? cat(port.name, ".", count) : port.name, own);
      p.gives.roles.push_back(Role::fed);
      return own;
    }));
  }
  for (const auto& [name, out] : next) {
    const Tensor target = tandem::find(state, name), value = importer.value(out).tensor;
    require(value.defined() && target.spec() == value.spec(), "load_graph(): state \"", name,
            "\" is ", target.spec(), " and becomes ",
            [&] { return value.defined() ? to_string(value.spec()) : "no tensor"; });
    g.edit_assignments().push_back({g.capture(target), g.id_of(value)});
  }
  for (const auto& [begin, out] : random) {
    const Tensor first = importer.value(begin).tensor, last = importer.value(out).tensor;
    require(first.defined() && last.defined() && first.is_symbolic() && last.is_symbolic(),
            "load_graph(): the random key \"", begin, "\" is a constant");
    g.set_stream(default_generator(), g.id_of(first), g.id_of(last));
  }
}

/// Ends the part ahead of node `p.last`, and says what the nodes from there on need. False when
/// there is nothing that could be known better.
bool LoadedGraph::Impl::cut(Part& p, OnnxImporter& importer, const Given& given,
                            const Tensor& needed) const {
  graph::Graph& g = *p.graph;
  std::set<std::string> fixed;
  for (const auto& [name, v] : constants) fixed.insert(name);
  for (const auto& [name, t] : state) fixed.insert(name);
  for (const std::string& name : given.names) fixed.erase(name);
  std::set<std::string> live, here;
  for (const std::string& name : model.uses(p.last)) here.insert(name);
  for (size_t i = p.last; i < model.model().graph.nodes.size(); ++i)
    for (const std::string& name : model.uses(i)) live.insert(name);
  for (const GraphPort& port : outputs) live.insert(port.name);
  for (const auto& [name, out] : next) live.insert(out);
  for (const auto& [begin, out] : random) live.insert(begin), live.insert(out);

  auto symbolic = [](const GraphValue* v) {
    bool found = false;
    if (v) each_tensor(*v, [&](const Tensor& t) { found = found || t.is_symbolic(); });
    return found;
  };
  const graph::ValueId wanted = needed.defined() ? id_in(g, needed) : -1;
  auto is_needed = [&](const GraphValue& v) {
    bool found = false;
    each_tensor(v,
                [&](const Tensor& t) { found = found || (wanted >= 0 && id_in(g, t) == wanted); });
    return found;
  };
  p.gives.needed.clear();
  for (const std::string& name : here)
    if (const GraphValue* v = importer.find(name); v && is_needed(*v)) p.gives.needed.insert(name);
  if (p.gives.needed.empty())
    for (const std::string& name : here)
      if (symbolic(importer.find(name))) p.gives.needed.insert(name);
  if (p.gives.needed.empty()) return false;

  for (const std::string& name : live) {
    const GraphValue* v = importer.find(name);
    if (!v || (fixed.contains(name) && !p.gives.needed.contains(name))) continue;
    p.gives.names.push_back(name);
    p.gives.values.push_back(*v);
    int count = 0;
    each_tensor(*v, [&](const Tensor& t) {
      p.gives.roles.push_back(t.is_symbolic() ? Role::fed : Role::constant);
      if (t.is_symbolic()) g.output(cat(name, ".", count++), t);
    });
  }
  p.whole = false;
  return true;
}

std::shared_ptr<LoadedGraph::Impl::Part> LoadedGraph::Impl::build(
    size_t first, const Given& given, const detail::NamedLengths& lengths, bool known) const {
  auto p = std::make_shared<Part>();
  p->first = first;
  p->structure = structure_of(given);
  p->graph = graph::Graph::make();
  graph::Graph& g = *p->graph;
  OnnxImporter importer(g, model, lengths);
  for (const auto& [name, v] : constants) importer.set(name, v);
  for (const auto& [name, t] : state) {
    const graph::ValueId id = g.capture(t);
    if (g.value(id).name.empty()) g.rename(id, name);
    importer.set(name, g.handle(id));
  }
  size_t at = 0;
  for (size_t i = 0; i < given.names.size(); ++i) {
    const std::string& name = given.names[i];
    int count = 0;
    importer.set(
        name, with_tensors(given.values[i], [&](const Tensor& t) {
          if (given.roles[at++] == Role::constant) return t;
          if (given.needed.contains(name)) {
            p->frozen.push_back(clone(t));
            p->frozen.back().impl()->flags |= TensorImpl::made_in_capture;
            return p->frozen.back();
          }
          p->shapes.push_back(t.shape());
          return g.input(count++ ? cat(name, ".", count) : name, {t.shape(), t.dtype(), {}});
        }));
  }
  std::optional<detail::NeedsValue> stopped;
  p->last = importer.run_from(first, stopped);
  if (!stopped) finish(*p, importer);
  else if (!known || !cut(*p, importer, given, stopped->value()))
    throw NotImplemented(stopped->what());
  graph::verify(g);
  return p;
}

std::shared_ptr<LoadedGraph::Impl::Part> LoadedGraph::Impl::part(
    Parts& among, size_t first, const Given& given, const detail::NamedLengths& lengths) {
  const std::string structure = structure_of(given);
  for (const auto& p : among)
    if (fits(*p, given, structure)) return p;
  const detail::Uncaptured now;
  const NoGrad no_grad;
  auto fresh = build(first, given, lengths, true);
  if (among.size() >= (&among == &parts ? most_plans : most_parts)) among.erase(among.begin());
  among.push_back(fresh);
  return fresh;
}

std::shared_ptr<const graph::Graph> LoadedGraph::Impl::graph(std::span<const Shape> shapes) {
  require(shapes.size() == inputs.size(), "LoadedGraph::graph(): ", shapes.size(), " shapes for ",
          inputs.size(), " inputs");
  // Tensors of those shapes whose elements all lie in one place: nobody looks at them.
  GraphValues values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    require<NotImplemented>(
        inputs[i].kind.empty(), "LoadedGraph::graph(): input ",
        [&] { return to_string(inputs[i]); }, " is no plain tensor");
    values.push_back(detail::alias(zeros({1}, inputs[i].dtype), shapes[i],
                                   Strides::filled(shapes[i].size(), 0), 0));
  }
  const Given given = given_tensors(inputs, std::move(values));
  const detail::Uncaptured now;
  const NoGrad no_grad;
  return build(0, given, check(given), false)->graph;
}

// --- Running ------------------------------------------------------------------------------------

GraphValues LoadedGraph::Impl::run_part(Part& p, const Given& given) {
  Tensors in;
  each_given(given, [&](const Tensor& t, const std::string& name, Role role) {
    if (role == Role::fed && !given.needed.contains(name)) in.push_back(t);
  });
  std::unique_ptr<graph::Plan> plan;
  {
    const std::lock_guard lock(mutex);
    if (!p.ready) {
      auto ready = p.graph->clone();
      graph::optimize(*ready, false);
      p.ready = ready;
    }
    if (p.idle.empty()) {
      plan = std::make_unique<graph::Plan>(p.ready);
    } else {
      plan = std::move(p.idle.back());
      p.idle.pop_back();
    }
  }
  const Tensors out = plan->run({in.data(), in.size()});
  {
    const std::lock_guard lock(mutex);
    p.idle.push_back(std::move(plan));
  }
  size_t at = 0, fed = 0;
  GraphValues values;
  for (const GraphValue& v : p.gives.values)
    values.push_back(with_tensors(
        v, [&](const Tensor& t) { return p.gives.roles[at++] == Role::fed ? out[fed++] : t; }));
  return values;
}

GraphValues LoadedGraph::Impl::run(Given given) {
  const detail::Uncaptured now;
  const NoGrad no_grad;
  const detail::NamedLengths lengths = check(given);
  std::shared_ptr<Part> p;
  {
    const std::lock_guard lock(mutex);
    p = part(parts, 0, given, lengths);
  }
  for (;;) {
    GraphValues values = run_part(*p, given);
    if (p->whole) return values;
    given = p->gives;
    given.values = std::move(values);
    const std::lock_guard lock(mutex);
    p = part(p->next, p->last, given, lengths);
  }
}

std::vector<GraphValue> LoadedGraph::run_values(std::span<const GraphValue> inputs) {
  const auto& ports = impl_->inputs;
  require(inputs.size() == ports.size(), "LoadedGraph::run(): ", inputs.size(), " inputs for ",
          ports.size());
  GraphValues values(inputs.begin(), inputs.end());
  for (size_t i = 0; i < values.size(); ++i) check_value(ports[i], values[i]);
  return impl_->run(given_tensors(ports, std::move(values)));
}

namespace {

std::vector<Tensor> plain_tensors(const std::vector<GraphPort>& outputs,
                                  const GraphValues& values) {
  std::vector<Tensor> out;
  for (size_t i = 0; i < values.size(); ++i) {
    require<NotImplemented>(
        values[i].tensor.defined(), "LoadedGraph::run(): output ",
        [&] { return to_string(outputs[i]); }, " is no tensor; run_values() gives it");
    out.push_back(values[i].tensor);
  }
  return out;
}

}  // namespace

std::vector<Tensor> LoadedGraph::run(std::span<const Tensor> inputs) {
  const GraphValues values(inputs.begin(), inputs.end());
  return plain_tensors(impl_->outputs, run_values(values));
}

std::vector<Tensor> LoadedGraph::run(const NamedTensors& inputs) {
  std::vector<GraphPort> ports = impl_->inputs;
  std::string problems, unknown;
  for (const auto& [name, t] : inputs) {
    const auto called = [&, n = name](const GraphPort& p) { return p.name == n; };
    if (std::any_of(ports.begin(), ports.end(), called)) continue;
    const auto it = std::find_if(impl_->defaults.begin(), impl_->defaults.end(), called);
    if (it == impl_->defaults.end()) unknown += cat(" unknown ", name, ";");
    else ports.push_back(*it);
  }
  GraphValues values;
  for (const GraphPort& p : ports) {
    values.emplace_back(tandem::find(inputs, p.name));
    if (!values.back().tensor.defined() && !p.optional)
      problems += cat(" missing ", to_string(p), ";");
  }
  require((problems + unknown).empty(), "LoadedGraph::run():", problems, unknown);
  for (size_t i = 0; i < values.size(); ++i) check_value(ports[i], values[i]);
  return plain_tensors(impl_->outputs, impl_->run(given_tensors(ports, std::move(values))));
}

}  // namespace tandem
