#pragma once
#include "tandem/ops/update.h"

namespace tandem {

/// One step of RMSprop (Hinton 2012, lecture 6e): a = alpha a + (1 - alpha) g^2,
/// p -= lr * g / (sqrt(a) + eps). `centered` subtracts the squared mean gradient under the root
/// (Graves 2013); `with_momentum` gathers the quotients in a buffer, buf = momentum * buf +
/// quotient. Inputs: hyper [5] = (lr, alpha, eps, weight_decay, momentum), step [], p, g, a, then
/// the mean gradient if centered, then the buffer if with_momentum. Outputs: p, the states, step.
struct RmspropStep {
  static constexpr std::string_view name = "rmsprop_step";
  static constexpr std::string_view inputs = "hyper, step, p, g, square_avg, state1?, state2?";
  static constexpr IndexSet on_cpu{0, 1};
  static constexpr int outputs = 5, min_states = 1, max_states = 3;
  static constexpr int hyper_size = 5;
  static constexpr std::string_view not_differentiable = "an update rule has no gradient";

  bool centered = false;
  bool with_momentum = false;
  bool maximize = false;
  static constexpr auto fields = Fields{field("centered", &RmspropStep::centered),
                                        field("with_momentum", &RmspropStep::with_momentum),
                                        field("maximize", &RmspropStep::maximize)};

  // All numbers: compilers do not vectorise a choice by a bool from outside the loop.
  template <class T>
  struct Coefficients {
    T sign, decay, alpha, fresh, eps, momentum, minus_lr, centered;
  };
  template <class T>
  Coefficients<T> coefficients(const double* h, double) const {
    return {T(maximize ? -1 : 1), T(h[3]), T(h[1]), T(1 - h[1]), T(h[2]), T(h[4]), T(-h[0]),
            T(centered)};
  }

  template <int states, class T>
  TANDEM_FN static void element(const Coefficients<T>& c, T& p, T g, T& a, T& s1, T& s2) {
    g *= c.sign;
    const T x = p;
    g = c.decay != 0 ? g + c.decay * x : g;
    const T square = a * c.alpha + c.fresh * g * g;
    a = square;
    if constexpr (states == 1) {
      p = x + c.minus_lr * g / (std::sqrt(square) + c.eps);
      return;
    }
    const T before = s1;
    const T mean =
        c.fresh < T(0.5) ? before + c.fresh * (g - before) : g - (g - before) * (1 - c.fresh);
    if constexpr (states == 2) {  // either the mean gradient or the buffer
      const T root = std::sqrt(c.centered != 0 ? square - mean * mean : square) + c.eps;
      const T moved = before * c.momentum + g / root;
      s1 = c.centered != 0 ? mean : moved;
      p = x + (c.centered != 0 ? c.minus_lr * g / root : c.minus_lr * moved);
    } else if constexpr (states == 3) {
      const T moved = s2 * c.momentum + g / (std::sqrt(square - mean * mean) + c.eps);
      s1 = mean;
      s2 = moved;
      p = x + c.minus_lr * moved;
    }
  }

  std::vector<Spec> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  static Samples<RmspropStep> samples();
};

}  // namespace tandem
