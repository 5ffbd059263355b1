// In-place writes and the history of views. A write to a view is, for the tape, a scatter into the
// tensor that the view looks at; a view read after such a write is a region of it.
#include "tandem/op/copy.h"
#include "tandem/op/gate.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/strided.h"

namespace tandem::detail {
namespace {

/// A handle to the same memory with the history that `t` has now: what the tape keeps of a tensor
/// that is about to be overwritten.
Tensor snapshot(const Tensor& t) {
  Tensor s = alias(t);
  TensorImpl* impl = s.impl();
  impl->flags |= t.impl()->flags & TensorImpl::needs_grad;
  impl->node = t.impl()->node;
  impl->output_nr = t.impl()->output_nr;
  if (impl->node) add_ref(impl->node->refs);
  return s;
}

void take_history(const Tensor& to, const Tensor& from) {
  TensorImpl *a = to.impl(), *b = from.impl();
  if (a->node) release_node(a->node);
  a->node = b->node;
  a->output_nr = b->output_nr;
  a->flags |= b->flags & TensorImpl::needs_grad;
  if (a->node) add_ref(a->node->refs);
}

/// The values and the history that `t` has now, in memory of their own.
Tensor keep(const Tensor& t) {
  Tensor copy = empty(t.spec());
  if (t.device().type == DeviceType::cpu) copy_data(copy, t);
  take_history(copy, t);
  return copy;
}

bool is_leaf_with_gradient(const Tensor& t) {
  return t.impl()->has(TensorImpl::needs_grad) && !t.impl()->node;
}

/// What the gradient will read of the target, or of its memory, is copied before the write.
void keep_inputs(const OpInfo& info, const Tensor& target, Tensors& inputs) {
  bool others = false;
  for (size_t i = 1; i < inputs.size(); ++i) {
    Tensor& t = inputs[i];
    if (!t.defined()) continue;
    others = others || t.impl()->has(TensorImpl::needs_grad);
    if (info.saves.in.has(int(i)) && t.impl()->storage == target.impl()->storage &&
        !is_leaf_with_gradient(t))
      t = keep(t);
  }
  inputs[0] = others && info.saves.in.has(0) ? keep(target) : snapshot(target);
}

/// Saved inputs that were overwritten all the same carry the version from before the write, so that
/// reading one is an error.
void mark_overwritten(const OpInfo& info, const Tensor& out, int n, uint32_t before) {
  const Node* node = out.impl()->node;
  if (!node) return;
  for (int i = 0, slot = 0; i < n; ++i) {
    if (!info.saves.in.has(i)) continue;
    SavedTensor& s = node->saved[slot++];
    if (s.tensor.defined() && s.tensor.impl()->storage == out.impl()->storage) s.version = before;
  }
}

int64_t element_offset(const Tensor& view, const Tensor& base) {
  return (view.impl()->data - base.impl()->data) / itemsize(view.dtype());
}

Tensor base_of(const Tensor& view) {
  add_ref(view.impl()->base->refs);
  return Tensor::adopt(view.impl()->base);
}

void check_writable(const OpInfo& info, const void* op, const Tensor& target) {
  const TensorImpl& t = *target.impl();
  const TensorImpl& owner = t.base ? *t.base : t;
  const bool leaf = is_leaf_with_gradient(target);  // a view may have been made one
  const bool of_leaf = owner.has(TensorImpl::needs_grad) && !owner.node;
  require<GradientError>(!(leaf || of_leaf) || !grad_enabled(), info.print(op),
                         ": in-place write to ", t.base && !leaf ? "a view of " : "",
                         "a leaf that requires a gradient; use NoGrad, or an op that makes a copy");
  for (int i = 0; i < t.spec.shape.size(); ++i)
    require<ShapeError>(t.strides[i] != 0 || t.spec.shape[i] <= 1, info.print(op),
                        ": in-place write to an expanded tensor of shape ", t.spec.shape,
                        " and strides ", t.strides, ": several elements share memory");
}

bool overlaps_otherwise(const Tensor& t, const Tensor& target) {
  return t.defined() && t.impl()->storage == target.impl()->storage &&
         !(t.impl()->data == target.impl()->data && t.strides() == target.strides() &&
           t.shape() == target.shape());
}

/// Symbolic values are never overwritten: the handle is pointed at the new one.
void rebind(const OpInfo& info, const void* op, const Tensor& target, const Tensor& result) {
  require<NotImplemented>(target.is_symbolic() && !target.impl()->has(TensorImpl::is_view),
                          info.print(op), ": in-place write of a symbolic value into ",
                          target.is_symbolic() ? "a symbolic view" : "a concrete tensor",
                          "; use an op that makes a copy");
  TensorExtras& e = *result.impl()->extras;
  bind_symbolic(target, e.recorder, e.value);
  take_history(target, result);
}

}  // namespace

void apply_inplace(const OpInfo& info, const void* op, const Tensor* in, int n) {
  const unsigned flags = input_flags(info, op, in, n);
  const Tensor target = in[0];
  const bool tape = wants_tape(flags) && is_floating(target.dtype());
  check_writable(info, op, target);

  Spec spec;
  info.infer(op, Specs(in, n), &spec);
  require<ShapeError>(spec.shape == target.shape(), info.print(op), ": the result of shape ",
                      spec.shape, " cannot be written over shape ", target.shape());
  require<DTypeError>(!(is_floating(spec.dtype) && !is_floating(target.dtype())) &&
                          !(spec.dtype != boolean && target.dtype() == boolean),
                      info.print(op), ": the result of type ", spec.dtype,
                      " cannot be written over ", target.dtype());

  Tensors inputs(in, in + n);
  if (tape && (flags & TensorImpl::symbolic)) inputs[0] = snapshot(target);
  else if (tape) keep_inputs(info, target, inputs);
  if (flags & TensorImpl::symbolic) {
    Tensor result;
    compute(info, op, inputs.data(), n, flags, &spec, &result, 1);
    if (tape) record_node(info, op, inputs.data(), n, &result, 1);
    rebind(info, op, target, result);
    return;
  }

  Tensor out = alias(target);
  const uint32_t before = target.version();
  bool direct = spec.dtype == target.dtype() && target.is_contiguous() && info.broadcasts;
  for (int i = 1; i < n; ++i) direct = direct && !overlaps_otherwise(in[i], target);
  if (target.device().type == DeviceType::cpu) {
    if (direct) {
      info.cpu(op, {inputs.data(), size_t(n)}, {&out, 1});
    } else {
      Tensor fresh = empty(spec);
      info.cpu(op, {inputs.data(), size_t(n)}, {&fresh, 1});
      copy_data(out, fresh);
    }
  }
  bump_version(target, info.name.data());
  if (modes & Modes::anomaly) [[unlikely]]
    check_finite(info, op, &out, 1);
  if (!tape) return;

  record_node(info, op, inputs.data(), n, &out, 1);
  mark_overwritten(info, out, n, before);
  if (target.impl()->has(TensorImpl::is_view)) {
    const Tensor base = base_of(target);
    require<GradientError>(base.is_contiguous(), info.print(op),
                           ": in-place write to a view of foreign strided memory has no gradient");
    const StridedScatter scatter{target.strides(), element_offset(target, base)};
    const Tensor parts[] = {snapshot(base), out};
    Tensor written = alias(base);
    record_node(op_info<StridedScatter>(), &scatter, parts, 2, &written, 1);
    take_history(base, written);
    target.impl()->view_version = target.version();
  }
  take_history(target, out);
}

void refresh_view(const Tensor& view) {
  TensorImpl* v = view.impl();
  if (!v->storage || v->view_version == v->storage->version) return;
  v->view_version = v->storage->version;
  if (!v->base->has(TensorImpl::needs_grad) || !v->base->node) return;
  const Tensor base = base_of(view);
  const AsStrided region{view.shape(), view.strides(), element_offset(view, base)};
  Tensor fresh = alias(view);
  record_node(op_info<AsStrided>(), &region, &base, 1, &fresh, 1);
  take_history(view, fresh);
}

}  // namespace tandem::detail
