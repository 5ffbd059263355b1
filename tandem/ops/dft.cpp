#include "tandem/ops/dft.h"

#include <cmath>
#include <complex>
#include <memory>
#include <numbers>
#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/mul.h"

namespace tandem {

TANDEM_OP(Dft)
namespace {

using Complex = std::complex<double>;

Complex product(Complex a, Complex b) {  // without the library's care for infinities
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

/// Transforms of one length: by the length's prime factors, or, where one is large, as a
/// convolution of a length that is a power of two (Bluestein 1970).
class Transform {
 public:
  explicit Transform(int64_t n) : n_(n), roots_(roots(n)) {
    int64_t rest = n;
    for (int64_t p = 2; rest > 1 && p <= most_factor; ++p)
      for (; rest % p == 0; rest /= p) factors_.push_back(p);
    if (rest == 1) return;
    factors_.clear();
    int64_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    padded_ = std::make_unique<Transform>(m);
    chirp_.resize(size_t(n));
    for (int64_t k = 0; k < n; ++k) {  // e^(-pi i k^2 / n); k^2 modulo 2n keeps the digits
      const auto square = double(int64_t((__int128(k) * k) % (2 * n)));
      const double angle = -std::numbers::pi * square / double(n);
      chirp_[size_t(k)] = {std::cos(angle), std::sin(angle)};
    }
    std::vector<Complex> b(static_cast<size_t>(m));
    b[0] = std::conj(chirp_[0]);
    for (int64_t k = 1; k < n; ++k) b[size_t(k)] = b[size_t(m - k)] = std::conj(chirp_[size_t(k)]);
    filter_.resize(size_t(m));
    padded_->run(b.data(), filter_.data());
  }

  /// y[k] = sum of x[j] e^(-2 pi i j k / n).
  void run(const Complex* x, Complex* y) const {
    if (!padded_) return by_factors(x, y, n_, 1, 0);
    const auto m = size_t(padded_->n_);
    std::vector<Complex> a(m), b(m);
    for (size_t k = 0; k < size_t(n_); ++k) a[k] = product(x[k], chirp_[k]);
    padded_->run(a.data(), b.data());
    for (size_t k = 0; k < m; ++k) a[k] = std::conj(product(b[k], filter_[k]));
    padded_->run(a.data(), b.data());
    for (size_t k = 0; k < size_t(n_); ++k) y[k] = product(std::conj(b[k]) / double(m), chirp_[k]);
  }

 private:
  static constexpr int64_t most_factor = 61;

  static std::vector<Complex> roots(int64_t n) {
    std::vector<Complex> all(static_cast<size_t>(n));
    for (int64_t k = 0; k < n; ++k) {
      const double angle = -2 * std::numbers::pi * double(k) / double(n);
      all[size_t(k)] = {std::cos(angle), std::sin(angle)};
    }
    return all;
  }

  /// Every `step`-th of x, n numbers, by the factors from the given one on.
  void by_factors(const Complex* x, Complex* y, int64_t n, int64_t step, size_t factor) const {
    if (n == 1) {
      y[0] = x[0];
      return;
    }
    const int64_t p = factors_[factor], m = n / p;
    for (int64_t r = 0; r < p; ++r) by_factors(x + r * step, y + r * m, m, step * p, factor + 1);
    Complex part[most_factor], sum[most_factor];
    const int64_t unit = n_ / n;  // roots of n among those of the whole length
    for (int64_t k = 0; k < m; ++k) {
      if (p == 2) {
        const Complex a = y[k], b = product(y[m + k], roots_[size_t(k * unit)]);
        y[k] = a + b;
        y[m + k] = a - b;
        continue;
      }
      for (int64_t r = 0; r < p; ++r) part[r] = product(y[r * m + k], roots_[size_t(r * k * unit)]);
      for (int64_t q = 0; q < p; ++q) {
        sum[q] = part[0];
        for (int64_t r = 1; r < p; ++r)
          sum[q] += product(part[r], roots_[size_t(r * q % p * m * unit)]);
      }
      for (int64_t q = 0; q < p; ++q) y[q * m + k] = sum[q];
    }
  }

  int64_t n_;
  std::vector<Complex> roots_, chirp_, filter_;
  std::vector<int64_t> factors_;
  std::unique_ptr<Transform> padded_;
};

template <class T>
void transform(const T* x, T* y, const detail::AxisSplit& s, int64_t given, bool inverse) {
  const Transform along(s.n);
  const int64_t lines = s.outer * s.inner;
  cpu::parallel_for(lines, std::max<int64_t>(1, 4096 / s.n), [&](int64_t begin, int64_t end) {
    std::vector<Complex> from(static_cast<size_t>(s.n)), to(static_cast<size_t>(s.n));
    for (int64_t line = begin; line < end; ++line) {
      const int64_t o = line / s.inner, i = line % s.inner;
      for (int64_t j = 0; j < s.n; ++j) {
        const T* p = x + ((o * s.n + j) * s.inner + i) * 2;
        from[size_t(j)] = {double(p[0]), inverse ? -double(p[1]) : double(p[1])};
      }
      along.run(from.data(), to.data());
      const double scale = inverse ? 1 / double(s.n) : 1;
      for (int64_t j = 0; j < given; ++j) {
        T* p = y + ((o * given + j) * s.inner + i) * 2;
        p[0] = T(to[size_t(j)].real() * scale);
        p[1] = T((inverse ? -to[size_t(j)].imag() : to[size_t(j)].imag()) * scale);
      }
    }
  });
}

/// The axis among those before the last one.
int axis_of(const Dft& op, const Shape& shape) {
  const int a = check_axis(op, op.axis, shape);
  check<ShapeError>(shape.size() > 1 && detail::may_equal(shape.back(), 2), op,
                    "the last axis of shape ", shape, " does not hold real and imaginary parts");
  check<ShapeError>(a < shape.size() - 1, op, "axis ", op.axis,
                    " holds real and imaginary parts in shape ", shape);
  return a;
}

}  // namespace

Spec Dft::infer(Specs in) const {
  check<DTypeError>(is_floating(in[0].dtype), *this, "takes floating tensors, got ", in[0].dtype);
  const int a = axis_of(*this, in[0].shape);
  Spec out = in[0];
  check<ShapeError>(detail::may_be_less(0, out.shape[a]), *this, "axis ", a, " of shape ",
                    out.shape, " is empty");
  if (onesided) out.shape[a] = out.shape[a] / 2 + 1;
  return out;
}

void Dft::cpu(Inputs in, Outputs out) const {
  const DType d = out[0].dtype(), compute = d == f64 ? f64 : f32;
  const Tensor x = detail::as_contiguous(in[0], compute);
  const Tensor y = d == compute ? out[0] : empty(out[0].shape(), compute);
  const int a = axis_of(*this, x.shape());
  Shape lines = x.shape();
  lines.resize(lines.size() - 1);
  const detail::AxisSplit s(lines, a);
  const int64_t given = y.shape()[a];
  if (compute == f64) transform(x.data<double>(), y.data<double>(), s, given, inverse);
  else transform(x.data<float>(), y.data<float>(), s, given, inverse);
  if (d != compute) detail::copy_data(out[0], y);
}

/// The transposed map of a multiplication by w is one by its conjugate: the other transform.
Tensors Dft::vjp(const Saved& s, const Tensor& dy) const {
  const Shape& shape = s.shape(0);
  const int a = axis_of(*this, shape);
  Tensor all = dy;
  if (onesided) {
    Shape more;
    for (int i = shape.size() - 1; i > a; --i) more.push_back(0), more.push_back(0);
    more.push_back(0), more.push_back(shape[a] - dy.shape()[a]);
    all = pad(dy, more);
  }
  const Number n = shape[a];
  return {dft(all, {.axis = a, .inverse = !inverse}) * (inverse ? 1 / n : n)};
}

Samples<Dft> Dft::samples() {
  return {.ok = {{{}, {{{8, 2}}}},
                 {{}, {{{3, 12, 2}}}},
                 {{.axis = 0}, {{{5, 3, 2}}}},
                 {{.inverse = true}, {{{2, 15, 2}}}},
                 {{.onesided = true}, {{{2, 9, 2}}}},
                 {{.inverse = true, .onesided = true}, {{{6, 2}}}},
                 {{}, {{{67, 2}}}, false},
                 {{.axis = 1}, {{{2, 134, 1, 2}}}, false},
                 {{}, {sample::strided({4, 6, 2})}},
                 {{}, {{{1, 2}}}},
                 {{}, {{{0, 4, 2}}}}},
          .errors = {{{},
                      {{{4, 3}}},
                      "dft(axis=-2, inverse=false, onesided=false): the last axis of "
                      "shape [4, 3] does not hold real and imaginary parts"},
                     {{.axis = 1},
                      {{{4, 2}}},
                      "dft(axis=1, inverse=false, onesided=false): axis 1 "
                      "holds real and imaginary parts in shape [4, 2]"},
                     {{},
                      {{{4, 2}, i64}},
                      "dft(axis=-2, inverse=false, onesided=false): takes "
                      "floating tensors, got i64"}}};
}

}  // namespace tandem
