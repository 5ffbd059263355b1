#pragma once
// What the elementwise losses share: they are point ops whose results are summed or averaged in
// the same pass.
#include "tandem/op/kernel.h"

namespace tandem::detail {

/// Sums the point results of `n` contiguous elements.
using LossSumFn = double (*)(const void* op, const void* const* in, int64_t n);
struct LossKernel {
  const PointKernel& point;
  LossSumFn f32, f64;
};

// Many partial sums keep the rounding error of f32 small and let the loop vectorise.
template <class O, class T>
double loss_sum(const void* op, const void* const* in, int64_t n) {
  constexpr int arity = point_arity<O, T>();
  constexpr int lanes = 128 / sizeof(T);
  const O o = *static_cast<const O*>(op);
  const T* p[4];
  for (int k = 0; k < 4; ++k) p[k] = static_cast<const T*>(in[k < arity ? k : 0]);
  double total = 0;
  simd([=, &total] {
    T part[lanes] = {};
    const T *a = p[0], *b = p[1], *c = p[2], *d = p[3];
    auto value = [&](int64_t i) {
      if constexpr (arity == 2) return o.point(a[i], b[i]);
      else if constexpr (arity == 3) return o.point(a[i], b[i], c[i]);
      else return o.point(a[i], b[i], c[i], d[i]);
    };
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
#pragma omp simd
      for (int l = 0; l < lanes; ++l) part[l] += value(i + l);
    for (; i < n; ++i) part[i % lanes] += value(i);
    double sum = 0;
    for (int l = 0; l < lanes; ++l) sum += double(part[l]);
    total = sum;
  });
  return total;
}
template <class O>
inline constexpr LossKernel loss_table{point_table<O>, loss_sum<O, float>, loss_sum<O, double>};

enum class Reduction : uint8_t { none, sum, mean, batchmean };

/// Errors: ValueError for unknown words.
template <class O>
Reduction loss_reduction(const O& op) {
  if (op.reduction == "mean") return Reduction::mean;
  if (op.reduction == "sum") return Reduction::sum;
  if constexpr (requires { O::batchmean; }) {
    if (op.reduction == "batchmean") return Reduction::batchmean;
    check(op.reduction == "none", op, "reduction must be mean, batchmean, sum or none");
  } else {
    check(op.reduction == "none", op, "reduction must be mean, sum or none");
  }
  return Reduction::none;
}

/// The shape rule: broadcast, and reduced to a number unless `reduction` is none.
template <class O>
Spec loss_infer(const O& op, Specs in) {
  const Reduction r = loss_reduction(op);
  Spec out = point_infer(op_info<O>(), &op, in, Result::floating);
  if (r != Reduction::none) out.shape = {};
  return out;
}

/// What the sum over elements of shape `full` is multiplied by.
TANDEM_API Number loss_scale(Reduction r, const Shape& full, const Shape& x);
/// A warning, the first time that somebody hears it, when x and the target have different shapes.
TANDEM_API void warn_of_broadcast(std::string_view op, Specs in);
/// The shape that all inputs broadcast to.
TANDEM_API Shape loss_shape(Inputs in);
/// The same, from what the tape knows; undefined inputs count as numbers.
TANDEM_API Shape loss_shape(const Saved& s);
TANDEM_API void loss_launch(const LossKernel& k, const void* op, Reduction r, Inputs in,
                            Tensor& out);

}  // namespace tandem::detail
