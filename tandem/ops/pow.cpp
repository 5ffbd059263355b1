#include "tandem/ops/pow.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/log.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reciprocal.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(Pow)
TANDEM_OP(Square)

Spec Pow::infer(Specs in) const {
  const Spec out = detail::point_infer(op_info<Pow>(), this, in, result);
  check<DTypeError>(out.dtype != boolean, *this, "booleans have no powers");
  return out;
}

// The formulas of PyTorch's derivatives.yaml, which say what happens at a base or exponent of 0.
Tensors Pow::vjp(const Saved& s, const Tensor& dy) const {
  // y - 1 and log(x) alone would be computed in the dtype of that operand, less than the result's.
  const auto wide = [&](const Tensor& t) {
    return t.impl()->has(TensorImpl::wrapped_number) ? t : cast(t, dy.dtype());
  };
  const Tensor one = dy.dtype() == f64 ? full({}, 1, f64) : Tensor(1);
  Tensors dx(2);
  if (s.needs(0)) {
    const Tensor& x = s.in(0);
    const Tensor y = wide(s.in(1));
    dx[0] = where(y == 0, 0, dy * (y * pow(x, y - one)));
  }
  if (s.needs(1)) {
    const Tensor x = wide(s.in(0));
    const Tensor& y = s.in(1);
    dx[1] = dy * where(logical_and(x == 0, y >= 0), 0, s.out() * log(x));
  }
  return dx;
}

Samples<Pow> Pow::samples() {
  using sample::listed;
  using sample::positive;
  return {
      .ok = {{{}, {positive({3, 5}), {{3, 5}}}},
             {{}, {positive({3, 1}), {{5}}}},
             {{}, {positive({}), {{2, 3}}}},
             {{}, {listed({4}, {1, 2, 3, 7}, i64), {{4}, f64}}},
             {{}, {{{0, 3}}, {{3}}}},
             {{},
              {listed({12}, {0, 0, 0, -2, -2, HUGE_VAL, NAN, 1, -1, 1e20, 2, -0.0}),
               listed({12}, {0, 2, -1, 3, 0.5, -1, 0, NAN, HUGE_VAL, 3, -HUGE_VAL, -3})},
              false},
             {{}, {listed({6}, {2, -3, 1, -1, 0, 7}, i32), listed({6}, {5, 3, -2, -3, 0, 2}, i64)}},
             {{}, {listed({3}, {2, 3, 250}, u8), listed({3}, {7, 6, 2}, u8)}}},
      .errors = {{{}, {sample::mask({3}), sample::mask({3})}, "pow(): booleans have no powers"}}};
}

Spec Square::infer(Specs in) const {
  Spec out = in[0];
  if (out.dtype == boolean) out.dtype = i64;
  return out;
}

Tensors Square::vjp(const Saved& s, const Tensor& dy) const { return {dy * (s.in(0) * 2)}; }

Samples<Square> Square::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{}, {{{6}, i32}}},
                 {{}, {sample::mask({5})}}},
          .errors = {}};
}

Tensor pow(const Tensor& x, const Tensor& y) {
  const TensorImpl* number = y.impl();
  if (number && number->has(TensorImpl::wrapped_number) && x.defined() &&
      !number->has(TensorImpl::symbolic)) {
    const double p = y.item<double>();
    if (is_floating(x.dtype())) {
      if (p == 2) return square(x);
      if (p == 3) return x * square(x);
      if (p == 0.5) return sqrt(x);
      if (p == -0.5) return rsqrt(x);
      if (p == -1) return reciprocal(x);
      if (p == -2) return square(reciprocal(x));  // its gradient at 0 is an infinity
    } else {
      require(!is_integral(y.dtype()) || p >= 0, "pow(): the integer tensor has no power ", p,
              "; convert it to a floating type");
    }
  }
  return apply(Pow{}, {x, y});
}

}  // namespace tandem
