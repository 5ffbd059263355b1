#include "tandem/graph/geometry.h"

#include "tandem/op/recorder.h"

namespace tandem::graph {

namespace {

void set_strides(Tensor& t, const Strides& strides) {
  t.impl()->strides = strides;
  if (!is_contiguous(t.shape(), strides)) t.impl()->flags &= uint8_t(~TensorImpl::contiguous);
}

}  // namespace

Geometry::Geometry(const Graph& graph) : graph_(graph), tensors_(graph.values().size()) {
  for (const Node& n : graph.nodes()) {
    View view;
    if (!n.info->view || n.inputs.empty() || n.inputs[0] < 0) continue;
    if (!n.info->view(n.op.get(), (*this)[n.inputs[0]], view)) continue;
    Tensor& t = tensors_[size_t(n.outputs[0])];
    t = detail::new_symbolic(graph.value(n.outputs[0]).spec);
    set_strides(t, view.strides);
  }
}

Tensor Geometry::operator[](ValueId id) {
  const Value& v = graph_.value(id);
  if (v.tensor.defined()) return v.tensor;
  Tensor& t = tensors_[size_t(id)];
  if (!t.defined()) {
    t = detail::new_symbolic(v.spec);
    if (!v.strides.empty()) set_strides(t, v.strides);
  }
  return t;
}

}  // namespace tandem::graph
