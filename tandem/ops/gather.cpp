#include "tandem/ops/gather.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Gather)
TANDEM_OP(Scatter)
TANDEM_OP(ScatterAdd)
TANDEM_OP(IndexSelect)
TANDEM_OP(IndexAdd)
namespace {

Shape at_least_1d(const Shape& s) { return s.empty() ? Shape{1} : s; }

/// `index` has the axes of `x` and is not longer along the others.
template <class O>
void check_places(const O& op, const Spec& x, const Spec& index) {
  detail::check_integer_index(op, index.dtype);
  const int axis = check_axis(op, op.axis, x.shape);
  const Shape a = at_least_1d(x.shape), b = at_least_1d(index.shape);
  if (detail::must_equal(index.shape.numel(), 0)) return;
  bool fits = a.size() == b.size();
  for (int i = 0; fits && i < a.size(); ++i)
    fits = i == axis || detail::may_fit(b[i], a[i]) || detail::may_equal(index.shape.numel(), 0);
  check<ShapeError>(fits, op, "index of shape ", index.shape, " does not fit x of shape ", x.shape,
                    ": it needs as many axes, and outside axis ", axis, " no more elements");
}

template <class O>
Spec infer_scatter(const O& op, Specs in) {
  check_places(op, in[0], in[1]);
  if (!in.is_number(2))
    check<DTypeError>(in[2].dtype == in[0].dtype, op, "src is ", in[2].dtype, " but x is ",
                      in[0].dtype);
  if (in[2].shape.empty() || detail::must_equal(in[1].shape.numel(), 0)) return in[0];
  const Shape a = at_least_1d(in[1].shape), b = in[2].shape;
  bool fits = a.size() == b.size();
  for (int i = 0; fits && i < a.size(); ++i) fits = detail::may_fit(a[i], b[i]);
  check<ShapeError>(fits, op, "src of shape ", in[2].shape, " does not cover index of shape ",
                    in[1].shape);
  return in[0];
}

/// Calls f(x_offset, src_offset, index_offset) for every element of `index`, where x_offset leads
/// into row-major memory of shape `shape` at the place that the index names.
template <class O, class F>
void each_place(const O& op, const Shape& x_shape, const Tensor& index, const Shape& src_strides,
                bool parallel, const F& f) {
  const Shape shape = at_least_1d(x_shape), sizes = at_least_1d(index.shape());
  const Strides steps = contiguous_strides(shape);
  const int axis = int(op.axis < 0 ? op.axis + shape.size() : op.axis), last = sizes.size() - 1;
  const int64_t n = shape[axis], axis_step = steps[axis], width = sizes[last];
  if (index.numel() == 0) return;
  const int64_t rows = index.numel() / width;
  const int64_t* places = index.data<int64_t>();
  const int64_t step = axis == last ? 0 : int64_t(steps[last]);
  const int64_t src_step = src_strides.empty() ? 0 : int64_t(src_strides[last]);
  const int64_t grain = parallel ? std::max<int64_t>(1, 8192 / width) : rows;
  cpu::parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t base = 0, src = 0, r = row;
      for (int i = last - 1; i >= 0; --i) {
        const int64_t at = r % sizes[i];
        r /= sizes[i];
        if (i != axis) base += at * steps[i];
        if (!src_strides.empty()) src += at * src_strides[i];
      }
      const int64_t* p = places + row * width;
      for (int64_t j = 0; j < width; ++j) {
        if (p[j] < 0 || p[j] >= n) [[unlikely]]
          detail::bad_index(op, p[j], 0, n, axis, x_shape);
        f(base + j * step + p[j] * axis_step, src + j * src_step, row * width + j);
      }
    }
  });
}

/// y = x, then y[place] = combine(y[place], src) at every place; elements of type T, in `out` as S.
template <class O, class T, class S, class F>
void scatter_into(const O& op, Inputs in, const Tensor& out, const F& combine) {
  detail::copy_data(out, in[0]);
  const Tensor index = detail::as_contiguous(in[1], i64);
  const Tensor src = detail::as_contiguous(in[2], in[0].dtype());
  const T* s = static_cast<const T*>(src.raw_data());
  S* y = static_cast<S*>(out.raw_data());
  // Rows of different places never meet when the indexed axis is the row itself.
  const bool apart = op.axis == -1 || op.axis == std::max(out.dim(), 1) - 1;
  each_place(op, out.shape(), index, src.strides(), apart,
             [&](int64_t to, int64_t from, int64_t) { y[to] = combine(y[to], s[from]); });
}

/// The gradient of `src` from what was read at its places.
Tensor src_gradient(const Saved& s, const Tensor& read) {
  const Shape &src = s.shape(2), &index = s.shape(1);
  if (detail::must_equal(src, index)) return read;
  if (src.empty()) return sum(read);
  if (detail::must_equal(index.numel(), 0)) return zeros(src, read.dtype(), read.device());
  return apply(ScatterRegion{.shape = src, .strides = contiguous_strides(src)}, {read});
}

template <class O>
Samples<O> scatter_samples(std::vector<double> places) {
  const std::string text(O::name);
  auto at = [&](Shape s) { return sample::listed(s, places, i64); };
  auto apart = [](Shape s) { return sample::listed(s, {0, 2, 1, 1, 2, 0}, i64); };
  return {.ok = {{{.axis = 0}, {{{3, 5}}, at({2, 3}), {{2, 3}}}},
                 {{.axis = 1}, {{{3, 5}}, at({3, 3}), {{3, 4}}}},
                 {{.axis = -1}, {sample::strided({4, 3}), at({4, 3}), sample::strided({4, 3})}},
                 {{.axis = 1}, {{{2, 3, 4}}, apart({2, 3, 2}), {{2, 3, 2}}}},
                 {{.axis = 0}, {{{}}, sample::listed({}, {0}, i64), {{}}}},
                 {{.axis = 0}, {{{3}}, {{0}, i64}, {{0}}}},
                 {{.axis = 0}, {{{3, 2}, i64}, apart({3, 2}), {{3, 2}, i64}}},
                 {{.axis = 0}, {{{3, 2}}, at({1, 2}), {{}}}}},
          .errors = {{{.axis = 2},
                      {{{3, 5}}, at({2, 3}), {{2, 3}}},
                      text + "(axis=2): axis 2 is out of range [-2, 1] for shape [3, 5]"},
                     {{.axis = 0},
                      {{{3, 5}}, at({2, 3}), {{2, 2}}},
                      text + "(axis=0): src of shape [2, 2] does not cover index of shape [2, 3]"},
                     {{.axis = 0},
                      {{{2, 5}}, sample::listed({1, 1}, {2}, i64), {{1, 1}}},
                      text + "(axis=0): index 2 is out of range [0, 1] for axis 0 of shape "
                             "[2, 5]"}}};
}

}  // namespace

Spec Gather::infer(Specs in) const {
  check_places(*this, in[0], in[1]);
  return {in[1].shape, in[0].dtype, in[0].device};
}

void Gather::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]), index = detail::as_contiguous(in[1], i64);
  detail::visit_bytes(itemsize(x.dtype()), [&]<class U>() {
    const U* from = static_cast<const U*>(x.raw_data());
    U* to = static_cast<U*>(out[0].raw_data());
    each_place(*this, x.shape(), index, {}, true,
               [&](int64_t at, int64_t, int64_t i) { to[i] = from[at]; });
  });
}

Tensors Gather::vjp(const Saved& s, const Tensor& dy) const {
  const Spec& x = s.spec(0);
  return {scatter_add(zeros(x.shape, dy.dtype(), x.device), axis, s.in(1), dy), Tensor()};
}

Samples<Gather> Gather::samples() {
  return {.ok = {{{.axis = 0}, {{{3, 5}}, sample::index({2, 3}, 3)}},
                 {{.axis = 1}, {{{3, 5}}, sample::index({3, 9}, 5)}},
                 {{.axis = -1}, {sample::strided({4, 3}), sample::index({4, 2}, 3)}},
                 {{.axis = 1}, {{{2, 3, 4}}, sample::index({2, 5, 2}, 3)}},
                 {{.axis = 0}, {{{}}, sample::index({}, 1)}},
                 {{.axis = 0}, {{{3}}, {{0}, i64}}},
                 {{.axis = 0}, {{{3, 2}, u8}, sample::index({2, 2}, 3)}}},
          .errors = {{{.axis = 0},
                      {{{3, 5}}, sample::index({2, 6}, 3)},
                      "gather(axis=0): index of shape [2, 6] does not fit x of shape [3, 5]: it "
                      "needs as many axes, and outside axis 0 no more elements"},
                     {{.axis = 0},
                      {{{3}}, sample::listed({2}, {0, 3}, i64)},
                      "gather(axis=0): index 3 is out of range [0, 2] for axis 0 of shape [3]"},
                     {{.axis = 0},
                      {{{3}}, {{2}}},
                      "gather(axis=0): an index must be an integer tensor, got f64"}}};
}

Spec Scatter::infer(Specs in) const { return infer_scatter(*this, in); }
void Scatter::cpu(Inputs in, Outputs out) const {
  detail::visit_bytes(itemsize(out[0].dtype()), [&]<class U>() {
    scatter_into<Scatter, U, U>(*this, in, out[0], [](U, U src) { return src; });
  });
}
Tensors Scatter::vjp(const Saved& s, const Tensor& dy) const {
  const Tensor& index = s.in(1);
  return {s.needs(0) ? scatter(dy, axis, index, 0.0) : Tensor(), Tensor(),
          s.needs(2) ? src_gradient(s, gather(dy, axis, index)) : Tensor()};
}
Samples<Scatter> Scatter::samples() {
  auto all = scatter_samples<Scatter>({0, 2, 1, 1, 0, 2, 2, 1, 0});
  all.ok[3].gradient = false;  // repeated indices: the gradient goes to all, the value to one
  all.errors.push_back(
      {{}, {{{3}}, {{1}, i64}, {{1}, i64}}, "scatter(axis=0): src is i64 but x is f64"});
  return all;
}

Spec ScatterAdd::infer(Specs in) const { return infer_scatter(*this, in); }
void ScatterAdd::cpu(Inputs in, Outputs out) const {
  detail::accumulate(out[0], [&]<class T, class S>(const Tensor& sums) {
    scatter_into<ScatterAdd, T, S>(*this, in, sums,
                                   [](S sum, T src) { return detail::plus(sum, S(src)); });
  });
}
Tensors ScatterAdd::vjp(const Saved& s, const Tensor& dy) const {
  return {dy, Tensor(), s.needs(2) ? src_gradient(s, gather(dy, axis, s.in(1))) : Tensor()};
}
Samples<ScatterAdd> ScatterAdd::samples() {
  return scatter_samples<ScatterAdd>({0, 1, 1, 1, 0, 2, 2, 2, 0});
}

// --- Whole slices -------------------------------------------------------------------------------

namespace {

template <class O>
void check_list(const O& op, const Spec& index) {
  detail::check_integer_index(op, index.dtype);
  check<ShapeError>(index.shape.size() <= 1, op, "the index must have at most one axis, got shape ",
                    index.shape);
}

template <class O>
Tensor checked_list(const O& op, const Tensor& index, int64_t n, int axis, const Shape& shape) {
  const Tensor list = detail::as_contiguous(index, i64);
  for (int64_t i : list.span<int64_t>())
    if (i < 0 || i >= n) detail::bad_index(op, i, 0, n, axis, shape);
  return list;
}

}  // namespace

Spec IndexSelect::infer(Specs in) const {
  check_list(*this, in[1]);
  const int a = check_axis(*this, axis, in[0].shape);
  Spec out = in[0];
  if (!out.shape.empty()) out.shape[a] = in[1].shape.numel();
  else
    check<ShapeError>(detail::may_equal(in[1].shape.numel(), 1), *this,
                      "a 0-d x takes one index, got shape ", in[1].shape);
  return out;
}

void IndexSelect::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  const int a = check_axis(*this, axis, x.shape());
  const detail::AxisSplit s(x.shape(), a);
  const Tensor list = checked_list(*this, in[1], s.n, a, x.shape());
  const int64_t* places = list.data<int64_t>();
  const int64_t n = list.numel(), block = s.inner * itemsize(x.dtype());
  if (block == 0) return;
  const char* from = static_cast<const char*>(x.raw_data());
  char* to = static_cast<char*>(out[0].raw_data());
  cpu::parallel_for(s.outer * n, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, block)),
                    [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i)
                        std::memcpy(to + i * block, from + (i / n * s.n + places[i % n]) * block,
                                    size_t(block));
                    });
}

Tensors IndexSelect::vjp(const Saved& s, const Tensor& dy) const {
  const Spec& x = s.spec(0);
  return {index_add(zeros(x.shape, dy.dtype(), x.device), axis, s.in(1), dy), Tensor()};
}

Samples<IndexSelect> IndexSelect::samples() {
  return {.ok = {{{.axis = 0}, {{{3, 5}}, sample::index({4}, 3)}},
                 {{.axis = -1}, {{{3, 5}}, sample::index({7}, 5)}},
                 {{.axis = 1}, {sample::strided({4, 3}), sample::index({}, 3)}},
                 {{.axis = 1}, {{{2, 3, 4}, i32}, sample::index({2}, 3)}},
                 {{.axis = 0}, {{{}}, sample::index({1}, 1)}},
                 {{.axis = 0}, {{{3, 2}}, {{0}, i64}}}},
          .errors = {{{.axis = 0},
                      {{{3, 5}}, sample::index({2, 2}, 3)},
                      "index_select(axis=0): the index must have at most one axis, got shape "
                      "[2, 2]"},
                     {{.axis = 1},
                      {{{3, 5}}, sample::listed({2}, {0, -1}, i64)},
                      "index_select(axis=1): index -1 is out of range [0, 4] for axis 1 of shape "
                      "[3, 5]"}}};
}

Spec IndexAdd::infer(Specs in) const {
  check_list(*this, in[1]);
  const int a = check_axis(*this, axis, in[0].shape);
  Shape want = in[0].shape;
  if (!want.empty()) want[a] = in[1].shape.numel();
  else
    check<ShapeError>(detail::may_equal(in[1].shape.numel(), 1), *this,
                      "a 0-d x takes one index, got shape ", in[1].shape);
  check<DTypeError>(in[2].dtype == in[0].dtype, *this, "src is ", in[2].dtype, " but x is ",
                    in[0].dtype);
  check<ShapeError>(
      detail::may_equal(in[2].shape, want) ||
          (detail::may_equal(want.numel(), 1) && detail::may_equal(in[2].shape.numel(), 1)),
      *this, "src must have shape ", want, ", got ", in[2].shape);
  return in[0];
}

void IndexAdd::cpu(Inputs in, Outputs out) const {
  const int a = check_axis(*this, axis, out[0].shape());
  const detail::AxisSplit s(out[0].shape(), a);
  const Tensor list = checked_list(*this, in[1], s.n, a, out[0].shape());
  const Tensor src = detail::as_contiguous(in[2]);
  const int64_t* places = list.data<int64_t>();
  const int64_t n = list.numel();
  detail::accumulate(out[0], [&]<class T, class S>(const Tensor& sums) {
    detail::copy_data(sums, in[0]);
    const T* from = static_cast<const T*>(src.raw_data());
    S* to = static_cast<S*>(sums.raw_data());
    const bool scaled = alpha != 1;
    auto scale = [factor = detail::convert<S>(alpha)](T v) { return S(math::mul(S(v), factor)); };
    // Columns are apart from each other, so that repeated indices need no care across threads.
    auto add = [&](int64_t o, int64_t first, int64_t last) {
      for (int64_t i = 0; i < n; ++i) {
        const T* p = from + (o * n + i) * s.inner;
        S* y = to + (o * s.n + places[i]) * s.inner;
        if (scaled)
          for (int64_t k = first; k < last; ++k) y[k] = detail::plus(y[k], scale(p[k]));
        else
          for (int64_t k = first; k < last; ++k) y[k] = detail::plus(y[k], S(p[k]));
      }
    };
    if (s.outer == 1 && s.inner >= 64)
      cpu::parallel_for(s.inner, std::max<int64_t>(32, 32768 / std::max<int64_t>(1, n)),
                        [&](int64_t begin, int64_t end) { add(0, begin, end); });
    else
      cpu::parallel_for(s.outer, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, n * s.inner)),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t o = begin; o < end; ++o) add(o, 0, s.inner);
                        });
  });
}

Tensors IndexAdd::vjp(const Saved& s, const Tensor& dy) const {
  Tensor dsrc;
  if (s.needs(2)) {
    dsrc = index_select(dy, axis, s.in(1));
    if (alpha != 1) dsrc = dsrc * alpha;
    if (!detail::must_equal(dsrc.shape(), s.shape(2))) dsrc = reshape(dsrc, s.shape(2));
  }
  return {dy, Tensor(), dsrc};
}

Samples<IndexAdd> IndexAdd::samples() {
  return {.ok = {{{.axis = 0}, {{{3, 5}}, sample::index({4}, 3), {{4, 5}}}},
                 {{.axis = 1, .alpha = -2}, {{{3, 5}}, sample::index({7}, 5), {{3, 7}}}},
                 {{.axis = 0}, {{{4, 70}}, sample::index({9}, 4), {{9, 70}}}},
                 {{.axis = 0}, {{{}}, sample::index({1}, 1), {{}}}},
                 {{.axis = 0}, {{{3, 2}, i64}, sample::index({3}, 3), {{3, 2}, i64}}},
                 {{.axis = 0}, {{{3, 2}}, {{0}, i64}, {{0, 2}}}}},
          .errors = {{{.axis = 0},
                      {{{3, 5}}, sample::index({4}, 3), {{4, 4}}},
                      "index_add(axis=0, alpha=1): src must have shape [4, 5], got [4, 4]"}}};
}

}  // namespace tandem
