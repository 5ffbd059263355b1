#pragma once
// What the losses over classes share: layout, checks, and their meaning in public ops.
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/loss_reduce.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"

namespace tandem::detail {

/// x[n, classes, inner] as the kernels see it.
template <class N>
struct LayoutOf {
  N n = 1, classes = 1, inner = 1;
  int axis = 0;

  explicit LayoutOf(const Shape& x) : axis(x.size() > 1) {
    classes = x[axis];
    if (axis) n = x[0];
    for (int i = axis + 1; i < x.size(); ++i) inner *= x[i];
  }
  N rows() const { return n * inner; }
};
using Layout = LayoutOf<int64_t>;

template <class O>
void check_weight(const O& op, Specs in, int i, DType dtype, Length classes) {
  if (!in.has(i)) return;
  check<ShapeError>(detail::may_equal(in[i].shape, Shape{classes}), op, "weight has shape ",
                    in[i].shape, "; ", classes, " classes take [", classes, "]");
  check<DTypeError>(in[i].dtype == dtype, op, "weight is ", in[i].dtype, ", x is ", dtype,
                    "; cast one of them");
}

/// The shape of class numbers for x.
template <class O>
Shape target_shape(const O& op, const Spec& x) {
  check<ShapeError>(x.shape.size() > 0, op, "x has shape []; it needs an axis of classes");
  check<DTypeError>(is_floating(x.dtype), op, "x is ", x.dtype, ", it must be floating");
  Shape t = x.shape;
  t.erase(x.shape.size() > 1);
  return t;
}

template <class O>
void check_classes(const O& op, const Spec& target, const Shape& want, const Shape& x) {
  check<DTypeError>(is_integral(target.dtype), op, "target is ", target.dtype,
                    ", class numbers must be integers");
  check<ShapeError>(detail::may_equal(target.shape, want), op, "x of shape ", x,
                    " takes a target of shape ", want, ", got ", target.shape);
}

/// Class numbers, checked. Ignored ones become -1.
template <class O>
Tensor class_numbers(const O& op, const Tensor& target, int64_t classes) {
  const Tensor ids = empty(target.shape(), i64);
  detail::copy_data(ids, target);
  int64_t* p = ids.data<int64_t>();
  for (int64_t i = 0, n = ids.numel(); i < n; ++i) {
    if (p[i] == op.ignore_index) {
      p[i] = -1;
      continue;
    }
    check<IndexError>(p[i] >= 0 && p[i] < classes, op, "target ", p[i], " is out of range [0, ",
                      classes - 1, "] and is not ignore_index");
  }
  return ids;
}

struct Weights {
  Tensor kept;
  const double* w = nullptr;
  explicit Weights(const Tensor& t) {
    if (!t.defined()) return;
    kept = detail::as_contiguous(t, f64);
    w = kept.data<double>();
  }
  double operator[](int64_t c) const { return w ? w[c] : 1.0; }
};

inline double sum_of_weights(const Weights& w, const int64_t* ids, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i)
    if (ids[i] >= 0) total += w[ids[i]];
  return total;
}

inline Tensor optional_input(Inputs in, size_t i) { return i < in.size() ? in[i] : Tensor(); }

// --- The meaning in public ops, for gradients of gradients ------------------------------------

/// 1 at the target's class, 0 elsewhere and in ignored rows; of x's shape.
inline Tensor one_of(const Tensor& target, const Shape& x, DType dtype, int64_t ignore) {
  const LayoutOf<Length> l(x);
  Shape along = Shape::filled(x.size(), 1);
  along[l.axis] = l.classes;
  const Tensor t = unsqueeze(cast(target, i64), l.axis);
  const Tensor hit = eq(t, reshape(arange(l.classes), along));
  return cast(hit, dtype) * cast(ne(t, Tensor(ignore)), dtype);
}

/// The weights [classes] so that they broadcast against x.
inline Tensor spread(const Tensor& weight, const Shape& x) {
  const LayoutOf<Length> l(x);
  Shape along = Shape::filled(x.size(), 1);
  along[l.axis] = l.classes;
  return reshape(weight, along);
}

inline Tensor per_row(const Tensor& t, const Shape& x) {
  return sum(t, {LayoutOf<Length>(x).axis});
}

/// `rows` reduced; `q` holds what the mean divides by, as a sum over classes.
inline Tensor reduced(const Tensor& rows, const Tensor& q, Reduction r) {
  if (r == Reduction::none) return rows;
  return r == Reduction::sum ? sum(rows) : sum(rows) / sum(q);
}

}  // namespace tandem::detail
