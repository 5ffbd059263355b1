#include "tandem/ops/index_put.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tandem/core/captured.h"
#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(IndexRead)
TANDEM_OP(IndexPut)
namespace {

/// Which axes are named, and the shape of the result: before + broadcast + after.
struct Plan {
  bool named[max_dims] = {};
  int axis[max_dims] = {};  ///< of index tensor k
  Shape before, broadcast, after;
  Shape before_strides, after_strides;  ///< in a row-major x
  Shape shape() const {
    Shape s = before;
    for (Length d : broadcast) s.push_back(d);
    for (Length d : after) s.push_back(d);
    return s;
  }
};

/// `first`: the number of the first index tensor.
template <class O>
Plan make_plan(const O& op, const Shape& x, Specs in, int first) {
  Plan p;
  const int n = in.size() - first;
  check<IndexError>(op.axes.empty() || op.axes.size() == n, op, n, " index tensors for axes ",
                    op.axes);
  check<IndexError>(n <= x.size(), op, n, " index tensors for shape ", x);
  int low = max_dims, high = -1;
  for (int k = 0; k < n; ++k) {
    detail::check_index_dtype(op, in[first + k].dtype);
    const int a = op.axes.empty() ? k : check_axis(op, op.axes[k], x);
    check<IndexError>(!p.named[a], op, "axis ", a, " appears twice in ", op.axes);
    p.named[a] = true;
    p.axis[k] = a;
    low = std::min(low, a);
    high = std::max(high, a);
    Shape both;
    check<IndexError>(broadcast(p.broadcast, in[first + k].shape, both), op,
                      "index tensors of shapes ", p.broadcast, " and ", in[first + k].shape,
                      " do not broadcast");
    p.broadcast = both;
  }
  const bool neighbours = high - low + 1 == n;
  const Strides steps = contiguous_strides(x);
  for (int i = 0; i < x.size(); ++i) {
    if (p.named[i]) continue;
    const bool front = neighbours && i < low;
    (front ? p.before : p.after).push_back(x[i]);
    (front ? p.before_strides : p.after_strides).push_back(steps[i]);
  }
  return p;
}

/// Element offsets of all combinations of one group of axes.
std::vector<int64_t> offsets_of(const Shape& sizes, const Shape& strides) {
  std::vector<int64_t> at(size_t(sizes.numel()), 0);
  int64_t repeat = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    for (size_t k = 0; k < at.size(); ++k) at[k] += int64_t(k) / repeat % sizes[i] * strides[i];
    repeat *= sizes[i];
  }
  return at;
}

/// Element offsets that the index tensors name, one for each element of the broadcast shape.
template <class O>
std::vector<int64_t> places_of(const O& op, const Plan& p, const Shape& x, Inputs index) {
  std::vector<int64_t> at(size_t(p.broadcast.numel()), 0);
  const Strides steps = contiguous_strides(x);
  for (size_t k = 0; k < index.size(); ++k) {
    const int axis = p.axis[k];
    const int64_t n = x[axis], step = steps[axis];
    const Tensor flat = detail::as_contiguous(index[k], i64);
    const Tensor wide = detail::as_contiguous(detail::alias(
        flat, p.broadcast, broadcast_strides(flat.shape(), flat.strides(), p.broadcast), 0));
    const int64_t* i = wide.data<int64_t>();
    for (size_t j = 0; j < at.size(); ++j) {
      if (i[j] < -n || i[j] >= n) [[unlikely]]
        detail::bad_index(op, i[j], -n, n, axis, x);
      at[j] += (i[j] < 0 ? i[j] + n : i[j]) * step;
    }
  }
  return at;
}

/// Where the result's elements lie in x: before x places x after; the last group in runs.
struct Walk {
  std::vector<int64_t> before, places, after;
  int64_t run;  ///< elements behind each other in memory at every combination

  template <class O>
  Walk(const O& op, const Plan& p, const Shape& x, Inputs index)
      : before(offsets_of(p.before, p.before_strides)), places(places_of(op, p, x, index)) {
    const bool block = tandem::is_contiguous(p.after, p.after_strides);
    run = block ? int64_t(p.after.numel()) : 1;
    after = block ? std::vector<int64_t>{0} : offsets_of(p.after, p.after_strides);
  }
  /// f(offset in x, element of the result) for each run of rows begin..end of before x places.
  template <class F>
  void each(int64_t begin, int64_t end, const F& f) const {
    const int64_t n = int64_t(places.size()), m = int64_t(after.size());
    for (int64_t r = begin; r < end; ++r) {
      const int64_t base = before[size_t(r / n)] + places[size_t(r % n)];
      for (int64_t k = 0; k < m; ++k) f(base + after[size_t(k)], (r * m + k) * run);
    }
  }
  int64_t rows() const { return int64_t(before.size() * places.size()); }
  int64_t row_size() const { return int64_t(after.size()) * run; }
};

}  // namespace

Spec IndexRead::infer(Specs in) const {
  return {make_plan(*this, in[0].shape, in, 1).shape(), in[0].dtype, in[0].device};
}

void IndexRead::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  const Plan p = make_plan(*this, x.shape(), Specs(in.data(), int(in.size())), 1);
  const Walk walk(*this, p, x.shape(), in.subspan(1));
  if (out[0].numel() == 0) return;  // the places were looked at
  detail::visit_bytes(itemsize(x.dtype()), [&]<class U>() {
    const U* from = static_cast<const U*>(x.raw_data());
    U* to = static_cast<U*>(out[0].raw_data());
    const int64_t run = walk.run;
    cpu::parallel_for(walk.rows(), std::max<int64_t>(1, 16384 / walk.row_size()),
                      [&](int64_t begin, int64_t end) {
                        walk.each(begin, end, [&](int64_t at, int64_t i) {
                          if (run == 1) to[i] = from[at];
                          else std::memcpy(to + i, from + at, size_t(run) * sizeof(U));
                        });
                      });
  });
}

Tensors IndexRead::vjp(const Saved& s, const Tensor& dy) const {
  const Spec& x = s.spec(0);
  Tensors in{zeros(x.shape, dy.dtype(), x.device), dy};
  for (int i = 1; i < s.size(); ++i) in.push_back(s.in(i));
  Tensors dx(size_t(s.size()));
  dx[0] = tandem::apply(IndexPut{.axes = axes, .accumulate = true}, Inputs(in.data(), in.size()));
  return dx;
}

Samples<IndexRead> IndexRead::samples() {
  return {
      .ok = {{{}, {{{3, 5}}, sample::index({4}, 3)}},
             {{}, {{{3, 5}}, sample::index({4}, 3), sample::index({2, 1}, 5)}},
             {{.axes = {1}}, {{{3, 5}}, sample::listed({3}, {-1, 0, 4}, i64)}},
             {{.axes = {0, 2}}, {{{2, 3, 4}}, sample::index({5}, 2), sample::index({5}, 4)}},
             {{.axes = {-1, -2}},
              {sample::strided({2, 3, 4}), sample::index({2, 3}, 3), sample::index({}, 3)}},
             {{}, {{{3, 5}, i32}, sample::index({}, 3)}},
             {{}, {{{3, 5}}, {{0}, i64}}},
             {{}, {{{0, 5}}, {{0}, i64}}}},
      .errors = {
          {{},
           {{{3, 5}}, sample::listed({2}, {0, 3}, i64)},
           "index(axes=[]): index 3 is out of range [-3, 2] for axis 0 of shape "
           "[3, 5]"},
          {{},
           {{{3, 5}}, {{2}, i64}, {{3}, i64}},
           "index(axes=[]): index tensors of shapes [2] and [3] do not broadcast"},
          {{}, {{{3}}, {{2}, i64}, {{2}, i64}}, "index(axes=[]): 2 index tensors for shape [3]"},
          {{}, {{{3}}, {{2}}}, "index(axes=[]): an index must be i64 or i32, got f64"}}};
}

Spec IndexPut::infer(Specs in) const {
  const Shape want = make_plan(*this, in[0].shape, in, 2).shape();
  Shape both;
  check<ShapeError>(broadcast(in[1].shape, want, both) && detail::may_equal(both, want), *this,
                    "values of shape ", in[1].shape, " do not broadcast to ", want);
  if (!in.is_number(1))
    check<DTypeError>(in[1].dtype == in[0].dtype, *this, "values are ", in[1].dtype, " but x is ",
                      in[0].dtype);
  return in[0];
}

void IndexPut::cpu(Inputs in, Outputs out) const {
  const Shape& shape = out[0].shape();
  const Plan p = make_plan(*this, shape, Specs(in.data(), int(in.size())), 2);
  const Shape want = p.shape();
  if (want.numel() == 0) return detail::copy_data(out[0], in[0]);
  const Walk walk(*this, p, shape, in.subspan(2));
  const Tensor narrow = detail::as_contiguous(in[1], out[0].dtype());
  const Tensor values = detail::as_contiguous(
      detail::alias(narrow, want, broadcast_strides(narrow.shape(), narrow.strides(), want), 0));
  const int64_t run = walk.run;
  // Places may repeat: one thread, so that the last value stays and sums have one order.
  if (accumulate) {
    detail::accumulate(out[0], [&]<class T, class S>(const Tensor& sums) {
      detail::copy_data(sums, in[0]);
      const T* from = static_cast<const T*>(values.raw_data());
      S* to = static_cast<S*>(sums.raw_data());
      walk.each(0, walk.rows(), [&](int64_t at, int64_t i) {
        for (int64_t k = 0; k < run; ++k) to[at + k] = detail::plus(to[at + k], S(from[i + k]));
      });
    });
    return;
  }
  detail::copy_data(out[0], in[0]);
  detail::visit_bytes(itemsize(out[0].dtype()), [&]<class U>() {
    const U* from = static_cast<const U*>(values.raw_data());
    U* to = static_cast<U*>(out[0].raw_data());
    walk.each(0, walk.rows(), [&](int64_t at, int64_t i) { std::copy_n(from + i, run, to + at); });
  });
}

Tensors IndexPut::vjp(const Saved& s, const Tensor& dy) const {
  Tensors index;
  for (int i = 2; i < s.size(); ++i) index.push_back(s.in(i));
  Tensors dx(size_t(s.size()));
  if (s.needs(0)) {
    if (accumulate) dx[0] = dy;
    else {
      Tensors in{dy, Tensor(0.0)};
      for (const Tensor& t : index) in.push_back(t);
      dx[0] = tandem::apply(*this, Inputs(in.data(), in.size()));
    }
  }
  if (s.needs(1)) {
    Tensors in{dy};
    for (const Tensor& t : index) in.push_back(t);
    dx[1] =
        sum_to(tandem::apply(IndexRead{.axes = axes}, Inputs(in.data(), in.size())), s.shape(1));
  }
  return dx;
}

Samples<IndexPut> IndexPut::samples() {
  const auto apart = sample::listed({2}, {2, -3}, i64);
  return {.ok = {{{}, {{{3, 5}}, {{2, 5}}, apart}},
                 {{.accumulate = true}, {{{3, 5}}, {{4, 5}}, sample::index({4}, 3)}},
                 {{.axes = {1}, .accumulate = true}, {{{3, 5}}, {{4}}, sample::index({4}, 5)}},
                 {{.axes = {0, 2}}, {{{3, 2, 4}}, {{2, 1}}, apart, sample::index({2}, 4)}},
                 {{.accumulate = true}, {{{3, 5}}, {{}}, apart, sample::index({3, 1}, 5)}},
                 {{}, {{{3, 5}, i32}, {{5}, i32}, apart}},
                 {{}, {{{3, 5}}, {{5}}, {{0}, i64}}}},
          .errors = {{{},
                      {{{3, 5}}, {{3, 5}}, apart},
                      "index_put(axes=[], accumulate=false): values of shape [3, 5] do not "
                      "broadcast to [2, 5]"},
                     {{},
                      {{{3}}, {{2}, i64}, apart},
                      "index_put(axes=[], accumulate=false): values are i64 but x is f64"},
                     {{},
                      {{{3}}, {{1}}, sample::listed({1}, {-4}, i64)},
                      "index_put(axes=[], accumulate=false): index -4 is out of range [-3, 2] for "
                      "axis 0 of shape [3]"}}};
}

// --- Functions ----------------------------------------------------------------------------------

namespace {

/// The index tensors that stand for axes, masks turned into places; the axes go to `axes`.
Tensors resolve(const char* what, const Tensor& x, Inputs indices, Shape& axes) {
  Tensors out;
  int axis = 0;
  for (const Tensor& t : indices) {
    if (!t.defined()) {
      ++axis;
      continue;
    }
    const int covers = t.dtype() == boolean ? t.dim() : 1;
    require<IndexError>(covers > 0, what, "(): a 0-d mask covers no axis; give it one");
    require<IndexError>(axis + covers <= x.dim(), what, "(): more indices than the ", x.dim(),
                        " axes of shape ", x.shape());
    if (t.dtype() == boolean) {
      for (int i = 0; i < covers; ++i)
        require<IndexError>(detail::may_equal(t.shape()[i], x.shape()[axis + i]), what,
                            "(): a mask of shape ", t.shape(), " does not fit axes from ", axis,
                            " on of shape ", x.shape());
      for (const Tensor& places : nonzero_as_tuple(t)) out.push_back(places);
    } else {
      out.push_back(t);
    }
    for (int i = 0; i < covers; ++i) axes.push_back(axis++);
  }
  require<IndexError>(axis <= x.dim(), what, "(): more indices than the ", x.dim(),
                      " axes of shape ", x.shape());
  return out;
}

}  // namespace

Tensor index(const Tensor& x, Inputs indices) {
  IndexRead op;
  const Tensors places = resolve("index", x, indices, op.axes);
  if (places.empty()) return x;
  Tensors in{x};
  for (const Tensor& t : places) in.push_back(t);
  return tandem::apply(op, Inputs(in.data(), in.size()));
}

namespace {
Tensors put_inputs(const Tensor& x, Inputs indices, const Tensor& values, IndexPut& op) {
  const Tensors places = resolve("index_put", x, indices, op.axes);
  require<IndexError>(!places.empty(), "index_put(): at least one index tensor is needed");
  Tensors in{x, detail::number_as("index_put()", values, x.dtype())};
  for (const Tensor& t : places) in.push_back(t);
  return in;
}
}  // namespace

Tensor index_put(const Tensor& x, Inputs indices, const Tensor& values, bool accumulate) {
  IndexPut op{.axes = {}, .accumulate = accumulate};
  const Tensors in = put_inputs(x, indices, values, op);
  return tandem::apply(op, Inputs(in.data(), in.size()));
}

Tensor index_put_(const Tensor& x, Inputs indices, const Tensor& values, bool accumulate) {
  IndexPut op{.axes = {}, .accumulate = accumulate};
  const Tensors in = put_inputs(x, indices, values, op);
  detail::apply_inplace(op_info<IndexPut>(), &op, in.data(), int(in.size()));
  return x;
}

Tensor nonzero(const Tensor& x) {
  if (x.is_symbolic())
    throw GradientError(cat("nonzero()", detail::RecordedAt::text(), ": the ", to_string(x.spec()),
                            detail::symbolic_origin(x), " is symbolic and has no value while a ",
                            "function is being recorded, and the size of the result depends on ",
                            "it; use where()"));
  const Tensor flat = detail::as_contiguous(x, boolean);
  const bool* p = flat.data<bool>();
  const int64_t n = flat.numel();
  const int dims = x.dim();
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += p[i];
  Tensor out = empty({count, dims}, i64);
  int64_t* y = out.data<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    if (!p[i]) continue;
    int64_t rest = i;
    for (int k = dims - 1; k >= 0; --k) {
      y[k] = rest % x.shape()[k];
      rest /= x.shape()[k];
    }
    y += dims;
  }
  return out;
}

Tensors nonzero_as_tuple(const Tensor& x) {
  if (x.dim() == 0) return {select(nonzero(reshape(x.detach(), {1})), 1, 0)};
  const Tensor all = nonzero(x.detach());
  Tensors out;
  for (int k = 0; k < x.dim(); ++k) out.push_back(select(all, 1, k).contiguous());
  return out;
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  require<DTypeError>(mask.dtype() == boolean, "masked_select(): the mask must be bool, got ",
                      mask.dtype());
  Shape both;
  require<ShapeError>(broadcast(x.shape(), mask.shape(), both), "masked_select(): shapes ",
                      x.shape(), " and ", mask.shape(), " do not broadcast");
  if (both.empty()) both = {1};
  return index(expand(x, both), {expand(mask, both)});
}

}  // namespace tandem
