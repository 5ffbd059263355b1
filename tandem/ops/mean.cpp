#include "tandem/ops/mean.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/div.h"
#include "tandem/ops/reduce_shape.h"
#include "tandem/ops/reshape.h"

namespace tandem {

TANDEM_OP(Mean)

Spec Mean::infer(Specs in) const {
  check<DTypeError>(is_floating(in[0].dtype), *this, "takes floating tensors, got ", in[0].dtype,
                    "; cast first");
  return {detail::reduced_shape(*this, axes, keepdim, in[0].shape), in[0].dtype, in[0].device};
}

Tensors Mean::vjp(const Saved& s, const Tensor& dy) const {
  const Shape& shape = s.shape(0);
  Length n = 1;
  for (int64_t a : detail::reduced_axes(*this, axes, shape)) n *= shape[int(a)];
  return {expand(detail::restore_axes(dy / Number(n), axes, keepdim, shape), shape)};
}

Samples<Mean> Mean::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axes = {0}}, {{{3, 5}}}},
                 {{.axes = {1}, .keepdim = true}, {{{3, 5}}}},
                 {{.axes = {-1, 0}}, {{{2, 3, 4}}}},
                 {{.axes = {1}}, {{{2, 3, 17}}}},
                 {{.axes = {0, 2}}, {sample::strided({4, 3, 2})}},
                 {{}, {{{}}}},
                 {{.axes = {0}}, {{{0, 3}}}, false},
                 {{.axes = {1}}, {{{0, 3}}}}},
          .errors = {{{.axes = {2}},
                      {{{3, 5}}},
                      "mean(axes=[2], keepdim=false): axis 2 is out of range [-2, 1] for shape "
                      "[3, 5]"},
                     {{},
                      {{{3}, i64}},
                      "mean(axes=[], keepdim=false): takes floating tensors, got i64; cast "
                      "first"}}};
}

}  // namespace tandem
