#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// -weight (pos_weight t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))) for logits x and targets t,
/// in a form that never overflows. weight and pos_weight are optional and broadcast to x; the
/// target has x's shape. reduction "mean" averages over all elements, "sum" adds, "none" keeps
/// them. Errors: ValueError for another word, ShapeError for other shapes.
struct BinaryCrossEntropyWithLogits {
  static constexpr std::string_view name = "binary_cross_entropy_with_logits";
  static constexpr std::string_view inputs = "x, target, weight?, pos_weight?";
  static constexpr Saves saves{.in = {0, 1, 2, 3}, .out = {}};
  static constexpr Result result = Result::floating;

  std::string reduction = "mean";
  static constexpr auto fields =
      Fields{field("reduction", &BinaryCrossEntropyWithLogits::reduction)};

  template <class A>
  TANDEM_FN A point(A x, A target, A weight, A pos_weight) const {
    const A minus = x < A(0) ? -x : A(0);  // max(-x, 0)
    const A log_term = math::log1p(math::exp(-math::abs(x))) + minus;
    using lanes::select, math::detail::select;
    const A by_target = select(pos_weight == A(1), A(1), (pos_weight - A(1)) * target + A(1));
    return weight * ((A(1) - target) * x + by_target * log_term);
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<BinaryCrossEntropyWithLogits> samples();
};

/// The gradient with respect to x: dy * scale * (sigmoid(x) (1 + (p - 1) t) - p t), p = pos_weight;
/// dy already holds the weight.
struct BinaryCrossEntropyWithLogitsGrad {
  static constexpr std::string_view name = "binary_cross_entropy_with_logits_grad";
  static constexpr std::string_view inputs = "dy, x, target, pos_weight";
  static constexpr Saves saves{.in = {0, 1, 2, 3}, .out = {}};
  static constexpr Result result = Result::floating;

  Number scale = 1;
  static constexpr auto fields = Fields{field("scale", &BinaryCrossEntropyWithLogitsGrad::scale)};

  template <class A>
  TANDEM_FN A point(A dy, A x, A target, A pos_weight) const {
    using lanes::select, math::detail::select;
    const A by_target = select(pos_weight == A(1), A(1), (pos_weight - A(1)) * target + A(1));
    return dy * A(scale) * (math::sigmoid(x) * by_target - pos_weight * target);
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<BinaryCrossEntropyWithLogitsGrad> samples();
};

struct BCEWithLogitsLossOptions {
  ByName by_name = ByName();
  Tensor weight = {};              ///< of each element, broadcast
  Tensor pos_weight = {};          ///< of targets that are 1, broadcast
  std::string reduction = "mean";  ///< or "sum", "none"
};
inline Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target,
                                               const BCEWithLogitsLossOptions& o = {}) {
  return apply(BinaryCrossEntropyWithLogits{.reduction = o.reduction},
               {x, target, o.weight, o.pos_weight});
}

}  // namespace tandem
