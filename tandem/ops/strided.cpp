#include "tandem/ops/strided.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"

namespace tandem {

TANDEM_OP(AsStrided)
TANDEM_OP(StridedSum)
TANDEM_OP(StridedScatter)

/// Sorted by stride, axes that each step over all smaller ones do not overlap. Others may still
/// not: their elements are counted.
bool detail::overlaps_itself(const Shape& shape, const Strides& strides) {
  if (!shape.is_known() || !strides.is_known()) return false;
  struct Axis {
    int64_t size, stride;
  } axes[max_dims];
  int n = 0;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return false;
    if (shape[i] == 1) continue;
    axes[n++] = {shape[i], std::abs(int64_t(strides[i]))};
  }
  std::sort(axes, axes + n, [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  if (n > 0 && axes[0].stride == 0) return true;
  int64_t span = 0, elements = 1;
  bool nested = true;
  for (int i = 0; i < n; ++i) {
    nested = nested && axes[i].stride > span;
    span += (axes[i].size - 1) * axes[i].stride;
    elements *= axes[i].size;
  }
  if (nested) return false;
  if (elements > span + 1) return true;
  std::vector<bool> seen(size_t(span) + 1);
  for (int64_t e = 0; e < elements; ++e) {
    int64_t at = 0, rest = e;
    for (int i = 0; i < n; ++i) {
      at += rest % axes[i].size * axes[i].stride;
      rest /= axes[i].size;
    }
    if (seen[size_t(at)]) return true;
    seen[size_t(at)] = true;
  }
  return false;
}

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
  if (shape.numel().is_known() && shape.numel() == 0) out.offset = 0;
  return true;
}

void AsStrided::cpu(Inputs in, Outputs out) const {
  detail::copy_data(out[0], region_of(detail::as_contiguous(in[0]), shape, strides, offset));
}

Tensors AsStrided::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(StridedSum{s.shape(0), strides, offset}, {dy})};
}

Samples<AsStrided> AsStrided::samples() {
  return {.ok = {{{{2, 2}, {3, 1}, 1}, {{{3, 3}}}},
                 {{{3}, {4}, 0}, {{{3, 4}}}},
                 {{{4, 3}, {1, 1}, 0}, {{{6}}}},
                 {{{2, 3}, {0, 2}, 1}, {{{6}}}},
                 {{{0, 2}, {1, 1}, 0}, {{{4}}}},
                 {{{}, {}, 2}, {{{4}}}}},
          .errors = {{{{2, 2}, {3, 1}, 6},
                      {{{3, 3}}},
                      "as_strided(shape=[2, 2], strides=[3, 1], offset=6): the region ends at "
                      "element 10 of a tensor of 9"}}};
}

Spec StridedSum::infer(Specs in) const {
  check_region(*this, in[0].shape, strides, offset, shape.numel());
  return {shape, in[0].dtype, in[0].device};
}

void StridedSum::cpu(Inputs in, Outputs out) const {
  const Shape& from = in[0].shape();
  if (!detail::overlaps_itself(from, strides)) {
    std::memset(out[0].raw_data(), 0, size_t(out[0].numel() * itemsize(out[0].dtype())));
    return detail::copy_data(region_of(out[0], from, strides, offset), in[0]);
  }
  const DType d = out[0].dtype(), compute = d == f64 ? f64 : is_floating(d) ? f32 : i64;
  const Tensor dy = detail::as_contiguous(in[0], compute), sum = zeros(shape, compute);
  visit(compute, [&]<class T>() {
    const T* p = static_cast<const T*>(dy.raw_data());
    T* to = static_cast<T*>(sum.raw_data()) + int64_t(offset);
    int64_t index[max_dims] = {}, at = 0;
    for (int64_t e = 0, n = dy.numel(); e < n; ++e) {
      if constexpr (std::is_same_v<T, int64_t>) to[at] = T(uint64_t(to[at]) + uint64_t(p[e]));
      else to[at] = T(to[at] + p[e]);
      for (int k = from.size() - 1; k >= 0; --k) {
        at += strides[k];
        if (++index[k] < from[k]) break;
        at -= index[k] * strides[k];
        index[k] = 0;
      }
    }
  });
  detail::copy_data(out[0], sum);
}

Tensors StridedSum::vjp(const Saved& s, const Tensor& g) const {
  return {apply(AsStrided{s.shape(0), strides, offset}, {g})};
}

Samples<StridedSum> StridedSum::samples() {
  return {.ok = {{{{3, 3}, {3, 1}, 1}, {{{2, 2}}}},
                 {{{6}, {1, 1}, 0}, {{{4, 3}}}},
                 {{{6}, {0, 2}, 1}, {{{2, 3}}}},
                 {{{2, 2}, {1}, 1}, {{{0}}}}},
          .errors = {{{{2}, {1}, 1},
                      {{{2}}},
                      "strided_sum(shape=[2], strides=[1], offset=1): the region ends at element "
                      "2 of a tensor of 2"}}};
}

Spec StridedScatter::infer(Specs in) const {
  check_region(*this, in[1].shape, strides, offset, in[0].shape.numel());
  check<ShapeError>(!detail::overlaps_itself(in[1].shape, strides), *this, "a region of shape ",
                    in[1].shape,
                    ", several elements of which are one in memory, cannot be written");
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
                      "tensor of 4"},
                     {{{1, 1}, 0},
                      {{{4}}, {{2, 2}}},
                      "strided_scatter(strides=[1, 1], offset=0): a region of shape [2, 2], "
                      "several elements of which are one in memory, cannot be written"}}};
}

}  // namespace tandem
