#include "tandem/ops/round.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Round)

namespace {

struct RoundWhole {
  static constexpr Result result = Result::same;
  template <class A>
  TANDEM_FN A point(A x) const {
    if constexpr (std::is_integral_v<A>) return x;
    else return math::rint(x);
  }
};

struct RoundDecimals {
  static constexpr Result result = Result::same;
  double power = 1;
  bool fraction = true;
  template <class A>
  TANDEM_FN A point(A x) const {
    const A p = A(power);
    if constexpr (std::is_integral_v<A>) return x;
    else return fraction ? math::rint(x * p) / p : math::rint(x / p) * p;
  }
};

}  // namespace

Spec Round::infer(Specs in) const {
  check<DTypeError>(decimals == 0 || is_floating(in[0].dtype), *this,
                    "decimals of a tensor of type ", in[0].dtype, "; it must be floating");
  return in[0];
}

void Round::cpu(Inputs in, Outputs out) const {
  if (decimals == 0) return detail::point_run(RoundWhole{}, in, out[0]);
  const RoundDecimals f{std::pow(10.0, std::abs(double(decimals))), decimals > 0};
  detail::point_run(f, in, out[0]);
}

Tensors Round::vjp(const Saved&, const Tensor& dy) const { return {zeros_like(dy)}; }

Samples<Round> Round::samples() {
  return {
      .ok = {{{}, {sample::scaled({3, 5}, 5)}},
             {{}, {{{}}}},
             {{}, {{{0, 2}}}},
             {{}, {sample::listed({8}, {0.5, 1.5, 2.5, -0.5, -1.5, 8388609, 1e30, NAN})}, false},
             {{.decimals = 2}, {sample::scaled({3, 5}, 5)}},
             {{.decimals = -1}, {sample::scaled({3, 5}, 50)}},
             {{}, {{{6}, i32}}}},
      .errors = {{{.decimals = 1},
                  {{{3}, i32}},
                  "round(decimals=1): decimals of a tensor of type i32; it must be floating"}}};
}

}  // namespace tandem
