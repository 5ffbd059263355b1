// ONNX's operators that gather, scatter, select and sort elements, as records.
#include <algorithm>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/scatter_reduce.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sort.h"
#include "tandem/ops/tril.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

}  // namespace

Tensor places(const Tensor& index, int64_t length) {
  if (!index.is_symbolic()) {
    const Ints list = cast(index, i64).to_vector<int64_t>();
    if (std::none_of(list.begin(), list.end(), [](int64_t v) { return v < 0; })) return index;
  }
  const Tensor i = cast(index, i64);
  return where(i < 0, i + length, i);
}

namespace {

Tensors gather_(I& n) {
  const Tensor x = n.in(0), index = n.in(1);
  const int axis = axis_of(n, n.integer("axis", 0), x.dim());
  if (index.dim() == 0 && !index.is_symbolic()) return {select(x, axis, index.item<int64_t>())};
  Shape shape;
  for (int i = 0; i < axis; ++i) shape.push_back(x.size(i));
  n.need(x.dim() - 1 + index.dim() <= max_dims, "its result has too many axes");
  for (int64_t d : index.shape()) shape.push_back(d);
  for (int i = axis + 1; i < x.dim(); ++i) shape.push_back(x.size(i));
  const Tensor flat = reshape(places(index, x.size(axis)), {index.numel()});
  return {reshape(index_select(x, axis, flat), shape)};
}
Tensors gather_elements(I& n) {
  const Tensor x = n.in(0);
  const int axis = axis_of(n, n.integer("axis", 0), x.dim());
  return {gather(x, axis, places(n.in(1), x.size(axis)))};
}
std::string reduction_of(I& n, const std::string& how) {
  if (how == "mul") return "prod";
  n.need(how == "max" || how == "min", "reduction ", how);
  return how == "max" ? "amax" : "amin";
}
Tensors scatter_elements(I& n) {
  const Tensor x = n.in(0);
  const int axis = axis_of(n, n.integer("axis", 0), x.dim());
  const Tensor index = places(n.in(1), x.size(axis));
  const std::string how = n.text("reduction", "none");
  if (how == "none") return {scatter(x, axis, index, n.in(2))};
  if (how == "add") return {scatter_add(x, axis, index, n.in(2))};
  return {scatter_reduce(x, axis, index, n.in(2), reduction_of(n, how))};
}
/// The columns of a list of places [..., k], each for an axis of x from `first` on.
Tensors columns(I& n, const Tensor& x, const Tensor& index, int first = 0) {
  const int64_t k = index.dim() ? int64_t(index.size(-1)) : 0;
  n.need(index.dim() > 0 && k > 0 && k <= x.dim(), "indices of shape ", index.shape(),
         " for data of shape ", x.shape());
  Tensors all;
  for (int64_t i = 0; i < k; ++i)
    all.push_back(places(select(index, -1, i), x.size(first + int(i))));
  return all;
}
Shape leading(int64_t k) {
  Shape axes;
  for (int64_t i = 0; i < k; ++i) axes.push_back(i);
  return axes;
}
Tensors gather_nd(I& n) {
  const Tensor x = n.in(0), index = n.in(1);
  const int64_t batch = n.integer("batch_dims", 0);
  n.need(batch >= 0 && batch < index.dim() && batch + index.size(-1) <= x.dim(),
         "batch_dims=", batch, " and indices of shape ", index.shape(), " for data of shape ",
         x.shape());
  Tensors in{x};
  for (int i = 0; i < int(batch); ++i)
    in.push_back(reshape(arange(x.size(i)), along_axis(index.dim() - 1, i, x.size(i))));
  for (const Tensor& c : columns(n, x, index, int(batch))) in.push_back(c);
  return {apply(IndexRead{.axes = leading(int64_t(in.size()) - 1)}, {in.data(), in.size()})};
}
Tensors scatter_nd(I& n) {
  const std::string how = n.text("reduction", "none");
  const Tensor x = n.in(0);
  const Tensors list = columns(n, x, n.in(1));
  if (how != "none" && how != "add") {  // rows of a matrix, each at one place
    Tensor at = list[0];
    int64_t rows = x.size(0);
    for (size_t i = 1; i < list.size(); ++i) {
      at = at * x.size(int(i)) + list[i];
      rows *= x.size(int(i));
    }
    const int64_t width = rows ? int64_t(x.numel()) / rows : 0, count = at.numel();
    at = contiguous(expand(reshape(at, {count, 1}), {count, width}));
    n.need(n.in(2).numel() == count * width, "updates of shape ", n.in(2).shape());
    return {reshape(scatter_reduce(reshape(x, {rows, width}), 0, at,
                                   reshape(n.in(2), {count, width}), reduction_of(n, how)),
                    x.shape())};
  }
  Tensors in{x, n.in(2)};
  for (const Tensor& c : list) in.push_back(c);
  return {apply(IndexPut{.axes = leading(int64_t(in.size()) - 2), .accumulate = how == "add"},
                {in.data(), in.size()})};
}
Tensors one_hot_(I& n) {
  const Tensor index = n.in(0), values = n.in(2);
  const int64_t depth = n.whole_number(1);
  n.need(depth >= 0 && depth < (1 << 30), "depth ", depth);
  const int rank = index.dim() + 1;
  const int axis = axis_of(n, n.integer("axis", -1), rank);
  Shape line;
  for (int i = axis + 1; i < rank; ++i) line.push_back(1);
  line.insert(0, depth);
  const Tensor classes = reshape(arange(depth), line);
  const Tensor hit = unsqueeze(places(cast(index, i64), depth), axis) == classes;
  return {where(hit, select(values, 0, 1), select(values, 0, 0))};
}
Tensors trilu(I& n) {
  const int64_t k = n.has(1) ? int64_t(n.number(1)) : 0;
  return {n.flag("upper", true) ? triu(n.in(0), k) : tril(n.in(0), k)};
}
/// Each sequence of the batch backwards, as far as it goes.
Tensors reverse_sequence(I& n) {
  const Tensor x = n.in(0);
  const int64_t time = n.integer("time_axis", 0), batch = n.integer("batch_axis", 1);
  n.need(x.dim() >= 2 && time != batch && (time == 0 || time == 1) && (batch == 0 || batch == 1),
         "time_axis=", time, " and batch_axis=", batch, " of shape ", x.shape());
  const int t = int(time), b = int(batch);
  const Tensor lengths = reshape(cast(n.in(1), i64), along_axis(2, b, x.size(b)));
  const Tensor step = reshape(arange(x.size(t)), along_axis(2, t, x.size(t)));
  const Tensor from = where(step < lengths, lengths - 1 - step, step);
  Shape one = from.shape();
  for (int i = 2; i < x.dim(); ++i) one.push_back(1);
  return {gather(x, t, contiguous(expand(reshape(from, one), x.shape())))};
}
Tensors top_k(I& n) {
  const int64_t k = n.opset() < 10 ? n.integer("k", 1) : n.whole_number(1);
  const ValuesAndIndices r =
      topk(n.in(0), k, n.integer("axis", -1), n.flag("largest", true), n.flag("sorted", true));
  return {r.values, r.indices};
}

}  // namespace

void add_index_imports(OnnxImports& t) {
  t.insert({{"Gather", gather_},
            {"GatherElements", gather_elements},
            {"GatherND", gather_nd},
            {"Scatter", scatter_elements},
            {"ScatterElements", scatter_elements},
            {"ScatterND", scatter_nd},
            {"OneHot", one_hot_},
            {"Trilu", trilu},
            {"TopK", top_k},
            {"ReverseSequence", reverse_sequence}});
  for (const char* name : {"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"})
    t.at(name).moves = true;
}

}  // namespace tandem::detail
