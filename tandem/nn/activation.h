#pragma once
#include "tandem/nn/module.h"

// The elementwise functions, and softmax, as modules. Shapes stay as they are.

namespace tandem::nn {

/// max(x, 0).
struct TANDEM_API ReLU : Module<ReLU> {
  static constexpr Fields<> fields{};
  Tensor forward(const Tensor& x) const;
};

/// x, or negative_slope * x below 0.
struct TANDEM_API LeakyReLU : Module<LeakyReLU> {
  double negative_slope;

  explicit LeakyReLU(double negative_slope = 0.01) : negative_slope(negative_slope) {}
  static constexpr auto fields = Fields{field("negative_slope", &LeakyReLU::negative_slope)};
  Tensor forward(const Tensor& x) const;
};

/// x, or alpha * (e^x - 1) below 0 (Clevert et al. 2016).
struct TANDEM_API ELU : Module<ELU> {
  double alpha;

  explicit ELU(double alpha = 1.0) : alpha(alpha) {}
  static constexpr auto fields = Fields{field("alpha", &ELU::alpha)};
  Tensor forward(const Tensor& x) const;
};

/// x * Phi(x) (Hendrycks & Gimpel 2016); approximate: "none" or "tanh".
struct TANDEM_API GELU : Module<GELU> {
  std::string approximate;

  explicit GELU(std::string approximate = "none") : approximate(std::move(approximate)) {}
  static constexpr auto fields = Fields{field("approximate", &GELU::approximate)};
  Tensor forward(const Tensor& x) const;
};

/// x * sigmoid(x).
struct TANDEM_API SiLU : Module<SiLU> {
  static constexpr Fields<> fields{};
  Tensor forward(const Tensor& x) const;
};

/// log(1 + e^(beta x)) / beta, x itself where beta x is above the threshold.
struct TANDEM_API Softplus : Module<Softplus> {
  double beta;
  double threshold;

  explicit Softplus(double beta = 1.0, double threshold = 20.0)
      : beta(beta), threshold(threshold) {}
  static constexpr auto fields =
      Fields{field("beta", &Softplus::beta), field("threshold", &Softplus::threshold)};
  Tensor forward(const Tensor& x) const;
};

/// x cut to [min_val, max_val].
struct TANDEM_API Hardtanh : Module<Hardtanh> {
  double min_val;
  double max_val;

  explicit Hardtanh(double min_val = -1.0, double max_val = 1.0)
      : min_val(min_val), max_val(max_val) {}
  static constexpr auto fields =
      Fields{field("min_val", &Hardtanh::min_val), field("max_val", &Hardtanh::max_val)};
  Tensor forward(const Tensor& x) const;
};

/// The hyperbolic tangent.
struct TANDEM_API Tanh : Module<Tanh> {
  static constexpr Fields<> fields{};
  Tensor forward(const Tensor& x) const;
};

/// 1 / (1 + e^-x).
struct TANDEM_API Sigmoid : Module<Sigmoid> {
  static constexpr Fields<> fields{};
  Tensor forward(const Tensor& x) const;
};

/// e^x over its sum along `dim`.
struct TANDEM_API Softmax : Module<Softmax> {
  int64_t dim;

  explicit Softmax(int64_t dim = -1) : dim(dim) {}
  static constexpr auto fields = Fields{field("dim", &Softmax::dim)};
  Tensor forward(const Tensor& x) const;
};

/// The logarithm of softmax along `dim`.
struct TANDEM_API LogSoftmax : Module<LogSoftmax> {
  int64_t dim;

  explicit LogSoftmax(int64_t dim = -1) : dim(dim) {}
  static constexpr auto fields = Fields{field("dim", &LogSoftmax::dim)};
  Tensor forward(const Tensor& x) const;
};

}  // namespace tandem::nn
