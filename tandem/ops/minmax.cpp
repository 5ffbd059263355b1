#include "tandem/ops/minmax.h"

#include <vector>

#include "tandem/backend/cpu/threads.h"
#include "tandem/core/factory.h"
#include "tandem/op/copy.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reduce_shape.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sum.h"

namespace tandem {

TANDEM_OP(Amax)
TANDEM_OP(Amin)
TANDEM_OP(Max)
TANDEM_OP(Min)
TANDEM_OP(Argmax)
TANDEM_OP(Argmin)
namespace {

template <class O>
Spec infer_extreme(const O& op, const Spec& x) {
  for (int64_t a : detail::reduced_axes(op, op.axes, x.shape))
    check<ShapeError>(detail::may_be_less(0, x.shape[int(a)]), op, "axis ", a, " of shape ",
                      x.shape, " is empty and has no such element");
  return {detail::reduced_shape(op, op.axes, op.keepdim, x.shape), x.dtype, x.device};
}

/// dy shared evenly among the elements that equal the result.
template <class O>
Tensor share_among_ties(const O& op, const Saved& s, const Tensor& dy) {
  const Shape& shape = s.shape(0);
  auto restore = [&](const Tensor& t) {
    return detail::restore_axes(t, op.axes, op.keepdim, shape);
  };
  const Tensor hit = cast(eq(s.in(0), restore(s.out())), dy.dtype());
  return hit * (restore(dy) /
                sum(hit, op.axes.empty() ? detail::reduced_axes(op, {}, shape) : op.axes, true));
}

template <class O>
Samples<O> extreme_samples() {
  const std::string text(O::name);
  return {.ok = {{{}, {sample::distinct({3, 5})}},
                 {{.axes = {0}}, {sample::distinct({3, 5})}},
                 {{.axes = {1}, .keepdim = true}, {sample::distinct({3, 5})}},
                 {{.axes = {-1, 0}}, {sample::distinct({2, 3, 4})}},
                 {{.axes = {1}}, {sample::distinct({2, 40, 17})}},
                 {{.axes = {0}}, {sample::listed({6}, {1, 3, 3, -2, 3, -2})}, false},
                 {{.axes = {1}}, {sample::listed({2, 3}, {1, NAN, 3, 4, 5, 6})}, false},
                 {{}, {{{}}}},
                 {{.axes = {1}}, {{{0, 3}}}},
                 {{.axes = {0}}, {{{9, 2}, i32}}},
                 {{}, {{{9}, u8}}},
                 {{}, {sample::mask({9})}}},
          .errors = {{{.axes = {0}},
                      {{{0, 3}}},
                      text + "(axes=[0], keepdim=false): axis 0 of shape [0, 3] is empty and has "
                             "no such element"},
                     {{.axes = {2}},
                      {{{3, 5}}},
                      text + "(axes=[2], keepdim=false): axis 2 is out of range [-2, 1] for shape "
                             "[3, 5]"}}};
}

// --- With indices -------------------------------------------------------------------------------

template <class T>
auto comparable(T v) {
  if constexpr (std::is_class_v<T>) return float(v);
  else return v;
}
/// Whether `a` takes the place of `b`, which came before it.
template <bool largest, class T>
bool beats(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (a != a) return b == b;
  return largest ? a > b : a < b;
}

/// The extreme by a vector loop, then its first place.
template <bool largest, class T>
int64_t scan_long(const T* x, int64_t n) {
  T best = x[0];
  int nan = 0;
  simd([&] {
    T m = x[0];
    int bad = 0;
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < n; ++i) bad |= x[i] != x[i];
    if constexpr (largest) {
#pragma omp simd reduction(max : m)
      for (int64_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
    } else {
#pragma omp simd reduction(min : m)
      for (int64_t i = 0; i < n; ++i) m = x[i] < m ? x[i] : m;
    }
    best = m;
    nan = bad;
  });
  int64_t i = 0;
  if (nan)
    while (x[i] == x[i]) ++i;
  else
    while (x[i] != best) ++i;
  return i;
}

/// Of x[outer, n, inner] the extreme along n: value (when wanted) and first index.
template <bool largest, class T>
void find(const T* x, int64_t outer, int64_t n, int64_t inner, T* value, int64_t* index) {
  auto scan = [&](const T* row, int64_t first, int64_t last) {
    if constexpr (std::is_arithmetic_v<T>)
      if (last - first >= 32) return first + scan_long<largest>(row + first, last - first);
    int64_t at = first;
    auto best = comparable(row[first]);
    for (int64_t j = first + 1; j < last; ++j) {
      const auto v = comparable(row[j]);
      if (beats<largest>(v, best)) best = v, at = j;
    }
    return at;
  };
  constexpr int64_t piece = 32768;
  if (inner == 1 && outer == 1 && n > 2 * piece) {
    std::vector<int64_t> at(size_t((n + piece - 1) / piece));
    cpu::parallel_for(int64_t(at.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        at[size_t(i)] = scan(x, i * piece, std::min(n, (i + 1) * piece));
    });
    int64_t best = at[0];
    for (int64_t i : at)
      if (beats<largest>(comparable(x[i]), comparable(x[best]))) best = i;
    *index = best;
    if (value) *value = x[best];
    return;
  }
  const int64_t grain = std::max<int64_t>(1, piece / std::max<int64_t>(1, n * inner));
  cpu::parallel_for(outer, grain, [&](int64_t begin, int64_t end) {
    std::vector<T> kept(value || inner == 1 ? 0 : size_t(inner));
    for (int64_t o = begin; o < end; ++o) {
      const T* p = x + o * n * inner;
      int64_t* at = index + o * inner;
      if (inner == 1) {
        *at = scan(p, 0, n);
        if (value) value[o] = p[*at];
        continue;
      }
      T* best = value ? value + o * inner : kept.data();
      for (int64_t i = 0; i < inner; ++i) best[i] = p[i], at[i] = 0;
      for (int64_t j = 1; j < n; ++j)
        for (int64_t i = 0; i < inner; ++i)
          if (beats<largest>(comparable(p[j * inner + i]), comparable(best[i])))
            best[i] = p[j * inner + i], at[i] = j;
    }
  });
}

template <bool largest>
void find_along(const Tensor& in, std::optional<int64_t> axis, Tensor* values, Tensor& indices) {
  const Tensor x = detail::as_contiguous(in);
  int64_t outer = 1, n = x.numel(), inner = 1;
  if (axis && x.dim() > 0) {
    const int a = int(*axis < 0 ? *axis + x.dim() : *axis);
    n = x.shape()[a];
    for (int i = 0; i < a; ++i) outer *= x.shape()[i];
    for (int i = a + 1; i < x.dim(); ++i) inner *= x.shape()[i];
  }
  if (outer * inner == 0) return;
  visit(x.dtype(), [&]<class T>() {
    if constexpr (std::is_same_v<T, bool>)  // std::vector<bool> has no elements to point at
      find<largest>(static_cast<const uint8_t*>(x.raw_data()), outer, n, inner,
                    values ? static_cast<uint8_t*>(values->raw_data()) : nullptr,
                    indices.data<int64_t>());
    else
      find<largest>(static_cast<const T*>(x.raw_data()), outer, n, inner,
                    values ? static_cast<T*>(values->raw_data()) : nullptr,
                    indices.data<int64_t>());
  });
}

template <class O>
Shape shape_along(const O& op, std::optional<int64_t> axis, bool keepdim, const Shape& shape) {
  if (!axis) {
    check<ShapeError>(detail::may_be_less(0, shape.numel()), op, "shape ", shape,
                      " has no elements");
    return keepdim ? Shape::filled(shape.size(), 1) : Shape();
  }
  const int a = check_axis(op, *axis, shape);
  if (shape.empty()) return {};
  check<ShapeError>(detail::may_be_less(0, shape[a]), op, "axis ", a, " of shape ", shape,
                    " is empty and has no such element");
  Shape out = shape;
  if (keepdim) out[a] = 1;
  else out.erase(a);
  return out;
}

template <class O>
std::array<Spec, 2> infer_both(const O& op, const Spec& x) {
  const Shape shape = shape_along(op, op.axis, op.keepdim, x.shape);
  return {Spec{shape, x.dtype, x.device}, Spec{shape, i64, x.device}};
}

template <class O>
Tensors scatter_back(const O& op, const Saved& s, const Tensor& dy) {
  const Spec& x = s.spec(0);
  Tensor at = s.out(1), d = dy;
  if (!op.keepdim && !x.shape.empty()) {
    const int a = check_axis(op, op.axis, x.shape);
    at = unsqueeze(at, a);
    d = unsqueeze(d, a);
  }
  return {scatter(zeros(x.shape, dy.dtype(), x.device), op.axis, at, d)};
}

template <class O>
Samples<O> with_indices_samples() {
  const std::string text(O::name);
  return {.ok = {{{}, {sample::distinct({3, 5})}},
                 {{.axis = 0}, {sample::distinct({3, 5})}},
                 {{.axis = 1, .keepdim = true}, {sample::distinct({2, 40, 3})}},
                 {{.axis = 0}, {sample::listed({6}, {1, 3, 3, -2, 3, -2})}, false},
                 {{.axis = 1}, {sample::listed({2, 3}, {1, NAN, 3, 4, 5, 6})}, false},
                 {{.axis = 0}, {{{}}}},
                 {{.axis = 1}, {{{0, 3}}}},
                 {{.axis = 0}, {{{9, 2}, i32}}},
                 {{.axis = 0}, {sample::mask({9})}}},
          .errors = {{{.axis = 0},
                      {{{0, 3}}},
                      text + "(axis=0, keepdim=false): axis 0 of shape [0, 3] is empty and has no "
                             "such element"},
                     {{.axis = 2},
                      {{{3, 5}}},
                      text + "(axis=2, keepdim=false): axis 2 is out of range [-2, 1] for shape "
                             "[3, 5]"}}};
}

template <class O>
Samples<O> index_samples() {
  Samples<O> all{
      .ok = {{{}, {sample::distinct({3, 5})}},
             {{.axis = {}, .keepdim = true}, {sample::distinct({3, 5})}}},
      .errors = {{{},
                  {{{0}}},
                  std::string(O::name) + "(axis=none, keepdim=false): shape [0] has no elements"}}};
  for (auto& s : with_indices_samples<Max>().ok)
    all.ok.push_back({{.axis = s.op.axis, .keepdim = s.op.keepdim}, s.in});
  return all;
}

}  // namespace

Spec Amax::infer(Specs in) const { return infer_extreme(*this, in[0]); }
Tensors Amax::vjp(const Saved& s, const Tensor& dy) const {
  return {share_among_ties(*this, s, dy)};
}
Samples<Amax> Amax::samples() { return extreme_samples<Amax>(); }

Spec Amin::infer(Specs in) const { return infer_extreme(*this, in[0]); }
Tensors Amin::vjp(const Saved& s, const Tensor& dy) const {
  return {share_among_ties(*this, s, dy)};
}
Samples<Amin> Amin::samples() { return extreme_samples<Amin>(); }

std::array<Spec, 2> Max::infer(Specs in) const { return infer_both(*this, in[0]); }
void Max::cpu(Inputs in, Outputs out) const { find_along<true>(in[0], axis, &out[0], out[1]); }
Tensors Max::vjp(const Saved& s, const Tensors& dy) const { return scatter_back(*this, s, dy[0]); }
Samples<Max> Max::samples() { return with_indices_samples<Max>(); }

std::array<Spec, 2> Min::infer(Specs in) const { return infer_both(*this, in[0]); }
void Min::cpu(Inputs in, Outputs out) const { find_along<false>(in[0], axis, &out[0], out[1]); }
Tensors Min::vjp(const Saved& s, const Tensors& dy) const { return scatter_back(*this, s, dy[0]); }
Samples<Min> Min::samples() { return with_indices_samples<Min>(); }

Spec Argmax::infer(Specs in) const {
  return {shape_along(*this, axis, keepdim, in[0].shape), i64, in[0].device};
}
void Argmax::cpu(Inputs in, Outputs out) const { find_along<true>(in[0], axis, nullptr, out[0]); }
Samples<Argmax> Argmax::samples() { return index_samples<Argmax>(); }

Spec Argmin::infer(Specs in) const {
  return {shape_along(*this, axis, keepdim, in[0].shape), i64, in[0].device};
}
void Argmin::cpu(Inputs in, Outputs out) const { find_along<false>(in[0], axis, nullptr, out[0]); }
Samples<Argmin> Argmin::samples() { return index_samples<Argmin>(); }

}  // namespace tandem
