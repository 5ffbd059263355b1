// In-place writes and the history of views. A write to a view is, for the tape, a scatter into the
// tensor that the view looks at; a view read after such a write is a region of it.
#include <new>
#include <utility>

#include "tandem/op/copy.h"
#include "tandem/op/gate.h"
#include "tandem/op/kernel.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/strided.h"

namespace tandem::detail {
namespace {

/// A handle to the same memory with the history that `t` has now: what the tape keeps of a tensor
/// that is about to be overwritten.
Tensor snapshot(const Tensor& t) {
  Tensor s = alias(t);
  TensorImpl* impl = s.impl();
  // A value of a graph stays what it is: no later write is one to the snapshot.
  if (t.is_symbolic())
    if (Storage* mark = std::exchange(impl->storage, nullptr)) drop_ref(mark->refs);
  impl->flags |= t.impl()->flags & (TensorImpl::needs_grad | TensorImpl::made_in_capture);
  impl->node = t.impl()->node;
  impl->output_nr = t.impl()->output_nr;
  if (impl->node) add_ref(impl->node->refs);
  return s;
}

void take_history(const Tensor& to, const Tensor& from) {
  TensorImpl *a = to.impl(), *b = from.impl();
  outdate_saved(*a);
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
  if (info.saves.in.has(0)) inputs[0] = others ? keep(target) : snapshot(target);
}

/// The node is made before the write: the outputs that it saved will have the version after it.
void expect_write(const OpInfo& info, const Node* node, int n) {
  if (!node || !info.saves.out.has(0)) return;
  int slot = 0;
  for (int i = 0; i < n; ++i) slot += info.saves.in.has(i);
  ++node->saved[slot].version;
}

const TensorImpl* family(const TensorImpl* t) { return t->base ? t->base : t; }

/// Where a view begins in the tensor that it looks at, in elements.
Length element_offset(const Tensor& view, const Tensor& base) {
  if (view.is_symbolic()) {
    require<LengthError>(!view.impl()->extras->perhaps_view, "a write to a ", view.spec(),
                         " or to the tensor it was reshaped from: whether the two share memory "
                         "depends on lengths that are not known while the graph is built; make a "
                         "clone() of one of them");
    return view.impl()->extras->view_offset;
  }
  return (view.impl()->data - base.impl()->data) / itemsize(view.dtype());
}

Tensor base_of(const Tensor& view) {
  add_ref(view.impl()->base->refs);
  return Tensor::adopt(view.impl()->base);
}

void check_writable(const OpInfo& info, const void* op, const Tensor& target, bool tape) {
  const TensorImpl& t = *target.impl();
  const TensorImpl& owner = t.base ? *t.base : t;
  const bool leaf = is_leaf_with_gradient(target);  // a view may have been made one
  const bool detached = t.base && t.has(TensorImpl::symbolic) && t.extras->detached;
  const bool of_leaf = owner.has(TensorImpl::needs_grad) && !owner.node && !detached;
  require<GradientError>(
      !(leaf || of_leaf) || !grad_enabled(), [&] { return info.print(op); }, ": in-place write to ",
      t.base && !leaf ? "a view of " : "",
      "a leaf that requires a gradient; use NoGrad, or an op that makes a copy");
  require<GradientError>(
      !tape || !t.base || owner.has(TensorImpl::contiguous), [&] { return info.print(op); },
      ": in-place write to a view of foreign strided memory has no gradient");
  if (!t.has(TensorImpl::contiguous) && overlaps_itself(t.spec.shape, t.strides))
    throw ShapeError(cat(info.print(op), ": in-place write to a tensor of shape ", t.spec.shape,
                         " and strides ", t.strides,
                         ", several elements of which are one in memory; write to a clone()"));
}

bool overlaps_otherwise(const Tensor& t, const Tensor& target) {
  return t.defined() && t.impl()->storage == target.impl()->storage &&
         !(t.impl()->data == target.impl()->data && identical(t.strides(), target.strides()) &&
           identical(t.shape(), target.shape()));
}

bool is_outside(const Tensor& t) {
  return !t.impl()->has(TensorImpl::symbolic) && !t.impl()->has(TensorImpl::made_in_capture);
}

/// The handle holds `value` from now on.
void bind(const Tensor& target, const Tensor& value) {
  const TensorExtras& e = *value.impl()->extras;
  target.impl()->flags |= TensorImpl::symbolic;
  bind_symbolic(target, e.recorder, e.value);
  if (value.impl()->node) take_history(target, value);
}

/// Symbolic values are never overwritten: the handle is pointed at the new one. Whoever saved the
/// handle sees by its version that the value is another. A tensor from outside the recorded
/// function is assigned to whenever the graph runs.
void replace_value(const Tensor& target, const Tensor& value, const char* writer) {
  if (is_outside(target)) return value.impl()->extras->recorder->assign(target, value);
  TensorImpl& t = *target.impl();
  if (!t.storage) t.storage = new_storage(0, null_device);
  bump_version(target, writer);
  bind(target, value);
}

void write_symbolic(const OpInfo& info, const void* op, const Tensor& target, Tensors& inputs,
                    unsigned flags, bool tape) {
  const TensorImpl& t = *target.impl();
  const bool view = t.has(TensorImpl::is_view);
  require<NotImplemented>(
      !view || t.has(TensorImpl::symbolic), [&] { return info.print(op); },
      ": in-place write, in a recorded function, into a view that was made "
      "outside; make the view inside");
  const Tensor whole = view ? base_of(target) : target;
  require<NotImplemented>(
      !is_outside(whole) || !tape, [&] { return info.print(op); },
      ": an in-place write to a tensor from outside the recorded function has "
      "no gradient there; use NoGrad, or an op that makes a copy");
  // What the gradient will read is what was there before.
  for (Tensor& x : inputs) {
    if (!x.defined() || family(x.impl()) != family(&t) || is_outside(x) || is_leaf_with_gradient(x))
      continue;
    x = tape && !x.is_symbolic() ? keep(x) : snapshot(x);
  }
  const int n = int(inputs.size());
  Spec spec;
  Tensor result;
  compute(info, op, inputs.data(), n, flags, &spec, &result, 1);
  const auto& recorder = result.impl()->extras->recorder;
  require<NotImplemented>(!whole.is_symbolic() || whole.impl()->extras->recorder == recorder,
                          "cond() and while_loop(): an in-place write to a ", whole.spec(),
                          " from outside the branch; give the new value as a result");
  if (tape) record_node(info, op, inputs.data(), n, &result, 1);
  if (result.dtype() != target.dtype()) result = apply(Cast{target.dtype()}, {result});
  if (!view) return replace_value(target, result, info.name.data());

  const StridedScatter scatter{target.strides(), element_offset(target, whole)};
  const Tensor before = is_outside(whole)              ? whole
                        : tape && !whole.is_symbolic() ? keep(whole)
                                                       : snapshot(whole);
  // The base's history knows nothing of what is written through a detached look at it.
  const bool detached = target.impl()->extras->detached;
  const EnableGrad mode(grad_enabled() && !detached);
  replace_value(whole, apply(scatter, {before, result}), info.name.data());
  refresh_view(target);
  if (tape && detached) take_history(target, result);
}

/// The history of a tensor, a region of which becomes `part`, as a handle that has it.
Tensor scattered(const Tensor& base, const Tensor& target, const Tensor& part) {
  const StridedScatter scatter{target.strides(), element_offset(target, base)};
  const Tensor parts[] = {snapshot(base), part};
  Tensor written = alias(base);
  record_node(op_info<StridedScatter>(), &scatter, parts, 2, &written, 1);
  return written;
}

/// The write itself: `out` is the memory of in[0], whose values now are `inputs[0]`.
void write(const OpInfo& info, const void* op, const Spec& spec, const Tensor* in, Inputs inputs,
           Tensor& out) {
  const Tensor& target = in[0];
  if (target.device().type == DeviceType::cpu) {
    bool direct = spec.dtype == target.dtype() && target.is_contiguous() && info.broadcasts;
    for (size_t i = 1; i < inputs.size(); ++i)
      direct = direct && !overlaps_otherwise(in[i], target);
    if (direct) {
      info.cpu(op, inputs, {&out, 1});
    } else {
      Tensor fresh = empty(spec);
      info.cpu(op, inputs, {&fresh, 1});
      copy_data(out, fresh);
    }
  }
  bump_version(target, info.name.data());
}

/// Elementwise on few row-major f32 operands of one spec: what accumulating gradients is.
[[gnu::always_inline]] inline bool is_plain(const OpInfo& info, const Tensor* in, int n,
                                            unsigned flags) {
  if (!info.point || (flags & (TensorImpl::symbolic | TensorImpl::wrapped_number))) return false;
  const TensorImpl& x = *in[0].impl();
  if (!x.has(TensorImpl::contiguous) || x.spec.dtype != f32 || x.numel > point_grain ||
      x.spec.device.type != DeviceType::cpu)
    return false;
  for (int i = 1; i < n; ++i) {
    const TensorImpl& y = *in[i].impl();
    if (!y.has(TensorImpl::contiguous) || !identical(y.spec, x.spec) ||
        (y.storage == x.storage && y.data != x.data))
      return false;
  }
  return true;
}

/// The write of such: the values of `target` now are `inputs[0]`.
[[gnu::always_inline]] inline void write_plain(const OpInfo& info, const void* op,
                                               const Tensor& target, const Tensor* inputs, int n) {
  const void* data[max_point_inputs];
  for (int i = 0; i < n; ++i) data[i] = inputs[i].impl()->data;
  info.point->f32(op, data, target.impl()->data, target.impl()->numel);
  bump_version(target, info.name.data());
}

/// What the op makes, which is to be written over in[0]. Errors: DeviceError, ShapeError,
/// DTypeError.
Spec written_spec(const OpInfo& info, const void* op, const Tensor* in, int n) {
  check_devices(info, op, in, n);
  Spec spec;
  info.infer(op, Specs(in, n), &spec);
  const Tensor& target = in[0];
  require<ShapeError>(
      may_equal(spec.shape, target.shape()), [&] { return info.print(op); },
      ": the result of shape ", spec.shape, " cannot be written over shape ", target.shape());
  require<DTypeError>(
      !(is_floating(spec.dtype) && !is_floating(target.dtype())) &&
          !(spec.dtype != boolean && target.dtype() == boolean),
      [&] { return info.print(op); }, ": the result of type ", spec.dtype,
      " cannot be written over ", target.dtype());
  return spec;
}

}  // namespace

// Everything that can fail comes before the write, and so do the nodes of the history.
void apply_inplace(const OpInfo& info, const void* op, const Tensor* in, int n) try {
  const unsigned flags = input_flags(info, op, in, n);
  const Tensor& target = in[0];
  const bool tape = wants_tape(flags) && is_floating(target.dtype());
  check_writable(info, op, target, tape);

  const bool plain = is_plain(info, in, n, flags);
  if (plain && !tape) return write_plain(info, op, target, in, n);

  Spec spec;
  if (!plain) spec = written_spec(info, op, in, n);
  if (flags & TensorImpl::symbolic) {
    Tensors inputs(in, in + n);
    return write_symbolic(info, op, target, inputs, flags, tape);
  }
  if (!tape) {
    Tensor out = target;
    return write(info, op, spec, in, Inputs(in, size_t(n)), out);
  }

  Tensors kept;
  if (info.saves.in.bits) {
    kept = Tensors(in, in + n);
    keep_inputs(info, target, kept);
  }
  const Inputs inputs(kept.empty() ? in : kept.data(), size_t(n));
  PendingNode node(info, op, inputs.data(), n, target, plain);
  expect_write(info, node.get(), n);
  Tensor part, base, written;
  if (target.impl()->has(TensorImpl::is_view)) {
    part = alias(target);
    node.give(part);
    base = base_of(target);
    written = scattered(base, target, part);
  }
  if (plain) {
    write_plain(info, op, target, inputs.data(), n);
  } else {
    Tensor out = target;
    write(info, op, spec, in, inputs, out);
  }
  if (!written.defined()) return node.give(target);
  take_history(base, written);
  target.impl()->view_version = target.version();
  take_history(target, part);
} catch (const std::exception&) {
  rethrow_for_op(info, op);
}

void refresh_view(const Tensor& view) {
  TensorImpl* v = view.impl();
  if (!v->storage || v->view_version == v->storage->version) return;
  v->view_version = v->storage->version;
  if (v->has(TensorImpl::symbolic)) {
    const Tensor base = base_of(view);
    const CaptureScope scope(*v->extras->recorder);
    const EnableGrad on(!v->extras->detached);
    bind(view, apply(AsStrided{view.shape(), view.strides(), element_offset(view, base)}, {base}));
    return;
  }
  if (!v->base->has(TensorImpl::needs_grad) || !v->base->node) return;
  const Tensor base = base_of(view);
  const AsStrided region{view.shape(), view.strides(), element_offset(view, base)};
  Tensor fresh = alias(view);
  record_node(op_info<AsStrided>(), &region, &base, 1, &fresh, 1);
  take_history(view, fresh);
}

Tensor symbolic_detach(const Tensor& t) {
  const NoGrad off;
  const bool symbolic = t.is_symbolic();  // else a constant of the graph
  if (symbolic && t.impl()->has(TensorImpl::is_view)) refresh_view(t);
  const Tensor same =
      symbolic ? apply(Reshape{t.shape()}, {t}) : apply(AsStrided{t.shape(), t.strides(), 0}, {t});
  same.impl()->flags |= t.impl()->flags & TensorImpl::wrapped_number;
  same.impl()->extras->detached = true;
  return same;
}

}  // namespace tandem::detail
