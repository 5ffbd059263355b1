#include "tandem/ops/loss_reduce.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/log.h"
#include "tandem/op/copy.h"

namespace tandem::detail {
namespace {

// Pieces of a fixed size: the sum does not depend on the number of threads.
constexpr int64_t piece = 32768;

/// Row-major elements of `shape`, in the type of the kernel.
Tensor spread(const Tensor& t, const Shape& shape, DType dtype) {
  if (identical(t.shape(), shape)) return as_contiguous(t, dtype);
  return as_contiguous(alias(t, shape, broadcast_strides(t.shape(), t.strides(), shape), 0), dtype);
}

}  // namespace

void warn_of_broadcast(std::string_view op, Specs in) {
  if (in.is_number(1) || may_equal(in[0].shape, in[1].shape)) return;
  static std::mutex mutex;
  static std::vector<std::string_view> warned;
  const std::lock_guard lock(mutex);
  if (std::find(warned.begin(), warned.end(), op) != warned.end()) return;
  if (log(LogLevel::warning,
          cat(op, "(): x of shape ", in[0].shape, " and a target of shape ", in[1].shape,
              " are broadcast, which is seldom meant; give them "
              "one shape (this is said once)")))
    warned.push_back(op);
}

Number loss_scale(Reduction r, const Shape& full, const Shape& x) {
  if (r == Reduction::mean) return 1.0 / full.numel();
  if (r == Reduction::batchmean && !x.empty()) return 1.0 / x[0];
  return 1;
}

Shape loss_shape(Inputs in) {
  Shape all = in[0].shape();
  for (const Tensor& t : in.subspan(1)) {
    Shape both;
    if (broadcast(all, t.shape(), both)) all = both;
  }
  return all;
}

Shape loss_shape(const Saved& s) {
  Shape all = s.shape(0);
  for (int i = 1; i < s.size(); ++i) {
    Shape both;
    if (broadcast(all, s.shape(i), both)) all = both;
  }
  return all;
}

void loss_launch(const LossKernel& k, const void* op, Reduction r, Inputs in, Tensor& out) {
  if (r == Reduction::none) return point_launch(k.point, op, in, out);
  const Shape full = loss_shape(in);
  const int64_t n = full.numel();
  const DType compute = out.dtype() == f64 ? f64 : f32;
  const LossSumFn sum = compute == f64 ? k.f64 : k.f32;
  Tensor flat[4];
  const char* data[4] = {};
  for (size_t i = 0; i < in.size(); ++i) {
    flat[i] = spread(in[i], full, compute);
    data[i] = static_cast<const char*>(flat[i].raw_data());
  }
  static thread_local std::vector<double> kept;  // its memory serves every call
  std::vector<double>& part = kept;
  part.resize(size_t((n + piece - 1) / piece));
  cpu::parallel_for(int64_t(part.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const void* at[4] = {};
      for (size_t i = 0; i < in.size(); ++i) at[i] = data[i] + p * piece * itemsize(compute);
      part[size_t(p)] = sum(op, at, std::min(piece, n - p * piece));
    }
  });
  double total = 0;
  for (double v : part) total += v;
  // A mean over nothing is 0 / 0.
  const double count = double(r == Reduction::mean ? n : 1);
  const double result =
      r == Reduction::mean ? total / count : total * double(loss_scale(r, full, in[0].shape()));
  scatter_fn(f64, out.dtype())(&result, out.raw_data(), 1, 1);
}

}  // namespace tandem::detail
