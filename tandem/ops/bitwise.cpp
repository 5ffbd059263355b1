#include "tandem/ops/bitwise.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/logical.h"

namespace tandem {

TANDEM_OP(BitwiseAnd)
TANDEM_OP(BitwiseOr)
TANDEM_OP(BitwiseXor)
TANDEM_OP(BitwiseNot)
TANDEM_OP(BitwiseLeftShift)
TANDEM_OP(BitwiseRightShift)

namespace {

template <class O>
Spec infer_bits(const O& op, Specs in, bool booleans) {
  for (int i = 0; i < in.size(); ++i)
    check<DTypeError>(is_integral(in[i].dtype) || (booleans && in[i].dtype == boolean), op,
                      "takes ", booleans ? "integers and booleans" : "integers", ", got ",
                      in[i].dtype);
  const Spec out = detail::point_infer(op_info<O>(), &op, in, Result::same);
  check<DTypeError>(booleans || out.dtype != boolean, op, "booleans have no places");
  return out;
}

template <class O>
Samples<O> pairs(bool booleans) {
  using sample::listed;
  const std::string text(O::name);
  std::vector<typename Samples<O>::Ok> good{
      {{}, {{{3, 5}, i64}, sample::index({3, 5}, 7)}},
      {{}, {{{3, 1}, i32}, sample::filled({5}, InputSpec::index, i32, 5)}},
      {{}, {{{}, i8}, sample::filled({2, 3}, InputSpec::index, i8, 7)}},
      {{}, {{{0, 3}, i64}, sample::index({3}, 3)}},
      {{}, {listed({6}, {0, 1, 255, 128, 7, 64}, u8), listed({6}, {0, 7, 3, 1, 2, 6}, u8)}},
      {{}, {listed({4}, {1, -2, 32767, -32768}, i16), listed({4}, {3, 1, 2, 0}, i64)}}};
  if (booleans) good.push_back({{}, {sample::mask({8}), sample::mask({8})}});
  return {
      .ok = std::move(good),
      .errors = {
          {{},
           {{{3}}, {{3}, i64}},
           text + "(): takes " + (booleans ? "integers and booleans" : "integers") + ", got f64"},
          {{}, {{{3}, i64}, {{4}, i64}}, text + "(): shapes [3] and [4] do not broadcast"}}};
}

}  // namespace

Spec BitwiseAnd::infer(Specs in) const { return infer_bits(*this, in, true); }
Spec BitwiseOr::infer(Specs in) const { return infer_bits(*this, in, true); }
Spec BitwiseXor::infer(Specs in) const { return infer_bits(*this, in, true); }
Spec BitwiseNot::infer(Specs in) const { return infer_bits(*this, in, true); }
Spec BitwiseLeftShift::infer(Specs in) const { return infer_bits(*this, in, false); }
Spec BitwiseRightShift::infer(Specs in) const { return infer_bits(*this, in, false); }

void BitwiseNot::cpu(Inputs in, Outputs out) const {
  if (out[0].dtype() == boolean) detail::point_run(LogicalNot{}, in, out[0]);
  else detail::point_run(*this, in, out[0]);
}

Samples<BitwiseAnd> BitwiseAnd::samples() { return pairs<BitwiseAnd>(true); }
Samples<BitwiseOr> BitwiseOr::samples() { return pairs<BitwiseOr>(true); }
Samples<BitwiseXor> BitwiseXor::samples() { return pairs<BitwiseXor>(true); }
Samples<BitwiseLeftShift> BitwiseLeftShift::samples() { return pairs<BitwiseLeftShift>(false); }
Samples<BitwiseRightShift> BitwiseRightShift::samples() { return pairs<BitwiseRightShift>(false); }
Samples<BitwiseNot> BitwiseNot::samples() {
  return {.ok = {{{}, {{{3, 5}, i64}}},
                 {{}, {{{}, i32}}},
                 {{}, {{{0, 2}, i8}}},
                 {{}, {sample::listed({4}, {0, 1, 128, 255}, u8)}},
                 {{}, {sample::mask({7})}}},
          .errors = {{{}, {{{3}}}, "bitwise_not(): takes integers and booleans, got f64"}}};
}

}  // namespace tandem
