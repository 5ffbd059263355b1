#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// Kullback-Leibler divergence, elementwise: target (log(target) - x) for log-probabilities x, 0
/// where the target is 0; with log_target: e^target (target - x). reduction "mean" averages over
/// all elements, "batchmean" divides the sum by x's first size, "sum" adds, "none" keeps them.
/// Errors: ValueError for another word, ShapeError unless the shapes broadcast.
struct KlDiv {
  static constexpr std::string_view name = "kl_div";
  static constexpr std::string_view inputs = "x, target";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr bool broadcasts = true;
  static constexpr bool batchmean = true;

  std::string reduction = "mean";
  bool log_target = false;
  static constexpr auto fields =
      Fields{field("reduction", &KlDiv::reduction), field("log_target", &KlDiv::log_target)};

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<KlDiv> samples();
};

inline Tensor kl_div(const Tensor& x, const Tensor& target, std::string_view reduction = "mean",
                     bool log_target = false) {
  return apply(KlDiv{.reduction = std::string(reduction), .log_target = log_target}, {x, target});
}

}  // namespace tandem
