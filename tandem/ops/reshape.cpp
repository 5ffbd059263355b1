#include "tandem/ops/reshape.h"

#include "tandem/core/captured.h"
#include "tandem/core/tensor_extras.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Reshape)
TANDEM_OP(Expand)
TANDEM_OP(Permute)
namespace {

/// The product of all entries but -1; false when it does not fit in 63 bits.
bool product_of(const Shape& shape, Length& product) {
  int64_t known = 1;
  product = 1;
  for (Length d : shape) {
    if (!d.is_known()) product = product * d;
    else if (d != -1 && __builtin_mul_overflow(known, int64_t(d), &known)) return false;
  }
  product = product * known;
  return true;
}

/// The wanted shape with -1 filled in.
template <class O>
Shape resolve(const O& op, Shape shape, const Shape& from) {
  using detail::may_equal;
  int unknown = -1;
  for (int i = 0; i < shape.size(); ++i) {
    if (detail::must_equal(shape[i], -1)) {
      check<ShapeError>(unknown < 0, op, "only one size can be -1");
      unknown = i;
    } else {
      check<ShapeError>(detail::may_fit(0, shape[i]), op, "negative size ", shape[i]);
    }
  }
  Length known = 1;
  const Length n = from.numel();
  bool fits = product_of(shape, known);
  if (unknown < 0) fits = fits && may_equal(known, n);
  else fits = fits && !detail::must_equal(known, 0) && may_equal(n % known, 0);
  check<ShapeError>(fits, op, "shape ", from, " of ", n, " elements does not fit");
  if (unknown >= 0) shape[unknown] = n / known;
  return shape;
}

/// Strides for axes of length 1 that are put in or left out, which asks no unknown length; false
/// when `to` is something else.
bool restride_ones(const Shape& shape, const Strides& strides, const Shape& to, Strides& out) {
  using detail::must_equal;
  int axis = 0, at = 0;
  while (axis < shape.size() || at < to.size()) {
    const bool both = axis < shape.size() && at < to.size();
    if (both && must_equal(shape[axis], to[at])) out[at++] = strides[axis++];
    else if (at < to.size() && must_equal(to[at], 1)) out[at++] = 1;
    else if (axis < shape.size() && must_equal(shape[axis], 1)) ++axis;
    else return false;
  }
  return true;
}

/// Strides that show memory of (shape, strides) as `to`; false when only a copy can.
bool restride(const Shape& shape, const Strides& strides, const Shape& to, Strides& out) {
  out = contiguous_strides(to);
  if (is_contiguous(shape, strides)) return true;
  const bool known = shape.is_known() && strides.is_known();
  if (!known && restride_ones(shape, strides, to, out)) return true;
  if (shape.numel() == 0) return true;  // LengthError: unknown lengths do not say

  int axis = shape.size() - 1, at = to.size() - 1;
  while (axis >= 0) {
    // The longest run of axes that lie behind each other in memory.
    int64_t run = shape[axis];
    const int64_t step = strides[axis];
    int first = axis;
    while (first > 0 && (shape[first - 1] == 1 || run == 1 || strides[first - 1] == step * run)) {
      if (run == 1 && shape[first - 1] != 1) break;
      run *= shape[--first];
    }
    int64_t filled = 1;
    while (at >= 0 && (filled < run || to[at] == 1)) {
      out[at] = filled * step;
      filled *= to[at--];
    }
    if (filled != run) return false;
    axis = first - 1;
  }
  while (at >= 0) out[at--] = 1;
  return true;
}

}  // namespace

Spec Reshape::infer(Specs in) const {
  return {resolve(*this, shape, in[0].shape), in[0].dtype, in[0].device};
}

bool Reshape::view(const Tensor& in, View& out) const {
  out.shape = resolve(*this, shape, in.shape());
  return restride(in.shape(), in.strides(), out.shape, out.strides);
}

void Reshape::cpu(Inputs in, Outputs out) const {
  detail::copy_data(detail::alias(out[0], in[0].shape(), contiguous_strides(in[0].shape()), 0),
                    in[0]);
}

Tensors Reshape::vjp(const Saved& s, const Tensor& dy) const { return {reshape(dy, s.shape(0))}; }

Samples<Reshape> Reshape::samples() {
  return {
      .ok = {{{{3, 4}}, {{{12}}}},
             {{{2, -1}}, {{{4, 3}}}},
             {{{4, 3}}, {sample::strided({3, 4})}},
             {{{}}, {{{1, 1}}}},
             {{{1}}, {{{}}}},
             {{{0, 5}}, {{{5, 0}}}},
             {{{2, 3, 2, 1}}, {{{6, 1, 2}}}}},
      .errors = {
          {{{5, 2}}, {{{3, 4}}}, "reshape(shape=[5, 2]): shape [3, 4] of 12 elements does not fit"},
          {{{-1, -1}}, {{{4}}}, "reshape(shape=[-1, -1]): only one size can be -1"},
          // The product is 4 modulo 2^64.
          {{{4, 4611686018427387905}},
           {{{4}}},
           "reshape(shape=[4, 4611686018427387905]): shape [4] of 4 elements does not fit"}}};
}

namespace {

Shape expanded(const Expand& op, const Shape& from) {
  Shape to = op.shape;
  const int extra = to.size() - from.size();
  Length count = 1;
  bool fits = extra >= 0;
  for (int i = 0; fits && i < to.size(); ++i) {
    const Length old = i < extra ? Length(1) : from[i - extra];
    if (detail::must_equal(to[i], -1) && i >= extra) to[i] = old;
    fits = detail::may_fit(0, to[i]) &&
           (detail::may_equal(old, 1) || detail::may_equal(old, to[i])) && product_of(to, count);
  }
  check<ShapeError>(fits, op, "shape ", from, " cannot be expanded");
  return to;
}

}  // namespace

Spec Expand::infer(Specs in) const {
  return {expanded(*this, in[0].shape), in[0].dtype, in[0].device};
}

bool Expand::view(const Tensor& in, View& out) const {
  out.shape = expanded(*this, in.shape());
  out.strides = broadcast_strides(in.shape(), in.strides(), out.shape);
  return true;
}

void Expand::cpu(Inputs in, Outputs out) const { detail::copy_data(out[0], in[0]); }

Tensors Expand::vjp(const Saved& s, const Tensor& dy) const { return {sum_to(dy, s.shape(0))}; }

Samples<Expand> Expand::samples() {
  return {
      .ok = {{{{3, 5}}, {{{3, 1}}}},
             {{{2, 3, -1}}, {{{3, 4}}}},
             {{{4}}, {{{}}}},
             {{{0, 3}}, {{{1, 3}}}}},
      .errors = {{{{4, 5}}, {{{3, 5}}}, "expand(shape=[4, 5]): shape [3, 5] cannot be expanded"},
                 {{{4, 4611686018427387905}},
                  {{{1}}},
                  "expand(shape=[4, 4611686018427387905]): shape [1] cannot be expanded"}}};
}

namespace {

Shape permutation(const Permute& op, const Shape& shape) {
  check<ShapeError>(op.axes.size() == shape.size(), op, op.axes.size(), " axes for shape ", shape);
  bool seen[max_dims] = {};
  Shape axes = op.axes;
  for (Length& entry : axes) {
    const int64_t given = entry;
    const int a = check_axis(op, given, shape);
    check<IndexError>(!seen[a], op, "axis ", given, " appears twice for shape ", shape);
    seen[a] = true;
    entry = a;
  }
  return axes;
}

}  // namespace

Spec Permute::infer(Specs in) const {
  const Shape order = permutation(*this, in[0].shape);
  Spec out = in[0];
  for (int i = 0; i < order.size(); ++i) out.shape[i] = in[0].shape[int(order[i])];
  return out;
}

bool Permute::view(const Tensor& in, View& out) const {
  const Shape order = permutation(*this, in.shape());
  out.shape = out.strides = order;
  for (int i = 0; i < order.size(); ++i) {
    out.shape[i] = in.shape()[int(order[i])];
    out.strides[i] = in.strides()[int(order[i])];
  }
  return true;
}

void Permute::cpu(Inputs in, Outputs out) const {
  View v;
  view(in[0], v);
  detail::copy_data(out[0], detail::alias(in[0], v.shape, v.strides, v.offset));
}

Tensors Permute::vjp(const Saved& s, const Tensor& dy) const {
  const Shape order = permutation(*this, s.shape(0));
  Shape inverse = order;
  for (int i = 0; i < order.size(); ++i) inverse[int(order[i])] = i;
  return {permute(dy, inverse)};
}

Samples<Permute> Permute::samples() {
  return {.ok = {{{{1, 0}}, {{{3, 5}}}},
                 {{{2, 0, 1}}, {{{2, 3, 4}}}},
                 {{{-1, 0, 1}}, {sample::strided({2, 3, 4})}},
                 {{{}}, {{{}}}},
                 {{{1, 0}}, {{{0, 3}}}}},
          .errors = {
              {{{0, 0}}, {{{3, 5}}}, "permute(axes=[0, 0]): axis 0 appears twice for shape [3, 5]"},
              {{{0}}, {{{3, 5}}}, "permute(axes=[0]): 1 axes for shape [3, 5]"}}};
}

Tensor transpose(const Tensor& x, int axis0, int axis1) {
  Permute op;
  for (int i = 0; i < x.dim(); ++i) op.axes.push_back(i);
  const int a = check_axis(op, axis0, x.shape()), b = check_axis(op, axis1, x.shape());
  if (x.dim() > 0) std::swap(op.axes[a], op.axes[b]);
  return apply(op, {x});
}

Tensor flatten(const Tensor& x, int start_axis, int end_axis) {
  Reshape op;
  const int a = check_axis(op, start_axis, x.shape()), b = check_axis(op, end_axis, x.shape());
  check<IndexError>(a <= b, op, "flatten from axis ", start_axis, " to ", end_axis, " for shape ",
                    x.shape());
  Length merged = 1;
  for (int i = 0; i < x.dim(); ++i) {
    if (i < a || i > b) op.shape.push_back(x.shape()[i]);
    else merged *= x.shape()[i];
    if (i == b) op.shape.push_back(merged);
  }
  if (x.dim() == 0) op.shape.push_back(1);
  return apply(op, {x});
}

Tensor squeeze(const Tensor& x, int axis) {
  Reshape op{.shape = x.shape()};
  const int a = check_axis(op, axis, x.shape());
  if (x.dim() == 0 || x.shape()[a] != 1) return x;
  op.shape.erase(a);
  return apply(op, {x});
}

Tensor squeeze(const Tensor& x) {
  Reshape op;
  for (Length d : x.shape())
    if (d != 1) op.shape.push_back(d);
  return op.shape.size() == x.dim() ? x : apply(op, {x});
}

Tensor unsqueeze(const Tensor& x, int axis) {
  Reshape op{.shape = x.shape()};
  Shape grown = x.shape();
  grown.push_back(1);
  op.shape.insert(check_axis(op, axis, grown), 1);
  return apply(op, {x});
}

namespace detail {
Tensor captured_full(const Shape& shape, const Tensor& value) {
  const Tensor all = expand(value, shape);
  if (!all.is_symbolic()) return all;
  // A tensor of its own, not a view of one number.
  const Tensor own = new_symbolic(all.spec());
  bind_symbolic(own, all.impl()->extras->recorder, all.impl()->extras->value);
  return own;
}
}  // namespace detail

}  // namespace tandem
