#include "tandem/ops/logsumexp.h"

#include <cmath>
#include <limits>

#include "tandem/op/kernel.h"
#include "tandem/op/math.h"
#include "tandem/ops/add.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reduce_rows.h"

namespace tandem {

TANDEM_OP(Logsumexp)
namespace {

template <class T>
T row_of(const T* x, int64_t n) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  T result;
  simd([&] {
    T m = -inf;
    bool nan = false;
    for (int64_t i = 0; i < n; ++i) {
      m = x[i] > m ? x[i] : m;
      nan |= x[i] != x[i];
    }
    if (nan) {
      result = std::numeric_limits<T>::quiet_NaN();
      return;
    }
    if (m == inf || m == -inf) {  // e^(inf - inf) is no number
      result = m;
      return;
    }
    T s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; ++i) s += math::exp(x[i] - m);
    result = std::log(s) + m;
  });
  return result;
}

}  // namespace

Spec Logsumexp::infer(Specs in) const {
  const DType d = in[0].dtype;
  return {detail::reduced_shape(*this, axes, keepdim, in[0].shape), is_floating(d) ? d : f32,
          in[0].device};
}

void Logsumexp::cpu(Inputs in, Outputs out) const {
  const DType compute = in[0].dtype() == f64 ? f64 : f32;
  const detail::Rows rows = detail::rows_of(*this, in[0], compute);
  const Tensor result = out[0].dtype() == compute ? out[0] : empty(out[0].shape(), compute);
  if (compute == f64) detail::each_row(rows, result.data<double>(), row_of<double>);
  else detail::each_row(rows, result.data<float>(), row_of<float>);
  if (out[0].dtype() != compute) detail::copy_data(out[0], result);
}

Tensors Logsumexp::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor& x = s.in(0);
  auto restore = [&](const Tensor& t) { return detail::restore_axes(t, axes, keepdim, x.shape()); };
  return {restore(dy) * exp(x - restore(s.out()))};
}

Samples<Logsumexp> Logsumexp::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axes = {0}}, {{{3, 5}}}},
                 {{.axes = {1}, .keepdim = true}, {{{3, 5}}}},
                 {{.axes = {-1, 0}}, {{{2, 3, 4}}}},
                 {{.axes = {0, 2}}, {sample::strided({4, 3, 2})}},
                 {{.axes = {0}}, {sample::scaled({40}, 200)}, false},
                 {{.axes = {1}},
                  {sample::listed({3, 2}, {-INFINITY, -INFINITY, INFINITY, 0, NAN, 1})},
                  false},
                 {{}, {{{}}}},
                 {{.axes = {0}}, {{{0, 3}}}, false},
                 {{}, {{{9}, i32}}}},
          .errors = {{{.axes = {2}},
                      {{{3, 5}}},
                      "logsumexp(axes=[2], keepdim=false): axis 2 is out of range [-2, 1] for "
                      "shape [3, 5]"}}};
}

}  // namespace tandem
