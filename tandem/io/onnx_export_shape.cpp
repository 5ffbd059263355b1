// Records that move elements as ONNX operators.
#include <cmath>
#include <limits>

#include "tandem/io/detail/onnx_export.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/number.h"
#include "tandem/ops/one_hot.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sort.h"
#include "tandem/ops/tril.h"

namespace tandem::detail {
namespace {

using E = OnnxExporter;
using onnx::Attribute;
using Names = E::Names;

std::string range(E& e, Length start, Length end, Length step) {
  return e.emit("Range", {e.scalar(start, i64), e.scalar(end, i64), e.scalar(step, i64)});
}

bool reshape_(E& e, const Reshape&) {
  return e.result("Reshape", {e.in(0), e.shape(e.out().shape)}, {Attribute::of("allowzero", 1)});
}
bool expand_(E& e, const Expand&) { return e.result("Expand", {e.in(0), e.shape(e.out().shape)}); }
bool permute_(E& e, const Permute& op) {
  std::vector<int64_t> axes;
  for (int64_t a : op.axes) axes.push_back(a < 0 ? a + e.rank(0) : a);
  return e.result("Transpose", {e.in(0)}, {Attribute::of("perm", axes)});
}

bool cat_(E& e, const Cat& op) {
  Names in;
  for (int i = 0; i < e.inputs(); ++i) {
    if (e.rank(i) != e.out().shape.size()) return false;  // PyTorch's empty [0], which fits all
  }
  for (int i = 0; i < e.inputs(); ++i) in.push_back(e.in(i, e.out().dtype));
  return e.result("Concat", in, {Attribute::of("axis", op.axis)});
}
bool stack_(E& e, const Stack& op) {
  Names in;
  const int64_t axis = op.axis < 0 ? op.axis + e.out().shape.size() : op.axis;
  for (int i = 0; i < e.inputs(); ++i)
    in.push_back(e.emit("Unsqueeze", {e.in(i, e.out().dtype), e.ints({axis})}));
  return e.result("Concat", in, {Attribute::of("axis", axis)});
}

bool slice_(E& e, const Slice& op) {
  const int64_t all = std::numeric_limits<int64_t>::max();
  return e.result("Slice", {e.in(0), e.shape({op.start.value_or(0)}),
                            op.stop ? e.shape({*op.stop}) : e.ints({all}), e.ints({op.axis}),
                            e.ints({op.step})});
}
bool select_(E& e, const Select& op) {
  return e.result("Gather", {e.in(0), e.scalar(op.index, i64)}, {Attribute::of("axis", op.axis)});
}
/// A Slice is cut where the axis ends, without an error.
bool narrow_(E& e, const Narrow& op) {
  const Shape& x = e.spec(0).shape;
  const int axis = int(op.axis < 0 ? op.axis + x.size() : op.axis);
  Length first = from_end(op.start, x[axis]);
  // Negative numbers count from the end: what begins in front of the axis shall be beyond it.
  if (!first.is_known()) first += max(min(-first, 1), 0) * 2 * x[axis];
  return e.result("Gather", {e.in(0), range(e, first, first + op.length, 1)},
                  {Attribute::of("axis", axis)});
}
bool flip_(E& e, const Flip& op) {
  if (op.axes.empty() || e.rank(0) == 0) return e.result("Identity", {e.in(0)});
  const size_t n = size_t(op.axes.size());
  return e.result("Slice",
                  {e.in(0), e.ints(std::vector<int64_t>(n, -1)),
                   e.ints(std::vector<int64_t>(n, std::numeric_limits<int64_t>::min())),
                   e.ints({op.axes.begin(), op.axes.end()}), e.ints(std::vector<int64_t>(n, -1))});
}
bool repeat_(E& e, const Repeat& op) {
  std::string x = e.in(0);
  const int extra = op.repeats.size() - e.rank(0);
  if (extra > 0) {
    std::vector<int64_t> axes;
    for (int i = 0; i < extra; ++i) axes.push_back(i);
    x = e.emit("Unsqueeze", {x, e.ints(axes)});
  }
  return e.result("Tile", {x, e.shape(op.repeats)});
}
bool pad_(E& e, const Pad& op) {
  const char* mode = op.mode == "constant"    ? "constant"
                     : op.mode == "reflect"   ? "reflect"
                     : op.mode == "replicate" ? "edge"
                                              : nullptr;
  const DType d = e.dtype(0);
  if (op.pad.empty()) return e.result("Identity", {e.in(0)});
  if (!mode || !(is_floating(d) || d == i32 || d == i64)) return false;
  const int n = e.rank(0);
  std::vector<Length> pads(size_t(2 * n), 0);
  for (int i = 0; 2 * i + 1 < op.pad.size(); ++i) {
    pads[size_t(n - 1 - i)] = op.pad[2 * i];
    pads[size_t(2 * n - 1 - i)] = op.pad[2 * i + 1];
  }
  auto any_may_crop = [&] {
    return std::any_of(pads.begin(), pads.end(), [](Length p) { return !must_fit(0, p); });
  };
  if (op.mode != "constant" && any_may_crop()) {
    // Runtimes crop before they look for what to repeat, the record afterwards.
    std::vector<Length> grown, cropped;
    for (const Length p : pads) grown.push_back(max(p, 0)), cropped.push_back(min(p, 0));
    const std::string whole =
        e.emit("Pad", {e.in(0), e.lengths(grown)}, {Attribute::of("mode", std::string(mode))});
    return e.result("Pad", {whole, e.lengths(cropped)});
  }
  return e.result("Pad",
                  {e.in(0), e.lengths(pads),
                   op.value != 0 || std::signbit(op.value) ? e.scalar(op.value, d) : ""},
                  {Attribute::of("mode", std::string(mode))});
}

bool index_dtype(DType d) { return d == i32 || d == i64; }
bool gather_(E& e, const Gather& op) {
  return index_dtype(e.dtype(1)) && e.rank(0) > 0 &&
         e.result("GatherElements", {e.in(0), e.in(1)}, {Attribute::of("axis", op.axis)});
}
/// ONNX has no sources beyond those that the index places.
bool scattered(E& e) {
  return index_dtype(e.dtype(1)) && e.rank(0) > 0 && must_equal(e.spec(1).shape, e.spec(2).shape);
}
bool scatter_(E& e, const Scatter& op) {
  return scattered(e) && e.result("ScatterElements", {e.in(0), e.in(1), e.in(2, e.dtype(0))},
                                  {Attribute::of("axis", op.axis)});
}
bool scatter_add_(E& e, const ScatterAdd& op) {
  return scattered(e) &&
         e.result("ScatterElements", {e.in(0), e.in(1), e.in(2, e.dtype(0))},
                  {Attribute::of("axis", op.axis), Attribute::of("reduction", std::string("add"))});
}
bool index_select_(E& e, const IndexSelect& op) {
  return index_dtype(e.dtype(1)) && e.rank(0) > 0 && e.rank(1) == 1 &&
         e.result("Gather", {e.in(0), e.in(1)}, {Attribute::of("axis", op.axis)});
}
bool embedding_(E& e, const Embedding&) {
  return index_dtype(e.dtype(0)) &&
         e.result("Gather", {e.in(1), e.in(0)}, {Attribute::of("axis", 0)});
}
bool index_(E& e, const IndexRead& op) {
  return op.axes.size() == 1 && e.inputs() == 2 && index_dtype(e.dtype(1)) &&
         e.result("Gather", {e.in(0), e.in(1)}, {Attribute::of("axis", int64_t(op.axes[0]))});
}
bool one_hot_(E& e, const OneHot& op) {
  if (!index_dtype(e.dtype(0)) || e.rank(0) == 0) return false;
  return e.result("OneHot", {e.in(0, i64), e.shape({op.num_classes}), e.ints({0, 1})},
                  {Attribute::of("axis", -1)});
}

bool triangle(E& e, Length diagonal, int64_t upper) {
  const DType d = e.dtype(0);
  if (!(is_floating(d) || d == i32 || d == i64)) return false;
  return e.result("Trilu", {e.in(0), e.scalar(diagonal, i64)}, {Attribute::of("upper", upper)});
}
bool tril_(E& e, const Tril& op) { return triangle(e, op.diagonal, 0); }
bool triu_(E& e, const Triu& op) { return triangle(e, op.diagonal, 1); }

bool top(E& e, const std::string& k, int64_t axis, bool largest, bool sorted) {
  return e.results("TopK", {e.in(0), k}, 2,
                   {Attribute::of("axis", axis), Attribute::of("largest", int64_t(largest)),
                    Attribute::of("sorted", int64_t(sorted))},
                   true);
}
bool sortable(E& e) {
  const DType d = e.dtype(0);
  return e.rank(0) > 0 && (is_floating(d) || d == i32 || d == i64);
}
bool topk_(E& e, const Topk& op) {
  return sortable(e) && top(e, e.shape({op.k}), op.axis, op.largest, op.sorted);
}
bool sort_(E& e, const Sort& op) {
  if (!sortable(e)) return false;
  const Shape& s = e.spec(0).shape;
  return top(e, e.shape({s[int(op.axis < 0 ? op.axis + s.size() : op.axis)]}), op.axis,
             op.descending, true);
}

// --- Made of numbers ------------------------------------------------------------------------

bool number_(E& e, const NumberOf& op) {
  return e.result("Identity", {e.scalar(op.value, op.dtype)});
}
bool cast_to(E& e, const std::string& x, DType dtype) {
  return e.result("Cast", {x}, {Attribute::of("to", int32_t(onnx::to_element_type(dtype)))});
}
bool arange_(E& e, const Arange& op) {
  return cast_to(e, range(e, op.start, op.end, op.step), op.dtype);
}
/// Counted from both ends, as the record does.
bool linspace_(E& e, const Linspace& op) {
  const std::string i = range(e, 0, op.steps, 1), x = e.cast(i, i64, f64);
  const Number step = (op.end - op.start) / Number(max(op.steps - 1, 1));
  const std::string d = e.scalar(step, f64);
  const std::string front = e.emit("Add", {e.scalar(op.start, f64), e.emit("Mul", {x, d})});
  const std::string left = e.emit("Sub", {e.scalar(Number(op.steps - 1), f64), x});
  const std::string back = e.emit("Sub", {e.scalar(op.end, f64), e.emit("Mul", {left, d})});
  const std::string first = e.emit("Less", {i, e.scalar((op.steps + 1) / 2, i64)});
  return cast_to(e, e.emit("Where", {first, front, back}), op.dtype);
}
bool eye_(E& e, const Eye& op) {
  const std::string zeros = e.emit("ConstantOfShape", {e.shape({op.n, op.m})});
  return cast_to(e, e.emit("EyeLike", {zeros}), op.dtype);
}

}  // namespace

void add_shape_rules(OnnxRules& r) {
  r.add<NumberOf>(number_), r.add<Arange>(arange_), r.add<Linspace>(linspace_), r.add<Eye>(eye_);
  r.add<Reshape>(reshape_), r.add<Expand>(expand_), r.add<Permute>(permute_);
  r.add<Cat>(cat_), r.add<Stack>(stack_), r.add<Slice>(slice_), r.add<Select>(select_),
      r.add<Narrow>(narrow_);
  r.add<Flip>(flip_), r.add<Repeat>(repeat_), r.add<Pad>(pad_);
  r.add<Gather>(gather_), r.add<Scatter>(scatter_), r.add<ScatterAdd>(scatter_add_);
  r.add<IndexSelect>(index_select_), r.add<Embedding>(embedding_), r.add<IndexRead>(index_);
  r.add<OneHot>(one_hot_), r.add<Tril>(tril_), r.add<Triu>(triu_);
  r.add<Topk>(topk_), r.add<Sort>(sort_);
}

}  // namespace tandem::detail
