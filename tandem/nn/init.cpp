#include "tandem/nn/init.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/core/factory.h"
#include "tandem/op/tape.h"
#include "tandem/ops/random.h"
#include "tandem/ops/range.h"

namespace tandem::nn::init {

Fan calculate_fan(const Tensor& weight) {
  const Shape& s = weight.shape();
  require<ShapeError>(s.size() >= 2, "calculate_fan(): needs at least two axes, got shape ", s);
  int64_t field = 1;
  for (int i = 2; i < s.size(); ++i) field *= s[i];
  return {s[1] * field, s[0] * field};
}

double calculate_gain(std::string_view f, double param) {
  if (f == "linear" || f == "sigmoid" || f.starts_with("conv")) return 1;
  if (f == "tanh") return 5.0 / 3;
  if (f == "relu") return std::sqrt(2.0);
  if (f == "leaky_relu") return std::sqrt(2 / (1 + param * param));
  if (f == "selu") return 0.75;
  throw ValueError(cat("calculate_gain(\"", f, "\"): unknown nonlinearity"));
}

Tensor uniform_(const Tensor& t, double low, double high) {
  const NoGrad guard;
  return tandem::uniform_(t, low, high);
}

Tensor normal_(const Tensor& t, double mean, double std) {
  const NoGrad guard;
  return tandem::normal_(t, mean, std);
}

Tensor constant_(const Tensor& t, double value) {
  const NoGrad guard;
  Tensor to = t;
  return to.fill_(value);
}

Tensor eye_(const Tensor& t) {
  require<ShapeError>(t.dim() == 2, "eye_(): needs two axes, got shape ", t.shape());
  const NoGrad guard;
  Tensor to = t;
  return to.copy_(eye(t.size(0), t.size(1)));
}

namespace {

/// By bisection: exact enough, and only used to fill weights.
double inverse_erf(double y) {
  double low = -6, high = 6;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erf(middle) < y ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

Tensor trunc_normal_(const Tensor& t, double mean, double std, double low, double high) {
  require(low < high && std > 0, "trunc_normal_(): needs low < high and std > 0, got ", low, ", ",
          high, " and ", std);
  const NoGrad guard;
  const Tensor draws =
      tandem::uniform_(empty(t.shape(), f64), std::erf((low - mean) / std / M_SQRT2),
                       std::erf((high - mean) / std / M_SQRT2));
  for (double& v : draws.span<double>())
    v = std::clamp(mean + std * M_SQRT2 * inverse_erf(v), low, high);
  Tensor to = t;
  return to.copy_(draws);
}

Tensor xavier_uniform_(const Tensor& t, double gain) {
  const Fan fan = calculate_fan(t);
  const double b = gain * std::sqrt(6.0 / double(fan.in + fan.out));
  return init::uniform_(t, -b, b);
}

Tensor xavier_normal_(const Tensor& t, double gain) {
  const Fan fan = calculate_fan(t);
  return init::normal_(t, 0, gain * std::sqrt(2.0 / double(fan.in + fan.out)));
}

namespace {

double kaiming_std(const Tensor& t, const KaimingOptions& o) {
  require(o.mode == "fan_in" || o.mode == "fan_out",
          "kaiming: mode must be fan_in or fan_out, got ", o.mode);
  const Fan fan = calculate_fan(t);
  const int64_t n = o.mode == "fan_in" ? fan.in : fan.out;
  return n == 0 ? 0 : calculate_gain(o.nonlinearity, o.a) / std::sqrt(double(n));
}

}  // namespace

Tensor kaiming_uniform_(const Tensor& t, KaimingOptions options) {
  const double b = std::sqrt(3.0) * kaiming_std(t, options);
  return init::uniform_(t, -b, b);
}

Tensor kaiming_normal_(const Tensor& t, KaimingOptions options) {
  return init::normal_(t, 0, kaiming_std(t, options));
}

Tensor orthogonal_(const Tensor& t, double gain) {
  require<ShapeError>(t.dim() >= 2, "orthogonal_(): needs at least two axes, got shape ",
                      t.shape());
  if (t.numel() == 0) return t;
  const NoGrad guard;
  const int64_t rows = t.size(0), columns = t.numel() / rows;
  const int64_t n = std::min(rows, columns), length = std::max(rows, columns);
  // The vectors lie as rows of v. Gram-Schmidt twice over is orthogonal to the last bits, and is
  // the QR decomposition with a positive diagonal of R: the distribution is uniform.
  const Tensor drawn = tandem::normal_(empty({n, length}, f64));
  double* v = drawn.data<double>();
  for (int64_t i = 0; i < n; ++i) {
    double* a = v + i * length;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t j = 0; j < i; ++j) {
        const double* b = v + j * length;
        double dot = 0;
        for (int64_t k = 0; k < length; ++k) dot += a[k] * b[k];
        for (int64_t k = 0; k < length; ++k) a[k] -= dot * b[k];
      }
    double norm = 0;
    for (int64_t k = 0; k < length; ++k) norm += a[k] * a[k];
    const double scale = 1 / std::sqrt(norm);
    for (int64_t k = 0; k < length; ++k) a[k] *= scale;
  }
  const Tensor out = empty({rows, columns}, f64);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out.data<double>()[r * columns + c] =
          gain * (rows <= columns ? v[r * length + c] : v[c * length + r]);
  Tensor to = t;
  return to.copy_(out.reshape(t.shape()));
}

}  // namespace tandem::nn::init
