#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/iterate.h"
#include "tandem/op/kernel.h"

namespace tandem::detail {
namespace {
constexpr int64_t parallel_grain = 16384;  // elements
constexpr int max_inputs = 2;
}  // namespace

void row_launch(const RowKernel& k, const void* op, int64_t axis, Inputs in, Tensor& out) {
  if (out.numel() == 0) return;
  const int ax = int(axis < 0 ? axis + std::max(out.dim(), 1) : axis);
  const DType compute = out.dtype() == f64 ? f64 : f32;
  const RowFn fn = compute == f64 ? k.f64 : k.f32;
  const int n_in = int(in.size());

  Tensor operand[max_inputs + 1] = {out};
  for (int i = 0; i < n_in; ++i) operand[i + 1] = in[size_t(i)];
  // The nest walks the other axes; the row's own axis is taken out of every operand.
  int64_t n = 1, step[max_inputs + 1] = {};
  const Tensor* tensors[max_inputs + 1];
  for (int i = 0; i <= n_in; ++i) {
    Tensor& t = operand[i];
    if (t.dim() > 0) {
      n = t.shape()[ax];
      step[i] = t.strides()[ax];
      Shape shape = t.shape();
      Strides strides = t.strides();
      shape.erase(ax);
      strides.erase(ax);
      t = alias(t, shape, strides, 0);
    }
    tensors[i] = &t;
  }
  const LoopNest nest(operand[0].shape(), {tensors, size_t(n_in + 1)});
  const int64_t inner = nest.inner(), rows = nest.outer() * inner;
  GatherFn gather[max_inputs + 1] = {};
  bool direct[max_inputs + 1];
  for (int i = 0; i <= n_in; ++i) {
    direct[i] = operand[i].dtype() == compute && (step[i] == 1 || n == 1);
    gather[i] = gather_fn(operand[i].dtype(), compute);
  }
  const ScatterFn scatter = scatter_fn(compute, out.dtype());
  const int64_t bytes = n * itemsize(compute);
  cpu::parallel_for(
      rows, std::max<int64_t>(1, parallel_grain / n), [&](int64_t begin, int64_t end) {
        bool all_direct = true;
        for (int i = 0; i <= n_in; ++i) all_direct = all_direct && direct[i];
        const Tensor scratch = all_direct ? Tensor() : empty({(n_in + 1) * bytes}, u8);
        char* buffer = all_direct ? nullptr : static_cast<char*>(scratch.raw_data());
        int64_t at[max_inputs + 1], run = -1;
        for (int64_t row = begin; row < end; ++row) {
          if (row / inner != run) nest.offsets(run = row / inner, at);
          char* ptr[max_inputs + 1];
          for (int i = 0; i <= n_in; ++i) {
            const int64_t offset = at[i] + row % inner * nest.inner_stride(i);
            char* p = operand[i].impl()->data + offset * itemsize(operand[i].dtype());
            ptr[i] = direct[i] ? p : buffer + i * bytes;
            if (!direct[i] && i > 0) gather[i](p, step[i], ptr[i], n);
          }
          fn(op, const_cast<const void* const*>(reinterpret_cast<void**>(ptr + 1)), ptr[0], n);
          if (!direct[0]) {
            const int64_t offset = at[0] + row % inner * nest.inner_stride(0);
            scatter(ptr[0], out.impl()->data + offset * itemsize(out.dtype()), step[0], n);
          }
        }
      });
}

}  // namespace tandem::detail
