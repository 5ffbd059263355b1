#include "tandem/ops/sin.h"

#include <algorithm>

#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/sample_lists.h"

namespace tandem {

TANDEM_OP(Sin)
TANDEM_OP(Cos)

namespace {

/// The vectorised kernel, but the C library's function for the angles beyond its range. What an
/// element becomes does not depend on its neighbours.
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
  constexpr int64_t tile = 256;
  float kept[tile];  // y may be the memory of x
  const void* const from[] = {kept};
  for (int64_t at = 0; at < n; at += tile) {
    const int64_t m = std::min(tile, n - at);
    std::copy_n(x + at, m, kept);
    detail::point_kernel<O, float>(op, from, y + at, m);
    for (int64_t i = 0; i < m; ++i)
      if (math::abs(kept[i]) > math::trig_limit) y[at + i] = library(kept[i]);
  }
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
