#include "tandem/ops/sin.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Sin)
TANDEM_OP(Cos)

namespace {

/// The vectorised kernel, but the C library's function for runs with an angle beyond its range.
template <class O, float (*library)(float)>
void angle_kernel(const void* op, const void* const* in, void* out, int64_t n) {
  const float* x = static_cast<const float*>(in[0]);
  float* y = static_cast<float*>(out);
  bool far = false;
  simd([=, &far] {
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t i = 0; i < n; ++i) any |= int(math::abs(x[i]) > math::trig_limit);
    far = any != 0;
  });
  if (!far) return detail::point_kernel<O, float>(op, in, out, n);
  for (int64_t i = 0; i < n; ++i) y[i] = library(x[i]);
}

template <class O, float (*library)(float)>
constexpr detail::PointKernel angle_table{angle_kernel<O, library>, detail::point_kernel<O, double>,
                                          nullptr, false, nullptr};

float library_sin(float x) { return std::sin(x); }
float library_cos(float x) { return std::cos(x); }

template <class O>
Samples<O> angle_samples() {
  auto good = sample::unary<O>();
  good.insert(good.end() - 1, {{}, {sample::listed({5}, {1e5, -2e6, 3e10, 1e30, -7e20})}, false});
  return {.ok = std::move(good), .errors = {}};
}

}  // namespace

void Sin::cpu(Inputs in, Outputs out) const {
  detail::point_launch(angle_table<Sin, library_sin>, this, in, out[0]);
}

void Cos::cpu(Inputs in, Outputs out) const {
  detail::point_launch(angle_table<Cos, library_cos>, this, in, out[0]);
}

Tensors Sin::vjp(const Saved& s, const Tensor& dy) const { return {dy * cos(s.in(0))}; }

Samples<Sin> Sin::samples() { return angle_samples<Sin>(); }

Tensors Cos::vjp(const Saved& s, const Tensor& dy) const { return {neg(dy * sin(s.in(0)))}; }

Samples<Cos> Cos::samples() { return angle_samples<Cos>(); }

}  // namespace tandem
