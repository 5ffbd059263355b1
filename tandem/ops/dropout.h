#pragma once
#include "tandem/core/random.h"
#include "tandem/op/op.h"

namespace tandem {

/// x / (1 - p) where a random bit of the key (see ops/random.h) falls, with probability 1 - p, and
/// 0 elsewhere (Srivastava et al. 2014, inverted). The mask is made from the key again in the
/// gradient, which is the same op.
struct Dropout {
  static constexpr std::string_view name = "dropout";
  static constexpr std::string_view inputs = "x, key";
  static constexpr IndexSet on_cpu{1};
  static constexpr Saves saves{.in = {1}, .out = {}};

  double p = 0.5;
  static constexpr auto fields = Fields{field("p", &Dropout::p)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<Dropout> samples();
};

/// `x` itself unless `training` and p > 0. Errors: ValueError unless 0 <= p <= 1, DTypeError for
/// integers.
TANDEM_API Tensor dropout(const Tensor& x, double p = 0.5, bool training = true,
                          Generator& generator = default_generator());

}  // namespace tandem
