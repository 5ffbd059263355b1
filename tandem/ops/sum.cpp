#include "tandem/ops/sum.h"

#include "tandem/op/kernel.h"
#include "tandem/ops/reduce_shape.h"
#include "tandem/ops/reshape.h"

namespace tandem {

TANDEM_OP(Sum)

Spec Sum::infer(Specs in) const {
  const DType d = in[0].dtype;
  return {detail::reduced_shape(*this, axes, keepdim, in[0].shape), is_floating(d) ? d : i64,
          in[0].device};
}

Tensors Sum::vjp(const Saved& s, const Tensor& dy) const {
  return {expand(detail::restore_axes(dy, axes, keepdim, s.shape(0)), s.shape(0))};
}

Samples<Sum> Sum::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axes = {0}}, {{{3, 5}}}},
                 {{.axes = {1}, .keepdim = true}, {{{3, 5}}}},
                 {{.axes = {-1, 0}}, {{{2, 3, 4}}}},
                 {{.axes = {1}}, {{{2, 3, 17}}}},
                 {{.axes = {0, 2}}, {sample::strided({4, 3, 2})}},
                 {{}, {{{}}}},
                 {{.axes = {0}}, {{{0, 3}}}},
                 {{.axes = {1}}, {{{0, 3}}}},
                 {{}, {{{9}, i32}}},
                 {{}, {sample::mask({9})}}},
          .errors = {{{.axes = {2}},
                      {{{3, 5}}},
                      "sum(axes=[2], keepdim=false): axis 2 is out of range [-2, 1] for shape "
                      "[3, 5]"},
                     {{.axes = {0, -2}},
                      {{{3, 5}}},
                      "sum(axes=[0, -2], keepdim=false): axis -2 appears twice in [0, -2] for "
                      "shape [3, 5]"}}};
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Shape axes;
  const int extra = x.dim() - shape.size();
  for (int i = 0; i < x.dim(); ++i)
    if (i < extra || (shape[i - extra] == 1 && x.shape()[i] != 1)) axes.push_back(i);
  const Tensor y = axes.empty() ? x : sum(x, axes, true);
  return y.shape() == shape ? y : reshape(y, shape);
}

namespace detail {

Tensor restore_axes(const Tensor& y, const Shape& axes, bool keepdim, const Shape& shape) {
  if (keepdim || y.dim() == shape.size()) return y;
  Shape full = shape;
  if (axes.empty())
    for (int i = 0; i < shape.size(); ++i) full[i] = 1;
  for (int64_t a : axes) full[int(a < 0 ? a + shape.size() : a)] = 1;
  return reshape(y, full);
}

}  // namespace detail

}  // namespace tandem
