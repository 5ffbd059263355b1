#include "tandem/ops/gelu.h"

#include "tandem/op/kernel.h"
#include "tandem/op/vector16.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/gelu_table.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/tanh.h"

namespace tandem {

TANDEM_OP(Gelu)
TANDEM_OP(GeluGrad)

namespace {

constexpr double density_at_0 = 0.39894228040143267794;  // 1 / sqrt(2 pi)
constexpr double sqrt_2_over_pi = 0.79788456080286535588;
constexpr double cubic = 0.044715;

struct GeluErf {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A x) const {
    return x * math::normal(x).cdf;
  }
};

struct GeluErfGrad {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    const math::Normal<A> n = math::normal(x);
    return dy * (n.cdf + x * n.density);
  }
};

#if TANDEM_VECTOR16

// table(a), where `clamped` is a at most 7.75: from 7.625 on the polynomial is 0.
template <class F>
TANDEM_FN F by_table(const float (&table)[5][32], const F& a, const F& clamped) {
  using detail::look_up, lanes::look_up, detail::to_bits, lanes::to_bits;
  constexpr float magic = 0x1.8p21f;  // rounds to quarters, whose number the lowest bits hold
  const F shifted = clamped + magic;
  const F d = a - (shifted - magic);
  const auto i = to_bits(shifted);
  F p = look_up(table[4], i);
  p = p * d + look_up(table[3], i);
  p = p * d + look_up(table[2], i);
  p = p * d + look_up(table[1], i);
  return p * d + look_up(table[0], i);
}

// max(x, 0) - |x| Phi(-|x|): absolute errors up to 8.2e-8 times max(1, |x|), relative ones on
// [-3, inf) up to 7.3e-7.
struct GeluByTable {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(const A& x) const {
    using detail::abs, lanes::abs, detail::select, lanes::select;
    const A a = abs(x), clamped = select(a > 7.75f, 7.75f, a);
    // Not max(x, 0): -inf gives NaN, as -inf * 0 does.
    const A positive = x - select(x < 0.0f, x, 0.0f);
    return positive + by_table(detail::gelu_table, clamped, clamped);
  }
};

// Errors up to 1.5e-7. Infinities give NaN, as inf * 0 does: they are infinitely far from the last
// interval.
struct GeluGradByTable {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(const A& dy, const A& x) const {
    using detail::abs, lanes::abs, detail::select, lanes::select;
    const A a = abs(x), clamped = select(a > 7.75f, 7.75f, a);
    const A h = by_table(detail::gelu_grad_table, a, clamped);
    return dy * select(x > 0.0f, 1.0f - h, h);
  }
};
#else
struct GeluByTable;
struct GeluGradByTable;
#endif

// By tables, which takes half the time, where permutations of whole registers look them up.
template <class Plain, class ByTable>
void run(Inputs in, Tensor& out) {
#if TANDEM_VECTOR16
  static constexpr detail::PointKernel wide{detail::vector16_kernel<ByTable>,
                                            detail::point_kernel<Plain, double>, nullptr, false,
                                            detail::point_trace<ByTable>};
  const ByTable by_table;
  if (detail::isa == Isa::avx512) return detail::point_launch(wide, &by_table, in, out);
#endif
  detail::point_run(Plain{}, in, out);
}

// (1 + tanh(z)) / 2 = sigmoid(2 z), which does not cancel for negative z.
struct GeluTanh {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A x) const {
    return x * math::sigmoid(A(2 * sqrt_2_over_pi) * (x + A(cubic) * x * x * x));
  }
};

struct GeluTanhGrad {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A dy, A x) const {
    const A s = math::sigmoid(A(2 * sqrt_2_over_pi) * (x + A(cubic) * x * x * x));
    const A slope = A(2 * sqrt_2_over_pi) * (A(1) + A(3 * cubic) * x * x);
    return dy * (s + x * s * (A(1) - s) * slope);
  }
};

template <class O>
Spec gelu_infer(const O& op, Specs in) {
  check(op.approximate == "none" || op.approximate == "tanh", op,
        "approximate must be none or tanh");
  return detail::point_infer(op_info<O>(), &op, in, Result::floating);
}

/// gelu''(x). Exact: (2 - x^2) pdf(x). With u = tanh(p(x)) in place of erf:
/// (1 - u^2) (p' + x (p'' / 2 - u p'^2)), whose first factor is 0 where p'^2 overflows.
Tensor second_derivative(const Tensor& given, bool exact) {
  // 1 - u^2 cancels: 16 bits leave nothing of it.
  const DType narrow = given.dtype();
  const bool widens = narrow == f16 || narrow == bf16;
  const Tensor x = widens ? cast(given, f32) : given, xx = square(x);
  if (exact) {
    const Tensor dd = (2 - xx) * exp(xx * -0.5) * density_at_0;
    return widens ? cast(dd, narrow) : dd;
  }
  const Tensor u = tanh((x + xx * x * cubic) * sqrt_2_over_pi);
  const Tensor p1 = (xx * (3 * cubic) + 1) * sqrt_2_over_pi;
  const Tensor p2 = x * (6 * cubic * sqrt_2_over_pi);
  const Tensor slope = (1 - square(u)) * p1;
  const Tensor dd = slope + x * ((1 - square(u)) * p2 * 0.5 - u * slope * p1);
  return widens ? cast(dd, narrow) : dd;
}

}  // namespace

Spec Gelu::infer(Specs in) const { return gelu_infer(*this, in); }

void Gelu::cpu(Inputs in, Outputs out) const {
  if (approximate == "none") run<GeluErf, GeluByTable>(in, out[0]);
  else detail::point_run(GeluTanh{}, in, out[0]);
}

Tensors Gelu::vjp(const Saved& s, const Tensor& dy) const {
  return {gelu_grad(dy, s.in(0), approximate)};
}

Samples<Gelu> Gelu::samples() {
  const InputSpec special = sample::listed({8}, {0.0, -0.0, HUGE_VAL, -4, NAN, 1e-3, -3, 88.8});
  return {.ok = {{{}, {{{3, 5}}}},
                 {{}, {{{}}}},
                 {{}, {{{0, 2}}}},
                 {{}, {sample::strided({5, 4})}},
                 {{}, {special}, false},
                 {{.approximate = "tanh"}, {sample::scaled({17, 3}, 2)}},
                 {{.approximate = "tanh"}, {special}, false},
                 {{}, {{{6}, i32}}}},
          .errors = {{{.approximate = "erf"},
                      {{{3}}},
                      "gelu(approximate=erf): approximate must be none or tanh"}}};
}

Spec GeluGrad::infer(Specs in) const { return gelu_infer(*this, in); }

void GeluGrad::cpu(Inputs in, Outputs out) const {
  if (approximate == "none") run<GeluErfGrad, GeluGradByTable>(in, out[0]);
  else detail::point_run(GeluTanhGrad{}, in, out[0]);
}

Tensors GeluGrad::vjp(const Saved& s, const Tensor& ddy) const {
  const Tensor& x = s.in(1);
  return {s.needs(0) ? gelu_grad(ddy, x, approximate) : Tensor(),
          s.needs(1) ? ddy * s.in(0) * second_derivative(x, approximate == "none") : Tensor()};
}

Samples<GeluGrad> GeluGrad::samples() {
  return {.ok = {{{}, {{{3, 5}}, {{3, 5}}}},
                 {{}, {{{}}, {{}}}},
                 {{}, {{{0, 2}}, {{0, 2}}}},
                 {{.approximate = "tanh"}, {{{17, 3}}, sample::scaled({17, 3}, 2)}}},
          .errors = {{{.approximate = "erf"},
                      {{{3}}, {{3}}},
                      "gelu_grad(approximate=erf): approximate must be none or tanh"}}};
}

}  // namespace tandem
