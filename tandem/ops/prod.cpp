#include "tandem/ops/prod.h"

#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/masked_fill.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reduce_shape.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Prod)
TANDEM_OP(ProdGrad)

Spec Prod::infer(Specs in) const {
  const DType d = in[0].dtype;
  return {detail::reduced_shape(*this, axes, keepdim, in[0].shape), is_floating(d) ? d : i64,
          in[0].device};
}

Tensors Prod::vjp(const Saved& s, const Tensor& dy) const {
  // The reduced axes go last and are merged: [kept..., n].
  const Tensor& x = s.in(0);
  const Shape& shape = x.shape();
  bool gone[max_dims] = {};
  Length n = 1, kept = 1;
  for (int64_t a : detail::reduced_axes(*this, axes, shape)) {
    gone[a] = true;
    n *= shape[int(a)];
  }
  Shape order, back = shape, turned;
  for (int pass = 0; pass < 2; ++pass)
    for (int i = 0; i < shape.size(); ++i) {
      if (gone[i] != (pass == 1)) continue;
      back[i] = order.size();
      order.push_back(i);
      turned.push_back(shape[i]);
      if (!pass) kept *= shape[i];
    }
  const Tensor rows = reshape(permute(x, order), {kept, n});
  const Tensor dx = apply(ProdGrad{}, {rows, reshape(dy, {kept, 1})});
  return {permute(reshape(dx, turned), back)};
}

Samples<Prod> Prod::samples() {
  return {.ok = {{{}, {{{3, 5}}}},
                 {{.axes = {0}}, {{{3, 5}}}},
                 {{.axes = {1}, .keepdim = true}, {{{3, 5}}}},
                 {{.axes = {-1, 0}}, {{{2, 3, 4}}}},
                 {{.axes = {0, 2}}, {sample::strided({4, 3, 2})}},
                 {{.axes = {1}}, {sample::listed({3, 3}, {1, 0, 3, 0, 2, 0, 1, 2, 3})}},
                 {{}, {{{}}}},
                 {{.axes = {0}}, {{{0, 3}}}},
                 {{.axes = {1}}, {{{0, 3}}}},
                 {{}, {{{5}, i32}}},
                 {{}, {sample::mask({9})}}},
          .errors = {{{.axes = {2}},
                      {{{3, 5}}},
                      "prod(axes=[2], keepdim=false): axis 2 is out of range [-2, 1] for shape "
                      "[3, 5]"}}};
}

Spec ProdGrad::infer(Specs in) const {
  const Shape& x = in[0].shape;
  check<ShapeError>(!x.empty(), *this, "x needs at least one axis");
  Shape want = x;
  want[want.size() - 1] = 1;
  check<ShapeError>(detail::may_equal(in[1].shape, want), *this, "dy must have shape ", want,
                    ", got ", in[1].shape);
  check<DTypeError>(is_floating(in[0].dtype), *this, "takes floating tensors, got ", in[0].dtype);
  return in[0];
}

void ProdGrad::cpu(Inputs in, Outputs out) const {
  const DType compute = out[0].dtype() == f64 ? f64 : f32;
  const Tensor x = detail::as_contiguous(in[0], compute),
               dy = detail::as_contiguous(in[1], compute);
  const Tensor y = out[0].dtype() == compute ? out[0] : empty(out[0].shape(), compute);
  const int64_t n = x.shape().back(), rows = n ? int64_t(x.numel()) / n : 0;
  auto run = [&]<class T>() {
    const T *p = x.data<T>(), *d = dy.data<T>();
    T* q = y.data<T>();
    cpu::parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(n, 1)),
                      [&](int64_t begin, int64_t end) {
                        for (int64_t r = begin; r < end; ++r) {
                          // The product of what stands before, then of what stands behind.
                          T left = d[r], right = 1;
                          for (int64_t i = r * n; i < (r + 1) * n; ++i) {
                            q[i] = left;
                            left *= p[i];
                          }
                          for (int64_t i = (r + 1) * n - 1; i >= r * n; --i) {
                            q[i] *= right;
                            right *= p[i];
                          }
                        }
                      });
  };
  if (compute == f64) run.template operator()<double>();
  else run.template operator()<float>();
  if (out[0].dtype() != compute) detail::copy_data(out[0], y);
}

Tensors ProdGrad::vjp(const Saved& s, const Tensor& g) const {
  // y_i = dy * prod_{j != i} x_j. With M[i][j] = x_j outside the diagonal and 1 on it, y_i is dy
  // times the product of row i of M, whose gradient is this op again.
  const Tensor &x = s.in(0), &dy = s.in(1);
  const Length n = x.shape().back(), rows = dy.numel();
  Tensor dx, ddy;
  if (s.needs(0)) {
    const Tensor diagonal = eye(n, n, boolean);
    const Tensor m = masked_fill(expand(reshape(x, {rows, 1, n}), {rows, n, n}), diagonal, 1.0);
    const Tensor d = apply(ProdGrad{}, {m, reshape(g * dy, {rows, n, 1})});
    dx = reshape(sum(masked_fill(d, diagonal, 0.0), {1}), x.shape());
  }
  if (s.needs(1))
    ddy = sum(g * apply(ProdGrad{}, {x, ones(dy.shape(), dy.dtype(), dy.device())}), {-1}, true);
  return {dx, ddy};
}

Samples<ProdGrad> ProdGrad::samples() {
  return {
      .ok = {{{}, {{{3, 5}}, {{3, 1}}}},
             {{}, {sample::listed({3, 3}, {1, 0, 3, 0, 2, 0, 1, 2, 3}), {{3, 1}}}},
             {{}, {sample::strided({2, 3, 4}), {{2, 3, 1}}}},
             {{}, {{{4}}, {{1}}}},
             {{}, {{{3, 0}}, {{3, 1}}}}},
      .errors = {{{}, {{{3, 5}}, {{3, 5}}}, "prod_grad(): dy must have shape [3, 1], got [3, 5]"}}};
}

}  // namespace tandem
