#include "tandem/ops/masked_fill.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/logical.h"

namespace tandem {

TANDEM_OP(MaskedFill)

Spec MaskedFill::infer(Specs in) const {
  check<DTypeError>(in[1].dtype == boolean, *this, "the mask must be bool, got ", in[1].dtype);
  check<ShapeError>(in[2].shape.empty(), *this, "the value must be 0-d, got shape ", in[2].shape);
  check<DTypeError>(!is_floating(in[2].dtype) || is_floating(in[0].dtype) || in.is_number(2), *this,
                    "a value of type ", in[2].dtype, " does not fit x of type ", in[0].dtype);
  Shape shape;
  check<ShapeError>(broadcast(in[0].shape, in[1].shape, shape), *this, "shapes ", in[0].shape,
                    " and ", in[1].shape, " do not broadcast");
  return {shape, in[0].dtype, in[0].device};
}

Tensors MaskedFill::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor& mask = s.in(1);
  return {s.needs(0) ? masked_fill(dy, mask, 0.0) : Tensor(), Tensor(),
          s.needs(2) ? masked_fill(dy, logical_not(mask), 0.0) : Tensor()};
}

Samples<MaskedFill> MaskedFill::samples() {
  return {.ok = {{{}, {{{3, 5}}, sample::mask({3, 5}), {{}}}},
                 {{}, {{{3, 1}}, sample::mask({5}), {{}}}},
                 {{}, {sample::strided({4, 3}), sample::mask({4, 1}), {{}}}},
                 {{}, {{{}}, sample::mask({}), {{}}}},
                 {{}, {{{0, 3}}, sample::mask({3}), {{}}}},
                 {{}, {{{7}, i64}, sample::mask({7}), {{}, i64}}},
                 {{}, {{{7}, u8}, sample::mask({7}), {{}, u8}}}},
          .errors = {{{}, {{{3}}, {{3}}, {{}}}, "masked_fill(): the mask must be bool, got f64"},
                     {{},
                      {{{3}}, sample::mask({4}), {{}}},
                      "masked_fill(): shapes [3] and [4] do not broadcast"},
                     {{},
                      {{{3}}, sample::mask({3}), {{1}}},
                      "masked_fill(): the value must be 0-d, got shape [1]"}}};
}

}  // namespace tandem
