#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/regions.h"
#include "tandem/graph/rewrite.h"
#include "tandem/io/detail/onnx_export.h"
#include "tandem/op/registry.h"
#include "tandem/ops/cast.h"

namespace tandem {
namespace detail {

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

/// A record's attributes as ONNX's. Doubles become f64 tensors, since ONNX's own are f32; what
/// depends on unknown lengths becomes text.
class AttributeReader final : public FieldVisitor {
 public:
  explicit AttributeReader(const OnnxExporter& exporter) : exporter_(exporter) {}
  std::vector<Attribute> list;
  void visit(std::string_view n, bool& v) override { add(n, int64_t(v)); }
  void visit(std::string_view n, int64_t& v) override { add(n, v); }
  void visit(std::string_view n, double& v) override { add(n, full({}, v, f64)); }
  void visit(std::string_view n, std::string& v) override { add(n, v); }
  void visit(std::string_view n, DType& v) override { add(n, std::string(name(v))); }
  void visit(std::string_view n, Shape& v) override {
    if (v.is_known()) return add(n, std::vector<int64_t>(v.begin(), v.end()));
    std::vector<std::string> texts;
    for (Length d : v) texts.push_back(exporter_.text_of(d));
    add(n, texts);
  }
  void visit(std::string_view n, Length& v) override {
    if (v.is_known()) add(n, int64_t(v));
    else add(n, exporter_.text_of(v));
  }
  void visit(std::string_view n, Number& v) override {
    if (v.is_known()) add(n, full({}, double(v), f64));
    else add(n, exporter_.text_of(v));
  }
  void visit(std::string_view n, std::optional<Length>& v) override {
    if (v) visit(n, *v);
  }
  void visit(std::string_view n, std::optional<Number>& v) override {
    if (v) visit(n, *v);
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
  const OnnxExporter& exporter_;
};

constexpr int64_t opset = 17;

/// Operators of that set that are not defined for bf16.
bool takes_bf16(std::string_view op) {
  static const std::unordered_set<std::string_view> without{"Acos",
                                                            "Acosh",
                                                            "Asin",
                                                            "Asinh",
                                                            "Atan",
                                                            "Atanh",
                                                            "AveragePool",
                                                            "Conv",
                                                            "ConvTranspose",
                                                            "Cos",
                                                            "Cosh",
                                                            "Det",
                                                            "Elu",
                                                            "EyeLike",
                                                            "GlobalAveragePool",
                                                            "InstanceNormalization",
                                                            "IsInf",
                                                            "MaxPool",
                                                            "NegativeLogLikelihoodLoss",
                                                            "Round",
                                                            "Sin",
                                                            "Sinh",
                                                            "Softplus",
                                                            "Tan",
                                                            "TopK"};
  return !without.contains(op);
}

/// Whether it promotes as a C++ number does.
bool is_number(const graph::Graph& g, ValueId id) {
  const Value& v = g.value(id);
  if (v.tensor.defined()) return v.tensor.impl()->has(TensorImpl::wrapped_number);
  return v.spec.shape.empty() &&
         std::any_of(g.nodes().begin(), g.nodes().end(),
                     [&](const graph::Node& n) { return n.info->number && n.outputs[0] == id; });
}

}  // namespace

OnnxExporter::OnnxExporter(const graph::Graph& graph, const SaveGraphOptions& options)
    : graph_(graph.clone()) {
  find_roots(options);
  graph::eliminate_dead_code(*graph_);
  count_uses();
  name_values(options);
  name_axes();
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
  // Others may still be needed for their lengths.
  for (ValueId id : g.inputs())
    if (seen[size_t(id)] || options.outputs.empty()) needed_.insert(id);
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

void OnnxExporter::name_values(const SaveGraphOptions& options) {
  graph::Graph& g = *graph_;
  names_.assign(g.values().size(), "");
  for (ValueId id : g.inputs()) names_[size_t(id)] = unique(g.value(id).name);
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
      require<ShapeError>(value.spec() == v.spec, "save(): variable \"", name, "\" is ", v.spec,
                          ", options.variables has a ", value.spec());
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
    add_initializer(name, full({}, value, f64).to(dtype));  // as a number is converted
  }
  return name;
}

std::string OnnxExporter::filled(double value, int64_t n, DType dtype) {
  std::string& name = emitted_[cat("filled ", std::bit_cast<int64_t>(value), " ", n, " ", dtype)];
  if (name.empty()) {
    name = unique("c");
    add_initializer(name, full({n}, value, f64).to(dtype));
  }
  return name;
}

std::string OnnxExporter::tensor(ValueId id) {
  const Value& v = graph_->value(id);
  const std::string name = unique(v.name.empty() ? "c" : v.name);
  add_initializer(name, v.tensor);
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
      v.spec.dtype != as)
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

bool OnnxExporter::results(std::string op, Names in, int n, Attributes attributes, bool all) {
  Names out;
  for (int i = 0; i < n; ++i) {
    const ValueId id = node_->outputs[size_t(i)];
    out.push_back(i == 0 || all || used_[size_t(id)] ? name_of(id) : "");
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
  AttributeReader reader(*this);
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
  AttributeReader reader(*this);
  n.info->visit(n.op.get(), reader);
  Names in;
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    in.push_back(name_of(n.inputs[i]));
    if (n.inputs[i] >= 0 && is_number(*graph_, n.inputs[i])) numbers.push_back(int64_t(i));
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
  const size_t before = model_.graph.nodes.size();
  bool written = false;
  try {
    written = rule && rule->call(*this, n.op.get(), rule->rule);
  } catch (const LengthError&) {
    // The operator needs the number that a length is; the record's own node does not.
  }
  if (!written) return write_tandem(n);
  auto& nodes = model_.graph.nodes;
  const auto first = nodes.begin() + std::ptrdiff_t(before);
  if (!touches_bf16(n) || std::all_of(first, nodes.end(), [](const onnx::Node& made) {
        return takes_bf16(made.op_type);
      }))
    return;
  std::unordered_set<std::string> gone;
  for (auto it = first; it != nodes.end(); ++it)
    gone.insert(it->outputs.begin(), it->outputs.end());
  std::erase_if(emitted_, [&](const auto& e) { return gone.contains(e.second); });
  nodes.resize(before);
  write_in_f32(n, *rule);
}

bool OnnxExporter::touches_bf16(const graph::Node& n) const {
  auto is_bf16 = [&](ValueId id) { return id >= 0 && graph_->value(id).spec.dtype == bf16; };
  return std::any_of(n.inputs.begin(), n.inputs.end(), is_bf16) ||
         std::any_of(n.outputs.begin(), n.outputs.end(), is_bf16);
}

/// With the operators between casts: the kernels compute so, too.
void OnnxExporter::write_in_f32(const graph::Node& n, const OnnxRuleFor& rule) {
  std::unordered_map<ValueId, std::string> narrow;
  auto widen = [&](ValueId id, bool made) {
    if (id < 0 || graph_->value(id).spec.dtype != bf16) return;
    const std::string name = made && !used_[size_t(id)] ? "" : name_of(id);
    narrow[id] = name;
    names_[size_t(id)] = made ? unique("wide") : cast(name, bf16, f32);
    graph_->edit_values()[size_t(id)].spec.dtype = f32;
  };
  for (ValueId id : n.inputs) widen(id, false);
  for (ValueId id : n.outputs) widen(id, true);
  rule.call(*this, n.op.get(), rule.rule);
  for (const auto& [id, name] : narrow) {
    const std::string wide = std::exchange(names_[size_t(id)], name);
    graph_->edit_values()[size_t(id)].spec.dtype = bf16;
    if (!name.empty() && std::find(n.outputs.begin(), n.outputs.end(), id) != n.outputs.end())
      model_.graph.nodes.push_back(
          {.op_type = "Cast",
           .name = unique("Cast"),
           .inputs = {wide},
           .outputs = {name},
           .attributes = {Attribute::of("to", int32_t(onnx::to_element_type(bf16)))}});
  }
}

onnx::ValueInfo OnnxExporter::info(const std::string& name, const Spec& spec) const {
  onnx::ValueInfo v{.name = name};
  v.type.kind = onnx::Type::Kind::tensor;
  v.type.element = onnx::to_element_type(spec.dtype);
  v.type.shape.emplace();
  for (Length d : spec.shape) {
    onnx::Dim dim;
    if (d.is_known()) dim.value = int64_t(d);
    else dim.param = text_of(d);
    v.type.shape->push_back(dim);
  }
  return v;
}

onnx::Model OnnxExporter::write() {
  graph::Graph& g = *graph_;
  model_.operator_sets = {{"", opset}};
  model_.producer_name = "tandem";
  model_.graph.name = "tandem";
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
  for (size_t i = 0; i < lengths_.size(); ++i)
    if (read_lengths_.contains(int(i)) && lengths_[i].input >= 0) needed_.insert(lengths_[i].input);
  for (ValueId id : g.inputs())
    if (needed_.contains(id))
      model_.graph.inputs.push_back(info(names_[size_t(id)], g.value(id).spec));
  std::erase_if(model_.graph.values, [&](const auto& v) { return given.contains(v.name); });

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

}  // namespace detail

void save(const graph::Graph& graph, const std::string& path, const SaveGraphOptions& options) {
  const detail::Uncaptured now;
  const NoGrad no_grad;
  const onnx::Model model = detail::OnnxExporter(graph, options).write();
  onnx::write_model(path, model, {.external_above = options.external_above});
}

}  // namespace tandem
