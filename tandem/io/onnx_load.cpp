#include <algorithm>
#include <cstring>
#include <map>

#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/plan.h"
#include "tandem/io/detail/onnx_loaded.h"
#include "tandem/op/copy.h"
#include "tandem/ops/cast.h"

namespace tandem {

namespace {

std::optional<std::string> metadata(const onnx::Model& m, std::string_view key) {
  for (const auto& [k, v] : m.metadata)
    if (k == key) return v;
  return {};
}

using TypeKind = onnx::Type::Kind;

/// "f32", "sequence of f32"; what is no plain tensor says what it is.
std::string kind_text(const onnx::ValueInfo& v, const onnx::Type& type, int depth = 0) {
  require<NotImplemented>(depth < 8 && type.inner.size() == (type.kind == TypeKind::tensor ? 0 : 1),
                          "load_graph(): \"", v.name, "\" is a map, a sparse tensor or of no type");
  if (type.kind == TypeKind::sequence)
    return cat("sequence of ", kind_text(v, type.inner[0], depth + 1));
  if (type.kind == TypeKind::optional)
    return cat("optional ", kind_text(v, type.inner[0], depth + 1));
  const bool holds = onnx::held_in(type.element) || type.element == onnx::ElementType::string;
  require<NotImplemented>(type.kind == TypeKind::tensor && holds, "load_graph(): \"", v.name,
                          "\" has elements of ", [&] { return onnx::name(type.element); });
  const auto dtype = onnx::to_dtype(type.element);
  return dtype ? std::string(name(*dtype)) : onnx::name(type.element);
}

GraphPort port_of(const onnx::ValueInfo& v) {
  GraphPort p;
  p.name = v.name;
  const std::string kind = kind_text(v, v.type);
  const auto dtype = onnx::to_dtype(v.type.element);
  if (v.type.kind != TypeKind::tensor || !dtype) p.kind = kind;
  p.optional = v.type.kind == TypeKind::optional;
  if (v.type.kind != TypeKind::tensor || v.type.element == onnx::ElementType::string) return p;
  p.dtype = *onnx::held_in(v.type.element);
  if (!dtype) p.element = v.type.element;
  if (!v.type.shape) return p;
  require<NotImplemented>(v.type.shape->size() <= size_t(max_dims), "load_graph(): \"", v.name,
                          "\" has ", v.type.shape->size(), " axes, more than ", max_dims);
  p.shape.emplace();
  for (const onnx::Dim& d : *v.type.shape) {
    p.shape->push_back(d.value < 0 ? -1 : d.value);
    // A length called "?" is any length, as one without a name.
    p.axes.push_back(d.value < 0 && d.param != "?" ? d.param : "");
  }
  return p;
}

/// The initializers that say how a node computes: no weights, though they may be lists of floats.
std::map<std::string, bool> settings(const onnx::Graph& g) {
  std::map<std::string, bool> names;
  for (const onnx::Node& n : g.nodes)
    if (n.op_type == "Resize" || n.op_type == "Upsample")
      for (size_t i = 1; i < n.inputs.size(); ++i) names[n.inputs[i]] = true;
  return names;
}

}  // namespace

std::string to_string(const GraphPort& p) {
  std::string s = cat(p.name, ": ", p.kind.empty() ? std::string(name(p.dtype)) : p.kind);
  if (!p.shape) return p.kind.empty() ? s + "[...]" : s;
  s += '[';
  for (int i = 0; i < p.shape->size(); ++i) {
    const int64_t d = (*p.shape)[i];
    const std::string& axis = p.axes[size_t(i)];
    s += cat(i ? ", " : "", d >= 0 ? cat(d) : axis.empty() ? std::string("?") : axis);
  }
  return s + "]";
}

GraphValue GraphValue::of_texts(std::vector<std::string> values, const Shape& shape) {
  require<ShapeError>(int64_t(values.size()) == shape.numel(), "of_texts(): ", values.size(),
                      " texts for shape ", shape);
  GraphValue v;
  v.kind = Kind::texts;
  v.texts = std::make_shared<const Texts>(Texts{shape, std::move(values)});
  return v;
}
GraphValue GraphValue::of_items(std::vector<GraphValue> items) {
  GraphValue v;
  v.kind = Kind::sequence;
  v.items = std::make_shared<const std::vector<GraphValue>>(std::move(items));
  return v;
}

LoadedGraph::Impl::Impl(onnx::Model m) : model(std::move(m)) {
  const onnx::Model& file = model.model();
  const onnx::Graph& g = file.graph;
  const int64_t opset = model.opset();
  require<NotImplemented>(opset >= 1 && opset <= 28, "load_graph(): operator set ", opset);
  require(!file.operator_sets.empty(), "load_graph(): the model names no operator set");
  for (const onnx::OperatorSet& s : file.operator_sets)
    require<NotImplemented>(s.domain != "tandem" || s.version <= 1, "load_graph(): version ",
                            s.version, " of the domain \"tandem\"");
  detail::check_onnx_model(model);

  bool ours = false;
  for (const auto& [key, value] : file.metadata) ours = ours || key.starts_with("tandem.state.");
  std::map<std::string, bool> initial;
  const std::map<std::string, bool> fixed = settings(g);
  for (const onnx::TensorData& t : g.initializers) {
    require(initial.emplace(t.name, true).second, "load_graph(): initializer \"", t.name,
            "\" is there twice");
    const GraphValue v = detail::value_of(t);
    const auto kept = metadata(file, "tandem.state." + t.name);
    const bool plain = v.kind == GraphValue::Kind::tensor && !v.element;
    if (plain && (kept || (!ours && is_floating(v.tensor.dtype()) && v.tensor.numel() > 1 &&
                           !fixed.contains(t.name)))) {
      v.tensor.impl()->flags &= uint8_t(~TensorImpl::made_in_capture);
      state.emplace_back(t.name, v.tensor);
      if (kept && !kept->empty()) next[t.name] = *kept;
    } else {
      constants.emplace_back(t.name, v);
    }
  }
  for (const onnx::ValueInfo& v : g.inputs)
    (initial.contains(v.name) ? defaults : inputs).push_back(port_of(v));
  std::map<std::string, bool> hidden;
  for (const auto& [name, out] : next) hidden[out] = true;
  for (const auto& [key, out] : file.metadata)
    if (constexpr std::string_view prefix = "tandem.random."; key.starts_with(prefix)) {
      random.emplace_back(key.substr(prefix.size()), out);
      hidden[out] = true;
    }
  std::map<std::string, bool> given;
  for (const onnx::ValueInfo& v : g.outputs) {
    require(given.emplace(v.name, true).second, "load_graph(): output \"", v.name,
            "\" is there twice");
    if (!hidden.contains(v.name)) outputs.push_back(port_of(v));
  }
  for (const auto& [name, out] : next)
    require(given.contains(out), "load_graph(): state \"", name, "\" becomes \"", out,
            "\", which is no output");
  for (const auto& [begin, out] : random)
    require(given.contains(out), "load_graph(): the generator's next key is \"", out,
            "\", which is no output");
}

const std::vector<GraphPort>& LoadedGraph::inputs() const { return impl_->inputs; }
const std::vector<GraphPort>& LoadedGraph::outputs() const { return impl_->outputs; }
const std::vector<GraphPort>& LoadedGraph::defaults() const { return impl_->defaults; }

std::shared_ptr<const graph::Graph> LoadedGraph::graph(std::span<const Shape> shapes) {
  return impl_->graph(shapes);
}

NamedTensors LoadedGraph::state_dict() const { return impl_->state; }

void LoadedGraph::load_state_dict(const NamedTensors& state) {
  std::string problems;
  for (const auto& [name, t] : impl_->state) {
    const Tensor have = tandem::find(state, name);
    if (!have.defined()) problems += cat(" missing ", name, ";");
    else if (have.shape() != t.shape())
      problems += cat(" ", name, " has shape ", have.shape(), ", needs ", t.shape(), ";");
  }
  for (const auto& [name, t] : state)
    if (!tandem::find(impl_->state, name).defined()) problems += cat(" unexpected ", name, ";");
  require(problems.empty(), "LoadedGraph::load_state_dict():", problems);
  for (const auto& [name, t] : impl_->state) detail::copy_data(t, tandem::find(state, name));
}

std::string LoadedGraph::describe() const {
  const onnx::Model& m = impl_->model.model();
  std::string s = cat("ONNX model, IR version ", m.ir_version);
  for (const onnx::OperatorSet& o : m.operator_sets)
    s += cat(", ", o.domain.empty() ? "operator set" : o.domain, " ", o.version);
  if (!m.producer_name.empty()) s += cat(", by ", m.producer_name);
  if (!m.producer_version.empty()) s += cat(" ", m.producer_version);
  s += "\ninputs\n";
  for (const GraphPort& p : impl_->inputs) s += cat("  ", to_string(p), "\n");
  s += "outputs\n";
  for (const GraphPort& p : impl_->outputs) s += cat("  ", to_string(p), "\n");
  int64_t numbers = 0;
  for (const auto& [name, t] : impl_->state) numbers += t.numel();
  s += cat("state: ", impl_->state.size(), " tensors, ", numbers, " numbers",
           impl_->next.empty() ? "" : cat(", ", impl_->next.size(), " of them written by a run"),
           "\n");
  for (const auto& [name, t] : impl_->state) {
    const auto it = impl_->next.find(name);
    s += cat("  ", name, ": ", to_string(t.spec()), it == impl_->next.end() ? "" : " (written)",
             "\n");
  }
  std::map<std::string, int64_t> operators;
  for (const onnx::Node& n : m.graph.nodes)
    ++operators[n.domain.empty() ? n.op_type : n.domain + "." + n.op_type];
  s += cat("nodes: ", m.graph.nodes.size(), "\n");
  for (const auto& [name, count] : operators) s += cat("  ", count, " ", name, "\n");
  return s;
}

LoadedGraph load_graph(const std::string& path) {
  const detail::Uncaptured now;
  LoadedGraph g;
  g.impl_ = std::make_shared<LoadedGraph::Impl>(onnx::read_model(path));
  return g;
}

LoadedGraph parse_graph(std::span<const uint8_t> bytes, std::string_view name) {
  const detail::Uncaptured now;
  LoadedGraph g;
  g.impl_ = std::make_shared<LoadedGraph::Impl>(onnx::parse_model(bytes, name));
  return g;
}

}  // namespace tandem
