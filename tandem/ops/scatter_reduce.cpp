#include "tandem/ops/scatter_reduce.h"

#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/where.h"

namespace tandem {

TANDEM_OP(ScatterReduce)
namespace {

template <class T>
auto comparable(T v) {
  if constexpr (std::is_class_v<T>) return float(v);
  else return v;
}

/// Joins src with what lies at its places of y, in the order of src.
template <class T, class F>
void join(const ScatterReduce& op, const Shape& shape, int axis, const Tensor& index,
          const Tensor& src, T* y, const F& f) {
  const Shape& many = index.shape();
  const Strides steps = contiguous_strides(shape);
  const int64_t* places = index.data<int64_t>();
  const T* from = static_cast<const T*>(src.raw_data());
  Shape at = Shape::filled(many.size(), 0);
  for (int64_t i = 0; i < index.numel(); ++i) {
    const int64_t n = shape.empty() ? 1 : int64_t(shape[axis]);
    if (places[i] < 0 || places[i] >= n) detail::bad_index(op, places[i], 0, n, axis, shape);
    int64_t to = 0;
    for (int a = 0; a < many.size(); ++a) to += (a == axis ? places[i] : int64_t(at[a])) * steps[a];
    y[to] = f(y[to], from[i]);
    for (int a = many.size() - 1; a >= 0; --a) {
      at[a] = at[a] + 1;
      if (at[a] < many[a]) break;
      at[a] = 0;
    }
  }
}

}  // namespace

Spec ScatterReduce::infer(Specs in) const {
  check(reduce == "prod" || reduce == "amax" || reduce == "amin", *this,
        "reduce must be prod, amax or amin");
  const Shape& x = in[0].shape;
  const int a = check_axis(*this, axis, x);
  detail::check_index_dtype(*this, in[1].dtype);
  check<DTypeError>(in[2].dtype == in[0].dtype, *this, "src is ", in[2].dtype, " and x is ",
                    in[0].dtype);
  check<ShapeError>(detail::may_equal(in[2].shape, in[1].shape), *this, "src of shape ",
                    in[2].shape, " for index of shape ", in[1].shape);
  bool fits = in[1].shape.size() == x.size();
  for (int i = 0; fits && i < x.size(); ++i) fits = i == a || detail::may_fit(in[1].shape[i], x[i]);
  check<ShapeError>(fits, *this, "index of shape ", in[1].shape, " does not fit x of shape ", x);
  return in[0];
}

void ScatterReduce::cpu(Inputs in, Outputs out) const {
  detail::copy_data(out[0], in[0]);
  const Tensor index = detail::as_contiguous(in[1], i64), src = detail::as_contiguous(in[2]);
  const Shape& shape = out[0].shape();
  const int a = check_axis(*this, axis, shape);
  visit(out[0].dtype(), [&]<class T>() {
    T* y = static_cast<T*>(out[0].raw_data());
    auto extreme = [&](bool largest) {
      join(*this, shape, a, index, src, y, [largest](T old, T v) {
        const auto p = comparable(old), q = comparable(v);
        if (p != p) return old;
        return q != q || (largest ? q > p : q < p) ? v : old;
      });
    };
    if (reduce != "prod") return extreme(reduce == "amax");
    join(*this, shape, a, index, src, y, [](T old, T v) {
      if constexpr (std::is_class_v<T>) return T(float(old) * float(v));
      else if constexpr (std::is_integral_v<T>) return T(uint64_t(old) * uint64_t(v));
      else return old * v;
    });
  });
}

Tensors ScatterReduce::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor &x = s.in(0), &index = s.in(1), &src = s.in(2), y = s.out();
  if (reduce != "prod") {
    const Tensor mine = cast(eq(x, y), dy.dtype());
    const Tensor theirs = cast(eq(src, gather(y, axis, index)), dy.dtype());
    const Tensor share = dy / scatter_add(mine, axis, index, theirs);
    return {mine * share, Tensor(), theirs * gather(share, axis, index)};
  }
  // Products without the factor itself; where several factors are 0 it does not matter.
  const Tensor one = full({}, 1, x.dtype());
  const Tensor own = where(eq(x, 0), one, x);
  const Tensor dx = dy * scatter_reduce(own, axis, index, src, "prod") / own;
  if (!s.needs(2)) return {dx, Tensor(), Tensor()};
  const Tensor zero = eq(src, 0), factors = where(zero, one, src);
  const Tensor zeros_there = scatter_add(zeros_like(x), axis, index, cast(zero, x.dtype()));
  const Tensor without = gather(dy * scatter_reduce(x, axis, index, factors, "prod"), axis, index);
  const Tensor with = gather(dy * y, axis, index) / factors;
  const Tensor count = gather(zeros_there, axis, index);
  const Tensor alone = where(eq(count, 1), without, full({}, 0, x.dtype()));
  return {dx, Tensor(), where(zero, alone, with)};
}

Samples<ScatterReduce> ScatterReduce::samples() {
  auto at = [](Shape shape) { return sample::listed(shape, {0, 1, 1, 1, 0, 2, 2, 2, 0}, i64); };
  Samples<ScatterReduce> all;
  auto add = [&](int64_t along, const char* how, InputSpecs in, bool gradient = true) {
    ScatterReduce op;
    op.axis = along;
    op.reduce = how;
    all.ok.push_back({op, std::move(in), gradient});
  };
  for (const char* how : {"prod", "amax", "amin"}) {
    add(0, how, {{{3, 5}}, at({2, 3}), {{2, 3}}});
    add(1, how, {{{3, 5}}, at({3, 3}), {{3, 3}}});
    add(-1, how, {sample::strided({4, 3}), at({4, 3}), sample::strided({4, 3})});
    add(1, how, {{{2, 3, 4}}, at({2, 3, 2}), {{2, 3, 2}}});
    add(0, how, {{{3}}, {{0}, i64}, {{0}}});
    add(0, how, {{{3, 2}, i64}, at({3, 2}), {{3, 2}, i64}});
    add(0, how,
        {sample::listed({4}, {1, NAN, 3, 0}), sample::listed({5}, {0, 0, 1, 2, 3}, i64),
         sample::listed({5}, {2, 1, 5, NAN, 0})},
        false);
  }
  add(0, "prod",
      {sample::listed({3}, {2, 0, 3}), sample::listed({5}, {0, 0, 1, 2, 2}, i64),
       sample::listed({5}, {0, 5, 4, 0, 0})},
      false);  // beside a zero the second gradient is not that of the formula
  all.errors = {
      {{0, "mean"},
       {{{3}}, at({2}), {{2}}},
       "scatter_reduce(axis=0, reduce=mean): reduce must be prod, amax or amin"},
      {{0, "amax"},
       {{{3}}, at({2}), {{3}}},
       "scatter_reduce(axis=0, reduce=amax): src of shape [3] for index of shape [2]"},
      {{0, "amin"},
       {{{2}}, sample::listed({1}, {2}, i64), {{1}}},
       "scatter_reduce(axis=0, reduce=amin): index 2 is out of range [0, 1] for axis 0 of "
       "shape [2]"}};
  return all;
}

}  // namespace tandem
