#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = x - target. Girshick 2015,
/// arXiv:1504.08083. reduction "mean" averages over all elements, "sum" adds,
/// "none" keeps them. Errors: ValueError for
/// another word or a negative beta, ShapeError unless the shapes broadcast.
struct SmoothL1Loss {
  static constexpr std::string_view name = "smooth_l1_loss";
  static constexpr std::string_view inputs = "x, target";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;

  std::string reduction = "mean";
  double beta = 1;
  static constexpr auto fields =
      Fields{field("reduction", &SmoothL1Loss::reduction), field("beta", &SmoothL1Loss::beta)};

  template <class A>
  TANDEM_FN A point(A x, A target) const {
    const A d = math::abs(x - target);
    return d < A(beta) ? A(0.5) * d * d / A(beta) : d - A(0.5 * beta);
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SmoothL1Loss> samples();
};

/// The gradient of smooth_l1_loss with respect to x: dy * scale * d / beta, or the sign of d where
/// |d| is at least beta.
struct SmoothL1LossGrad {
  static constexpr std::string_view name = "smooth_l1_loss_grad";
  static constexpr std::string_view inputs = "dy, x, target";
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};
  static constexpr Result result = Result::floating;

  Number scale = 1;
  double beta = 1;
  static constexpr auto fields =
      Fields{field("scale", &SmoothL1LossGrad::scale), field("beta", &SmoothL1LossGrad::beta)};

  template <class A>
  TANDEM_FN A point(A dy, A x, A target) const {
    const A d = x - target;
    const A sign = A(d > A(0)) - A(d < A(0));
    // NaN stays NaN; without a beta it is l1_loss, where NaN has no sign.
    const A slope = ((math::abs(d) >= A(beta)) | (A(beta) == A(0))) ? sign : d / A(beta);
    return dy * (slope * A(scale));
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<SmoothL1LossGrad> samples();
};

inline Tensor smooth_l1_loss(const Tensor& x, const Tensor& target,
                             std::string_view reduction = "mean", double beta = 1) {
  return apply(SmoothL1Loss{.reduction = std::string(reduction), .beta = beta}, {x, target});
}

}  // namespace tandem
