// ONNX's operators that move elements, as records.
#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/core/random.h"
#include "tandem/graph/ir.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/random.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sort.h"
#include "tandem/ops/tril.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

constexpr double most_elements = 1 << 23;  // of what is made from nothing but numbers

}  // namespace

Shape shape_of(I& n, const Ints& list) {
  n.need(list.size() <= size_t(max_dims), list.size(), " axes, more than ", max_dims);
  Shape s;
  for (int64_t v : list) s.push_back(v);
  return s;
}
Shape lengths_of(I& n, const Ints& list) {
  for (int64_t v : list) n.need(v >= 0, "a length of ", v);
  return shape_of(n, list);
}
int axis_of(I& n, int64_t axis, int rank) {
  n.need(axis >= -rank && axis < rank, "axis ", axis, " is out of range for ", rank, " axes");
  return int(axis < 0 ? axis + rank : axis);
}
Tensor numbers(Ints v) {
  const int64_t n = int64_t(v.size());
  return wrap(std::move(v), {n});
}

namespace {

/// Drawn anew by each run from the default generator.
template <class O>
Tensor random(I& n, const Shape& shape, DType dtype, double a, double b) {
  return apply(O{shape, dtype, a, b}, {n.graph().random_key(default_generator())});
}

GraphValues identity(I& n) { return {n.any_in(0)}; }
Tensors dropout_(I& n) {
  const Tensor x = n.in(0);
  const double ratio = n.opset() < 12 ? n.real("ratio", 0.5) : n.has(1) ? n.number(1) : 0.5;
  n.need(ratio >= 0 && ratio < 1, "ratio=", ratio);
  if (!n.has(2) || n.number(2) == 0 || ratio == 0)
    return {x, n.wants(1) ? ones(x.shape(), boolean) : Tensor()};
  const Tensor drawn = random<RandomUniform>(n, x.shape(), f32, 0, 1), kept = drawn >= ratio;
  return {where(kept, x * (1 / (1 - ratio)), full({}, 0, x.dtype())), kept};
}
/// 1 with the probability that each element is.
Tensors bernoulli_(I& n) {
  const Tensor x = n.in(0);
  const DType dtype = n.attribute("dtype") ? dtype_of(n, n.integer("dtype", 1)) : x.dtype();
  return {cast(random<RandomUniform>(n, x.shape(), f32, 0, 1) < x, dtype)};
}

GraphValues constant(I& n) {
  if (const auto* a = n.attribute("value"); a && a->type == onnx::Attribute::Type::tensor)
    return {value_of(a->tensors.at(0))};
  if (n.attribute("value_float")) return {Tensor(full({}, n.real("value_float", 0), f32))};
  if (n.attribute("value_int")) return {Tensor(full({}, n.integer("value_int", 0), i64))};
  if (const auto v = n.list("value_ints")) return {numbers(*v)};
  if (n.attribute("value_string")) return {GraphValue::of_texts({n.text("value_string", "")}, {})};
  if (n.attribute("value_strings")) {
    const std::vector<std::string> all = n.texts("value_strings");
    return {GraphValue::of_texts(all, {int64_t(all.size())})};
  }
  if (auto v = n.reals("value_floats")) {
    const int64_t count = int64_t(v->size());
    return {wrap(std::move(*v), {count})};
  }
  n.unsupported("its value is no tensor");
}
Tensors constant_of_shape(I& n) {
  const Shape shape = lengths_of(n, n.ints(0));
  const auto* a = n.attribute("value");
  if (!a) return {zeros(shape)};
  n.need(a->type == onnx::Attribute::Type::tensor, "value is no tensor");
  const Tensor v = a->tensors.at(0).value();
  n.need(v.numel() == 1, "value has ", v.numel(), " elements");
  return {clone(expand(reshape(v, {}), shape))};
}
Tensors shape_(I& n) {
  const Shape s = n.in(0).shape();
  const int64_t rank = s.size();
  auto bound = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const int64_t from = bound(n.integer("start", 0)), to = bound(n.integer("end", rank));
  Ints list;
  for (int64_t i = from; i < to; ++i) list.push_back(s[int(i)]);
  return {numbers(std::move(list))};
}
Tensors size(I& n) { return {full({}, n.in(0).numel(), i64)}; }
Tensors range_(I& n) {
  const Tensor start = n.in(0), step = n.in(2);
  n.need(n.number(2) != 0, "step is 0");
  double count = std::max(0.0, std::ceil((n.number(1) - n.number(0)) / n.number(2)));
  if (is_integral(start.dtype())) {  // exactly, where an f64 cannot count
    const int64_t a = n.whole_number(0), b = n.whole_number(1), d = n.whole_number(2);
    const uint64_t way = d > 0 ? uint64_t(b) - uint64_t(a) : uint64_t(a) - uint64_t(b);
    const uint64_t each = d > 0 ? uint64_t(d) : 0 - uint64_t(d);
    const bool forward = d > 0 ? b > a : a > b;
    count = forward ? double((way - 1) / each + 1) : 0;
  }
  n.need(count <= most_elements, "would have ", count, " elements");
  const Tensor i = cast(arange(int64_t(count)), start.dtype());
  return {i * reshape(step, {}) + reshape(start, {})};
}

Tensors reshape_(I& n) {
  const Tensor x = n.in(0);
  Shape shape = shape_of(n, n.opset() < 5 ? n.list("shape").value_or(Ints()) : n.ints(1));
  if (!n.flag("allowzero", false))
    for (int i = 0; i < shape.size(); ++i)
      if (shape[i] == 0) {
        n.need(i < x.dim(), "length 0 at axis ", i, " of ", x.dim());
        shape[i] = x.size(i);
      }
  return {reshape(x, shape)};
}
Tensors flatten_(I& n) {
  const Tensor x = n.in(0);
  int64_t axis = n.integer("axis", 1), rows = 1, columns = 1;
  if (axis < 0) axis += x.dim();
  n.need(axis >= 0 && axis <= x.dim(), "axis ", axis, " is out of range");
  for (int i = 0; i < x.dim(); ++i) (i < axis ? rows : columns) *= x.size(i);
  return {reshape(x, {rows, columns})};
}
Tensors squeeze_(I& n) {
  const Tensor x = n.in(0);
  std::vector<bool> gone(size_t(x.dim()), false);
  if (const auto axes = n.list("axes", 1); axes && !axes->empty()) {
    for (int64_t a : *axes) {
      const int at = axis_of(n, a, x.dim());
      n.need(x.size(at) == 1, "axis ", a, " of shape ", x.shape(), " is not 1 long");
      gone[size_t(at)] = true;
    }
  } else {
    for (int i = 0; i < x.dim(); ++i) gone[size_t(i)] = x.size(i) == 1;
  }
  Shape shape;
  for (int i = 0; i < x.dim(); ++i)
    if (!gone[size_t(i)]) shape.push_back(x.size(i));
  return {reshape(x, shape)};
}
Tensors unsqueeze_(I& n) {
  const Tensor x = n.in(0);
  const Ints axes = n.list("axes", 1).value_or(Ints());
  const int rank = x.dim() + int(axes.size());
  n.need(rank <= max_dims, rank, " axes, more than ", max_dims);
  std::vector<bool> fresh(size_t(rank), false);
  for (int64_t a : axes) fresh[size_t(axis_of(n, a, rank))] = true;
  Shape shape;
  for (int i = 0, from = 0; i < rank; ++i) {
    n.need(fresh[size_t(i)] || from < x.dim(), "an axis appears twice");
    shape.push_back(fresh[size_t(i)] ? Length(1) : x.size(from++));
  }
  return {reshape(x, shape)};
}
Tensors transpose_(I& n) {
  const Tensor x = n.in(0);
  Ints axes = n.list("perm").value_or(Ints());
  for (int i = x.dim() - 1; !n.attribute("perm") && i >= 0; --i) axes.push_back(i);
  return {permute(x, shape_of(n, axes))};
}
Tensors concat(I& n) {
  std::vector<Tensor> all;
  for (int i = 0; i < n.inputs(); ++i) all.push_back(n.in(i));
  return {cat(all, n.integer("axis", n.opset() < 4 ? 1 : 0))};
}
Tensors split_(I& n) {
  const Tensor x = n.in(0);
  const int axis = axis_of(n, n.integer("axis", 0), x.dim());
  const int64_t length = x.size(axis);
  if (const auto sizes = n.list("split", 1)) {
    for (int64_t s : *sizes) n.need(s >= 0, "a length of ", s);
    return split(x, *sizes, axis);
  }
  const int64_t parts = n.integer("num_outputs", n.outputs());
  n.need(parts > 0 && parts == n.outputs(), "num_outputs=", parts, " for ", n.outputs(),
         " outputs");
  const int64_t each = (length + parts - 1) / parts;
  Ints sizes;
  for (int64_t i = 0, left = length; i < parts; ++i, left -= each)
    sizes.push_back(std::clamp<int64_t>(left, 0, each));
  return split(x, sizes, axis);
}
Tensors slice_(I& n) {
  Tensor x = n.in(0);
  const bool inputs = n.opset() >= 10;
  const Ints starts = inputs ? n.ints(1) : n.list("starts").value_or(Ints());
  const Ints ends = inputs ? n.ints(2) : n.list("ends").value_or(Ints());
  Ints axes = inputs && n.has(3) ? n.ints(3) : inputs ? Ints() : n.list("axes").value_or(Ints());
  Ints steps = inputs && n.has(4) ? n.ints(4) : Ints();
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(int64_t(i));
  if (steps.empty()) steps.assign(starts.size(), 1);
  n.need(
      ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
      "starts, ends, axes and steps differ in length");
  for (size_t i = 0; i < starts.size(); ++i) {
    const int axis = axis_of(n, axes[i], x.dim());
    const int64_t length = x.size(axis), step = steps[i];
    n.need(step != 0 && step != INT64_MIN, "step ", step);
    auto from_front = [&](int64_t v) { return v < 0 ? v + length : v; };
    if (step > 0) {
      x = slice(x, axis, std::clamp<int64_t>(from_front(starts[i]), 0, length),
                std::clamp<int64_t>(from_front(ends[i]), 0, length), step);
    } else {
      const int64_t first = std::clamp<int64_t>(from_front(starts[i]), -1, length - 1);
      const int64_t last = std::clamp<int64_t>(from_front(ends[i]), -1, length - 1);
      x = slice(flip(x, {axis}), axis, length - 1 - first,
                std::max(length - 1 - first, length - 1 - last), -step);
    }
  }
  return {x};
}
Tensors expand_(I& n) {
  const Tensor x = n.in(0);
  const Shape want = shape_of(n, n.ints(1));
  Shape shape = want;
  const int rank = std::max(want.size(), x.dim());
  shape = {};
  for (int i = 0; i < rank; ++i) {
    const int a = i - (rank - x.dim()), b = i - (rank - want.size());
    const Length have = a >= 0 ? x.size(a) : Length(1), wish = b >= 0 ? want[b] : Length(1);
    shape.push_back(wish == 1 ? have : wish);
  }
  return {expand(x, shape)};
}
Tensors tile_(I& n) { return {repeat(n.in(0), shape_of(n, n.ints(1)))}; }

/// The last axis with any number beside it: also one that is computed, or no f64.
Tensor padded_by(const Tensor& x, const Shape& list, const Tensor& value) {
  if (!value.is_symbolic() && (is_floating(x.dtype()) || itemsize(x.dtype()) < 8))
    return pad(x, list, "constant", value.item<double>());
  const Tensor y = pad(x, list);
  const Tensor inside = pad(ones({x.size(-1)}, boolean), list);
  return where(inside, y, value);
}

Tensors pad_(I& n) {
  const Tensor x = n.in(0);
  const Ints pads = n.opset() < 11 ? n.list("pads").value_or(Ints()) : n.ints(1);
  const std::string mode = n.text("mode", "constant");
  Tensor value = full({}, n.opset() < 11 ? n.real("value", 0) : 0.0, x.dtype());
  if (n.opset() >= 11 && n.has(2)) value = reshape(n.in(2), {});
  Ints axes;
  if (n.has(3)) axes = n.ints(3);
  else
    for (int i = 0; i < x.dim(); ++i) axes.push_back(i);
  n.need(pads.size() == 2 * axes.size(), pads.size(), " pads for ", axes.size(), " axes");
  Ints before(size_t(x.dim()), 0), after = before;
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t a = size_t(axis_of(n, axes[i], x.dim()));
    for (int64_t p : {pads[i], pads[i + axes.size()]})
      n.need(p > -(int64_t(1) << 40) && p < int64_t(1) << 40, "a pad of ", p);
    before[a] = pads[i];
    after[a] = pads[i + axes.size()];
  }
  // Axes that stay as they are at the front need no mention; the list begins with the last axis.
  int first = 0;
  while (first < x.dim() && !before[size_t(first)] && !after[size_t(first)]) ++first;
  if (first == x.dim()) return {x};
  Tensor y = x;
  for (int from = x.dim() - 1; from >= first; --from) {  // axis by axis: any number of them
    if (!before[size_t(from)] && !after[size_t(from)]) continue;
    Shape list;
    const int last = x.dim() - 1;
    if (from != last) y = transpose(y, from, last);
    list = {before[size_t(from)], after[size_t(from)]};
    y = mode == "constant" ? padded_by(y, list, value)
                           : pad(y, list,
                                 mode == "edge"   ? "replicate"
                                 : mode == "wrap" ? "circular"
                                                  : mode);
    if (from != last) y = transpose(y, from, last);
  }
  return {y};
}

Tensors eye_like(I& n) {
  const Tensor x = n.in(0);
  n.need(x.dim() == 2, "takes a matrix");
  DType d = x.dtype();
  if (n.attribute("dtype"))
    d = onnx::to_dtype(onnx::ElementType(n.integer("dtype", 1))).value_or(f32);
  const int64_t k = n.integer("k", 0);
  const Tensor all = ones(x.shape(), d);
  return {triu(tril(all, k), k)};
}
Tensors depth_to_space(I& n) {
  const Tensor x = n.in(0);
  const int64_t b = n.integer("blocksize", 1);
  n.need(x.dim() == 4 && b > 0 && b < (1 << 20) && x.size(1) % (b * b) == 0, "blocks of ", b,
         " in shape ", x.shape());
  const int64_t c = x.size(1) / (b * b), h = x.size(2), w = x.size(3);
  const Tensor y = n.text("mode", "DCR") == "DCR"
                       ? permute(reshape(x, {x.size(0), b, b, c, h, w}), {0, 3, 4, 1, 5, 2})
                       : permute(reshape(x, {x.size(0), c, b, b, h, w}), {0, 1, 4, 2, 5, 3});
  return {reshape(y, {x.size(0), c, h * b, w * b})};
}
Tensors space_to_depth(I& n) {
  const Tensor x = n.in(0);
  const int64_t b = n.integer("blocksize", 1);
  n.need(x.dim() == 4 && b > 0 && x.size(2) % b == 0 && x.size(3) % b == 0, "blocks of ", b,
         " in shape ", x.shape());
  const int64_t c = x.size(1), h = x.size(2) / b, w = x.size(3) / b;
  const Tensor y = permute(reshape(x, {x.size(0), c, h, b, w, b}), {0, 3, 5, 1, 2, 4});
  return {reshape(y, {x.size(0), c * b * b, h, w})};
}

template <class O, bool like>
Tensors random_(I& n) {
  const bool normal = std::is_same_v<O, RandomNormal>;
  const double a = normal ? n.real("mean", 0) : n.real("low", 0);
  const double b = normal ? n.real("scale", 1) : n.real("high", 1);
  const DType otherwise = like ? n.in(0).dtype() : f32;
  const DType dtype = n.attribute("dtype") ? dtype_of(n, n.integer("dtype", 1)) : otherwise;
  const Shape shape = like ? n.in(0).shape() : lengths_of(n, n.list("shape").value_or(Ints()));
  return {random<O>(n, shape, dtype, a, b)};
}

}  // namespace

void add_shape_imports(OnnxImports& t) {
  t.insert({{"Identity", identity},
            {"Dropout", dropout_},
            {"Bernoulli", bernoulli_},
            {"Constant", constant},
            {"ConstantOfShape", constant_of_shape},
            {"Shape", shape_},
            {"Size", size},
            {"Range", range_},
            {"Reshape", reshape_},
            {"Flatten", flatten_},
            {"Squeeze", squeeze_},
            {"Unsqueeze", unsqueeze_},
            {"Transpose", transpose_},
            {"Concat", concat},
            {"Split", split_},
            {"Slice", slice_},
            {"Expand", expand_},
            {"Tile", tile_},
            {"Pad", pad_}});
  t.insert({{"EyeLike", eye_like},
            {"DepthToSpace", depth_to_space},
            {"SpaceToDepth", space_to_depth},
            {"RandomNormal", random_<RandomNormal, false>},
            {"RandomNormalLike", random_<RandomNormal, true>},
            {"RandomUniform", random_<RandomUniform, false>},
            {"RandomUniformLike", random_<RandomUniform, true>}});
  for (const char* name :
       {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Split", "Slice",
        "Expand", "Tile", "Shape", "Size", "DepthToSpace", "SpaceToDepth"})
    t.at(name).moves = true;
}

}  // namespace tandem::detail
