#include "tandem/ops/sort.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_kernel.h"

namespace tandem {

TANDEM_OP(Sort)
TANDEM_OP(Topk)
namespace {

template <class T>
auto comparable(T v) {
  if constexpr (std::is_class_v<T>) return float(v);
  else return v;
}

template <class T>
struct Item {
  T value;
  int64_t at;
};

/// a before b: by value (NaN is largest), then by place.
template <bool descending, class T>
bool before(const Item<T>& a, const Item<T>& b) {
  if constexpr (std::is_floating_point_v<T>) {
    const bool x = a.value != a.value, y = b.value != b.value;
    if (x || y) return x != y ? x == descending : a.at < b.at;
  }
  if (a.value != b.value) return (a.value < b.value) != descending;
  return a.at < b.at;
}

/// The first `k` in order along the axis.
template <bool descending>
void order(const Tensor& in, int axis, int64_t k, Outputs out) {
  const Tensor x = detail::as_contiguous(in);
  const detail::AxisSplit s(x.shape(), axis);
  if (out[0].numel() == 0) return;
  int64_t* index = out[1].data<int64_t>();
  visit(x.dtype(), [&]<class T>() {
    using K = decltype(comparable(T()));
    const T* from = static_cast<const T*>(x.raw_data());
    T* to = static_cast<T*>(out[0].raw_data());
    cpu::parallel_for(
        s.outer * s.inner, std::max<int64_t>(1, 4096 / s.n), [&](int64_t begin, int64_t end) {
          std::vector<Item<K>> row(static_cast<size_t>(s.n));
          for (int64_t r = begin; r < end; ++r) {
            const int64_t o = r / s.inner, i = r % s.inner;
            for (int64_t j = 0; j < s.n; ++j)
              row[size_t(j)] = {comparable(from[(o * s.n + j) * s.inner + i]), j};
            if (k == s.n) {
              std::sort(row.begin(), row.end(), before<descending, K>);
            } else if (k > 0) {
              if (k < s.n / 8) {
                std::partial_sort(row.begin(), row.begin() + k, row.end(), before<descending, K>);
              } else {
                std::nth_element(row.begin(), row.begin() + k - 1, row.end(),
                                 before<descending, K>);
                std::sort(row.begin(), row.begin() + k, before<descending, K>);
              }
            }
            for (int64_t j = 0; j < k; ++j) {
              const int64_t at = (o * k + j) * s.inner + i, place = row[size_t(j)].at;
              to[at] = from[(o * s.n + place) * s.inner + i];
              index[at] = place;
            }
          }
        });
  });
}

template <class O>
Tensors scatter_back(const O& op, const Saved& s, const Tensor& dy) {
  const Spec& x = s.spec(0);
  return {scatter(zeros(x.shape, dy.dtype(), x.device), op.axis, s.out(1), dy)};
}

}  // namespace

std::array<Spec, 2> Sort::infer(Specs in) const {
  check_axis(*this, axis, in[0].shape);
  return {in[0], Spec{in[0].shape, i64, in[0].device}};
}

void Sort::cpu(Inputs in, Outputs out) const {
  const int a = check_axis(*this, axis, in[0].shape());
  const int64_t n = in[0].dim() == 0 ? 1 : int64_t(in[0].shape()[a]);
  if (descending) order<true>(in[0], a, n, out);
  else order<false>(in[0], a, n, out);
}

Tensors Sort::vjp(const Saved& s, const Tensors& dy) const { return scatter_back(*this, s, dy[0]); }

Samples<Sort> Sort::samples() {
  return {.ok = {{{}, {sample::distinct({3, 5})}},
                 {{.axis = 0, .descending = true}, {sample::distinct({6, 2})}},
                 {{.axis = 1}, {sample::strided({3, 4, 2})}},
                 {{.stable = true}, {sample::listed({8}, {2, 1, 2, 1, 3, 1, 2, 3})}, false},
                 {{.descending = true, .stable = true},
                  {sample::listed({8}, {2, 1, 2, 1, 3, 1, 2, 3}, i64)}},
                 {{}, {sample::listed({5}, {1, NAN, -INFINITY, INFINITY, 0})}, false},
                 {{.descending = true}, {sample::listed({4}, {1, NAN, 5, 0})}, false},
                 {{}, {{{}}}},
                 {{.axis = 1}, {{{2, 0}}}},
                 {{.stable = true}, {sample::mask({7})}}},
          .errors = {{{.axis = 2},
                      {{{3, 5}}},
                      "sort(axis=2, descending=false, stable=false): axis 2 is out of range "
                      "[-2, 1] for shape [3, 5]"}}};
}

std::array<Spec, 2> Topk::infer(Specs in) const {
  const int a = check_axis(*this, axis, in[0].shape);
  Shape shape = in[0].shape;
  const Length n = shape.empty() ? Length(1) : shape[a];
  check(detail::may_fit(0, k) && detail::may_fit(k, n), *this, "k must be between 0 and ", n,
        ", the length of axis ", a, " of shape ", in[0].shape);
  if (!shape.empty()) shape[a] = k;
  return {Spec{shape, in[0].dtype, in[0].device}, Spec{shape, i64, in[0].device}};
}

void Topk::cpu(Inputs in, Outputs out) const {
  const int a = check_axis(*this, axis, in[0].shape());
  const int64_t n = in[0].dim() == 0 ? 1 : int64_t(k);
  if (largest) order<true>(in[0], a, n, out);
  else order<false>(in[0], a, n, out);
}

Tensors Topk::vjp(const Saved& s, const Tensors& dy) const { return scatter_back(*this, s, dy[0]); }

Samples<Topk> Topk::samples() {
  return {.ok = {{{.k = 2}, {sample::distinct({3, 5})}},
                 {{.k = 3, .axis = 0, .largest = false}, {sample::distinct({6, 2})}},
                 {{.k = 2}, {sample::distinct({2, 40})}},
                 {{.k = 4}, {sample::distinct({4})}},
                 {{.k = 0}, {{{3}}}},
                 {{.k = 2}, {sample::listed({4}, {1, NAN, 5, 0})}, false},
                 {{}, {{{}}}},
                 {{.k = 2, .axis = 1}, {{{0, 3}}}},
                 {{.k = 3}, {sample::distinct({9}, i32)}}},
          .errors = {{{.k = 6},
                      {{{3, 5}}},
                      "topk(k=6, axis=-1, largest=true, sorted=true): k must be between 0 and 5, "
                      "the length of axis 1 of shape [3, 5]"}}};
}

}  // namespace tandem
