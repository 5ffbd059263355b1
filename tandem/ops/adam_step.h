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
  static constexpr IndexSet on_cpu{0, 1};
  static constexpr int outputs = 5, min_states = 2, max_states = 3;
  static constexpr int hyper_size = 5;
  static constexpr std::string_view not_differentiable = "an update rule has no gradient";

  bool maximize = false;
  bool decoupled = false;
  static constexpr auto fields =
      Fields{field("maximize", &AdamStep::maximize), field("decoupled", &AdamStep::decoupled)};

  // All numbers: compilers do not vectorise a choice by a bool from outside the loop.
  template <class T>
  struct Coefficients {
    T sign, decay, shrink, w1, b2, w2, root_correction, eps, minus_step;
  };
  template <class T>
  Coefficients<T> coefficients(const double* h, double step) const {
    const double lr = h[0], b1 = h[1], b2 = h[2], decay = h[4];
    const double c1 = 1 - std::pow(b1, step), c2 = 1 - std::pow(b2, step);
    return {T(maximize ? -1 : 1),
            T(decoupled ? 0 : decay),
            T(decoupled ? 1 - lr * decay : 1),
            T(1 - b1),
            T(b2),
            T(1 - b2),
            T(std::sqrt(c2)),
            T(h[3]),
            T(-lr / c1)};
  }

  template <int states, class T>
  TANDEM_FN static void element(const Coefficients<T>& c, T& p, T g, T& m, T& v, T& top) {
    g *= c.sign;
    const T x = p, m0 = m;
    g = c.decay != 0 ? g + c.decay * x : g;
    const T m1 = c.w1 < T(0.5) ? m0 + c.w1 * (g - m0) : g - (g - m0) * (1 - c.w1);
    const T v1 = v * c.b2 + c.w2 * g * g;
    T used = v1;
    if constexpr (states > 2) {
      const T t = top;
      used = t > v1 || t != t ? t : v1;
      top = used;
    }
    m = m1;
    v = v1;
    p = x * c.shrink + c.minus_step * m1 / (std::sqrt(used) / c.root_correction + c.eps);
  }

  std::vector<Spec> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<AdamStep> samples();
};

}  // namespace tandem
