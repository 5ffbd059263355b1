#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/iterate.h"
#include "tandem/op/kernel.h"
#include "tandem/op/stream.h"

namespace tandem::detail {

const Isa isa = cpu::isa();

namespace {

constexpr int64_t tile = 1024;  // elements: operands and result stay in the L1 cache
constexpr int64_t parallel_grain = point_grain;
constexpr int max_inputs = max_point_inputs;

/// The type that the kernel computes in, given the promoted dtype of its inputs.
DType compute_dtype(DType d, bool has_integer_kernel) {
  if (d == f64) return f64;
  if (is_floating(d) || !has_integer_kernel) return f32;
  return d == u64 ? u64 : i64;
}

PointFn kernel_for(const PointKernel& k, DType compute) {
  return compute == f64 ? k.f64 : compute == f32 ? k.f32 : compute == u64 ? k.u64 : k.i64;
}

struct Operand {
  const char* data;
  int64_t item;
  GatherFn gather;  ///< null when the kernel can read the memory as it is
};

struct PointLoop {
  PointFn fn;
  const void* op;
  int n_in;
  DType compute, result;
  Operand in[max_inputs];
  char* out;
  int64_t out_item;
  ScatterFn convert;  ///< null when the kernel can write its own type
  bool streaming;

  /// `n` results; strides count elements, a stride of 0 repeats one.
  void run(const int64_t* offset, const int64_t* stride, int64_t n) const {
    alignas(64) char buffer[max_inputs + 1][tile * 8];
    const void* ptr[max_inputs];
    const char* at[max_inputs];
    for (int k = 0; k < n_in; ++k) {
      at[k] = in[k].data + offset[k + 1] * in[k].item;
      if (stride[k + 1] == 0)  // one value: spread it over a tile, once
        gather_fn_of(k)(at[k], 0, buffer[k], std::min(n, tile));
    }
    char* y = out + offset[0] * out_item;
    const bool direct = !convert && stride[0] == 1 && !streaming;
    const int64_t step = streaming ? streaming_tile : tile;
    constexpr int64_t distance = 4096;  // bytes to read ahead
    for (int64_t i = 0; i < n; i += step) {
      const int64_t m = std::min(step, n - i);
      const char* ahead[max_inputs];
      int n_ahead = 0;
      for (int k = 0; k < n_in; ++k) {
        const int64_t s = stride[k + 1];
        if (s == 0) ptr[k] = buffer[k];
        else if (s == 1 && !in[k].gather) {
          const char* from = at[k] + i * in[k].item;
          ptr[k] = from;
          ahead[n_ahead++] = from + distance;
        } else {
          gather_fn_of(k)(at[k] + i * s * in[k].item, s, buffer[k], m);
          ptr[k] = buffer[k];
        }
      }
      if (direct) {
        fn(op, ptr, y + i * out_item, m);
        continue;
      }
      fn(op, ptr, buffer[n_in], m);
      if (streaming) stream(y + i * out_item, buffer[n_in], m * out_item, ahead, n_ahead);
      else scatter(buffer[n_in], y + i * stride[0] * out_item, stride[0], m);
    }
  }

 private:
  GatherFn gather_fn_of(int k) const {
    return in[k].gather ? in[k].gather : gather_fn(compute, compute);
  }
  void scatter(const void* from, char* to, int64_t stride, int64_t n) const {
    (convert ? convert : scatter_fn(result, result))(from, to, stride, n);
  }
};

/// Row-major operands of one shape and the kernel's own type: the usual case, and the tiny one.
bool all_plain(Inputs in, const TensorImpl& y, DType compute) {
  unsigned flags = y.flags;
  bool same = true;
  for (const Tensor& t : in) {
    const TensorImpl& x = *t.impl();
    flags &= x.flags;
    same &= x.numel == y.numel && x.spec.dtype == compute;
  }
  return same && (flags & TensorImpl::contiguous);
}

/// The common dtype of the inputs. Promotion looks at tensors with axes first, then at 0-d ones,
/// then at C++ numbers; a lower rank counts only when its kind (bool < integer < float) is higher.
/// PyTorch's rule.
DType promoted(const OpInfo* info, const void* op, Specs in, int first = 0) {
  if (in.size() == 1) return in[0].dtype;
  auto common = [&](DType a, DType b) {
    if (info && !promotes(a, b))
      throw DTypeError(cat(info->print(op), ": dtypes ", a, " and ", b,
                           " have no common one; cast one of them"));
    return promote(a, b);
  };
  auto kind = [](DType d) { return d == boolean ? 0 : is_integral(d) ? 1 : 2; };
  DType rank[3] = {boolean, boolean, boolean};
  bool seen[3] = {false, false, false};
  for (int i = first; i < in.size(); ++i) {
    const int r = in.is_number(i) ? 2 : in[i].shape.empty() ? 1 : 0;
    // A number of its kind's default type: 2.5 is f32, 2 is i64.
    const DType d = r == 2 && in[i].dtype == f64 ? f32 : in[i].dtype;
    rank[r] = seen[r] ? common(rank[r], d) : d;
    seen[r] = true;
  }
  DType d = boolean;
  bool have = false;
  for (int r = 0; r < 3; ++r) {
    if (!seen[r]) continue;
    if (!have) d = rank[r];
    else if (kind(rank[r]) > kind(d)) d = d == boolean ? common(d, rank[r]) : rank[r];
    have = true;
  }
  return d;
}

/// Whether the input's value changes when it becomes the common dtype `d`: a 0-d tensor of a wider
/// type. (C++ numbers meet f16 and bf16 unrounded, as in PyTorch.)
bool narrows(const Tensor& t, DType d) {
  const DType own = t.impl()->spec.dtype;
  if (own == d || d == f32 || d == f64 || d == boolean || is_floating(own) != is_floating(d))
    return false;
  if (is_floating(d)) return !t.impl()->has(TensorImpl::wrapped_number);
  auto is_unsigned = [](DType u) { return u == u8 || u == u16 || u == u32 || u == u64; };
  if (!is_unsigned(own) && is_unsigned(d)) return own != boolean;
  return itemsize(own) >= itemsize(d) && own != boolean;
}

void launch_narrowed(const PointKernel& k, const void* op, Inputs in, Tensor& out, DType d) {
  Tensor same[max_inputs];
  for (size_t i = 0; i < in.size(); ++i)
    same[i] = narrows(in[i], d) ? as_contiguous(in[i], d) : in[i];
  point_launch(k, op, {same, in.size()}, out);
}

/// A tile or less of row-major operands, some of them single values: no loop nest is needed. False
/// when an operand is neither.
bool small_launch(PointFn fn, const void* op, Inputs in, const TensorImpl& y, DType compute) {
  alignas(64) char buffer[max_inputs][tile * 8];
  const void* ptr[max_inputs];
  for (size_t k = 0; k < in.size(); ++k) {
    const TensorImpl& t = *in[k].impl();
    const bool ready = t.spec.dtype == compute;
    if (t.numel == y.numel && t.has(TensorImpl::contiguous) && ready) {
      ptr[k] = t.data;
    } else if (t.numel == 1 || (t.numel == y.numel && t.has(TensorImpl::contiguous))) {
      gather_fn(t.spec.dtype, compute)(t.data, t.numel == 1 ? 0 : 1, buffer[k], y.numel);
      ptr[k] = buffer[k];
    } else {
      return false;
    }
  }
  fn(op, ptr, y.data, y.numel);
  return true;
}

/// What launches over empty tensors are written down to while a record is traced.
struct Recording {
  lanes::Program& program;
  std::array<std::pair<const TensorImpl*, int>, max_inputs + 1> values;
  int known;
  bool complete = true;

  int value_of(const Tensor& t) const {
    for (int i = 0; i < known; ++i)
      if (values[size_t(i)].first == t.impl()) return values[size_t(i)].second;
    return -1;
  }
};
thread_local Recording* recording = nullptr;

void record_launch(const PointKernel& k, const void* op, Inputs in, const Tensor& out) {
  Recording& r = *recording;
  int operands[max_inputs], result = -1;
  bool ok = k.trace && out.impl() == r.values[0].first && (out.dtype() == f32 || k.bool_out);
  for (size_t i = 0; i < in.size(); ++i) {
    operands[i] = r.value_of(in[i]);
    if (operands[i] < 0 && in[i].numel() == 1) {  // a number that the record itself brings
      float x = 0;
      gather_fn(in[i].dtype(), f32)(in[i].impl()->data, 0, reinterpret_cast<char*>(&x), 1);
      operands[i] = lanes::append(
          r.program, {.code = lanes::Code::constant, .bits = std::bit_cast<uint32_t>(x)});
    }
    ok = ok && operands[i] >= 0;
  }
  if (ok) result = lanes::append(r.program, k.trace, op, {operands, in.size()});
  r.complete = r.complete && result >= 0;
  r.values[0].second = result;
}

}  // namespace

int record_point(lanes::Program& program, const OpInfo& info, const void* op,
                 std::span<const int> in, std::span<const DType> dtypes, DType result) {
  if (in.empty() || in.size() > size_t(max_inputs)) return -1;
  Tensor y = new_tensor({Shape{0}, result, {}}), x[max_inputs];
  Recording r{.program = program, .values = {}, .known = int(in.size()) + 1};
  r.values[0] = {y.impl(), -1};
  for (size_t i = 0; i < in.size(); ++i) {
    x[i] = new_tensor({Shape{0}, dtypes[i], {}});
    r.values[i + 1] = {x[i].impl(), in[i]};
  }
  Recording* const outer = std::exchange(recording, &r);
  try {
    info.cpu(op, {x, in.size()}, {&y, 1});
  } catch (const Error&) {  // it reads more than it computes with
    r.complete = false;
  }
  recording = outer;
  return r.complete ? r.values[0].second : -1;
}

void point_launch(const PointKernel& k, const void* op, Inputs in, Tensor& out) {
  const int n_in = int(in.size());
  const TensorImpl& y = *out.impl();
  if (y.numel == 0) [[unlikely]] {
    if (recording) record_launch(k, op, in, out);
    return;
  }
  const DType result = y.spec.dtype;
  if (result == f32 && !k.bool_out && y.numel <= parallel_grain && all_plain(in, y, f32)) {
    const void* ptr[max_inputs];
    for (int i = 0; i < n_in; ++i) ptr[i] = in[size_t(i)].impl()->data;
    k.f32(op, ptr, y.data, y.numel);
    return;
  }
  const DType d = k.bool_out ? promoted(nullptr, nullptr, Specs(in.data(), n_in)) : result;
  const DType compute = compute_dtype(d, k.i64);
  const PointFn fn = kernel_for(k, compute);
  const DType written = k.bool_out ? boolean : compute;

  for (const Tensor& t : in)
    if (narrows(t, d)) return launch_narrowed(k, op, in, out, d);
  if (y.numel <= tile && y.has(TensorImpl::contiguous) && result == written &&
      small_launch(fn, op, in, y, compute))
    return;

  PointLoop loop{.fn = fn,
                 .op = op,
                 .n_in = n_in,
                 .compute = compute,
                 .result = written,
                 .in = {},
                 .out = y.data,
                 .out_item = itemsize(result),
                 .convert = result == written ? nullptr : scatter_fn(written, result),
                 .streaming = false};
  const Tensor* tensors[max_inputs + 1] = {&out};
  for (int i = 0; i < n_in; ++i) {
    const Tensor& t = in[size_t(i)];
    tensors[i + 1] = &t;
    loop.in[i] = {t.impl()->data, itemsize(t.dtype()),
                  t.dtype() == compute ? nullptr : gather_fn(t.dtype(), compute)};
  }
  const LoopNest nest(y.spec.shape, {tensors, size_t(n_in + 1)});
  int64_t stride[max_inputs + 1];
  for (int i = 0; i <= n_in; ++i) stride[i] = nest.inner_stride(i);
  loop.streaming = !loop.convert && stride[0] == 1 && y.numel * loop.out_item >= streaming_bytes;
  const int64_t inner = nest.inner(), outer = nest.outer();
  if (outer == 1) {
    cpu::parallel_for(inner, parallel_grain, [&](int64_t begin, int64_t end) {
      int64_t offset[max_inputs + 1];
      for (int i = 0; i <= n_in; ++i) offset[i] = begin * stride[i];
      loop.run(offset, stride, end - begin);
    });
  } else {
    const int64_t grain = std::max<int64_t>(1, parallel_grain / inner);
    cpu::parallel_for(outer, grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t offset[max_inputs + 1];
        nest.offsets(row, offset);
        loop.run(offset, stride, inner);
      }
    });
  }
  if (loop.streaming) stream_end();
}

Spec point_infer(const OpInfo& info, const void* op, Specs in, Result result, int first) {
  if (in.size() == 2 && identical(in[0], in[1]) && result == Result::same && !in.is_number(0))
    return in[0];
  Spec out = in[0];
  for (int i = 1; i < in.size(); ++i) {
    if (!identical(in[i].shape, out.shape)) {
      Shape both;
      if (!broadcast(out.shape, in[i].shape, both)) {
        std::string all;
        for (int k = 0; k < in.size(); ++k) all += cat(k ? " and " : "", in[k].shape);
        throw ShapeError(cat(info.print(op), ": shapes ", all, " do not broadcast"));
      }
      out.shape = both;
    }
    if (in[i].device != out.device && !in.is_number(i)) {
      if (!in.is_number(0))
        throw DeviceError(
            cat(info.print(op), ": inputs are on ", out.device, " and ", in[i].device));
      out.device = in[i].device;
    }
  }
  if (in.size() > 1) out.dtype = promoted(&info, op, in, first);
  if (result == Result::floating && !is_floating(out.dtype)) out.dtype = f32;
  if (result == Result::boolean) out.dtype = boolean;
  return out;
}

void copy_data(const Tensor& to, const Tensor& from) {
  if (to.device().type == DeviceType::null) return;
  if (from.device().type == DeviceType::null) [[unlikely]]
    throw DeviceError(cat("copy: ", to_string(from.spec()), " has no values"));
  const DType d = from.dtype();
  if (to.is_contiguous() && from.is_contiguous() && d == to.dtype() && to.numel() == from.numel()) {
    const int64_t item = itemsize(d);
    char* y = to.impl()->data;
    const char* x = from.impl()->data;
    cpu::parallel_for(to.numel(), 1 << 18, [=](int64_t begin, int64_t end) {
      std::memcpy(y + begin * item, x + begin * item, size_t((end - begin) * item));
    });
    return;
  }
  if (to.numel() == 0) return;
  const Tensor* both[] = {&to, &from};
  const LoopNest nest(to.shape(), both);
  const int64_t sy = nest.inner_stride(0), sx = nest.inner_stride(1);
  const int64_t iy = itemsize(to.dtype()), ix = itemsize(d), inner = nest.inner();
  const GatherFn gather = gather_fn(d, to.dtype());
  const ScatterFn scatter = scatter_fn(to.dtype(), to.dtype());
  char* y = to.impl()->data;
  const char* x = from.impl()->data;
  const int64_t grain = std::max<int64_t>(1, parallel_grain / inner);
  cpu::parallel_for(nest.outer(), grain, [&](int64_t begin, int64_t end) {
    alignas(64) char buffer[tile * 8];
    for (int64_t row = begin; row < end; ++row) {
      int64_t at[2];
      nest.offsets(row, at);
      char* py = y + at[0] * iy;
      const char* px = x + at[1] * ix;
      if (sy == 1) {
        gather(px, sx, py, inner);
        continue;
      }
      for (int64_t i = 0; i < inner; i += tile) {
        const int64_t m = std::min(tile, inner - i);
        gather(px + i * sx * ix, sx, buffer, m);
        scatter(buffer, py + i * sy * iy, sy, m);
      }
    }
  });
}

Tensor as_contiguous(const Tensor& t, DType dtype) {
  if (t.is_contiguous() && t.dtype() == dtype) return t;
  Tensor out = empty(t.shape(), dtype, t.device());
  copy_data(out, t);
  return out;
}

}  // namespace tandem::detail
