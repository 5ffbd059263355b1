#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// |x - target|, broadcast; reduction "mean" averages over all elements, "sum" adds,
/// "none" keeps them. Errors: ValueError for another word, ShapeError unless the shapes broadcast.
struct L1Loss {
  static constexpr std::string_view name = "l1_loss";
  static constexpr std::string_view inputs = "x, target";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;

  std::string reduction = "mean";
  static constexpr auto fields = Fields{field("reduction", &L1Loss::reduction)};

  template <class A>
  TANDEM_FN A point(A x, A target) const {
    return math::abs(x - target);
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<L1Loss> samples();
};

/// The gradient of l1_loss with respect to x: dy * sign(x - target) * scale.
struct L1LossGrad {
  static constexpr std::string_view name = "l1_loss_grad";
  static constexpr std::string_view inputs = "dy, x, target";
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};
  static constexpr Result result = Result::floating;

  Number scale = 1;
  static constexpr auto fields = Fields{field("scale", &L1LossGrad::scale)};

  template <class A>
  TANDEM_FN A point(A dy, A x, A target) const {
    const A d = x - target;
    return dy * ((A(d > A(0)) - A(d < A(0))) * A(scale));
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<L1LossGrad> samples();
};

inline Tensor l1_loss(const Tensor& x, const Tensor& target, std::string_view reduction = "mean") {
  return apply(L1Loss{.reduction = std::string(reduction)}, {x, target});
}

}  // namespace tandem
