#pragma once
#include "tandem/ops/update.h"

namespace tandem {

/// One step of Adagrad (Duchi et al. 2011): s += g^2, p -= lr / (1 + step * lr_decay) * g /
/// (sqrt(s) + eps). Weight decay adds `weight_decay * p` to g. Inputs: hyper [4] = (lr, lr_decay,
/// weight_decay, eps), step [], p, g, s of one shape. Outputs: p, s, step.
struct AdagradStep {
  static constexpr std::string_view name = "adagrad_step";
  static constexpr std::string_view inputs = "hyper, step, p, g, sum";
  static constexpr IndexSet on_cpu{0, 1};
  static constexpr int outputs = 3, min_states = 1, max_states = 1;
  static constexpr int hyper_size = 4;
  static constexpr std::string_view not_differentiable = "an update rule has no gradient";

  bool maximize = false;
  static constexpr auto fields = Fields{field("maximize", &AdagradStep::maximize)};

  // All numbers: compilers do not vectorise a choice by a bool from outside the loop.
  template <class T>
  struct Coefficients {
    T sign, decay, eps, minus_lr;
  };
  template <class T>
  Coefficients<T> coefficients(const double* h, double step) const {
    return {T(maximize ? -1 : 1), T(h[2]), T(h[3]), T(-h[0] / (1 + (step - 1) * h[1]))};
  }

  template <int states, class T>
  TANDEM_FN static void element(const Coefficients<T>& c, T& p, T g, T& s, T&, T&) {
    g *= c.sign;
    const T x = p;
    g = c.decay != 0 ? g + c.decay * x : g;
    const T sum = s + g * g;
    s = sum;
    p = x + c.minus_lr * g / (std::sqrt(sum) + c.eps);
  }

  std::vector<Spec> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<AdagradStep> samples();
};

}  // namespace tandem
