#include "tandem/ops/flip.h"

#include <algorithm>
#include <cstring>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/reduce_shape.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Flip)
TANDEM_OP(Roll)
TANDEM_OP(Repeat)
TANDEM_OP(Pad)
TANDEM_OP(PadGrad)
namespace {

/// For every axis where each place of the result comes from; -1: from nowhere.
using Maps = std::vector<std::vector<int64_t>>;

/// A stretch of the last axis: places from..from+n of x, or nothing when from < 0.
struct Run {
  int64_t to, from, n;
};

std::vector<Run> runs_of(const std::vector<int64_t>& map) {
  std::vector<Run> runs;
  for (size_t i = 0; i < map.size(); ++i) {
    if (!runs.empty()) {
      Run& r = runs.back();
      if (map[i] < 0 ? r.from < 0 : r.from >= 0 && map[i] == r.from + r.n) {
        ++r.n;
        continue;
      }
    }
    runs.push_back({int64_t(i), map[i], 1});
  }
  return runs;
}

/// Calls f(row, element of x at the start of the row; -1: the row comes from nowhere) for the rows
/// of the last axis of a result whose places `maps` gives.
template <class F>
void each_mapped_row(const Maps& maps, const Shape& x, int64_t begin, int64_t end, const F& f) {
  const Strides steps = contiguous_strides(x);
  for (int64_t row = begin; row < end; ++row) {
    int64_t rest = row, base = 0;
    for (int i = x.size() - 2; i >= 0 && base >= 0; --i) {
      const auto& map = maps[size_t(i)];
      const int64_t from = map[size_t(rest % int64_t(map.size()))];
      rest /= int64_t(map.size());
      base = from < 0 ? -1 : base + from * int64_t(steps[i]);
    }
    f(row, base);
  }
}

/// out[i, j, ...] = x[maps[0][i], maps[1][j], ...] or `fill`.
void copy_mapped(const Maps& maps, const Tensor& in, Tensor& out, Scalar fill) {
  if (out.numel() == 0) return;
  const Tensor x = detail::as_contiguous(in);
  if (x.dim() == 0) return detail::copy_data(out, x);
  const std::vector<Run> runs = runs_of(maps.back());
  const int64_t width = out.shape().back();
  visit(x.dtype(), [&]<class T>() {
    const T value = detail::checked_number<T>("pad()", fill);
    const T* from = static_cast<const T*>(x.raw_data());
    T* to = static_cast<T*>(out.raw_data());
    cpu::parallel_for(
        out.numel() / width, std::max<int64_t>(1, 32768 / width), [&](int64_t begin, int64_t end) {
          each_mapped_row(maps, x.shape(), begin, end, [&](int64_t row, int64_t base) {
            T* y = to + row * width;
            if (base < 0) {
              std::fill_n(y, width, value);
              return;
            }
            for (const Run& r : runs) {
              if (r.from < 0) std::fill_n(y + r.to, r.n, value);
              else if (r.n == 1) y[r.to] = from[base + r.from];
              else std::memcpy(y + r.to, from + base + r.from, size_t(r.n) * sizeof(T));
            }
          });
        });
  });
}

/// The opposite: out = 0; out[maps[0][i], maps[1][j], ...] += dy[i, j, ...].
void add_mapped(const Maps& maps, const Tensor& in, Tensor& out) {
  if (in.numel() == 0) {
    std::memset(out.raw_data(), 0, size_t(out.numel() * itemsize(out.dtype())));
    return;
  }
  const Tensor dy = detail::as_contiguous(in);
  if (dy.dim() == 0) return detail::copy_data(out, dy);
  const std::vector<Run> runs = runs_of(maps.back());
  const int64_t width = dy.shape().back(), rows = dy.numel() / width;
  // Rows of different images do not meet when the first axis stays as it is.
  const bool apart = dy.dim() > 1 && maps[0].size() == size_t(out.shape()[0]) &&
                     runs_of(maps[0]).size() == 1 && maps[0][0] == 0;
  const int64_t images = apart ? int64_t(maps[0].size()) : 1, each = rows / images;
  detail::accumulate(out, [&]<class T, class S>(const Tensor& sums) {
    const T* from = static_cast<const T*>(dy.raw_data());
    S* to = static_cast<S*>(sums.raw_data());
    std::memset(sums.raw_data(), 0, size_t(sums.numel()) * sizeof(S));
    cpu::parallel_for(images, std::max<int64_t>(1, 32768 / (each * width)),
                      [&](int64_t begin, int64_t end) {
                        each_mapped_row(maps, out.shape(), begin * each, end * each,
                                        [&](int64_t row, int64_t base) {
                                          if (base < 0) return;
                                          const T* p = from + row * width;
                                          for (const Run& r : runs)
                                            for (int64_t k = 0; r.from >= 0 && k < r.n; ++k) {
                                              S& y = to[base + r.from + k];
                                              y = detail::plus(y, S(p[r.to + k]));
                                            }
                                        });
                      });
  });
}

std::vector<int64_t> identity(int64_t n) {
  std::vector<int64_t> map(static_cast<size_t>(n));
  for (size_t i = 0; i < map.size(); ++i) map[i] = int64_t(i);
  return map;
}

int64_t wrap(int64_t i, int64_t n) { return n ? ((i % n) + n) % n : 0; }

}  // namespace

Spec Flip::infer(Specs in) const {
  if (!axes.empty()) detail::reduced_axes(*this, axes, in[0].shape);
  return in[0];
}

void Flip::cpu(Inputs in, Outputs out) const {
  // A view that walks memory backwards; only the kernel ever sees one.
  const Tensor& x = in[0];
  if (x.numel() == 0) return;
  Strides strides = x.strides();
  int64_t offset = 0;
  for (int64_t axis : axes) {
    if (x.dim() == 0) break;
    const int a = check_axis(*this, axis, x.shape());
    offset += (x.shape()[a] - 1) * strides[a];
    strides[a] = -strides[a];
  }
  detail::copy_data(out[0], detail::alias(x, x.shape(), strides, offset));
}

Tensors Flip::vjp(const Saved&, const Tensor& dy) const { return {flip(dy, axes)}; }

Samples<Flip> Flip::samples() {
  return {.ok = {{{{0}}, {{{3, 5}}}},
                 {{{-1, 0}}, {{{3, 5}}}},
                 {{{1}}, {sample::strided({2, 3, 4})}},
                 {{{}}, {{{3}}}},
                 {{{0}}, {{{}}}},
                 {{{0, 1}}, {{{0, 3}}}},
                 {{{0}}, {sample::mask({5})}}},
          .errors = {{{{0, -2}},
                      {{{3, 5}}},
                      "flip(axes=[0, -2]): axis -2 appears twice in [0, -2] for shape [3, 5]"}}};
}

Spec Roll::infer(Specs in) const {
  if (axes.empty()) {
    check(shifts.size() == 1, *this, "needs one shift when no axes are given");
    return in[0];
  }
  check(shifts.size() == axes.size(), *this, shifts.size(), " shifts for ", axes.size(), " axes");
  for (int64_t a : axes) check_axis(*this, a, in[0].shape);
  return in[0];
}

void Roll::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  const Shape shape = axes.empty() ? Shape{x.numel()} : x.shape();
  if (x.dim() == 0 || x.numel() == 0) return detail::copy_data(out[0], x);
  Maps maps;
  for (int64_t n : shape) maps.push_back(identity(n));
  for (int i = 0; i < shifts.size(); ++i) {
    const int a = axes.empty() ? 0 : check_axis(*this, axes[i], shape);
    for (int64_t& from : maps[size_t(a)])
      from = wrap(from - int64_t(shifts[i] % shape[a]), shape[a]);
  }
  const Strides strides = contiguous_strides(shape);
  Tensor y = detail::alias(out[0], shape, strides, 0);
  copy_mapped(maps, detail::alias(x, shape, strides, 0), y, 0);
}

Tensors Roll::vjp(const Saved&, const Tensor& dy) const {
  Shape back = shifts;
  for (int i = 0; i < back.size(); ++i) {
    const Length n = axes.empty() ? dy.numel() : dy.size(int(axes[i]));
    back[i] = n.is_known() && n > 0 ? -(back[i] % n) : -back[i];
  }
  return {roll(dy, back, axes)};
}

Samples<Roll> Roll::samples() {
  return {.ok = {{{.shifts = {1}, .axes = {0}}, {{{3, 5}}}},
                 {{.shifts = {-2, 4}, .axes = {-1, 0}}, {{{3, 5}}}},
                 {{.shifts = {3}, .axes = {}}, {sample::strided({3, 4})}},
                 {{.shifts = {1, 1}, .axes = {0, 0}}, {{{4}}}},
                 {{.shifts = {2}, .axes = {}}, {{{}}}},
                 {{.shifts = {2}, .axes = {1}}, {{{3, 0}}}}},
          .errors = {{{.shifts = {1, 2}, .axes = {0}},
                      {{{3, 5}}},
                      "roll(shifts=[1, 2], axes=[0]): 2 shifts for 1 axes"}}};
}

Spec Repeat::infer(Specs in) const {
  const Shape& x = in[0].shape;
  const int extra = repeats.size() - x.size();
  check<ShapeError>(extra >= 0, *this, repeats.size(), " repeats for the ", x.size(),
                    " axes of shape ", x);
  Shape shape = repeats;
  for (int i = 0; i < shape.size(); ++i) {
    check(detail::may_fit(0, repeats[i]), *this, "negative number of repeats ", repeats[i]);
    if (i >= extra) shape[i] *= x[i - extra];
  }
  return {shape, in[0].dtype, in[0].device};
}

void Repeat::cpu(Inputs in, Outputs out) const {
  const Tensor x = detail::as_contiguous(in[0]);
  Shape shape = x.shape();
  while (shape.size() < repeats.size()) shape.insert(0, 1);
  if (shape.empty()) return detail::copy_data(out[0], x);
  if (out[0].numel() == 0) return;
  Maps maps;
  for (int i = 0; i < shape.size(); ++i) {
    maps.push_back(identity(shape[i] * repeats[i]));
    for (int64_t& from : maps.back()) from = wrap(from, shape[i]);
  }
  copy_mapped(maps, detail::alias(x, shape, contiguous_strides(shape), 0), out[0], 0);
}

Tensors Repeat::vjp(const Saved& s, const Tensor& dy) const {
  const Shape& x = s.shape(0);
  const int extra = repeats.size() - x.size();
  Tensor d = dy;
  if (extra > 0) {
    Shape front;
    for (int i = 0; i < extra; ++i) front.push_back(i);
    d = sum(d, front);
  }
  for (int i = 0; i < x.size(); ++i) {  // one axis after the other: [outer, repeats, inner]
    const Length r = repeats[extra + i];
    if (detail::must_equal(r, 1)) continue;
    Length outer = 1, inner = x[i];
    for (int k = 0; k < i; ++k) outer *= x[k];
    for (int k = i + 1; k < x.size(); ++k) inner *= x[k] * repeats[extra + k];
    d = sum(reshape(d, {outer, r, inner}), {1});
  }
  return {detail::must_equal(d.shape(), x) ? d : reshape(d, x)};
}

Samples<Repeat> Repeat::samples() {
  return {.ok = {{{{2, 3}}, {{{3, 5}}}},
                 {{{2, 1, 3}}, {{{2, 2}}}},
                 {{{3, 2}}, {sample::strided({3, 4})}},
                 {{{4}}, {{{}}}},
                 {{{0, 2}}, {{{2, 2}}}},
                 {{{}}, {{{}}}},
                 {{{2}}, {{{3}, u8}}}},
          .errors = {{{{2}},
                      {{{3, 5}}},
                      "repeat(repeats=[2]): 1 repeats for the 2 axes of shape "
                      "[3, 5]"}}};
}

Tensor tile(const Tensor& x, const Shape& repeats) {
  Shape all = repeats;
  while (all.size() < x.dim()) all.insert(0, 1);
  return repeat(x, all);
}

// --- Padding ------------------------------------------------------------------------------------

namespace {

template <class O>
void check_mode(const O& op) {
  check(op.mode == "constant" || op.mode == "reflect" || op.mode == "replicate" ||
            op.mode == "circular",
        op, "mode must be constant, reflect, replicate or circular");
}

template <class O>
Shape padded(const O& op, const Shape& shape) {
  check_mode(op);
  check(op.pad.size() % 2 == 0, op, "needs two numbers an axis, got ", op.pad.size());
  check<ShapeError>(op.pad.size() / 2 <= shape.size(), op, op.pad.size() / 2,
                    " axes to pad in shape ", shape);
  Shape out = shape;
  for (int i = 0; i < op.pad.size() / 2; ++i) {
    const int a = shape.size() - 1 - i;
    const Length left = op.pad[2 * i], right = op.pad[2 * i + 1], n = shape[a];
    if (op.mode == "reflect")
      check(detail::may_be_less(left, n) && detail::may_be_less(right, n), op, "padding ", left,
            " and ", right, " must be smaller than axis ", a, " of shape ", shape);
    if (op.mode == "circular")
      check(detail::may_fit(left, n) && detail::may_fit(right, n), op, "padding ", left, " and ",
            right, " must not be larger than axis ", a, " of shape ", shape);
    if (op.mode == "replicate")
      check(detail::may_be_less(0, n) || (left <= 0 && right <= 0), op, "axis ", a, " of shape ",
            shape, " is empty");
    out[a] = n + left + right;
    if (op.mode == "circular")
      check(!detail::must_be_less(0, out[a]) ||
                detail::may_be_less(0, n + min(left, 0) + min(right, 0)),
            op, "padding ", left, " and ", right, " leaves nothing of axis ", a, " of shape ",
            shape);
    check(detail::may_fit(0, out[a]), op, "padding ", left, " and ", right,
          " leaves less than nothing of axis ", a, " of shape ", shape);
  }
  return out;
}

Maps pad_maps(const Shape& pad, const std::string& mode, const Shape& shape) {
  Maps maps;
  for (int a = 0; a < shape.size(); ++a) {
    const int i = 2 * (shape.size() - 1 - a);
    const int64_t n = shape[a], left = i < pad.size() ? pad[i] : Length(0),
                  right = i < pad.size() ? pad[i + 1] : Length(0);
    // A circular pad wraps around what cropping leaves.
    const int64_t low = std::max<int64_t>(0, -left), high = n - std::max<int64_t>(0, -right);
    maps.push_back(identity(n + left + right));
    for (int64_t& from : maps.back()) {
      from -= left;
      if (mode == "circular" ? from >= low && from < high : from >= 0 && from < n) continue;
      if (mode == "constant") from = -1;
      else if (mode == "reflect") from = from < 0 ? -from : 2 * (n - 1) - from;
      else if (mode == "replicate") from = std::clamp<int64_t>(from, 0, n - 1);
      else from = low + wrap(from - low, high - low);
    }
  }
  return maps;
}

}  // namespace

Spec Pad::infer(Specs in) const { return {padded(*this, in[0].shape), in[0].dtype, in[0].device}; }

void Pad::cpu(Inputs in, Outputs out) const {
  copy_mapped(pad_maps(pad, mode, in[0].shape()), in[0], out[0], value);
}

Tensors Pad::vjp(const Saved& s, const Tensor& dy) const {
  if (mode != "constant")
    return {apply(PadGrad{.shape = s.shape(0), .pad = pad, .mode = mode}, {dy})};
  Shape back = pad;
  for (Length& p : back) p = -p;
  return {tandem::pad(dy, back)};
}

Samples<Pad> Pad::samples() {
  auto with = [](Shape amounts, const char* how, double filler = 0) {
    return Pad{.pad = amounts, .mode = how, .value = filler};
  };
  return {.ok = {{with({1, 2}, "constant"), {{{3, 5}}}},
                 {with({1, 0, 0, 2}, "constant", 1.5), {{{2, 3, 5}}}},
                 {with({-1, 2, 1, -1}, "constant", -1), {{{3, 5}}}},
                 {with({2, 1}, "reflect"), {{{2, 3, 5}}}},
                 {with({1, 2, 2, 1}, "reflect"), {{{1, 2, 3, 4}}}},
                 {with({2, 1, 0, 3}, "replicate"), {{{2, 3, 4, 5}}}},
                 {with({2, 3, 1, 1}, "circular"), {{{1, 2, 3, 4}}}},
                 {with({1, 1}, "constant"), {sample::strided({3, 4})}},
                 {with({1, 1, 2, 2}, "constant", 3), {{{0, 3}}}},
                 {with({}, "constant"), {{{}}}},
                 {with({1, 1}, "constant", 2), {{{4}, i64}}}},
          .errors = {{with({1}, "constant"),
                      {{{3}}},
                      "pad(pad=[1], mode=constant, value=0): needs two numbers an axis, got 1"},
                     {with({3, 0}, "reflect"),
                      {{{2, 3}}},
                      "pad(pad=[3, 0], mode=reflect, value=0): padding 3 and 0 must be smaller "
                      "than axis 1 of shape [2, 3]"},
                     {with({1, 1}, "mirror"),
                      {{{3}}},
                      "pad(pad=[1, 1], mode=mirror, value=0): mode must be constant, reflect, "
                      "replicate or circular"},
                     {with({-2, -2}, "constant"),
                      {{{3}}},
                      "pad(pad=[-2, -2], mode=constant, value=0): padding -2 and -2 leaves less "
                      "than nothing of axis 0 of shape [3]"}}};
}

Spec PadGrad::infer(Specs in) const {
  const Shape want = padded(*this, shape);
  check<ShapeError>(detail::may_equal(in[0].shape, want), *this, "dy must have shape ", want,
                    ", got ", in[0].shape);
  return {shape, in[0].dtype, in[0].device};
}

void PadGrad::cpu(Inputs in, Outputs out) const {
  add_mapped(pad_maps(pad, mode, shape), in[0], out[0]);
}

Tensors PadGrad::vjp(const Saved&, const Tensor& dy) const {
  return {apply(Pad{.pad = pad, .mode = mode}, {dy})};
}

Samples<PadGrad> PadGrad::samples() {
  auto with = [](Shape whole, Shape amounts, const char* how) {
    return PadGrad{.shape = whole, .pad = amounts, .mode = how};
  };
  return {.ok = {{with({2, 3, 5}, {2, 1}, "reflect"), {{{2, 3, 8}}}},
                 {with({1, 2, 3, 4}, {1, 2, 2, 1}, "reflect"), {{{1, 2, 6, 7}}}},
                 {with({2, 4}, {2, 3}, "replicate"), {{{2, 9}}}},
                 {with({2, 4}, {-1, 3}, "circular"), {{{2, 6}}}}},
          .errors = {{with({2, 3}, {1, 1}, "reflect"),
                      {{{2, 4}}},
                      "pad_grad(shape=[2, 3], pad=[1, 1], mode=reflect): dy must have shape "
                      "[2, 5], got [2, 4]"}}};
}

}  // namespace tandem
