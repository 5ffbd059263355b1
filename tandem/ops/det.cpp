#include "tandem/ops/det.h"

#include <cmath>
#include <utility>
#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Det)
namespace {

/// Of a row-major matrix, which is written over.
double determinant(double* m, int64_t n) {
  double result = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(m[i * n + k]) > std::abs(m[pivot * n + k])) pivot = i;
    const double p = m[pivot * n + k];
    if (p == 0) return 0;
    if (pivot != k) {
      for (int64_t j = k; j < n; ++j) std::swap(m[pivot * n + j], m[k * n + j]);
      result = -result;
    }
    result *= p;
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = m[i * n + k] / p;
      for (int64_t j = k + 1; j < n; ++j) m[i * n + j] -= factor * m[k * n + j];
    }
  }
  return result;
}

}  // namespace

Spec Det::infer(Specs in) const {
  Spec out = in[0];
  check<DTypeError>(is_floating(out.dtype), *this, "takes floating tensors, got ", out.dtype);
  const int n = out.shape.size();
  check<ShapeError>(n >= 2 && detail::may_equal(out.shape[n - 1], out.shape[n - 2]), *this,
                    "shape ", out.shape, " holds no square matrices");
  out.shape.resize(n - 2);
  return out;
}

void Det::cpu(Inputs in, Outputs out) const {
  const int64_t n = in[0].shape().back(), each = n * n;
  const Tensor x = detail::as_contiguous(in[0], f64);
  const Tensor y = out[0].dtype() == f64 ? out[0] : empty(out[0].shape(), f64);
  cpu::parallel_for(y.numel(), std::max<int64_t>(1, 16384 / std::max<int64_t>(1, each * n)),
                    [&](int64_t begin, int64_t end) {
                      std::vector<double> work(static_cast<size_t>(each));
                      for (int64_t i = begin; i < end; ++i) {
                        const double* m = x.data<double>() + i * each;
                        work.assign(m, m + each);
                        y.data<double>()[i] = determinant(work.data(), n);
                      }
                    });
  if (out[0].dtype() != f64) detail::copy_data(out[0], y);
}

Samples<Det> Det::samples() {
  return {.ok = {{{}, {{{3, 3}}}},
                 {{}, {{{2, 4, 5, 5}}}},
                 {{}, {{{1, 1}}}},
                 {{}, {{{3, 0, 0}}}},
                 {{}, {{{0, 2, 2}}}},
                 {{}, {sample::strided({2, 3, 3})}},
                 {{}, {sample::listed({3, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8})}},
                 {{}, {sample::listed({2, 2}, {0, 1, 1, 0})}}},
          .errors = {{{}, {{{3, 4}}}, "det(): shape [3, 4] holds no square matrices"},
                     {{}, {{{3, 3}, i64}}, "det(): takes floating tensors, got i64"}}};
}

}  // namespace tandem
