#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/regions.h"
#include "tandem/graph/rewrite.h"
#include "tandem/graph/specialise.h"
#include "tandem/io/detail/onnx_export.h"
#include "tandem/op/registry.h"
#include "tandem/ops/cast.h"

namespace tandem {
namespace detail {

using graph::AxisLength;
using graph::Effect;
using graph::Value;
using graph::ValueId;
using graph::ValueKind;
using onnx::Attribute;

namespace {

const OnnxRules& rules() {
  static const OnnxRules all = [] {
    OnnxRules r;
    add_math_rules(r);
    add_shape_rules(r);
    add_layer_rules(r);
    add_loss_rules(r);
    return r;
  }();
  return all;
}

/// A record's attributes as ONNX's. Doubles become f64 tensors, since ONNX's own are f32.
class AttributeReader final : public FieldVisitor {
 public:
  std::vector<Attribute> list;
  void visit(std::string_view n, bool& v) override { add(n, int64_t(v)); }
  void visit(std::string_view n, int64_t& v) override { add(n, v); }
  void visit(std::string_view n, double& v) override { add(n, full({}, v, f64)); }
  void visit(std::string_view n, std::string& v) override { add(n, v); }
  void visit(std::string_view n, DType& v) override { add(n, std::string(name(v))); }
  void visit(std::string_view n, Shape& v) override {
    add(n, std::vector<int64_t>(v.begin(), v.end()));
  }
  void visit(std::string_view n, std::optional<int64_t>& v) override {
    if (v) add(n, *v);
  }
  void visit(std::string_view n, std::optional<double>& v) override {
    if (v) add(n, full({}, *v, f64));
  }

 private:
  template <class T>
  void add(std::string_view n, const T& v) {
    list.push_back(Attribute::of(std::string(n), v));
  }
};

constexpr int64_t opset = 17;

bool is_number(const Value& v) {
  return v.tensor.defined() && v.tensor.impl()->has(TensorImpl::wrapped_number);
}

}  // namespace

OnnxExporter::OnnxExporter(const graph::Graph& graph, const SaveGraphOptions& options)
    : graph_(graph.clone()) {
  find_roots(options);
  graph::eliminate_dead_code(*graph_);
  axes_ = graph_->axes();
  count_uses();
  name_axes();
  name_values(options);
}

void OnnxExporter::count_uses() {
  used_.assign(graph_->values().size(), false);
  for (const graph::Node& n : graph_->nodes())
    for (ValueId id : n.inputs)
      if (id >= 0) used_[size_t(id)] = true;
  for (ValueId id : graph_->outputs()) used_[size_t(id)] = true;
  for (const graph::Assignment& a : graph_->assignments())
    used_[size_t(a.state)] = used_[size_t(a.value)] = true;
}

/// What is saved: the outputs, the assignments of the effects that they have, and what those need.
void OnnxExporter::find_roots(const SaveGraphOptions& options) {
  graph::Graph& g = *graph_;
  std::vector<std::pair<std::string, ValueId>> wanted;
  for (const auto& [name, t] : options.outputs) {
    require(t.defined() && t.is_symbolic(), "save(): output \"", name, "\" is no value of a graph");
    wanted.emplace_back(name, t.impl()->extras->value);
  }
  if (options.outputs.empty())
    for (size_t i = 0; i < g.outputs().size(); ++i)
      wanted.emplace_back(g.output_names()[i], g.outputs()[i]);
  auto operand = [&](ValueId id) {
    while (const Effect* e = id >= 0 ? g.find_effect(id) : nullptr) id = e->value;
    return id;
  };

  const std::vector<int> made = graph::makers(g);
  auto& assignments = g.edit_assignments();
  // A gradient that accumulates reads what was there before: state like any other.
  for (const graph::GradientWrite& w : g.gradients())
    if (w.value >= 0 && w.before.defined())
      for (size_t id = 0; id < g.values().size(); ++id)
        if (g.values()[id].kind == ValueKind::state && g.values()[id].tensor.is_same(w.before))
          assignments.push_back({ValueId(id), w.value});
  g.edit_gradients().clear();

  std::vector<bool> seen(g.values().size(), false);
  std::vector<ValueId> stack;
  for (const auto& [name, id] : wanted) stack.push_back(id);
  for (const graph::Assignment& a : assignments) stack.push_back(a.value);
  while (!stack.empty()) {
    const ValueId id = stack.back();
    stack.pop_back();
    if (id < 0 || seen[size_t(id)]) continue;
    seen[size_t(id)] = true;
    if (const Effect* e = g.find_effect(id)) {
      for (const graph::Assignment& a : e->assignments) {
        const auto known =
            std::find_if(assignments.begin(), assignments.end(),
                         [&](const graph::Assignment& b) { return b.state == a.state; });
        require(known == assignments.end() || known->value == a.value,
                "save(): two assignments to \"", g.value(a.state).name, "\" in one run");
        if (known == assignments.end()) assignments.push_back(a);
        stack.push_back(a.value);
      }
      stack.insert(stack.end(), e->also.begin(), e->also.end());
      stack.push_back(e->value);
    } else if (made[size_t(id)] >= 0) {
      const auto& in = g.nodes()[size_t(made[size_t(id)])].inputs;
      stack.insert(stack.end(), in.begin(), in.end());
    }
  }
  // A generator goes on from the last key that was drawn inside a region.
  for (const graph::RandomStream& s : g.streams()) {
    const auto known = std::find_if(assignments.begin(), assignments.end(),
                                    [&](const graph::Assignment& a) { return a.state == s.state; });
    for (size_t k = s.later.size(); known == assignments.end() && k-- > 0;)
      if (seen[size_t(k ? s.later[k - 1] : s.begin)]) {
        assignments.push_back({s.state, s.later[k]});
        break;
      }
  }
  for (graph::Node& n : g.edit_nodes())
    for (ValueId& id : n.inputs)
      if (id >= 0 && seen[size_t(id)]) {
        id = operand(id);
        require(id >= 0, "save(): a group of effects is used as a value");
      }
  for (graph::Assignment& a : assignments) a.value = operand(a.value);
  g.edit_outputs().clear();
  for (const auto& [name, id] : wanted)
    if (const ValueId own = operand(id); own >= 0) {
      outputs_.emplace_back(name, own);
      g.edit_outputs().push_back(own);
    }
  std::vector<ValueId> inputs;
  for (ValueId id : g.inputs())
    if (seen[size_t(id)] || options.outputs.empty()) inputs.push_back(id);
  g.edit_inputs() = inputs;
}

const graph::RandomStream* OnnxExporter::stream_of(ValueId state) const {
  for (const graph::RandomStream& s : graph_->streams())
    if (s.state == state) return &s;
  return nullptr;
}

// --- Names ----------------------------------------------------------------------------------

std::string OnnxExporter::unique(std::string name) {
  if (name.empty()) name = "value";
  std::string s = name;
  for (int i = 1; !taken_.insert(s).second; ++i) s = cat(name, "_", i);
  return s;
}

void OnnxExporter::name_axes() {
  for (int64_t stand_in : axes_) {
    std::string name;
    for (ValueId id : graph_->inputs())
      for (int a = 0; name.empty() && a < graph_->value(id).spec.shape.size(); ++a)
        if (graph_->value(id).spec.shape[a] == stand_in) name = a ? cat("axis", a) : "batch";
    if (name.empty()) name = "length";
    std::string s = name;
    for (int i = 1; std::find(axis_names_.begin(), axis_names_.end(), s) != axis_names_.end(); ++i)
      s = cat(name, "_", i);
    axis_names_.push_back(s);
  }
}

void OnnxExporter::name_values(const SaveGraphOptions& options) {
  graph::Graph& g = *graph_;
  names_.assign(g.values().size(), "");
  for (ValueId id : g.inputs()) names_[size_t(id)] = unique(g.value(id).name);
  for (int64_t stand_in : axes_) {
    lengths_.emplace_back("", 0);
    for (ValueId id : g.inputs()) {
      const Shape& s = g.value(id).spec.shape;
      const auto at = std::find(s.begin(), s.end(), stand_in);
      if (at != s.end() && lengths_.back().first.empty())
        lengths_.back() = {names_[size_t(id)], at - s.begin()};
    }
  }
  for (auto& [name, id] : outputs_) {
    name = unique(name);
    if (names_[size_t(id)].empty() && g.value(id).kind == ValueKind::result)
      names_[size_t(id)] = name;
  }
  std::vector<ValueId> variables;
  for (const auto& v : g.variables()) variables.push_back(v.state);
  int unnamed = 0;
  for (size_t i = 0; i < g.values().size(); ++i) {
    Value& v = g.edit_values()[i];
    if (v.kind != ValueKind::state || !used_[i] || stream_of(ValueId(i))) continue;
    std::string name = v.name;
    for (const auto& [key, t] : options.names)
      if (t.defined() &&
          (t.is_same(v.tensor) || (t.raw_data() == v.tensor.raw_data() && t.spec() == v.spec)))
        name = key;
    if (std::find(variables.begin(), variables.end(), ValueId(i)) != variables.end()) {
      const Tensor value = tandem::find(options.variables, name);
      require(value.defined(), "save(): variable \"", name,
              "\" has a value in each Session only; give them in "
              "options.variables (session.state_dict())");
      require<ShapeError>(value.spec() == v.spec, "save(): variable \"", name, "\" is ",
                          to_string(v.spec), ", options.variables has a ", to_string(value.spec()));
      v.tensor = value;
    }
    names_[i] = unique(name.empty() ? cat("state", unnamed++) : name);
  }
  for (const graph::Assignment& a : g.assignments()) {
    const bool random = stream_of(a.state);
    const std::string name = unique(random ? "random:next" : names_[size_t(a.state)] + ":next");
    next_.emplace_back(name, a.value);
    if (names_[size_t(a.value)].empty() && g.value(a.value).kind == ValueKind::result)
      names_[size_t(a.value)] = name;
  }
}

std::string OnnxExporter::name_of(ValueId id) {
  if (id < 0) return "";
  std::string& name = names_[size_t(id)];
  const Value& v = graph_->value(id);
  if (!name.empty()) return name;
  if (v.kind == ValueKind::constant) return name = tensor(id);
  return name = unique(v.name.empty() ? cat("v", id) : v.name);
}

// --- Lengths --------------------------------------------------------------------------------

std::vector<graph::LengthTerm> OnnxExporter::terms(int64_t v) const {
  return graph::length_terms(v, axes_);
}

bool OnnxExporter::open(int64_t v) const { return !terms(v).empty(); }
bool OnnxExporter::open(const Shape& shape) const {
  return std::any_of(shape.begin(), shape.end(), [&](int64_t d) { return open(d); });
}

/// A length as an i64[1].
std::string OnnxExporter::length(int64_t v) {
  const std::vector<graph::LengthTerm> sum = terms(v);
  if (sum.empty()) return ints({v});
  std::string total;
  for (const graph::LengthTerm& t : sum) {
    std::string product;
    for (size_t axis : t.axes) {
      const std::string known = emitted_[cat("axis ", axis)];
      const auto& [input, at] = lengths_[axis];
      require<NotImplemented>(!input.empty(), "save(): no input has the length \"",
                              axis_names_[axis], "\"");
      if (known.empty()) {
        const std::string name =
            emit("Gather", {emit("Shape", {input}), ints({at})}, {Attribute::of("axis", 0)});
        emitted_[cat("axis ", axis)] = name;
      }
      const std::string& one = emitted_[cat("axis ", axis)];
      product = product.empty() ? one : emit("Mul", {product, one});
    }
    if (product.empty()) product = ints({t.factor});
    else if (t.factor != 1) product = emit("Mul", {product, ints({t.factor})});
    total = total.empty() ? product : emit("Add", {total, product});
  }
  return total;
}

std::string OnnxExporter::shape(const Shape& shape) {
  if (!open(shape)) return ints({shape.begin(), shape.end()});
  std::string key = "shape";
  for (int64_t d : shape) key += cat(" ", d);
  if (const auto it = emitted_.find(key); it != emitted_.end()) return it->second;
  Names parts;
  for (int64_t d : shape) parts.push_back(length(d));
  return emitted_[key] =
             parts.size() == 1 ? parts[0] : emit("Concat", parts, {Attribute::of("axis", 0)});
}

// --- Constants ------------------------------------------------------------------------------

void OnnxExporter::add_initializer(const std::string& name, const Tensor& t) {
  model_.graph.initializers.push_back(onnx::TensorData::of(name, t));
}

std::string OnnxExporter::ints(const std::vector<int64_t>& values) {
  std::string key = "ints";
  for (int64_t v : values) key += cat(" ", v);
  std::string& name = emitted_[key];
  if (name.empty()) {
    name = unique("c");
    add_initializer(name, wrap(std::vector<int64_t>(values), {int64_t(values.size())}));
  }
  return name;
}

std::string OnnxExporter::scalar(double value, DType dtype) {
  std::string& name = emitted_[cat("scalar ", std::bit_cast<int64_t>(value), " ", dtype)];
  if (name.empty()) {
    name = unique("c");
    add_initializer(name, full({}, value, dtype));
  }
  return name;
}

std::string OnnxExporter::filled(double value, int64_t n, DType dtype) {
  std::string& name = emitted_[cat("filled ", std::bit_cast<int64_t>(value), " ", n, " ", dtype)];
  if (name.empty()) {
    name = unique("c");
    add_initializer(name, full({n}, value, dtype));
  }
  return name;
}

/// A captured constant. One number may have been made from an unknown length: n or 1 / n.
std::string OnnxExporter::tensor(ValueId id) {
  const Tensor& t = graph_->value(id).tensor;
  require<NotImplemented>(!open(t.shape()), "save(): a constant of shape ", t.shape(),
                          " was made from an axis of unknown length");
  if (t.numel() == 1 && t.dtype() != boolean && !axes_.empty()) {
    const double v = t.item<double>();
    auto made_of = [&](double n) {  // the length, or "" when it is none
      const double r = std::nearbyint(n);
      if (std::abs(r) > 9e15 || std::abs(n - r) > 1e-6 * std::abs(r) || !open(int64_t(r)))
        return std::string();
      return cast(length(int64_t(r)), i64, f64);
    };
    std::string x = made_of(v);
    if (v != std::nearbyint(v)) x.clear();
    // As graph::substitute() does: 1 / n, and 1 + 1 / n.
    if (x.empty() && v != 0)
      if (const std::string n = made_of(1 / v); !n.empty()) x = emit("Reciprocal", {n});
    if (x.empty() && v > 1 && v < 1.001)
      if (const std::string n = made_of(1 / (v - 1)); !n.empty())
        x = emit("Add", {emit("Reciprocal", {n}), filled(1, 1, f64)});
    if (!x.empty()) x = cast(x, f64, t.dtype());
    if (!x.empty()) return reshape(x, t.shape());
  }
  const std::string name = unique(graph_->value(id).name.empty() ? "c" : graph_->value(id).name);
  add_initializer(name, t);
  return name;
}

// --- Nodes ----------------------------------------------------------------------------------

std::string OnnxExporter::cast(const std::string& name, DType from, DType to) {
  if (from == to || name.empty()) return name;
  const std::string key = cat("cast ", name, " ", to);
  if (const auto it = emitted_.find(key); it != emitted_.end()) return it->second;
  return emitted_[key] =
             emit("Cast", {name}, {Attribute::of("to", int32_t(onnx::to_element_type(to)))});
}

std::string OnnxExporter::in(int i, DType as) {
  if (!has(i)) return "";
  const ValueId id = node_->inputs[size_t(i)];
  const Value& v = graph_->value(id);
  // A number takes its place in the file with the dtype that it is used with.
  if (v.kind == ValueKind::constant && v.tensor.numel() == 1 && v.tensor.dim() == 0 &&
      v.spec.dtype != as && axes_.empty())
    return scalar(v.tensor.item<double>(), as);
  return cast(name_of(id), v.spec.dtype, as);
}

std::string OnnxExporter::emit(std::string op, Names in, Attributes attributes) {
  std::string name = unique(cat(op, "_", model_.graph.nodes.size()));
  model_.graph.nodes.push_back({.op_type = std::move(op),
                                .name = name,
                                .inputs = std::move(in),
                                .outputs = {name},
                                .attributes = std::move(attributes)});
  return name;
}

bool OnnxExporter::results(std::string op, Names in, int n, Attributes attributes) {
  Names out;
  for (int i = 0; i < n; ++i) {
    const ValueId id = node_->outputs[size_t(i)];
    out.push_back(i == 0 || used_[size_t(id)] ? name_of(id) : "");
  }
  while (out.size() > 1 && out.back().empty()) out.pop_back();
  while (in.size() > 1 && in.back().empty()) in.pop_back();
  std::string name = unique(cat(node_->path.empty() ? "" : node_->path + "/", node_->info->name));
  model_.graph.nodes.push_back({.op_type = std::move(op),
                                .name = std::move(name),
                                .inputs = std::move(in),
                                .outputs = std::move(out),
                                .attributes = std::move(attributes)});
  return true;
}

bool OnnxExporter::recurrent(std::string op, Names in, Attributes attributes, int states) {
  while (in.back().empty()) in.pop_back();
  Names out;
  for (int i = 0; i <= states; ++i)
    out.push_back(used(i) ? unique(cat(op, "_", model_.graph.nodes.size(), "_", i)) : "");
  while (out.size() > 1 && out.back().empty()) out.pop_back();
  std::string name = unique(cat(node_->path.empty() ? "" : node_->path + "/", node_->info->name));
  model_.graph.nodes.push_back({.op_type = std::move(op),
                                .name = std::move(name),
                                .inputs = std::move(in),
                                .outputs = out,
                                .attributes = std::move(attributes)});
  for (size_t i = 0; i < out.size(); ++i)
    if (!out[i].empty())
      model_.graph.nodes.push_back({.op_type = "Squeeze",
                                    .name = unique("Squeeze"),
                                    .inputs = {out[i], ints({i == 0 ? 1 : 0})},
                                    .outputs = {name_of(node_->outputs[i])}});
  return true;
}

bool OnnxExporter::record_as_function(const std::string& x, std::vector<onnx::Node> body) {
  AttributeReader reader;
  node_->info->visit(node_->op.get(), reader);
  const std::string name(node_->info->name);
  auto known = [&](const onnx::Function& f) { return f.name == name; };
  if (std::none_of(model_.functions.begin(), model_.functions.end(), known)) {
    onnx::Function f{.name = name, .domain = "tandem", .inputs = {"x"}, .outputs = {"y"}};
    for (const Attribute& a : reader.list) f.attributes.push_back(a.name);
    f.nodes = std::move(body);
    f.operator_sets = {{"", opset}};
    model_.functions.push_back(std::move(f));
  }
  result(name, {x}, std::move(reader.list));
  model_.graph.nodes.back().domain = "tandem";
  return tandem_ = true;
}

void OnnxExporter::write_tandem(const graph::Node& n) {
  AttributeReader reader;
  n.info->visit(n.op.get(), reader);
  Names in;
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    in.push_back(name_of(n.inputs[i]));
    if (n.inputs[i] >= 0 && is_number(graph_->value(n.inputs[i]))) numbers.push_back(int64_t(i));
  }
  if (!numbers.empty()) reader.list.push_back(Attribute::of("inputs_that_are_numbers", numbers));
  results(std::string(n.info->name), std::move(in), int(n.outputs.size()), std::move(reader.list));
  model_.graph.nodes.back().domain = "tandem";
  tandem_ = true;
}

void OnnxExporter::write_node(const graph::Node& n) {
  node_ = &n;
  if (graph::has_regions(*n.info)) return write_regions(n);
  if (graph::is_loop_gradient(*n.info)) return write_loop_gradient(n);
  require<NotImplemented>(find_op(n.info->name) == n.info, "save(): a ", n.info->name,
                          " cannot be saved");
  const OnnxRuleFor* rule = rules().find(n.info->name);
  if (!rule || !rule->call(*this, n.op.get(), rule->rule)) write_tandem(n);
}

onnx::ValueInfo OnnxExporter::info(const std::string& name, const Spec& spec) const {
  onnx::ValueInfo v{.name = name};
  v.type.kind = onnx::Type::Kind::tensor;
  v.type.element = onnx::to_element_type(spec.dtype);
  v.type.shape.emplace();
  const int64_t least =
      axes_.empty() ? INT64_MAX : *std::min_element(axes_.begin(), axes_.end()) / 64;
  for (int64_t d : spec.shape) {
    const auto axis = std::find(axes_.begin(), axes_.end(), d);
    onnx::Dim dim;
    if (axis != axes_.end()) dim.param = axis_names_[size_t(axis - axes_.begin())];
    else if (d < least) dim.value = d;  // else made from an unknown length in some way
    v.type.shape->push_back(dim);
  }
  return v;
}

onnx::Model OnnxExporter::write() {
  graph::Graph& g = *graph_;
  model_.operator_sets = {{"", opset}};
  model_.producer_name = "tandem";
  model_.graph.name = "tandem";
  for (ValueId id : g.inputs())
    model_.graph.inputs.push_back(info(names_[size_t(id)], g.value(id).spec));
  for (size_t i = 0; i < g.values().size(); ++i) {
    const Value& v = g.values()[i];
    if (!used_[i]) continue;
    if (v.kind == ValueKind::state) {
      if (!stream_of(ValueId(i))) add_initializer(names_[i], v.tensor);
    } else if (v.kind == ValueKind::key) {
      model_.graph.nodes.push_back({.op_type = "random_key",
                                    .domain = "tandem",
                                    .name = name_of(ValueId(i)),
                                    .outputs = {name_of(ValueId(i))}});
      tandem_ = true;
    }
  }
  for (const graph::Node& n : g.nodes()) {
    write_node(n);
    for (ValueId id : n.outputs)
      if (used_[size_t(id)]) model_.graph.values.push_back(info(name_of(id), g.value(id).spec));
  }
  std::unordered_set<std::string> given;
  auto give = [&](const std::string& name, ValueId id) {
    if (names_[size_t(id)] != name)
      model_.graph.nodes.push_back({.op_type = "Identity",
                                    .name = unique("Identity"),
                                    .inputs = {name_of(id)},
                                    .outputs = {name}});
    model_.graph.outputs.push_back(info(name, g.value(id).spec));
    given.insert(name);
  };
  for (const auto& [name, id] : outputs_) give(name, id);
  for (const auto& [name, id] : next_) give(name, id);
  std::erase_if(model_.graph.values, [&](const auto& v) { return given.contains(v.name); });

  std::string axes;
  for (size_t i = 0; i < axis_names_.size(); ++i)
    axes += cat(i ? " " : "", axis_names_[i], "=", axes_[i]);
  if (!axes.empty()) model_.metadata.emplace_back("tandem.axes", axes);
  for (size_t i = 0; i < g.values().size(); ++i) {
    if (g.values()[i].kind != ValueKind::state || !used_[i]) continue;
    std::string becomes;
    for (size_t k = 0; k < next_.size(); ++k)
      if (g.assignments()[k].state == ValueId(i)) becomes = next_[k].first;
    if (const graph::RandomStream* s = stream_of(ValueId(i)))
      model_.metadata.emplace_back("tandem.random." + name_of(s->begin), becomes);
    else model_.metadata.emplace_back("tandem.state." + names_[i], becomes);
  }
  if (tandem_) model_.operator_sets.push_back({"tandem", 1});
  return std::move(model_);
}

ModuleCapture capture_inputs(std::span<const Tensor> examples, const SaveGraphOptions& options) {
  require(options.shapes.empty() || options.shapes.size() == examples.size(),
          "save(): ", options.shapes.size(), " shapes for ", examples.size(), " inputs");
  ModuleCapture c{graph::Graph::make(), {}};
  const GraphScope scope(c.graph);
  for (size_t i = 0; i < examples.size(); ++i) {
    Shape shape = options.shapes.empty() ? examples[i].shape() : options.shapes[i];
    if (options.shapes.empty() && !shape.empty()) shape[0] = -1;
    c.inputs.push_back(placeholder(examples.size() == 1 ? "input" : cat("input", int64_t(i)), shape,
                                   examples[i].dtype()));
  }
  return c;
}

}  // namespace detail

void save(const graph::Graph& graph, const std::string& path, const SaveGraphOptions& options) {
  const detail::Uncaptured now;
  const NoGrad no_grad;
  const onnx::Model model = detail::OnnxExporter(graph, options).write();
  onnx::write_model(path, model, {.external_above = options.external_above});
}

}  // namespace tandem
