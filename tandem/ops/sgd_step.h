#pragma once
#include "tandem/ops/update.h"

namespace tandem {

/// One step of stochastic gradient descent: with momentum, buf = momentum * buf + (1 - dampening) *
/// g (buf = g at step 0) and p -= lr * buf, or, `nesterov`, p -= lr * (g + momentum * buf)
/// (Sutskever et al. 2013). Weight decay adds `weight_decay * p` to g.
/// Inputs: hyper [4] = (lr, momentum, dampening, weight_decay), step [], p, g, buf of one shape.
/// Outputs: p, buf (empty without the input), step.
struct SgdStep {
  static constexpr std::string_view name = "sgd_step";
  static constexpr std::string_view inputs = "hyper, step, p, g, momentum_buffer?";
  static constexpr IndexSet on_cpu{0, 1};
  static constexpr int outputs = 3, min_states = 0, max_states = 1;
  static constexpr int hyper_size = 4;
  static constexpr std::string_view not_differentiable = "an update rule has no gradient";

  bool nesterov = false;
  bool maximize = false;
  static constexpr auto fields =
      Fields{field("nesterov", &SgdStep::nesterov), field("maximize", &SgdStep::maximize)};

  // All numbers: compilers do not vectorise a choice by a bool from outside the loop.
  template <class T>
  struct Coefficients {
    T sign, decay, momentum, keep, fresh, minus_lr, nesterov;
  };
  template <class T>
  Coefficients<T> coefficients(const double* h, double step) const {
    const bool first = step <= 1;
    return {T(maximize ? -1 : 1),    T(h[3]),  T(h[1]),    T(first ? 0 : h[1]),
            T(first ? 1 : 1 - h[2]), T(-h[0]), T(nesterov)};
  }

  template <int states, class T>
  TANDEM_FN static void element(const Coefficients<T>& c, T& p, T g, T& buf, T&, T&) {
    g *= c.sign;
    const T x = p;
    g = c.decay != 0 ? g + c.decay * x : g;
    if constexpr (states > 0) {
      const T moved = buf * c.keep + c.fresh * g;
      buf = moved;
      g = c.nesterov != 0 ? g + c.momentum * moved : moved;
    }
    p = x + c.minus_lr * g;
  }

  std::vector<Spec> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<SgdStep> samples();
};

}  // namespace tandem
