#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// softmax(x)_i = exp(x_i) / sum_j exp(x_j) along `axis`, safe for large x.
struct Softmax {
  static constexpr std::string_view name = "softmax";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"Softmax", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};

  int64_t axis = -1;
  static constexpr auto fields = Fields{field("axis", &Softmax::axis)};

  template <class Team, class T>
  TANDEM_FN void row(Team team, const T* x, T* y, int64_t n) const {
    const T top = team.max(n, [=](int64_t i) { return x[i]; });
    const T total = team.sum(n, [=](int64_t i) {
      const T e = math::exp(x[i] - top);
      y[i] = e;
      return e;
    });
    const T scale = T(1) / total;
    team.each(n, [=](int64_t i) { y[i] *= scale; });
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Softmax> samples();
};

/// The gradient of softmax: y (dy - sum(y dy)) along `axis`.
struct SoftmaxGrad {
  static constexpr std::string_view name = "softmax_grad";
  static constexpr std::string_view inputs = "y, dy";
  static constexpr bool by_rows = true;
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  int64_t axis = -1;
  static constexpr auto fields = Fields{field("axis", &SoftmaxGrad::axis)};

  template <class Team, class T>
  TANDEM_FN void row(Team team, const T* y, const T* dy, T* dx, int64_t n) const {
    const T dot = team.sum(n, [=](int64_t i) { return y[i] * dy[i]; });
    team.each(n, [=](int64_t i) { dx[i] = y[i] * (dy[i] - dot); });
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SoftmaxGrad> samples();
};

/// log(softmax(x)) = x - log(sum_j exp(x_j)) along `axis`, safe for large x.
struct LogSoftmax {
  static constexpr std::string_view name = "log_softmax";
  static constexpr std::string_view inputs = "x";
  static constexpr bool by_rows = true;
  static constexpr OnnxRule onnx{"LogSoftmax", 13};
  static constexpr Saves saves{.in = {}, .out = {0}};

  int64_t axis = -1;
  static constexpr auto fields = Fields{field("axis", &LogSoftmax::axis)};

  template <class Team, class T>
  TANDEM_FN void row(Team team, const T* x, T* y, int64_t n) const {
    const T top = team.max(n, [=](int64_t i) { return x[i]; });
    const T total = team.sum(n, [=](int64_t i) { return math::exp(x[i] - top); });
    const T log_total = math::log(total);
    team.each(n, [=](int64_t i) { y[i] = (x[i] - top) - log_total; });
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<LogSoftmax> samples();
};

/// The gradient of log_softmax: dy - exp(y) sum(dy) along `axis`.
struct LogSoftmaxGrad {
  static constexpr std::string_view name = "log_softmax_grad";
  static constexpr std::string_view inputs = "y, dy";
  static constexpr bool by_rows = true;
  static constexpr Saves saves{.in = {0, 1}, .out = {}};

  int64_t axis = -1;
  static constexpr auto fields = Fields{field("axis", &LogSoftmaxGrad::axis)};

  template <class Team, class T>
  TANDEM_FN void row(Team team, const T* y, const T* dy, T* dx, int64_t n) const {
    const T total = team.sum(n, [=](int64_t i) { return dy[i]; });
    team.each(n, [=](int64_t i) { dx[i] = dy[i] - math::exp(y[i]) * total; });
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<LogSoftmaxGrad> samples();
};

/// exp(x) / sum(exp(x)) along `axis`; `dtype` casts x first, as integers need. Errors: IndexError
/// for the axis, DTypeError for integers.
TANDEM_API Tensor softmax(const Tensor& x, int64_t axis, std::optional<DType> dtype = {});
/// log(softmax(x)) along `axis`; arguments and errors as `softmax`.
TANDEM_API Tensor log_softmax(const Tensor& x, int64_t axis, std::optional<DType> dtype = {});

}  // namespace tandem
