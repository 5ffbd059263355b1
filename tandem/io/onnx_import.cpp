#include <algorithm>
#include <unordered_set>

#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/graph/ir.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/op/copy.h"
#include "tandem/op/recorder.h"
#include "tandem/op/registry.h"
#include "tandem/ops/cast.h"

namespace tandem::detail {

using onnx::Attribute;

namespace {

/// Sets a record's attributes from a node's; lengths that were unknown get their numbers.
class AttributeWriter final : public FieldVisitor {
 public:
  AttributeWriter(const OnnxImporter& at, const NamedLengths& lengths)
      : at_(at), lengths_(lengths) {}
  void visit(std::string_view n, bool& v) override { v = integer(n) != 0; }
  void visit(std::string_view n, int64_t& v) override { v = integer(n); }
  void visit(std::string_view n, double& v) override { v = real(n); }
  void visit(std::string_view n, std::string& v) override {
    v = find(n, Attribute::Type::string).s;
  }
  void visit(std::string_view n, DType& v) override {
    const std::string text = find(n, Attribute::Type::string).s;
    for (int i = 0; i < dtype_count; ++i)
      if (name(DType(i)) == text) {
        v = DType(i);
        return;
      }
    at_.need(false, "no dtype is called \"", text, "\"");
  }
  void visit(std::string_view n, Shape& v) override {
    const Attribute* texts = at_.attribute(n);
    v = {};
    if (texts && texts->type == Attribute::Type::strings) {
      for (const std::string& text : texts->strings) v.push_back(length(text));
      return;
    }
    const auto& list = find(n, Attribute::Type::integers).ints;
    at_.need(list.size() <= size_t(max_dims) * 2, "attribute ", n, " has ", list.size(),
             " numbers");
    for (int64_t i : list) v.push_back(i);
  }
  void visit(std::string_view n, Length& v) override {
    const Attribute* text = at_.attribute(n);
    v = text && text->type == Attribute::Type::string ? length(text->s) : Length(integer(n));
  }
  void visit(std::string_view n, Number& v) override {
    const Attribute* text = at_.attribute(n);
    if (text && text->type == Attribute::Type::string)
      v = detail::parse_number(text->s, Values(*this));
    else v = real(n);
  }
  void visit(std::string_view n, std::optional<Length>& v) override { visit_given(n, v); }
  void visit(std::string_view n, std::optional<Number>& v) override { visit_given(n, v); }
  void visit(std::string_view n, std::optional<int64_t>& v) override { visit_given(n, v); }
  void visit(std::string_view n, std::optional<double>& v) override { visit_given(n, v); }

 private:
  template <class T>
  void visit_given(std::string_view n, std::optional<T>& v) {
    v.reset();
    if (at_.attribute(n)) visit(n, v.emplace(0));
  }
  const Attribute& find(std::string_view n, Attribute::Type type) const {
    const Attribute* a = at_.attribute(n);
    at_.need(a && a->type == type, "attribute ", n, " is missing or of another type");
    return *a;
  }
  int64_t integer(std::string_view n) const { return find(n, Attribute::Type::integer).i; }
  /// What lengths of the inputs make of an expression.
  struct Values final : detail::SymbolValues {
    const AttributeWriter& self;
    explicit Values(const AttributeWriter& s) : self(s) {}
    Length value(std::string_view name) const override {
      const auto it = self.lengths_.find(std::string(name));
      self.at_.need(it != self.lengths_.end(), "no input has the length \"", name, "\"");
      return it->second;
    }
  };
  Length length(std::string_view text) const { return detail::parse_length(text, Values(*this)); }
  double real(std::string_view n) const {
    const Tensor& t = find(n, Attribute::Type::tensor).tensors.at(0).tensor;
    at_.need(t.defined() && t.numel() == 1, "attribute ", n, " is not one number");
    return t.item<double>();
  }
  const OnnxImporter& at_;
  const NamedLengths& lengths_;
};

/// Whether "x, weight, bias?" marks input `i`.
bool may_be_left_out(std::string_view inputs, int i) {
  for (; i > 0; --i) {
    const size_t comma = inputs.find(',');
    if (comma == inputs.npos) break;  // one of "x..."
    inputs.remove_prefix(comma + 1);
  }
  return inputs.substr(0, inputs.find(',')).ends_with('?');
}

bool is_known(const GraphValue& v) {
  if (v.items)
    for (const GraphValue& item : *v.items)
      if (!is_known(item)) return false;
  return !v.tensor.defined() || !v.tensor.is_symbolic();
}

GraphValues as_values(const Tensors& all) { return {all.begin(), all.end()}; }

/// Scopes that are left, by an error as well.
template <class S>
struct ScopeEnd {
  std::vector<S>& scopes;
  size_t size;
  ScopeEnd(std::vector<S>& all, size_t n) : scopes(all), size(n) {}
  ~ScopeEnd() { scopes.erase(scopes.begin() + std::ptrdiff_t(size), scopes.end()); }
};

constexpr int64_t most_settings = 1 << 20;

}  // namespace

GraphValue constant_value(GraphValue v) {
  if (v.tensor.defined() && !v.tensor.is_symbolic())
    v.tensor.impl()->flags |= TensorImpl::made_in_capture;
  return v;
}

GraphValue value_of(const onnx::TensorData& t) {
  if (t.type == onnx::ElementType::string)
    return GraphValue::of_texts(t.strings, Shape{std::span<const int64_t>(t.dims)});
  GraphValue v(t.value());
  if (!onnx::to_dtype(t.type)) v.element = t.type;
  return constant_value(v);
}

bool own_domain(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

const OnnxImports& onnx_imports() {
  static const OnnxImports all = [] {
    OnnxImports table;
    add_math_imports(table);
    add_shape_imports(table);
    add_index_imports(table);
    add_layer_imports(table);
    add_pool_imports(table);
    add_attention_imports(table);
    add_vision_imports(table);
    add_resize_imports(table);
    add_text_imports(table);
    add_learning_imports(table);
    add_signal_imports(table);
    add_set_imports(table);
    add_sequence_imports(table);
    add_recurrent_imports(table);
    add_control_imports(table);
    add_einsum_imports(table);
    add_quantized_imports(table);
    add_cast_imports(table);
    add_microsoft_imports(table);
    add_microsoft_int8_imports(table);
    return table;
  }();
  return all;
}

const OnnxImport* find_import(const onnx::Node& node) {
  const OnnxImports& all = onnx_imports();
  const auto it = own_domain(node.domain) ? all.find(node.op_type)
                                          : all.find(cat(node.domain, ".", node.op_type));
  return it == all.end() ? nullptr : &it->second;
}

int64_t onnx_opset(const std::vector<onnx::OperatorSet>& sets) {
  for (const onnx::OperatorSet& s : sets)
    if (own_domain(s.domain)) return s.version;
  return 1;
}

// --- The node at hand -------------------------------------------------------------------------

std::string OnnxImporter::where() const {
  std::string s = node_->domain.empty() ? node_->op_type : node_->domain + "." + node_->op_type;
  if (!node_->name.empty()) s += cat(" \"", node_->name, "\"");
  else if (!node_->outputs.empty()) s += cat(" of \"", node_->outputs[0], "\"");
  return s;
}

const GraphValue* OnnxImporter::find(const std::string& name) const {
  for (size_t i = scopes_.size(); i-- > 0;) {
    if (const auto it = scopes_[i].values.find(name); it != scopes_[i].values.end())
      return &it->second;
    if (scopes_[i].closed) break;
  }
  return nullptr;
}

const GraphValue& OnnxImporter::value(const std::string& name) const {
  if (const GraphValue* v = find(name)) return *v;
  throw ValueError(cat("load_graph(): no value is called \"", name, "\""));
}

GraphValue OnnxImporter::any_in(int i) const {
  return has(i) ? value(node_->inputs[size_t(i)]) : GraphValue();
}

Tensor OnnxImporter::in(int i) const {
  need(has(i), "input ", i, " is missing");
  const GraphValue& v = value(node_->inputs[size_t(i)]);
  need(v.kind != GraphValue::Kind::nothing, "input ", i, " was left out by the caller");
  if (v.kind != GraphValue::Kind::tensor)
    unsupported("input ", i, v.texts ? " holds texts" : " is a sequence");
  if (v.element && !moving_) unsupported("input ", i, " has elements of ", onnx::name(*v.element));
  return v.tensor;
}

void OnnxImporter::needs_value(int i) const {
  throw NeedsValue(cat("load_graph(): ", where(), ": input ", i, " depends on what a run is given"),
                   in(i));
}
void OnnxImporter::needs_values() const {
  throw NeedsValue(cat("load_graph(): ", where(), " depends on what a run is given"), {});
}

const Attribute* OnnxImporter::resolve(const Attribute* a) const {
  if (!a || a->reference.empty()) return a;
  const Scope* scope = nullptr;  // of the function around
  for (const Scope& s : scopes_)
    if (s.function) scope = &s;
  need(scope, "attribute ", a->name, " refers to a function's, outside of one");
  if (const Attribute* given = scope->caller->find(a->reference))
    if (given->reference.empty()) return given;
  for (const Attribute& d : scope->function->defaults)
    if (d.name == a->reference) return &d;
  return nullptr;
}

const Attribute* OnnxImporter::attribute(std::string_view name) const {
  return resolve(node_->find(name));
}
int64_t OnnxImporter::integer(std::string_view name, int64_t otherwise) const {
  const Attribute* a = attribute(name);
  need(!a || a->type == Attribute::Type::integer, "attribute ", name, " is not an integer");
  return a ? a->i : otherwise;
}
bool OnnxImporter::flag(std::string_view name, bool otherwise) const {
  const int64_t v = integer(name, otherwise);
  need(v == 0 || v == 1, "attribute ", name, " is ", v, ", not 0 or 1");
  return v != 0;
}
double OnnxImporter::real(std::string_view name, double otherwise) const {
  const Attribute* a = attribute(name);
  need(!a || a->type == Attribute::Type::real, "attribute ", name, " is not a float");
  return a ? double(a->f) : otherwise;
}
std::string OnnxImporter::text(std::string_view name, std::string_view otherwise) const {
  const Attribute* a = attribute(name);
  need(!a || a->type == Attribute::Type::string, "attribute ", name, " is not a string");
  return a ? a->s : std::string(otherwise);
}
std::optional<std::vector<int64_t>> OnnxImporter::list(std::string_view name) const {
  const Attribute* a = attribute(name);
  need(!a || a->type == Attribute::Type::integers, "attribute ", name,
       " is not a list of integers");
  return a ? std::optional(a->ints) : std::nullopt;
}
std::optional<std::vector<int64_t>> OnnxImporter::list(std::string_view name, int i) const {
  if (has(i)) return ints(i);
  return list(name);
}

std::optional<std::vector<float>> OnnxImporter::reals(std::string_view name) const {
  const Attribute* a = attribute(name);
  need(!a || a->type == Attribute::Type::reals, "attribute ", name, " is not a list of floats");
  return a ? std::optional(a->floats) : std::nullopt;
}
std::vector<std::string> OnnxImporter::texts(std::string_view name) const {
  const Attribute* a = attribute(name);
  need(!a || a->type == Attribute::Type::strings, "attribute ", name, " is not a list of strings");
  return a ? a->strings : std::vector<std::string>();
}

Tensor OnnxImporter::known(int i) const {
  const Tensor t = in(i);
  if (t.is_symbolic()) needs_value(i);
  return t;
}
std::vector<int64_t> OnnxImporter::ints(int i) const {
  const Tensor t = known(i);
  need(t.dim() <= 1, "input ", i, " has shape ", t.shape(), ", needs one axis");
  need(t.numel() <= most_settings, "input ", i, " lists ", t.numel(), " numbers");
  return t.to_vector<int64_t>();
}
double OnnxImporter::number(int i) const {
  const Tensor t = known(i);
  need(t.numel() == 1, "input ", i, " has shape ", t.shape(), ", needs one number");
  return t.item<double>();
}
int64_t OnnxImporter::whole_number(int i) const {
  const Tensor t = known(i);
  need(t.numel() == 1, "input ", i, " has shape ", t.shape(), ", needs one number");
  return is_floating(t.dtype()) ? int64_t(t.item<double>()) : t.item<int64_t>();
}

// --- Running ----------------------------------------------------------------------------------

/// A record of Tandem's own, with its attributes by name.
Tensors OnnxImporter::run_record() {
  if (node_->op_type == "random_key") return {graph_.random_key(default_generator())};
  if (node_->op_type == "while_loop_grad") return import_loop_gradient(*this);
  const OpInfo* info = find_op(node_->op_type);
  if (!info) unsupported("this version of Tandem has no such record");
  need(inputs() >= info->min_inputs && inputs() <= info->max_inputs, "takes ", info->min_inputs,
       " to ", info->max_inputs, " inputs, has ", inputs());
  struct Owned {
    const OpInfo& info;
    void* memory;
    explicit Owned(const OpInfo& i) : info(i), memory(::operator new(std::max(1u, i.size))) {
      if (info.make_default) info.make_default(memory);
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
      if (info.destroy) info.destroy(memory);
      ::operator delete(memory);
    }
  } op(*info);
  AttributeWriter writer(*this, lengths_);
  info->visit(op.memory, writer);
  Tensors in;
  for (int i = 0; i < inputs(); ++i) in.push_back(in_or_none(i));
  for (int i = 0; i < inputs(); ++i)
    need(in[size_t(i)].defined() || may_be_left_out(info->inputs, i), "input ", i, " is missing");
  for (int64_t i : list("inputs_that_are_numbers").value_or(std::vector<int64_t>())) {
    need(i >= 0 && i < inputs() && in[size_t(i)].defined() && in[size_t(i)].numel() == 1, "input ",
         i, " is said to be a number");
    if (in[size_t(i)].is_symbolic()) continue;
    Tensor number = full({}, in[size_t(i)].item<double>(), in[size_t(i)].dtype());
    if (is_integral(number.dtype()))
      number = full({}, in[size_t(i)].item<int64_t>(), number.dtype());
    number.impl()->flags |= TensorImpl::wrapped_number;
    in[size_t(i)] = number;
  }
  return apply_all(*info, op.memory, in.data(), int(in.size()));
}

GraphValues OnnxImporter::run_function(const onnx::Function& f) {
  need(scopes_.size() < 100, "functions call one another without end");
  Scope scope;
  scope.function = &f;
  scope.opset = onnx_opset(f.operator_sets);
  scope.closed = true;
  for (size_t i = 0; i < f.inputs.size(); ++i) scope.values[f.inputs[i]] = any_in(int(i));
  const onnx::Node* before = node_;
  // References of this call's own attributes are resolved before its scope hides the caller's.
  onnx::Node call = *node_;
  for (onnx::Attribute& a : call.attributes)
    if (const Attribute* real = resolve(&a); real && real != &a) {
      const std::string name = a.name;
      a = *real;
      a.name = name;
    }
  scope.caller = &call;
  const ScopeEnd end{scopes_, scopes_.size()};
  scopes_.push_back(std::move(scope));
  run(f.nodes);
  GraphValues out;
  for (const std::string& name : f.outputs) out.push_back(value(name));
  node_ = before;
  return out;
}

/// By an operator of tensors. Elements of any type keep it where they are only moved.
GraphValues OnnxImporter::run_tensors(const OnnxImport& import) {
  std::optional<onnx::ElementType> element;
  for (int i = 0; import.moves && i < inputs() && !element; ++i) element = any_in(i).element;
  moving_ = element.has_value();
  const Tensors all = import.tensors(*this);
  moving_ = false;
  for (int i = 0; i < outputs(); ++i)
    if (wants(i) && (i >= int(all.size()) || !all[size_t(i)].defined()))
      unsupported("output ", i, " is not computed");
  GraphValues out = as_values(all);
  // What has another dtype is an index or a shape.
  for (GraphValue& v : out)
    if (element && v.tensor.defined() && v.tensor.dtype() != i64) v.element = element;
  return out;
}

GraphValues OnnxImporter::run_node() {
  const bool own = node_->domain == "tandem";
  // A record that a file has a function for is nearer to what was saved than the function.
  if (own && find_op(node_->op_type)) return as_values(run_record());
  if (const onnx::Function* f = model_.function(*node_)) return run_function(*f);
  if (own) return as_values(run_record());
  const OnnxImport* import = find_import(*node_);
  if (!import)
    throw NotImplemented(cat("load_graph(): operator ", where(), " of operator set ", opset(),
                             " cannot be imported; docs/graphs.md lists those that can"));
  // What constants determine is computed at once, inside a region that is being recorded as well.
  const std::string& op = node_->op_type;
  bool all_known = op != "If" && op != "Loop" && op != "Scan" && op != "SequenceMap";
  for (int i = 0; all_known && i < inputs(); ++i) all_known = !has(i) || is_known(any_in(i));
  std::optional<Uncaptured> now;
  if (all_known) now.emplace();
  return import->values ? import->values(*this) : run_tensors(*import);
}

void OnnxImporter::run(const onnx::Node& n) {
  node_ = &n;
  need(++nodes_run_ <= model_.most_nodes(), "more than ", model_.most_nodes(),
       " nodes are run by the file's functions and loops");
  GraphValues out;
  const auto named = [&](const char* text) {
    node_ = &n;
    return std::string_view(text).starts_with("load_graph()")
               ? std::string(text)
               : cat("load_graph(): ", where(), ": ", text);
  };
  try {
    out = run_node();
  } catch (const ShapeError& e) {
    throw ShapeError(named(e.what()));
  } catch (const DTypeError& e) {
    throw DTypeError(named(e.what()));
  } catch (const IndexError& e) {
    throw IndexError(named(e.what()));
  } catch (const NeedsValue&) {
    throw;
  } catch (const NotImplemented& e) {
    throw NotImplemented(named(e.what()));
  } catch (const ValueError& e) {
    throw ValueError(named(e.what()));
  } catch (const std::length_error&) {
    throw ValueError(named("needs a list longer than memory is"));
  }
  node_ = &n;
  for (size_t i = 0; i < n.outputs.size(); ++i) {
    if (n.outputs[i].empty()) continue;
    if (i >= out.size()) unsupported("output ", i, " is not computed");
    set(n.outputs[i], constant_value(std::move(out[i])));
  }
}

void OnnxImporter::run(const std::vector<onnx::Node>& nodes) {
  for (const onnx::Node& n : nodes) run(n);
}

size_t OnnxImporter::run_from(size_t first, std::optional<NeedsValue>& stopped) {
  const std::vector<onnx::Node>& nodes = model_.model().graph.nodes;
  for (size_t i = first; i < nodes.size(); ++i) try {
      run(nodes[i]);
    } catch (const NeedsValue& e) {
      stopped = e;
      return i;
    }
  return nodes.size();
}

GraphValues OnnxImporter::run_body(const onnx::Graph& body, const GraphValues& inputs) {
  need(inputs.size() == body.inputs.size(), "its graph takes ", body.inputs.size(),
       " inputs, gets ", inputs.size());
  need(scopes_.size() < 100, "graphs lie more than 100 deep in one another");
  const onnx::Node* before = node_;
  Scope scope;
  scope.opset = opset();
  for (const onnx::TensorData& t : body.initializers) scope.values[t.name] = value_of(t);
  for (size_t i = 0; i < inputs.size(); ++i) scope.values[body.inputs[i].name] = inputs[i];
  const ScopeEnd end{scopes_, scopes_.size()};
  scopes_.push_back(std::move(scope));
  run(body.nodes);
  GraphValues out;
  for (const onnx::ValueInfo& v : body.outputs) out.push_back(value(v.name));
  node_ = before;
  return out;
}

Tensors OnnxImporter::run_body(const onnx::Graph& body, const Tensors& inputs) {
  Tensors out;
  for (const GraphValue& v : run_body(body, as_values(inputs))) {
    if (v.kind != GraphValue::Kind::tensor || v.element)
      unsupported("a result of its graph is no plain tensor");
    out.push_back(v.tensor);
  }
  return out;
}

std::shared_ptr<graph::Graph> OnnxImporter::region(const onnx::Graph& body,
                                                   const std::vector<Spec>& inputs) {
  auto g = graph::Graph::make();
  const CaptureScope scope(*g);
  const EnableGrad on;  // derivatives of the region may be asked for
  Tensors in;
  for (size_t i = 0; i < inputs.size(); ++i) in.push_back(g->input(cat("in", i), inputs[i]));
  const Tensors out = run_body(body, in);
  for (size_t i = 0; i < out.size(); ++i) g->output(cat("out", i), out[i]);
  return g;
}

}  // namespace tandem::detail
