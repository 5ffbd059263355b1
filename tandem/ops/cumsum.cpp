#include "tandem/ops/cumsum.h"

#include <algorithm>
#include <vector>

#include "tandem/op/kernel.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/index_kernel.h"

namespace tandem {

TANDEM_OP(Cumsum)
namespace {

/// y[outer, n, inner] = running sums of x, kept in A.
template <class T, class A>
void run(const T* x, T* y, const detail::AxisSplit& s) {
  cpu::parallel_for(s.outer, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, s.n * s.inner)),
                    [&](int64_t begin, int64_t end) {
                      std::vector<A> sums(static_cast<size_t>(s.inner));
                      for (int64_t o = begin; o < end; ++o) {
                        std::fill(sums.begin(), sums.end(), A(0));
                        for (int64_t j = 0; j < s.n; ++j) {
                          const int64_t at = (o * s.n + j) * s.inner;
                          for (int64_t i = 0; i < s.inner; ++i)
                            y[at + i] =
                                T(sums[size_t(i)] = math::add(sums[size_t(i)], A(x[at + i])));
                        }
                      }
                    });
}

}  // namespace

Spec Cumsum::infer(Specs in) const {
  check_axis(*this, axis, in[0].shape);
  const DType d = in[0].dtype;
  return {in[0].shape, is_floating(d) ? d : i64, in[0].device};
}

void Cumsum::cpu(Inputs in, Outputs out) const {
  const DType d = out[0].dtype();
  const DType compute = d == f16 || d == bf16 ? f32 : d;
  const Tensor x = detail::as_contiguous(in[0], compute);
  const Tensor y = d == compute ? out[0] : empty(out[0].shape(), compute);
  const detail::AxisSplit split(x.shape(), check_axis(*this, axis, x.shape()));
  if (compute == f64) run<double, double>(x.data<double>(), y.data<double>(), split);
  else if (compute == f32) run<float, double>(x.data<float>(), y.data<float>(), split);
  else run<int64_t, int64_t>(x.data<int64_t>(), y.data<int64_t>(), split);
  if (d != compute) detail::copy_data(out[0], y);
}

Tensors Cumsum::vjp(const Saved&, const Tensor& dy) const {
  if (dy.dim() == 0) return {dy};
  return {flip(cumsum(flip(dy, {axis}), axis), {axis})};
}

Samples<Cumsum> Cumsum::samples() {
  return {.ok = {{{}, {{{5}}}},
                 {{.axis = 1}, {{{3, 5}}}},
                 {{.axis = -2}, {sample::strided({3, 4, 2})}},
                 {{}, {{{}}}},
                 {{.axis = 1}, {{{2, 0}}}},
                 {{}, {{{70}, i32}}},
                 {{}, {sample::mask({7})}}},
          .errors = {{{.axis = 2},
                      {{{3, 5}}},
                      "cumsum(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"}}};
}

}  // namespace tandem
