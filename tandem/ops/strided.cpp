#include "tandem/ops/strided.h"

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(AsStrided)
TANDEM_OP(StridedScatter)
namespace {

/// Throws unless the region lies inside `n` elements.
template <class O>
void check_region(const O& op, const Shape& shape, const Shape& strides, Length offset, Length n) {
  check<ShapeError>(shape.size() == strides.size(), op, "strides ", strides, " do not match shape ",
                    shape);
  Length last = offset;
  for (int i = 0; i < shape.size(); ++i) {
    check<ShapeError>(detail::may_fit(0, shape[i]) && detail::may_fit(0, strides[i]), op,
                      "negative size or stride in ", shape, " and ", strides);
    last += (shape[i] - 1) * strides[i];
  }
  check<IndexError>(detail::may_fit(0, offset) &&
                        (detail::may_equal(shape.numel(), 0) || detail::may_be_less(last, n)),
                    op, "the region ends at element ", last, " of a tensor of ", n);
}

Tensor region_of(const Tensor& contiguous, const Shape& shape, const Shape& strides,
                 Length offset) {
  return detail::alias(contiguous, shape, strides, offset);
}

}  // namespace

Spec AsStrided::infer(Specs in) const {
  check_region(*this, shape, strides, offset, in[0].shape.numel());
  return {shape, in[0].dtype, in[0].device};
}

bool AsStrided::view(const Tensor& in, View& out) const {
  check_region(*this, shape, strides, offset, in.numel());
  if (!in.is_contiguous()) return false;
  out = {shape, strides, offset};
  return true;
}

void AsStrided::cpu(Inputs in, Outputs out) const {
  detail::copy_data(out[0], region_of(detail::as_contiguous(in[0]), shape, strides, offset));
}

Tensors AsStrided::vjp(const Saved& s, const Tensor& dy) const {
  const Spec& x = s.spec(0);
  for (int i = 0; i < shape.size(); ++i)
    check<NotImplemented>(!detail::must_equal(strides[i], 0) || detail::must_fit(shape[i], 1),
                          *this, "the gradient of an overlapping region");
  return {apply(StridedScatter{strides, offset}, {zeros(x.shape, x.dtype, x.device), dy})};
}

Samples<AsStrided> AsStrided::samples() {
  return {.ok = {{{{2, 2}, {3, 1}, 1}, {{{3, 3}}}},
                 {{{3}, {4}, 0}, {{{3, 4}}}},
                 {{{0, 2}, {1, 1}, 0}, {{{4}}}},
                 {{{}, {}, 2}, {{{4}}}}},
          .errors = {{{{2, 2}, {3, 1}, 6},
                      {{{3, 3}}},
                      "as_strided(shape=[2, 2], strides=[3, 1], offset=6): the region ends at "
                      "element 10 of a tensor of 9"}}};
}

Spec StridedScatter::infer(Specs in) const {
  check_region(*this, in[1].shape, strides, offset, in[0].shape.numel());
  return in[0];
}

void StridedScatter::cpu(Inputs in, Outputs out) const {
  detail::copy_data(out[0], in[0]);
  detail::copy_data(region_of(out[0], in[1].shape(), strides, offset), in[1]);
}

Tensors StridedScatter::vjp(const Saved& s, const Tensor& dy) const {
  const Spec& src = s.spec(1);
  return {apply(*this, {dy, zeros(src.shape, dy.dtype(), dy.device())}),
          apply(AsStrided{src.shape, strides, offset}, {dy})};
}

Samples<StridedScatter> StridedScatter::samples() {
  return {.ok = {{{{3, 1}, 1}, {{{3, 3}}, {{2, 2}}}}, {{{4}, 0}, {{{3, 4}}, {{3}}}}},
          .errors = {{{{1}, 3},
                      {{{4}}, {{2}}},
                      "strided_scatter(strides=[1], offset=3): the region ends at element 4 of a "
                      "tensor of 4"}}};
}

}  // namespace tandem
