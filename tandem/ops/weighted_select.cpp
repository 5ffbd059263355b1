#include "tandem/ops/weighted_select.h"

#include <algorithm>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(WeightedSelect)
namespace {

/// y[outer, out, inner] from x[outer, n, inner].
template <class T>
void select_sums(const T* x, const int64_t* place, const T* weight, T* y,
                 const detail::AxisSplit& s, int64_t out, int64_t taps) {
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, s.inner * taps));
  cpu::parallel_for(s.outer * out, grain, [&](int64_t begin, int64_t end) {
    simd([&] {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t o = row / out, i = row % out;
        const T* from = x + o * s.n * s.inner;
        T* to = y + row * s.inner;
        if (s.inner == 1) {
          T sum = 0;
          for (int64_t k = 0; k < taps; ++k)
            sum += weight[i * taps + k] * from[place[i * taps + k]];
          to[0] = sum;
          continue;
        }
        for (int64_t j = 0; j < s.inner; ++j) to[j] = 0;
        for (int64_t k = 0; k < taps; ++k) {
          const T w = weight[i * taps + k];
          const T* p = from + place[i * taps + k] * s.inner;
#pragma omp simd
          for (int64_t j = 0; j < s.inner; ++j) to[j] += w * p[j];
        }
      }
    });
  });
}

}  // namespace

Spec WeightedSelect::infer(Specs in) const {
  Spec out = in[0];
  check<DTypeError>(is_floating(out.dtype) && in[2].dtype == out.dtype, *this, "x is ", out.dtype,
                    " and weight ", in[2].dtype);
  detail::check_index_dtype(*this, in[1].dtype);
  check<ShapeError>(in[1].shape.size() == 2 && detail::may_equal(in[2].shape, in[1].shape), *this,
                    "place of shape ", in[1].shape, " and weight of shape ", in[2].shape);
  check<ShapeError>(!out.shape.empty(), *this, "x has no axes");
  const int a = check_axis(*this, axis, out.shape);
  out.shape[a] = in[1].shape[0];
  return out;
}

void WeightedSelect::cpu(Inputs in, Outputs out) const {
  const DType d = out[0].dtype(), compute = d == f64 ? f64 : f32;
  const Tensor x = detail::as_contiguous(in[0], compute), place = detail::as_contiguous(in[1], i64),
               weight = detail::as_contiguous(in[2], compute);
  const int a = check_axis(*this, axis, x.shape());
  const detail::AxisSplit s(x.shape(), a);
  for (int64_t i : place.span<int64_t>())
    if (i < 0 || i >= s.n) detail::bad_index(*this, i, 0, s.n, a, x.shape());
  const Tensor y = d == compute ? out[0] : empty(out[0].shape(), compute);
  const int64_t rows = place.shape()[0], taps = place.shape()[1];
  if (compute == f64)
    select_sums(x.data<double>(), place.data<int64_t>(), weight.data<double>(), y.data<double>(), s,
                rows, taps);
  else
    select_sums(x.data<float>(), place.data<int64_t>(), weight.data<float>(), y.data<float>(), s,
                rows, taps);
  if (d != compute) detail::copy_data(out[0], y);
}

Tensors WeightedSelect::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor &x = s.in(0), &place = s.in(1), &weight = s.in(2);
  const int a = check_axis(*this, axis, x.shape());
  const Length rows = weight.size(0), taps = weight.size(1);
  const Tensor at = reshape(place, {rows * taps});
  // Each row of the result beside its taps: axes [..., rows, taps, ...].
  const Tensor wide = unsqueeze(dy, a + 1);
  Shape by_taps = dy.shape(), line = Shape::filled(dy.dim() + 1, 1), others;
  by_taps.insert(a + 1, taps);
  line[a] = rows;
  line[a + 1] = taps;
  for (int i = 0; i < dy.dim() + 1; ++i)
    if (i != a && i != a + 1) others.push_back(i);
  Tensor dx, dw;
  if (s.needs(0)) {
    Shape flat = dy.shape();
    flat[a] = rows * taps;
    dx = index_add(zeros(x.shape(), dy.dtype(), dy.device()), a, at,
                   reshape(wide * reshape(weight, line), flat));
  }
  if (s.needs(2)) {
    dw = wide * reshape(index_select(x, a, at), by_taps);
    if (!others.empty()) dw = sum(dw, others);
  }
  return {dx, Tensor(), dw};
}

Samples<WeightedSelect> WeightedSelect::samples() {
  const InputSpec place = sample::listed({4, 2}, {0, 1, 1, 2, 2, 2, 0, 2}, i64);
  return {
      .ok = {{{.axis = 0}, {{{3, 5}}, place, {{4, 2}}}},
             {{.axis = 1}, {{{2, 3, 4}}, place, {{4, 2}}}},
             {{.axis = -1}, {sample::strided({2, 3}), place, {{4, 2}}}},
             {{}, {{{3}}, place, {{4, 2}}}},
             {{.axis = 1}, {{{0, 3}}, place, {{4, 2}}}},
             {{}, {{{3, 2}}, {{0, 2}, i64}, {{0, 2}}}},
             {{}, {{{3, 2}}, {{4, 0}, i64}, {{4, 0}}}}},
      .errors = {
          {{},
           {{{2, 5}}, place, {{4, 2}}},
           "weighted_select(axis=0): index 2 is out of range [0, 1] for axis 0 of shape "
           "[2, 5]"},
          {{},
           {{{3}}, place, {{4, 3}}},
           "weighted_select(axis=0): place of shape [4, 2] and weight of shape [4, 3]"},
          {{}, {{{3}, i64}, place, {{4, 2}}}, "weighted_select(axis=0): x is i64 and weight f64"}}};
}

}  // namespace tandem
