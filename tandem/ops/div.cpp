#include "tandem/ops/div.h"

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/neg.h"

namespace tandem {

TANDEM_OP(Div)
TANDEM_OP(Remainder)

namespace {

struct TrueDiv {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A x, A y) const {
    return x / y;
  }
};

struct TruncDiv {
  static constexpr Result result = Result::same;
  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_unsigned_v<A>) {
      return y == 0 ? 0 : x / y;
    } else if constexpr (std::is_integral_v<A>) {
      if (y == 0 || y == -1) return math::neg(x);
      return x / y;
    } else {
      return math::trunc(x / y);
    }
  }
};

struct Truncate {
  static constexpr Result result = Result::floating;
  template <class A>
  TANDEM_FN A point(A x) const {
    return math::trunc(x);
  }
};

struct FloorDiv {
  static constexpr Result result = Result::same;
  template <class A>
  TANDEM_FN A point(A x, A y) const {
    if constexpr (std::is_unsigned_v<A>) {
      return y == 0 ? 0 : x / y;
    } else if constexpr (std::is_integral_v<A>) {
      if (y == 0 || y == -1) return math::neg(x);
      const A q = x / y;
      return x % y != 0 && (x < 0) != (y < 0) ? q - 1 : q;
    } else {
      // The quotient of what remains after the exact remainder, as Python's //: the rounded x / y
      // may reach the next whole number.
      const A r = math::fmod(x, y);
      A q = (x - r) / y;
      if (r != A(0) && (r < A(0)) != (y < A(0))) q -= A(1);
      A whole = math::floor(q);
      if (q - whole > A(0.5)) whole += A(1);
      if (q == A(0)) whole = math::copysign(A(0), x / y);
      return y == A(0) ? x / y : whole;
    }
  }
};

template <class O>
void check_divisor(const O& op, const Tensor& y, const Tensor& result) {
  if (is_floating(result.dtype()) || result.numel() == 0) return;
  const Tensor flat = detail::as_contiguous(y, i64);
  bool zero = false;
  for (int64_t v : std::span(flat.data<int64_t>(), size_t(flat.numel()))) zero |= v == 0;
  check(!zero, op, "integer division by zero");
}

}  // namespace

Spec Div::infer(Specs in) const {
  const bool whole = rounding_mode == "floor" || rounding_mode == "trunc";
  check(whole || rounding_mode == "none", *this, "rounding_mode must be none, floor or trunc");
  const Spec out =
      detail::point_infer(op_info<Div>(), this, in, whole ? Result::same : Result::floating);
  check<DTypeError>(out.dtype != boolean, *this, "booleans have no rounded quotient");
  return out;
}

void Div::cpu(Inputs in, Outputs out) const {
  if (rounding_mode == "none") return detail::point_run(TrueDiv{}, in, out[0]);
  check_divisor(*this, in[1], out[0]);
  if (rounding_mode == "floor") return detail::point_run(FloorDiv{}, in, out[0]);
  if (const DType d = out[0].dtype(); d != f16 && d != bf16)
    return detail::point_run(TruncDiv{}, in, out[0]);
  // The quotient is rounded to the narrow type first, as in PyTorch.
  detail::point_run(TrueDiv{}, in, out[0]);
  detail::point_run(Truncate{}, {&out[0], 1}, out[0]);
}

Tensors Div::vjp(const Saved& s, const Tensor& dy) const {
  if (rounding_mode != "none") return {zeros_like(dy), zeros_like(dy)};
  return {s.needs(0) ? dy / s.in(1) : Tensor(),
          s.needs(1) ? neg(dy) * (s.in(0) / s.in(1) / s.in(1)) : Tensor()};
}

Samples<Div> Div::samples() {
  using sample::filled;
  const InputSpec far = filled({3, 5}, InputSpec::positive, f64, 1, 1);
  return {
      .ok = {{{}, {{{3, 5}}, far}},
             {{}, {{{3, 1}}, sample::positive({5})}},
             {{}, {{{2, 3}}, sample::positive({})}},
             {{}, {{{0, 3}}, {{3}}}},
             {{}, {sample::strided({5, 3}), sample::positive({3})}},
             {{}, {{{7}, i32}, sample::listed({7}, {1, -2, 3, 4}, u8)}},
             {{}, {sample::listed({4}, {1, -1, 0, NAN}), sample::listed({4}, {0})}, false},
             {{.rounding_mode = "floor"}, {sample::scaled({3, 5}, 9), far}},
             {{.rounding_mode = "floor"},
              {sample::listed({10}, {7, -7, 7, -7, 0, -0.0, 1, HUGE_VAL, 3, -1}),
               sample::listed({10}, {2, 2, -2, -2, 3, 3, 0.1, 2, HUGE_VAL, HUGE_VAL})},
              false},
             {{.rounding_mode = "floor"},
              {sample::listed({5}, {7, -7, 7, -7, -8}, i32),
               sample::listed({5}, {2, 2, -2, -1, 3}, i64)}},
             {{.rounding_mode = "floor"}, {{{0, 2}, i32}, sample::listed({2}, {0, 3}, i32)}},
             {{.rounding_mode = "trunc"}, {sample::scaled({3, 5}, 3), far}},
             {{.rounding_mode = "trunc"},
              {sample::listed({5}, {7, -7, 7, -7, -8}, i32),
               sample::listed({5}, {2, 2, -2, -1, 3}, i8)}}},
      .errors = {
          {{.rounding_mode = "up"},
           {{{3}}, {{3}}},
           "div(rounding_mode=up): rounding_mode must be none, floor or trunc"},
          {{.rounding_mode = "floor"},
           {{{2}, i32}, sample::listed({2}, {1, 0}, i32)},
           "div(rounding_mode=floor): integer division by zero"},
          {{.rounding_mode = "trunc"},
           {sample::mask({3}), sample::mask({3})},
           "div(rounding_mode=trunc): booleans have no rounded quotient"},
          {{}, {{{3}}, {{4}}}, "div(rounding_mode=none): shapes [3] and [4] do not broadcast"}}};
}

Spec Remainder::infer(Specs in) const {
  const Spec out = detail::point_infer(op_info<Remainder>(), this, in, result);
  check<DTypeError>(out.dtype != boolean, *this, "booleans have no remainder");
  return out;
}

void Remainder::cpu(Inputs in, Outputs out) const {
  check_divisor(*this, in[1], out[0]);
  detail::point_run(*this, in, out[0]);
}

Tensors Remainder::vjp(const Saved& s, const Tensor& dy) const {
  return {dy, s.needs(1) ? neg(dy) * div(s.in(0), s.in(1), "floor") : Tensor()};
}

Samples<Remainder> Remainder::samples() {
  return {
      .ok = {{{},
              {sample::scaled({3, 5}, 5), sample::filled({3, 5}, InputSpec::positive, f64, 1, 1)}},
             {{}, {{{}}, sample::positive({4})}},
             {{}, {{{0, 3}}, {{3}}}},
             {{}, {{{0}, i64}, sample::listed({}, {0}, i64)}},
             {{},
              {sample::listed({8}, {7, -7, 7, -7, 0, 1, HUGE_VAL, 3}),
               sample::listed({8}, {2, 2, -2, -2, 3, 0, 2, HUGE_VAL})},
              false},
             {{},
              {sample::listed({5}, {7, -7, 7, -7, -8}, i32),
               sample::listed({5}, {2, 2, -2, -1, 3}, i64)}}},
      .errors = {
          {{},
           {{{2}, i32}, sample::listed({2}, {1, 0}, i32)},
           "remainder(): integer division by zero"},
          {{}, {sample::mask({3}), sample::mask({3})}, "remainder(): booleans have no remainder"}}};
}

}  // namespace tandem
