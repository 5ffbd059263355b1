#include "tandem/ops/inverse.h"

#include <atomic>
#include <cmath>
#include <utility>
#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/tril.h"

namespace tandem {

TANDEM_OP(Inverse)
TANDEM_OP(Cholesky)
namespace {

template <class O>
Spec of_square(const O& op, const Spec& x) {
  check<DTypeError>(is_floating(x.dtype), op, "takes floating tensors, got ", x.dtype);
  const int n = x.shape.size();
  check<ShapeError>(n >= 2 && detail::may_equal(x.shape[n - 1], x.shape[n - 2]), op, "shape ",
                    x.shape, " holds no square matrices");
  return x;
}

/// f(from, to, n) for each row-major matrix, in f64; the first for which it is false.
template <class F>
int64_t each_matrix(const Tensor& x, const Tensor& y, const F& f) {
  const int64_t n = x.shape().back(), each = n * n;
  const Tensor from = detail::as_contiguous(x, f64);
  const Tensor to = y.dtype() == f64 ? y : empty(y.shape(), f64);
  const int64_t count = each > 0 ? int64_t(x.numel()) / each : 0;
  std::atomic<int64_t> bad{count};
  cpu::parallel_for(count, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, each * n)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) {
                        if (f(from.data<double>() + i * each, to.data<double>() + i * each, n))
                          continue;
                        int64_t first = bad;
                        while (i < first && !bad.compare_exchange_weak(first, i)) {}
                      }
                    });
  if (y.dtype() != f64) detail::copy_data(y, to);
  return bad < count ? int64_t(bad) : -1;
}

/// Gauss and Jordan, with the largest pivot of each column.
bool invert(const double* from, double* to, int64_t n) {
  std::vector<double> work(from, from + n * n);
  double* m = work.data();
  for (int64_t i = 0; i < n * n; ++i) to[i] = 0;
  for (int64_t i = 0; i < n; ++i) to[i * n + i] = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(m[i * n + k]) > std::abs(m[pivot * n + k])) pivot = i;
    const double p = m[pivot * n + k];
    if (p == 0) return false;
    for (int64_t j = 0; j < n; ++j) {
      if (pivot != k) {
        std::swap(m[pivot * n + j], m[k * n + j]);
        std::swap(to[pivot * n + j], to[k * n + j]);
      }
      m[k * n + j] /= p;
      to[k * n + j] /= p;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = m[i * n + k];
      if (i == k || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        m[i * n + j] -= factor * m[k * n + j];
        to[i * n + j] -= factor * to[k * n + j];
      }
    }
  }
  return true;
}

/// Row by row (Cholesky and Banachiewicz).
bool factorise(const double* from, double* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double& l = to[i * n + j] = 0;
      if (j > i) continue;
      double rest = from[i * n + j];
      for (int64_t k = 0; k < j; ++k) rest -= to[i * n + k] * to[j * n + k];
      if (i == j && !(rest > 0)) return false;
      l = i == j ? std::sqrt(rest) : rest / to[j * n + j];
    }
  }
  return true;
}

Tensor transposed(const Tensor& x) { return transpose(x, -2, -1); }

}  // namespace

Spec Inverse::infer(Specs in) const { return of_square(*this, in[0]); }
void Inverse::cpu(Inputs in, Outputs out) const {
  const int64_t bad = each_matrix(in[0], out[0], invert);
  check(bad < 0, *this, "matrix ", bad, " is singular");
}
Tensors Inverse::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor y = transposed(s.out());
  return {neg(matmul(matmul(y, dy), y))};
}

Spec Cholesky::infer(Specs in) const { return of_square(*this, in[0]); }
void Cholesky::cpu(Inputs in, Outputs out) const {
  const int64_t bad = each_matrix(in[0], out[0], factorise);
  check(bad < 0, *this, "matrix ", bad, " is not positive definite");
}
/// Murray, arXiv 1602.07527: with P the lower triangle whose diagonal is halved, the gradient is
/// the symmetric part of L^-T P(L^T dL) L^-1.
Tensors Cholesky::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor l = s.out(), inverted = inverse(l);
  const Tensor product = matmul(transposed(l), tril(dy));
  const Tensor p = (tril(product) + tril(product, -1)) * 0.5;
  const Tensor g = matmul(matmul(transposed(inverted), p), inverted);
  return {(g + transposed(g)) * 0.5};
}

Samples<Inverse> Inverse::samples() {
  return {
      .ok = {{{}, {sample::listed({2, 2}, {2, 1, -1, 3})}},
             {{}, {sample::listed({3, 3}, {0, 1, 2, 3, 0.5, -1, 1, 0, 2})}},
             {{}, {sample::listed({2, 2, 2}, {4, 1, 2, 3, 0, 1, 1, 0})}},
             {{}, {sample::listed({1, 1}, {-2})}},
             {{}, {{{0, 2, 2}}}},
             {{}, {{{3, 0, 0}}}}},
      .errors = {{{}, {{{3, 4}}}, "inverse(): shape [3, 4] holds no square matrices"},
                 {{}, {{{3, 3}, i64}}, "inverse(): takes floating tensors, got i64"},
                 {{}, {sample::listed({2, 2}, {1, 2, 2, 4})}, "inverse(): matrix 0 is singular"}}};
}

Samples<Cholesky> Cholesky::samples() {
  return {.ok = {{{}, {sample::listed({2, 2}, {4, 1, 1, 3})}, false},
                 {{}, {sample::listed({3, 3}, {4, 2, 1, 2, 5, 3, 1, 3, 6})}, false},
                 {{}, {sample::listed({2, 2, 2}, {4, 1, 1, 3, 2, -1, -1, 2})}, false},
                 {{}, {sample::listed({1, 1}, {9})}},
                 {{}, {{{0, 2, 2}}}},
                 {{}, {{{3, 0, 0}}}}},
          .errors = {{{}, {{{3, 4}}}, "cholesky(): shape [3, 4] holds no square matrices"},
                     {{}, {{{3, 3}, i64}}, "cholesky(): takes floating tensors, got i64"},
                     {{},
                      {sample::listed({2, 2}, {1, 2, 2, 1})},
                      "cholesky(): matrix 0 is not positive definite"}}};
}

}  // namespace tandem
