#include "tandem/ops/sum.h"

#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/reduce_shape.h"
#include "tandem/ops/reshape.h"

namespace tandem {

TANDEM_OP(Sum)
TANDEM_OP(SumTo)

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

Spec SumTo::infer(Specs in) const {
  Shape wide;
  check<ShapeError>(broadcast(shape, in[0].shape, wide) && detail::may_equal(wide, in[0].shape),
                    *this, "x of shape ", in[0].shape, " is not a broadcast of it");
  return {shape, in[0].dtype, in[0].device};
}

void SumTo::cpu(Inputs in, Outputs out) const {
  const Tensor& x = in[0];
  Shape axes;
  const int extra = x.dim() - shape.size();
  for (int i = 0; i < x.dim(); ++i)
    if (i < extra || shape[i - extra] != x.shape()[i]) axes.push_back(i);
  if (axes.empty()) return detail::copy_data(out[0], x);
  const Sum op{.axes = axes};
  Shape kept = x.shape();
  for (int i = axes.size() - 1; i >= 0; --i) kept.erase(int(axes[i]));
  // Integers are summed in i64.
  Tensor y = detail::alias(out[0], kept, contiguous_strides(kept), 0);
  if (!is_floating(x.dtype())) y = empty(kept, i64);
  op_info<Sum>().cpu(&op, in, {&y, 1});
  if (!is_floating(x.dtype()))
    detail::copy_data(detail::alias(out[0], kept, contiguous_strides(kept), 0), y);
}

Tensors SumTo::vjp(const Saved& s, const Tensor& dy) const { return {expand(dy, s.shape(0))}; }

Samples<SumTo> SumTo::samples() {
  return {.ok = {{{{3, 1}}, {{{3, 5}}}},
                 {{{5}}, {{{3, 5}}}},
                 {{{3, 5}}, {{{3, 5}}}},
                 {{{}}, {{{2, 3}}}},
                 {{{4, 1, 2}}, {sample::strided({4, 3, 2})}},
                 {{{1, 3}}, {{{0, 3}}}},
                 {{{3, 1}}, {{{3, 5}, i32}}}},
          .errors = {{{{2, 5}},
                      {{{3, 5}}},
                      "sum_to(shape=[2, 5]): x of shape [3, 5] is not a broadcast of it"}}};
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  using detail::must_equal;
  if (detail::identical(x.shape(), shape)) return x;
  Shape axes;
  const int extra = x.dim() - shape.size();
  bool sure = true;
  for (int i = 0; i < x.dim(); ++i) {
    if (i < extra || (must_equal(shape[i - extra], 1) && !must_equal(x.shape()[i], 1)))
      axes.push_back(i);
    else sure = sure && must_equal(shape[i - extra], x.shape()[i]);
  }
  const Tensor y = axes.empty() ? x : sum(x, axes, true);
  if (!sure) return apply(SumTo{.shape = shape}, {y});
  return must_equal(y.shape(), shape) ? y : reshape(y, shape);
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
