#include <new>

#include "tandem/core/captured.h"
#include "tandem/op/copy.h"
#include "tandem/op/gate.h"
#include "tandem/op/kernel.h"
#include "tandem/op/recorder.h"
#include "tandem/op/tape.h"

namespace tandem::detail {
namespace {

[[noreturn, gnu::cold]] void wrong_arity(const OpInfo& info, const void* op, int n) {
  throw ValueError(cat(info.print(op), ": takes inputs (", info.inputs, "), got ", n));
}

[[noreturn, gnu::cold]] void undefined_input(const OpInfo& info, const void* op, int i) {
  throw ValueError(cat(info.print(op), ": input ", i, " of (", info.inputs, ") is undefined"));
}

/// Numbers of the program go with any device, and so do keys.
[[gnu::cold, gnu::noinline]] void compare_devices(const OpInfo& info, const void* op,
                                                  const Tensor* in, int n) {
  const Tensor* first = nullptr;
  for (int i = 0; i < n; ++i) {
    const Tensor& t = in[i];
    if (!t.defined() || info.on_cpu.has(i) || t.impl()->has(TensorImpl::wrapped_number)) continue;
    if (!first) first = &t;
    require<DeviceError>(
        t.device() == first->device(), [&] { return info.print(op); }, ": inputs are on ",
        first->device(), " and ", t.device());
  }
  for (int i = 0; i < n; ++i)
    if (in[i].defined() && info.on_cpu.has(i))
      require<DeviceError>(
          in[i].device() == cpu_device || (first && in[i].device() == first->device()),
          [&] { return info.print(op); }, ": input ", i, " of (", info.inputs, ") is on ",
          in[i].device(), ", not on the CPU");
}

/// Views whose memory was written through another handle first get the history of that write.
void refresh_views(const Tensor* in, int n) {
  for (int i = 0; i < n; ++i)
    if (in[i].defined() && in[i].impl()->has(TensorImpl::is_view)) refresh_view(in[i]);
}

}  // namespace

namespace {
[[gnu::always_inline]] inline unsigned look_at(const OpInfo& info, const void* op, const Tensor* in,
                                               int n) {
  if (n < info.min_inputs || n > info.max_inputs) [[unlikely]]
    wrong_arity(info, op, n);
  unsigned flags = modes & Modes::capture ? TensorImpl::symbolic : 0;
  for (int i = 0; i < n; ++i) {
    if (in[i].defined()) [[likely]]
      flags |= in[i].impl()->flags;
    else if (i < info.min_inputs || info.all_defined) undefined_input(info, op, i);
  }
  if (flags & TensorImpl::is_view) [[unlikely]] {
    refresh_views(in, n);
    for (int i = 0; i < n; ++i)
      if (in[i].defined()) flags |= in[i].impl()->flags;
  }
  return flags;
}
}  // namespace

unsigned input_flags(const OpInfo& info, const void* op, const Tensor* in, int n) {
  return look_at(info, op, in, n);
}

void check_devices(const OpInfo& info, const void* op, const Tensor* in, int n) {
  unsigned elsewhere = 0;
  for (int i = 0; i < n; ++i)
    if (in[i].defined()) elsewhere |= unsigned(in[i].impl()->spec.device.type);
  if (elsewhere) [[unlikely]]
    compare_devices(info, op, in, n);
}

void rethrow_for_op(const OpInfo& info, const void* op) {
  std::string call;
  try {
    call = info.print(op);
  } catch (const std::bad_alloc&) {  // then the name has to do
  }
  rethrow_for(call.empty() ? info.name : std::string_view(call));
}

namespace {
Tensor make_view(const Tensor& from, const View& v) {
  Tensor out = alias(from, v.shape, v.strides, v.offset);
  TensorImpl* base = from.impl()->base ? from.impl()->base : from.impl();
  add_ref(base->refs);
  out.impl()->base = base;
  out.impl()->flags |= TensorImpl::is_view;
  out.impl()->view_version = out.version();
  return out;
}

/// A view of a symbolic value, or of any under capture: its memory is that of the handle it was
/// taken from, as if that were row-major. It knows its place there, so that writes to either find
/// the other (ops/inplace.cpp).
void link_view(const OpInfo& info, const void* op, const Tensor& from, const Tensor& out) {
  const bool of_view = from.is_symbolic() && from.impl()->has(TensorImpl::is_view);
  TensorImpl* base = of_view ? from.impl()->base : from.impl();
  const Tensor shell = new_symbolic(from.spec());
  // A tensor from outside may lie otherwise: whether plain code copies is for its own strides to
  // say.
  if (!of_view && !from.is_contiguous() && from.numel().is_known()) {
    const Tensor real = new_symbolic(from.spec());
    real.impl()->strides = from.strides();
    real.impl()->flags &= uint8_t(~TensorImpl::contiguous);
    View v;
    if (!info.view(op, real, v)) return;
  }
  if (of_view) {
    shell.impl()->strides = from.strides();
    if (!is_contiguous(from.shape(), from.strides()))
      shell.impl()->flags &= uint8_t(~TensorImpl::contiguous);
  }
  View v;
  TensorExtras& e = extras(*out.impl());
  try {
    if (!info.view(op, shell, v)) return;
  } catch (const LengthError&) {
    e.perhaps_view = true;
  }
  if (of_view && from.impl()->extras->perhaps_view) e.perhaps_view = true;
  if (of_view && from.impl()->extras->detached) e.detached = true;
  if (!base->storage) base->storage = new_storage(0, null_device);
  TensorImpl& t = *out.impl();
  add_ref(base->refs);
  t.base = base;
  add_ref(base->storage->refs);
  t.storage = base->storage;
  t.flags |= TensorImpl::is_view;
  t.view_version = base->storage->version;
  if (e.perhaps_view) return;
  t.strides = v.strides;
  if (!is_contiguous(t.spec.shape, t.strides)) t.flags &= uint8_t(~TensorImpl::contiguous);
  e.view_offset = v.offset;
  if (of_view) e.view_offset += from.impl()->extras->view_offset;
}

}  // namespace

namespace {
[[gnu::noinline]] void compute_symbolic(const OpInfo& info, const void* op, const Tensor* in, int n,
                                        Spec* specs, Tensor* out, int n_out) {
  Recorder* recorder = capturing;
  for (int i = 0; i < n && !recorder; ++i)
    if (in[i].defined() && in[i].is_symbolic()) recorder = in[i].impl()->extras->recorder.get();
  info.infer(op, Specs(in, n), specs);
  for (int i = 0; i < n_out; ++i) {
    out[i] = new_symbolic(specs[i]);
    if (info.number) out[i].impl()->flags |= TensorImpl::wrapped_number;
  }
  recorder->record(info, op, {in, size_t(n)}, {out, size_t(n_out)});
  if (info.view) link_view(info, op, in[0], out[0]);
}
}  // namespace

void compute(const OpInfo& info, const void* op, const Tensor* in, int n, unsigned flags,
             Spec* specs, Tensor* out, int n_out) {
  if (!info.infers_devices) check_devices(info, op, in, n);
  if (flags & TensorImpl::symbolic) [[unlikely]]
    return compute_symbolic(info, op, in, n, specs, out, n_out);
  if (info.view) {
    View v;
    if (info.view(op, in[0], v)) {
      out[0] = make_view(in[0], v);
      return;
    }
  }
  info.infer(op, Specs(in, n), specs);
  for (int i = 0; i < n_out; ++i) out[i] = new_tensor(specs[i]);
  if (specs[0].device.type == DeviceType::null) return;
  info.cpu(op, {in, size_t(n)}, {out, size_t(n_out)});
  if (info.number) [[unlikely]]
    out[0].impl()->flags |= TensorImpl::wrapped_number;
}

namespace {
/// Elementwise on few row-major f32 operands of one spec: the usual case, and the one whose
/// overhead is felt. False when it is not that; then nothing was done.
[[gnu::always_inline]] inline bool plain_point(const OpInfo& info, const void* op, const Tensor* in,
                                               int n, unsigned flags, Tensor& out) {
  if (!info.point || (flags & (TensorImpl::symbolic | TensorImpl::wrapped_number))) return false;
  const TensorImpl& x = *in[0].impl();
  if (!x.has(TensorImpl::contiguous) || x.spec.dtype != f32 || x.numel > point_grain ||
      x.spec.device.type != DeviceType::cpu)
    return false;
  const void* data[max_point_inputs];
  data[0] = x.data;
  for (int i = 1; i < n; ++i) {
    const TensorImpl& y = *in[i].impl();
    if (!y.has(TensorImpl::contiguous) || !identical(y.spec, x.spec)) return false;
    data[i] = y.data;
  }
  out = new_like(x);
  info.point->f32(op, data, out.impl()->data, x.numel);
  return true;
}
}  // namespace

// The results are declared outside of the try blocks: g++ 12 moves those that are not.
Tensor apply1(const OpInfo& info, const void* op, const Tensor* in, int n) {
  Tensor out;
  try {
    const unsigned flags = look_at(info, op, in, n);
    if (plain_point(info, op, in, n, flags, out)) {
      if (wants_tape(flags)) record_plain_node(info, op, in, n, out);
      return out;
    }
    Spec spec;
    compute(info, op, in, n, flags, &spec, &out, 1);
    if (wants_tape(flags) && is_floating(out.impl()->spec.dtype))
      record_node(info, op, in, n, &out, 1);
  } catch (const std::exception&) {
    rethrow_for_op(info, op);
  }
  return out;
}

Tensors apply_all(const OpInfo& info, const void* op, const Tensor* in, int n) {
  Tensors out;
  try {
    const unsigned flags = input_flags(info, op, in, n);
    out.resize(size_t(info.outputs));
    SmallVector<Spec, 4> specs(size_t(info.outputs));
    compute(info, op, in, n, flags, specs.data(), out.data(), info.outputs);
    if (wants_tape(flags)) record_node(info, op, in, n, out.data(), info.outputs);
  } catch (const std::exception&) {
    rethrow_for_op(info, op);
  }
  return out;
}

Tensor captured_key(Generator& generator) { return capturing->random_key(generator); }

void length_is_read(const Tensor& t, const CallSite& where) {
  const TensorExtras* e = t.impl()->extras;
  if (e && e->recorder) e->recorder->length_is_read(where);
}

std::string symbolic_origin(const Tensor& t) {
  const TensorExtras* e = t.impl()->extras;
  return e && e->recorder ? e->recorder->origin(e->value) : std::string();
}

Tensor new_symbolic(const Spec& spec) {
  TensorImpl* impl = new_impl();
  impl->spec = spec;
  impl->numel = spec.shape.numel();
  impl->strides = contiguous_strides(spec.shape);
  impl->flags |= TensorImpl::symbolic;
  return Tensor::adopt(impl);
}

void bind_symbolic(const Tensor& t, std::shared_ptr<Recorder> recorder, int64_t value) {
  TensorExtras& e = extras(*t.impl());
  e.recorder = std::move(recorder);
  e.value = value;
}

}  // namespace tandem::detail
