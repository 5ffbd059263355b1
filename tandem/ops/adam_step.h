#pragma once
#include "tandem/ops/update.h"

namespace tandem {

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or, `decoupled`, of AdamW (Loshchilov & Hutter
/// 2019): m = b1 m + (1-b1) g, v = b2 v + (1-b2) g^2,
/// p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps), with t = step + 1. With a third
/// state the largest v so far takes the place of v (AMSGrad, Reddi et al. 2018). Weight decay adds
/// `weight_decay * p` to g; decoupled, p shrinks by 1 - lr * weight_decay first.
/// Inputs: hyper [5] = (lr, b1, b2, eps, weight_decay), step [], p, g, m, v, v_max of one shape.
/// Outputs: p, m, v, v_max (empty without the input), step.
struct AdamStep {
  static constexpr std::string_view name = "adam_step";
  static constexpr std::string_view inputs =
      "hyper, step, p, g, exp_avg, exp_avg_sq, max_exp_avg_sq?";
  static constexpr int outputs = 5, min_states = 2, max_states = 3;
  static constexpr int hyper_size = 5;
  static constexpr std::string_view not_differentiable = "an update rule has no gradient";

  bool maximize = false;
  bool decoupled = false;
  static constexpr auto fields =
      Fields{field("maximize", &AdamStep::maximize), field("decoupled", &AdamStep::decoupled)};

  template <class T>
  struct Coefficients {
    T sign, decay, shrink, w1, b2, w2, root_correction, eps, minus_step;
    bool decays, early;
  };
  template <class T>
  Coefficients<T> coefficients(const double* h, double step) const {
    const double lr = h[0], b1 = h[1], b2 = h[2], decay = h[4];
    const double c1 = 1 - std::pow(b1, step), c2 = 1 - std::pow(b2, step);
    return {T(maximize ? -1 : 1),
            T(decay),
            T(decoupled ? 1 - lr * decay : 1),
            T(1 - b1),
            T(b2),
            T(1 - b2),
            T(std::sqrt(c2)),
            T(h[3]),
            T(-lr / c1),
            !decoupled && decay != 0,
            1 - b1 < 0.5};
  }

  template <int states, class T>
  TANDEM_FN static void element(const Coefficients<T>& c, T& p, T g, T& m, T& v, T& top) {
    g *= c.sign;
    g = c.decays ? g + c.decay * p : g;
    p *= c.shrink;
    m = c.early ? m + c.w1 * (g - m) : g - (g - m) * (1 - c.w1);
    v = v * c.b2 + c.w2 * g * g;
    T used = v;
    if constexpr (states > 2) used = top = top > v || top != top ? top : v;
    p += c.minus_step * m / (std::sqrt(used) / c.root_correction + c.eps);
  }

  std::vector<Spec> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<AdamStep> samples();
};

namespace detail {
template <>
TANDEM_API const UpdateRule& update_rule<AdamStep>();
}

}  // namespace tandem
