#pragma once
#include <cstdint>
#include <string_view>

#include "tandem/core/by_name.h"
#include "tandem/core/random.h"
#include "tandem/core/tensor.h"

/// Fills tensors with starting values, in place and without history; each gives its tensor back.
namespace tandem::nn::init {

struct Fan {
  int64_t in, out;
};
/// Inputs and outputs of one unit: for a weight [out, in, k...], in * k and out * k.
/// Errors: ShapeError below two axes.
TANDEM_API Fan calculate_fan(const Tensor& weight);
/// The factor that keeps the variance behind a nonlinearity: "linear", "conv2d", "sigmoid" 1,
/// "tanh" 5/3, "relu" sqrt(2), "leaky_relu" sqrt(2 / (1 + param^2)) (param 0.01 unless given),
/// "selu" 3/4. Errors: ValueError for other words.
TANDEM_API double calculate_gain(std::string_view nonlinearity, double param = 0.01);

/// U(low, high)
TANDEM_API Tensor uniform_(const Tensor& t, double low = 0, double high = 1);
/// N(mean, std^2)
TANDEM_API Tensor normal_(const Tensor& t, double mean = 0, double std = 1);
/// N(mean, std^2) cut to [low, high], by the inverse of its distribution function.
TANDEM_API Tensor trunc_normal_(const Tensor& t, double mean = 0, double std = 1, double low = -2,
                                double high = 2);
TANDEM_API Tensor constant_(const Tensor& t, double value);
inline Tensor zeros_(const Tensor& t) { return constant_(t, 0); }
inline Tensor ones_(const Tensor& t) { return constant_(t, 1); }
/// The identity matrix. Errors: ShapeError for other than two axes.
TANDEM_API Tensor eye_(const Tensor& t);

/// U(-b, b), b = gain * sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010).
TANDEM_API Tensor xavier_uniform_(const Tensor& t, double gain = 1);
/// N(0, s^2), s = gain * sqrt(2 / (fan_in + fan_out)).
TANDEM_API Tensor xavier_normal_(const Tensor& t, double gain = 1);

struct KaimingOptions {
  ByName by_name = ByName();
  double a = 0;                      ///< slope of the leaky ReLU behind the layer
  std::string_view mode = "fan_in";  ///< or "fan_out"
  std::string_view nonlinearity = "leaky_relu";
};
/// U(-b, b), b = gain * sqrt(3 / fan): variance scaling (He et al. 2015).
TANDEM_API Tensor kaiming_uniform_(const Tensor& t, KaimingOptions options = {});
/// N(0, s^2), s = gain / sqrt(fan).
TANDEM_API Tensor kaiming_normal_(const Tensor& t, KaimingOptions options = {});
/// Rows (or columns, whichever are fewer) of length `gain` at right angles (Saxe et al. 2014); axes
/// after the first count as one. Errors: ShapeError below two axes.
TANDEM_API Tensor orthogonal_(const Tensor& t, double gain = 1);

}  // namespace tandem::nn::init
