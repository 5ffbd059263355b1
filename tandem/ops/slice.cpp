#include "tandem/ops/slice.h"

#include <algorithm>
#include <cstring>

#include "tandem/op/copy.h"
#include "tandem/op/iterate.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/strided.h"

namespace tandem {

TANDEM_OP(Slice)
TANDEM_OP(Select)
TANDEM_OP(Narrow)
TANDEM_OP(Diagonal)
TANDEM_OP(Unfold)
TANDEM_OP(UnfoldGrad)
TANDEM_OP(ScatterRegion)
namespace {

/// What a bound or a step that goes beyond every tensor of unknown length is as good as: more than
/// that would not fit the expressions that are made of it.
Length within_reach(Length v) {
  constexpr int64_t most = int64_t(1) << 59;
  return v.is_known() ? max(-most, min(v, most)) : v;
}

template <class O>
Spec infer_view(const O& op, const Spec& x) {
  return {op.geometry(x.shape, contiguous_strides(x.shape)).shape, x.dtype, x.device};
}

template <class O>
void copy_view(const O& op, const Tensor& x, Tensor& out) {
  const View v = op.geometry(x.shape(), x.strides());
  detail::copy_data(out, detail::alias(x, v.shape, v.strides, v.offset));
}

template <class O>
Tensor region_gradient(const O& op, const Spec& x, const Tensor& dy) {
  const View v = op.geometry(x.shape, contiguous_strides(x.shape));
  return apply(ScatterRegion{.shape = x.shape, .strides = v.strides, .offset = v.offset}, {dy});
}

}  // namespace

View Slice::geometry(const Shape& shape, const Strides& strides) const {
  check<ShapeError>(!shape.empty(), *this, "a 0-d tensor has no axis to slice");
  const int a = check_axis(*this, axis, shape);
  check(step > 0, *this, "step must be positive; use flip for the other direction");
  const Length n = shape[a], by = n.is_known() ? Length(step) : within_reach(step);
  // Bounds count from the end when they are negative; whether one is must be known.
  auto bound = [n](std::optional<Length> v, Length missing) {
    const Length i = v.value_or(missing);
    return max(0, min(detail::from_end(n.is_known() ? i : within_reach(i), n), n));
  };
  const Length first = bound(start, 0), last = max(first, bound(stop, n));
  View v{shape, strides, first * strides[a]};
  // (last - first + step - 1) / step, without passing the range of numbers.
  v.shape[a] = (last - first) / by + min((last - first) % by, 1);
  // The distance of elements counts only where there are several.
  v.strides[a] = detail::must_fit(v.shape[a], 1) ? strides[a] : strides[a] * by;
  if (v.shape[a].is_known() && v.shape[a] == 0) v.offset = 0;
  return v;
}
Spec Slice::infer(Specs in) const { return infer_view(*this, in[0]); }
bool Slice::view(const Tensor& in, View& out) const {
  out = geometry(in.shape(), in.strides());
  return true;
}
void Slice::cpu(Inputs in, Outputs out) const { copy_view(*this, in[0], out[0]); }
Tensors Slice::vjp(const Saved& s, const Tensor& dy) const {
  return {region_gradient(*this, s.spec(0), dy)};
}
Samples<Slice> Slice::samples() {
  return {.ok = {{{.start = 1, .stop = 3}, {{{4, 3}}}},
                 {{.axis = -1, .start = -4, .stop = -1, .step = 2}, {{{2, 5}}}},
                 {{.axis = 1, .stop = 100}, {sample::strided({3, 4})}},
                 {{.start = 3, .stop = 1}, {{{4, 3}}}},
                 {{.step = 3}, {{{7}, i32}}},
                 {{.axis = 1}, {{{3, 0}}}}},
          .errors = {{{.axis = 2},
                      {{{3, 5}}},
                      "slice(axis=2, start=none, stop=none, step=1): axis 2 is out of range "
                      "[-2, 1] for shape [3, 5]"},
                     {{.start = 2, .step = -1},
                      {{{3}}},
                      "slice(axis=0, start=2, stop=none, step=-1): step must be positive; use "
                      "flip for the other direction"},
                     {{},
                      {{{}}},
                      "slice(axis=0, start=none, stop=none, step=1): a 0-d tensor has no axis to "
                      "slice"}}};
}

View Select::geometry(const Shape& shape, const Strides& strides) const {
  check<IndexError>(!shape.empty(), *this, "a 0-d tensor has no axis to select from");
  const int a = check_axis(*this, axis, shape);
  const Length n = shape[a];
  check<IndexError>(detail::may_fit(-n, index) && detail::may_be_less(index, n), *this, "index ",
                    index, " is out of range [", -n, ", ", n - 1, "] for axis ", a, " of shape ",
                    shape);
  View v{shape, strides, detail::from_end(index, n) * strides[a]};
  v.shape.erase(a);
  v.strides.erase(a);
  return v;
}
Spec Select::infer(Specs in) const { return infer_view(*this, in[0]); }
bool Select::view(const Tensor& in, View& out) const {
  out = geometry(in.shape(), in.strides());
  return true;
}
void Select::cpu(Inputs in, Outputs out) const { copy_view(*this, in[0], out[0]); }
Tensors Select::vjp(const Saved& s, const Tensor& dy) const {
  return {region_gradient(*this, s.spec(0), dy)};
}
Samples<Select> Select::samples() {
  return {
      .ok = {{{.index = 2}, {{{4, 3}}}},
             {{.axis = -1, .index = -4}, {{{2, 5}}}},
             {{.axis = 1, .index = 1}, {sample::strided({3, 4})}},
             {{.index = 0}, {{{3}, i64}}},
             {{.index = 1}, {{{3, 0}}}}},
      .errors = {{{.index = 5},
                  {{{3, 5}}},
                  "select(axis=0, index=5): index 5 is out of range [-3, 2] for axis 0 of "
                  "shape [3, 5]"},
                 {{}, {{{}}}, "select(axis=0, index=0): a 0-d tensor has no axis to select from"}}};
}

View Narrow::geometry(const Shape& shape, const Strides& strides) const {
  const int a = check_axis(*this, axis, shape);
  check<IndexError>(!shape.empty(), *this, "a 0-d tensor has no axis to narrow");
  const Length n = shape[a], first = detail::from_end(start, n);
  check<IndexError>(
      detail::may_fit(0, first) && detail::may_fit(0, length) && detail::may_fit(length, n - first),
      *this, "axis ", a, " of shape ", shape, " has only ", n, " elements");
  View v{shape, strides, first * strides[a]};
  v.shape[a] = length;
  if (length.is_known() && length == 0) v.offset = 0;
  return v;
}
Spec Narrow::infer(Specs in) const { return infer_view(*this, in[0]); }
bool Narrow::view(const Tensor& in, View& out) const {
  out = geometry(in.shape(), in.strides());
  return true;
}
void Narrow::cpu(Inputs in, Outputs out) const { copy_view(*this, in[0], out[0]); }
Tensors Narrow::vjp(const Saved& s, const Tensor& dy) const {
  return {region_gradient(*this, s.spec(0), dy)};
}
Samples<Narrow> Narrow::samples() {
  return {.ok = {{{.start = 1, .length = 2}, {{{4, 3}}}},
                 {{.axis = -1, .start = -4, .length = 3}, {{{2, 5}}}},
                 {{.axis = 1, .start = 1, .length = 2}, {sample::strided({3, 4})}},
                 {{.start = 4, .length = 0}, {{{4, 3}}}},
                 {{.start = 0, .length = 7}, {{{7}, i32}}},
                 {{.axis = 0, .start = 1, .length = 1}, {{{3, 0}}}}},
          .errors = {{{.start = 2, .length = 3},
                      {{{4}}},
                      "narrow(axis=0, start=2, length=3): axis 0 of shape [4] has only 4 elements"},
                     {{.start = -5, .length = 1},
                      {{{4}}},
                      "narrow(axis=0, start=-5, length=1): axis 0 of shape [4] has only 4 "
                      "elements"}}};
}

View Diagonal::geometry(const Shape& shape, const Strides& strides) const {
  const int a = check_axis(*this, axis1, shape), b = check_axis(*this, axis2, shape);
  check<ShapeError>(a != b && shape.size() >= 2, *this, "needs two different axes, got ", axis1,
                    " and ", axis2, " for shape ", shape);
  const bool known = shape[a].is_known() && shape[b].is_known();
  const Length by = known ? max(offset, -INT64_MAX) : within_reach(offset);
  const Length right = max(by, 0), down = max(-by, 0);
  const Length n = max(0, min(shape[a] - down, shape[b] - right));
  View v{shape, strides, 0};
  if (!n.is_known() || n > 0) v.offset = right * strides[b] + down * strides[a];
  v.shape.erase(std::max(a, b));
  v.shape.erase(std::min(a, b));
  v.strides.erase(std::max(a, b));
  v.strides.erase(std::min(a, b));
  v.shape.push_back(n);
  v.strides.push_back(strides[a] + strides[b]);
  return v;
}
Spec Diagonal::infer(Specs in) const { return infer_view(*this, in[0]); }
bool Diagonal::view(const Tensor& in, View& out) const {
  out = geometry(in.shape(), in.strides());
  return true;
}
void Diagonal::cpu(Inputs in, Outputs out) const { copy_view(*this, in[0], out[0]); }
Tensors Diagonal::vjp(const Saved& s, const Tensor& dy) const {
  return {region_gradient(*this, s.spec(0), dy)};
}
Samples<Diagonal> Diagonal::samples() {
  return {.ok = {{{}, {{{3, 3}}}},
                 {{.offset = 1}, {{{3, 5}}}},
                 {{.offset = -1, .axis1 = -1, .axis2 = 0}, {{{2, 3, 4}}}},
                 {{.offset = 9}, {{{3, 3}}}},
                 {{}, {sample::strided({4, 3})}},
                 {{}, {{{0, 3}}}}},
          .errors = {{{.axis1 = 1},
                      {{{3, 5}}},
                      "diagonal(offset=0, axis1=1, axis2=1): needs two different axes, got 1 and "
                      "1 for shape [3, 5]"}}};
}

namespace {
/// Of the Unfold with the attributes of `op`, which errors name.
template <class O>
View unfolded(const O& op, const Shape& shape, const Strides& strides) {
  const Length size = op.size, step = op.step;
  const int a = check_axis(op, op.axis, shape);
  const Length n = shape.empty() ? Length(1) : shape[a];
  check(detail::may_fit(0, size) && detail::may_fit(size, n), op, "size must be between 0 and ", n,
        ", the length of axis ", a, " of shape ", shape);
  check(detail::may_be_less(0, step), op, "step must be positive");
  View v{shape, strides, 0};
  const Length unit = shape.empty() ? Length(1) : strides[a];
  if (!shape.empty()) {
    v.shape[a] = (n - size) / step + 1;
    v.strides[a] = detail::must_fit(v.shape[a], 1) ? unit : unit * step;
  }
  v.shape.push_back(size);
  v.strides.push_back(unit);
  return v;
}
}  // namespace

View Unfold::geometry(const Shape& shape, const Strides& strides) const {
  return unfolded(*this, shape, strides);
}
Spec Unfold::infer(Specs in) const { return infer_view(*this, in[0]); }
bool Unfold::view(const Tensor& in, View& out) const {
  out = geometry(in.shape(), in.strides());
  return true;
}
void Unfold::cpu(Inputs in, Outputs out) const { copy_view(*this, in[0], out[0]); }
Tensors Unfold::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(UnfoldGrad{.shape = s.shape(0), .axis = axis, .size = size, .step = step}, {dy})};
}
Samples<Unfold> Unfold::samples() {
  return {.ok = {{{.size = 3}, {{{7}}}},
                 {{.axis = 1, .size = 2, .step = 2}, {{{3, 5}}}},
                 {{.axis = -2, .size = 3, .step = 1}, {{{2, 4, 3}}}},
                 {{.size = 1}, {{{}}}},
                 {{.size = 2}, {sample::strided({3, 4})}},
                 {{.axis = 1, .size = 2}, {{{0, 3}}}}},
          .errors = {{{.size = 4},
                      {{{3, 5}}},
                      "unfold(axis=0, size=4, step=1): size must be between 0 and 3, the length of "
                      "axis 0 of shape [3, 5]"},
                     {{.size = 1, .step = 0},
                      {{{3}}},
                      "unfold(axis=0, size=1, step=0): step must be positive"}}};
}

Spec UnfoldGrad::infer(Specs in) const {
  const Shape want = unfolded(*this, shape, contiguous_strides(shape)).shape;
  check<ShapeError>(detail::may_equal(in[0].shape, want), *this, "dy must have shape ", want,
                    ", got ", in[0].shape);
  return {shape, in[0].dtype, in[0].device};
}

void UnfoldGrad::cpu(Inputs in, Outputs out) const {
  const View v = unfolded(*this, shape, contiguous_strides(shape));
  detail::accumulate(out[0], [&]<class T, class S>(const Tensor& sums) {
    std::memset(sums.raw_data(), 0, size_t(sums.numel()) * sizeof(S));
    if (in[0].numel() == 0) return;
    const Tensor windows = detail::alias(sums, v.shape, v.strides, v.offset);
    const Tensor* both[] = {&windows, &in[0]};
    const detail::LoopNest nest(v.shape, both);
    S* to = static_cast<S*>(windows.raw_data());
    const T* from = static_cast<const T*>(in[0].raw_data());
    for (int64_t row = 0; row < nest.outer(); ++row) {  // windows overlap: one thread
      int64_t at[2];
      nest.offsets(row, at);
      for (int64_t i = 0; i < nest.inner(); ++i) {
        S& y = to[at[0] + i * nest.inner_stride(0)];
        y = detail::plus(y, S(from[at[1] + i * nest.inner_stride(1)]));
      }
    }
  });
}

Tensors UnfoldGrad::vjp(const Saved&, const Tensor& dy) const {
  return {unfold(dy, axis, size, step)};
}
Samples<UnfoldGrad> UnfoldGrad::samples() {
  return {.ok = {{{.shape = {7}, .size = 3}, {{{5, 3}}}},
                 {{.shape = {3, 5}, .axis = 1, .size = 2, .step = 2}, {{{3, 2, 2}}}},
                 {{.shape = {}, .size = 1}, {{{1}}}}},
          .errors = {{{.shape = {7}, .size = 3},
                      {{{4, 3}}},
                      "unfold_grad(shape=[7], axis=0, size=3, step=1): dy must have shape [5, 3], "
                      "got [4, 3]"}}};
}

Spec ScatterRegion::infer(Specs in) const {
  const Shape& src = in[0].shape;
  check<ShapeError>(strides.size() == src.size(), *this, "strides ", strides,
                    " do not match src of shape ", src);
  Length last = offset;
  bool fits = detail::may_fit(0, offset);
  for (int i = 0; i < src.size(); ++i) {
    fits = fits && detail::may_fit(0, strides[i]);
    last += (src[i] - 1) * strides[i];
  }
  check<IndexError>(
      fits && (detail::may_equal(src.numel(), 0) || detail::may_be_less(last, shape.numel())),
      *this, "the region of src of shape ", src, " leaves the ", shape.numel(), " elements");
  check<ShapeError>(!detail::overlaps_itself(src, strides), *this, "a region of shape ", src,
                    ", several elements of which are one in memory, cannot be written");
  return {shape, in[0].dtype, in[0].device};
}

void ScatterRegion::cpu(Inputs in, Outputs out) const {
  const int64_t bytes = out[0].numel() * itemsize(out[0].dtype());
  char* data = static_cast<char*>(out[0].raw_data());
  if (in[0].numel() < out[0].numel())
    cpu::parallel_for(bytes, 1 << 20, [&](int64_t begin, int64_t end) {
      std::memset(data + begin, 0, size_t(end - begin));
    });
  detail::copy_data(detail::alias(out[0], in[0].shape(), strides, offset), in[0]);
}

Tensors ScatterRegion::vjp(const Saved& s, const Tensor& dy) const {
  return {apply(AsStrided{.shape = s.shape(0), .strides = strides, .offset = offset}, {dy})};
}
Samples<ScatterRegion> ScatterRegion::samples() {
  return {.ok = {{{.shape = {3, 3}, .strides = {3, 1}, .offset = 1}, {{{2, 2}}}},
                 {{.shape = {3, 4}, .strides = {4}, .offset = 2}, {{{3}}}},
                 {{.shape = {4}, .strides = {1}}, {{{0}}}},
                 {{.shape = {4}, .strides = {}, .offset = 3}, {{{}}}}},
          .errors = {{{.shape = {3, 3}, .strides = {3, 1}, .offset = 6},
                      {{{2, 2}}},
                      "scatter_region(shape=[3, 3], strides=[3, 1], offset=6): the region of src "
                      "of shape [2, 2] leaves the 9 elements"}}};
}

// --- Functions ----------------------------------------------------------------------------------

Tensor narrow(const Tensor& x, int64_t axis, Length start, Length length) {
  const Narrow op{.axis = axis, .start = start, .length = length};
  const int a = check_axis(op, axis, x.shape());
  const Length n = x.dim() ? x.shape()[a] : Length(0), first = detail::from_end(start, n);
  const bool sure = detail::must_fit(0, first) && detail::must_fit(0, length) &&
                    detail::must_fit(length, n - first);
  return sure && x.dim() ? slice(x, axis, first, first + length) : apply(op, {x});
}

/// `int(axis)` might be another one.
static Length size_along(std::string_view function, const Tensor& x, int64_t axis,
                         CallSite where = CallSite::current()) {
  const int n = x.dim();
  require<IndexError>(axis >= -n && axis < n, function, "(axis=", axis, "): axis ", axis,
                      " is out of range [", -n, ", ", n - 1, "] for shape ", x.shape());
  return x.size(int(axis), where);
}

Tensors split(const Tensor& x, Length size, int64_t axis) {
  const Length n = size_along("split", x, axis);
  require(size > 0 || (size == 0 && n == 0), "split(size=", size, ", axis=", axis,
          "): the size must be positive for shape ", x.shape());
  Tensors parts;
  for (Length at = 0; at == 0 || at < n; at += max(size, 1))
    parts.push_back(slice(x, axis, at, min(n, at + size)));
  return parts;
}

Tensors split(const Tensor& x, std::span<const Length> sizes, int64_t axis) try {
  const Length n = size_along("split", x, axis);
  Length at = 0;
  Tensors parts;
  for (Length size : sizes) {
    require(detail::may_fit(0, size) && detail::may_fit(at + size, n), "split(axis=", axis,
            "): the sizes leave axis ", axis, " of shape ", x.shape());
    parts.push_back(narrow(x, axis, at, size));
    at += size;
  }
  require(at == n, "split(axis=", axis, "): the sizes add up to ", at, " of ", n, " for shape ",
          x.shape());
  return parts;
} catch (const ShapeError&) {
  detail::rethrow_for(cat("split(axis=", axis, ")"));
}

Tensors chunk(const Tensor& x, int64_t chunks, int64_t axis) {
  require(chunks > 0, "chunk(chunks=", chunks, ", axis=", axis, "): chunks must be positive");
  const Length n = size_along("chunk", x, axis);
  if (n.is_known() && n > 0) return split(x, n / chunks + min(n % chunks, 1), axis);
  constexpr int64_t most = int64_t(1) << 24;
  require<OutOfMemory>(chunks <= most, "chunk(chunks=", chunks, ", axis=", axis, "): more than ",
                       most, " parts of an axis without elements, or of unknown length");
  const Length size = (n + (chunks - 1)) / chunks;
  Tensors parts;
  for (int64_t i = 0; i < chunks; ++i)
    parts.push_back(slice(x, axis, min(n, i * size), min(n, (i + 1) * size)));
  return parts;
}

Tensors unbind(const Tensor& x, int64_t axis, CallSite where) {
  const int64_t n = size_along("unbind", x, axis, where);
  Tensors parts;
  for (int64_t i = 0; i < n; ++i) parts.push_back(select(x, axis, i));
  return parts;
}

Tensor movedim(const Tensor& x, int64_t source, int64_t destination) {
  Permute op;
  const int from = check_axis(op, source, x.shape()), to = check_axis(op, destination, x.shape());
  for (int i = 0; i < x.dim(); ++i)
    if (i != from) op.axes.push_back(i);
  if (x.dim() > 0) op.axes.insert(to, from);
  return apply(op, {x});
}

}  // namespace tandem
