#pragma once
// The in-place forms of elementwise ops: `relu_(x)` writes over x and returns it. Errors are those
// of the op, and GradientError for a leaf that requires a gradient.
#include "tandem/op/tape.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/div.h"
#include "tandem/ops/elu.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/expm1.h"
#include "tandem/ops/floor.h"
#include "tandem/ops/hardtanh.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/log.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/reciprocal.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/round.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/silu.h"
#include "tandem/ops/sin.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/tanh.h"

namespace tandem {

namespace detail {
/// A record whose gradient reads its input gets a copy of it, since the input is overwritten.
template <class O>
const Tensor& write_over(const O& op, const Tensor& x) {
  bool keeps_input = false;
  if constexpr (requires { O::saves; }) keeps_input = O::saves.in.has(0);
  if (keeps_input && grad_enabled() && x.requires_grad()) {
    tandem::apply_inplace(CopyInto{}, {x, tandem::apply(op, {clone(x)})});
  } else {
    tandem::apply_inplace(op, {x});
  }
  return x;
}
}  // namespace detail

inline const Tensor& abs_(const Tensor& x) { return detail::write_over(Abs{}, x); }
inline const Tensor& ceil_(const Tensor& x) { return detail::write_over(Ceil{}, x); }
inline const Tensor& cos_(const Tensor& x) { return detail::write_over(Cos{}, x); }
inline const Tensor& exp_(const Tensor& x) { return detail::write_over(Exp{}, x); }
inline const Tensor& expm1_(const Tensor& x) { return detail::write_over(Expm1{}, x); }
inline const Tensor& floor_(const Tensor& x) { return detail::write_over(Floor{}, x); }
inline const Tensor& log_(const Tensor& x) { return detail::write_over(Log{}, x); }
inline const Tensor& log1p_(const Tensor& x) { return detail::write_over(Log1p{}, x); }
inline const Tensor& neg_(const Tensor& x) { return detail::write_over(Neg{}, x); }
inline const Tensor& reciprocal_(const Tensor& x) { return detail::write_over(Reciprocal{}, x); }
inline const Tensor& relu_(const Tensor& x) { return detail::write_over(Relu{}, x); }
inline const Tensor& round_(const Tensor& x) { return detail::write_over(Round{}, x); }
inline const Tensor& rsqrt_(const Tensor& x) { return detail::write_over(Rsqrt{}, x); }
inline const Tensor& sigmoid_(const Tensor& x) { return detail::write_over(Sigmoid{}, x); }
inline const Tensor& silu_(const Tensor& x) { return detail::write_over(Silu{}, x); }
inline const Tensor& sin_(const Tensor& x) { return detail::write_over(Sin{}, x); }
inline const Tensor& sqrt_(const Tensor& x) { return detail::write_over(Sqrt{}, x); }
inline const Tensor& square_(const Tensor& x) { return detail::write_over(Square{}, x); }
inline const Tensor& tanh_(const Tensor& x) { return detail::write_over(Tanh{}, x); }
inline const Tensor& clamp_(const Tensor& x, std::optional<Number> min,
                            std::optional<Number> max = {}) {
  return detail::write_over(Clamp{.min = min, .max = max}, x);
}
inline const Tensor& elu_(const Tensor& x, double alpha = 1) {
  return detail::write_over(Elu{.alpha = alpha}, x);
}
inline const Tensor& hardtanh_(const Tensor& x, double min_val = -1, double max_val = 1) {
  return detail::write_over(Hardtanh{.min_val = min_val, .max_val = max_val}, x);
}
inline const Tensor& leaky_relu_(const Tensor& x, double negative_slope = 0.01) {
  return detail::write_over(LeakyRelu{.negative_slope = negative_slope}, x);
}

}  // namespace tandem
