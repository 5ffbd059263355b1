#include "tandem/ops/where.h"

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(Where)

Spec Where::infer(Specs in) const {
  check<DTypeError>(in[0].dtype == boolean, *this, "condition must be boolean, got ", in[0].dtype);
  return detail::point_infer(op_info<Where>(), this, in, result, 1);
}

Tensors Where::vjp(const Saved& s, const Tensor& dy) const {
  return {Tensor(), s.needs(1) ? where(s.in(0), dy, 0) : Tensor(),
          s.needs(2) ? where(s.in(0), 0, dy) : Tensor()};
}

Samples<Where> Where::samples() {
  using sample::mask;
  return {
      .ok = {{{}, {mask({3, 5}), {{3, 5}}, {{3, 5}}}},
             {{}, {mask({3, 1}), {{5}}, {{}}}},
             {{}, {mask({}), {{}}, {{}}}},
             {{}, {mask({5}), {{}}, {{2, 1}}}},
             {{}, {mask({0, 3}), {{3}}, {{1}}}},
             {{}, {mask({4, 3}), sample::strided({4, 3}), {{4, 3}}}},
             {{},
              {mask({4}), sample::listed({4}, {NAN, 1}), sample::listed({4}, {HUGE_VAL})},
              false},
             {{}, {mask({9}), {{9}, i32}, {{9}, u8}}},
             {{}, {mask({9}), mask({9}), mask({9})}}},
      .errors = {
          {{}, {{{3}}, {{3}}, {{3}}}, "where(): condition must be boolean, got f64"},
          {{}, {mask({3}), {{4}}, {{3}}}, "where(): shapes [3] and [4] and [3] do not broadcast"}}};
}

Tensor where(const Tensor& condition, const Tensor& x, const Tensor& y) {
  // A number takes the other operand's type where it is of its kind: it is filled in.
  auto filled = [](const Tensor& number, const Tensor& other) {
    const bool wrapped = number.impl()->has(TensorImpl::wrapped_number) &&
                         !other.impl()->has(TensorImpl::wrapped_number);
    const DType d = other.dtype();
    return wrapped && is_integral(number.dtype()) && is_integral(d)
               ? detail::number_as("where()", number, d)
               : number;
  };
  return apply(Where{}, {condition, filled(x, y), filled(y, x)});
}

}  // namespace tandem
