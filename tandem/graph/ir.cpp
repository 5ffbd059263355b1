#include "tandem/graph/ir.h"

#include <algorithm>

#include "tandem/core/tensor_extras.h"
#include "tandem/op/tape.h"

namespace tandem::graph {

ValueId Graph::add_value(const Spec& spec, std::string name) {
  values_.push_back({spec, std::move(name), {}});
  return ValueId(values_.size()) - 1;
}

Tensor Graph::input(std::string name, const Spec& spec) {
  for (const Value& v : values_)
    require(v.name != name, "Graph::input(): the name \"", name, "\" is taken");
  Tensor t = detail::new_symbolic(spec);
  const ValueId id = add_value(spec, std::move(name));
  inputs_.push_back(id);
  detail::bind_symbolic(t, shared_from_this(), id);
  return t;
}

void Graph::output(std::string name, const Tensor& t) {
  const ValueId id = id_of(t);
  values_[size_t(id)].name = std::move(name);
  outputs_.push_back(id);
}

/// Concrete tensors become constants, each once.
ValueId Graph::id_of(const Tensor& t) {
  if (t.is_symbolic()) {
    const TensorExtras& e = *t.impl()->extras;
    require(e.recorder.get() == this, "graph: a symbolic ", tandem::to_string(t.spec()),
            " of another graph was used");
    return e.value;
  }
  for (size_t i = 0; i < values_.size(); ++i)
    if (values_[i].constant.defined() && values_[i].constant.is_same(t)) return ValueId(i);
  const ValueId id = add_value(t.spec(), {});
  values_[size_t(id)].constant = t;
  return id;
}

void Graph::record(const OpInfo& info, const void* op, Inputs in, Outputs out) {
  Node n;
  n.info = &info;
  n.op = std::shared_ptr<void>(::operator new(info.size), [&info](void* p) {
    if (info.destroy) info.destroy(p);
    ::operator delete(p);
  });
  info.copy(n.op.get(), op);
  for (const Tensor& t : in) n.inputs.push_back(t.defined() ? id_of(t) : -1);
  for (Tensor& t : out) {
    const ValueId id = add_value(t.spec(), {});
    n.outputs.push_back(id);
    detail::bind_symbolic(t, shared_from_this(), id);
  }
  nodes_.push_back(std::move(n));
}

Tensors Graph::run(Inputs inputs) const {
  require(inputs.size() == inputs_.size(), "Graph::run(): ", inputs.size(), " inputs for ",
          inputs_.size());
  std::vector<Tensor> live(values_.size());
  for (size_t i = 0; i < values_.size(); ++i) live[i] = values_[i].constant;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& want = values_[size_t(inputs_[i])];
    require<DTypeError>(inputs[i].dtype() == want.spec.dtype, "Graph::run(): input \"", want.name,
                        "\" is ", want.spec.dtype, ", got ", inputs[i].dtype());
    require<ShapeError>(inputs[i].shape() == want.spec.shape, "Graph::run(): input \"", want.name,
                        "\" has shape ", want.spec.shape, ", got ", inputs[i].shape());
    live[size_t(inputs_[i])] = inputs[i];
  }
  for (const Node& n : nodes_) {
    Tensors in;
    for (ValueId id : n.inputs) in.push_back(id < 0 ? Tensor() : live[size_t(id)]);
    Tensors out = detail::apply_all(*n.info, n.op.get(), in.data(), int(in.size()));
    for (size_t i = 0; i < n.outputs.size(); ++i) live[size_t(n.outputs[i])] = out[i];
  }
  Tensors results;
  for (ValueId id : outputs_) results.push_back(live[size_t(id)]);
  return results;
}

std::string to_string(const Graph& g) {
  auto label = [&](ValueId id) {
    if (id < 0) return std::string("none");
    const std::string& name = g.value(id).name;
    return name.empty() ? cat('%', id) : cat('%', name);
  };
  auto typed = [&](ValueId id) { return cat(label(id), ": ", to_string(g.value(id).spec)); };
  auto list = [&](const std::vector<ValueId>& ids, auto&& text) {
    std::string s;
    for (ValueId id : ids) s += (s.empty() ? "" : ", ") + text(id);
    return s;
  };
  std::string s = cat("graph(", list(g.inputs(), typed), ")\n");
  std::vector<ValueId> shown;
  for (const Node& n : g.nodes()) {
    for (ValueId id : n.inputs) {
      if (id < 0 || !g.value(id).constant.defined()) continue;
      if (std::find(shown.begin(), shown.end(), id) != shown.end()) continue;
      shown.push_back(id);
      const Tensor& c = g.value(id).constant;
      s += cat("  ", typed(id), " = constant(");
      if (c.numel() == 1) detail::append(s, c.item<double>());
      s += ")\n";
    }
    // "name(attributes)" with the inputs in front of the attributes.
    const std::string call = n.info->print(n.op.get());
    const size_t open = call.find('(') + 1;
    const std::string inputs = list(n.inputs, label);
    const bool attributes = call.size() > open + 1;
    s += cat("  ", list(n.outputs, typed), " = ", call.substr(0, open), inputs,
             attributes && !inputs.empty() ? ", " : "", call.substr(open), "\n");
  }
  return s + cat("  return ", list(g.outputs(), label), "\n");
}

}  // namespace tandem::graph
