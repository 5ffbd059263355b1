// ONNX's operators whose results are as long as values say: they are computed once these are known.
#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/op/copy.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_kernel.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

/// The places of what is not zero, a column each.
Tensors non_zero(I& n) {
  const Tensor x = n.known(0);
  if (x.dim() == 0) return {zeros({0, nonzero(reshape(x, {1})).size(0)}, i64)};
  return {contiguous(transpose(nonzero(x), 0, 1))};
}

/// The slices where a list of flags is set.
Tensors compress(I& n) {
  Tensor x = n.in(0);
  const Tensor flags = as_contiguous(n.known(1), boolean);
  int axis = 0;
  if (n.attribute("axis")) axis = axis_of(n, n.integer("axis", 0), x.dim());
  else x = reshape(x, {x.numel()});
  n.need(flags.dim() == 1 && flags.numel() <= x.size(axis), flags.numel(), " flags for ",
         x.size(axis), " slices");
  Ints at;
  for (int64_t i = 0; i < flags.numel(); ++i)
    if (flags.data<bool>()[i]) at.push_back(i);
  return {index_select(x, axis, numbers(std::move(at)))};
}

template <class T>
auto comparable(T v) {
  if constexpr (std::is_class_v<T>) return float(v);
  else return v;
}
/// -1, 0 or 1; NaN is behind all numbers, as NumPy sorts it.
template <class T>
int order_of(T a, T b) {
  const auto x = comparable(a), y = comparable(b);
  if (x == y) return 0;
  if (x != x || y != y) return x != x ? (y != y ? 0 : 1) : -1;
  return x < y ? -1 : 1;
}

/// Equal rows of x[rows, width] are one.
Tensors unique_rows(I& n, const Tensor& rows) {
  const int64_t count = rows.size(0), width = rows.size(1);
  Ints order(static_cast<size_t>(count)), first, inverse(static_cast<size_t>(count)), counts;
  for (int64_t i = 0; i < count; ++i) order[size_t(i)] = i;
  visit(rows.dtype(), [&]<class T>() {
    const T* p = static_cast<const T*>(rows.raw_data());
    auto compare = [&](int64_t a, int64_t b) {
      for (int64_t i = 0; i < width; ++i)
        if (const int c = order_of(p[a * width + i], p[b * width + i])) return c;
      return 0;
    };
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const int c = compare(a, b);
      return c ? c < 0 : a < b;
    });
    for (size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || compare(order[i - 1], order[i]) != 0) {
        first.push_back(order[i]);
        counts.push_back(0);
      }
      ++counts.back();
      inverse[size_t(order[i])] = int64_t(first.size()) - 1;
    }
  });
  if (!n.flag("sorted", true)) {  // in the order of the first of each
    Ints by_place(first.size()), place(first.size());
    for (size_t i = 0; i < first.size(); ++i) by_place[i] = int64_t(i);
    std::sort(by_place.begin(), by_place.end(),
              [&](int64_t a, int64_t b) { return first[size_t(a)] < first[size_t(b)]; });
    Ints f, c;
    for (size_t i = 0; i < by_place.size(); ++i) {
      place[size_t(by_place[i])] = int64_t(i);
      f.push_back(first[size_t(by_place[i])]);
      c.push_back(counts[size_t(by_place[i])]);
    }
    first = f, counts = c;
    for (int64_t& v : inverse) v = place[size_t(v)];
  }
  return {numbers(first), numbers(inverse), numbers(counts)};
}

Tensors unique(I& n) {
  const Tensor x = n.known(0);
  int axis = 0;
  Tensor lines = reshape(x, {x.numel()});
  if (n.attribute("axis")) {
    axis = axis_of(n, n.integer("axis", 0), x.dim());
    lines = x;
  }
  Shape order{axis};
  for (int i = 0; i < lines.dim(); ++i)
    if (i != axis) order.push_back(i);
  const int64_t count = lines.size(axis);
  const Tensor rows = as_contiguous(
      reshape(permute(lines, order), {count, count ? int64_t(lines.numel()) / count : 0}));
  const Tensors found = unique_rows(n, rows);
  return {index_select(lines, axis, found[0]), found[0], found[1], found[2]};
}

}  // namespace

void add_set_imports(OnnxImports& t) {
  t.insert({{"NonZero", non_zero}, {"Compress", compress}, {"Unique", unique}});
}

}  // namespace tandem::detail
