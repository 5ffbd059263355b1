#pragma once
#include "tandem/op/op.h"
#include "tandem/op/point_op.h"

namespace tandem {

/// (x - target)^2, broadcast; reduction "mean" averages over all elements, "sum" adds,
/// "none" keeps them. Errors: ValueError for another word, ShapeError unless the shapes broadcast.
struct MseLoss {
  static constexpr std::string_view name = "mse_loss";
  static constexpr std::string_view inputs = "x, target";
  static constexpr Saves saves{.in = {0, 1}, .out = {}};
  static constexpr Result result = Result::floating;

  std::string reduction = "mean";
  static constexpr auto fields = Fields{field("reduction", &MseLoss::reduction)};

  template <class A>
  TANDEM_FN A point(A x, A target) const {
    const A d = x - target;
    return d * d;
  }

  Spec infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<MseLoss> samples();
};

/// The gradient of mse_loss with respect to x: dy * 2 (x - target) * scale.
struct MseLossGrad {
  static constexpr std::string_view name = "mse_loss_grad";
  static constexpr std::string_view inputs = "dy, x, target";
  static constexpr Saves saves{.in = {0, 1, 2}, .out = {}};
  static constexpr Result result = Result::floating;

  Number scale = 1;
  static constexpr auto fields = Fields{field("scale", &MseLossGrad::scale)};

  template <class A>
  TANDEM_FN A point(A dy, A x, A target) const {
    return dy * ((x - target) * A(2 * double(scale)));
  }

  Tensors vjp(const Saved& s, const Tensor& dy) const;
  static Samples<MseLossGrad> samples();
};

inline Tensor mse_loss(const Tensor& x, const Tensor& target, std::string_view reduction = "mean") {
  return apply(MseLoss{.reduction = std::string(reduction)}, {x, target});
}

}  // namespace tandem
