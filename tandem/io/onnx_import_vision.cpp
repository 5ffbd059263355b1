// ONNX's operators on pictures and boxes, as records.
#include <algorithm>
#include <cmath>
#include <functional>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_windows.h"
#include "tandem/op/copy.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/div.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/floor.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/roi_align.h"
#include "tandem/ops/round.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

// --- Reading between pixels
// -----------------------------------------------------------------------

enum class Beyond { zeros, border, reflection };

/// One of the places along an axis that a point is made of.
struct Tap {
  Tensor at, weight;  ///< whole numbers as floats; null weight: 1
};

/// x reflected into [low, high] as often as it takes.
Tensor reflected(const Tensor& x, double low, double high) {
  const double span = high - low;
  if (span <= 0) return x * 0.0 + low;
  const Tensor folded = remainder(abs(x - low), full({}, 2 * span, x.dtype()));
  return where(folded > span, 2 * span - folded, folded) + low;
}

/// The places of a point along an axis of n pixels, x in units of pixels.
std::vector<Tap> taps(Tensor x, int64_t n, const std::string& mode, Beyond beyond, bool align) {
  const double last = double(n - 1), low = align ? 0 : -0.5, high = align ? last : last + 0.5;
  auto inside = [&](const Tensor& p) {
    if (beyond == Beyond::reflection) return clamp(reflected(p, low, high), 0.0, last);
    return beyond == Beyond::border ? clamp(p, 0.0, last) : p;
  };
  if (mode != "cubic") x = inside(x);
  if (mode == "nearest") return {{round(x), {}}};
  const Tensor left = floor(x), t = x - left;
  if (mode == "linear") return {{left, 1.0 - t}, {left + 1.0, t}};
  constexpr double a = -0.75;
  auto near = [&](const Tensor& d) { return ((a + 2) * d - (a + 3)) * d * d + 1.0; };
  auto far = [&](const Tensor& d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  const Tensor weights[] = {far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)};
  std::vector<Tap> all;
  for (int i = 0; i < 4; ++i) all.push_back({inside(left + double(i - 1)), weights[i]});
  return all;
}

/// The values of x[n, c, lengths...] at points, whose taps along each axis have one shape [n,
/// o...]: [n, c, points].
Tensor sampled(const Tensor& x, const std::vector<std::vector<Tap>>& axes, bool zeros_beyond) {
  const int64_t n = x.size(0), c = x.size(1);
  int64_t all = 1;
  for (int i = 2; i < x.dim(); ++i) all *= x.size(i);
  const Tensor flat = reshape(x, {n, c, all});
  const DType dtype = axes[0][0].at.dtype();
  Tensor sum;
  std::function<void(size_t, Tensor, Tensor, Tensor)> walk = [&](size_t axis, Tensor place,
                                                                 Tensor weight, Tensor seen) {
    if (axis < axes.size()) {
      const double last = double(x.size(int(axis) + 2) - 1);
      for (const Tap& tap : axes[axis]) {
        const Tensor at = clamp(tap.at, 0.0, last);
        Tensor visible = seen, factor = weight;
        if (zeros_beyond) {
          const Tensor here = logical_and(tap.at >= 0.0, tap.at <= last);
          visible = seen.defined() ? logical_and(seen, here) : here;
        }
        if (tap.weight.defined()) factor = weight.defined() ? weight * tap.weight : tap.weight;
        const Tensor step = cast(at, i64);
        walk(axis + 1, place.defined() ? place * x.size(int(axis) + 2) + step : step, factor,
             visible);
      }
      return;
    }
    const int64_t points = place.numel() / std::max<int64_t>(n, 1);
    const Tensor at = contiguous(expand(reshape(place, {n, 1, points}), {n, c, points}));
    Tensor y = cast(gather(flat, 2, at), dtype);
    if (seen.defined()) y = where(reshape(seen, {n, 1, points}), y, full({}, 0, dtype));
    if (weight.defined()) y = y * reshape(weight, {n, 1, points});
    sum = sum.defined() ? sum + y : y;
  };
  walk(0, {}, {}, {});
  return sum;
}

Tensors grid_sample(I& n) {
  const Tensor x = n.in(0), grid = n.in(1);
  const int axes = x.dim() - 2;
  std::string mode = n.text("mode", n.opset() < 20 ? "bilinear" : "linear");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  const std::string padding = n.text("padding_mode", "zeros");
  n.need(mode == "linear" || mode == "nearest" || mode == "cubic", "mode ", mode);
  n.need(padding == "zeros" || padding == "border" || padding == "reflection", "padding_mode ",
         padding);
  n.need(axes > 0 && axes <= 3 && grid.dim() == axes + 2 && grid.size(-1) == axes &&
             grid.size(0) == x.size(0),
         "a grid of shape ", grid.shape(), " for shape ", x.shape());
  for (int i = 2; i < x.dim(); ++i) n.need(x.size(i) > 0, "input 0 has shape ", x.shape());
  const bool align = n.flag("align_corners", false);
  const Beyond beyond = padding == "zeros"    ? Beyond::zeros
                        : padding == "border" ? Beyond::border
                                              : Beyond::reflection;
  const Tensor points = grid.dtype() == f64 ? grid : cast(grid, f32);
  std::vector<std::vector<Tap>> all;
  for (int i = 0; i < axes; ++i) {
    const double length = double(x.size(i + 2));
    const Tensor g = select(points, -1, axes - 1 - i);  // the last axis of x comes first
    const Tensor place = align ? (g + 1.0) * ((length - 1) / 2) : ((g + 1.0) * length - 1.0) * 0.5;
    all.push_back(taps(place, x.size(i + 2), mode, beyond, align));
  }
  Shape shape{x.size(0), x.size(1)};
  for (int i = 0; i < axes; ++i) shape.push_back(grid.size(i + 1));
  return {cast(reshape(sampled(x, all, beyond == Beyond::zeros), shape), x.dtype())};
}

/// The points of a picture of a given size, moved by a matrix.
Tensors affine_grid(I& n) {
  const Tensor theta = n.in(0);
  const Ints size = n.ints(1);
  const int axes = int(size.size()) - 2;
  n.need((axes == 2 || axes == 3) && theta.shape() == Shape{size[0], axes, axes + 1},
         "a matrix of shape ", theta.shape(), " for ", size.size(), " lengths");
  const bool align = n.flag("align_corners", false);
  const DType dtype = theta.dtype() == f64 ? f64 : f32;
  Shape shape;
  for (int i = 0; i < axes; ++i) {
    n.need(size[size_t(i) + 2] >= 0 && size[size_t(i) + 2] < (1 << 24), "a length of ",
           size[size_t(i) + 2]);
    shape.push_back(size[size_t(i) + 2]);
  }
  std::vector<Tensor> columns;
  for (int i = axes - 1; i >= 0; --i) {
    const int64_t length = shape[i];
    const double step = align ? (length > 1 ? 2 / double(length - 1) : 0) : 2 / double(length);
    const double first = align ? (length > 1 ? -1 : 0) : step / 2 - 1;
    const Tensor line = cast(arange(length), dtype) * step + first;
    columns.push_back(expand(reshape(line, along_axis(axes, i, length)), shape));
  }
  columns.push_back(ones(shape, dtype));
  const Tensor points = reshape(stack(columns, axes), {1, shape.numel(), axes + 1});
  const Tensor y = matmul(points, transpose(cast(theta, dtype), 1, 2));
  Shape out{size[0]};
  for (int64_t d : shape) out.push_back(d);
  out.push_back(axes);
  return {cast(reshape(y, out), theta.dtype())};
}

/// A convolution whose points are moved by offsets and weighed by a mask.
Tensors deform_conv(I& n) {
  const Tensor x = n.in(0), weight = n.in(1), offset = n.in(2), mask = n.in_or_none(4);
  n.need(x.dim() == 4 && weight.dim() == 4 && offset.dim() == 4, "takes pictures");
  const OnnxWindows w = onnx_windows(n, {weight.shape().begin() + 2, weight.shape().end()});
  const int64_t groups = n.integer("group", 1), parts = n.integer("offset_group", 1);
  const int64_t taps_of = w.kernel[0] * w.kernel[1], oh = w.out[0], ow = w.out[1], c = x.size(1),
                b = x.size(0), outputs = weight.size(0);
  n.need(parts > 0 && c % parts == 0 && groups > 0 && c % groups == 0 && outputs % groups == 0 &&
             weight.size(1) == c / groups &&
             offset.shape() == Shape{b, 2 * parts * taps_of, oh, ow} &&
             (!mask.defined() || mask.shape() == Shape{b, parts * taps_of, oh, ow}),
         "shapes ", x.shape(), ", ", weight.shape(), " and ", offset.shape());
  // Points [b parts, taps, oh, ow]
  const Tensor moved = reshape(offset, {b * parts, taps_of, 2, oh, ow});
  std::vector<std::vector<Tap>> all;
  for (int i = 0; i < 2; ++i) {
    std::vector<float> first;
    for (int64_t k = 0; k < taps_of; ++k)
      first.push_back(float((i ? k % w.kernel[1] : k / w.kernel[1]) * w.dilation[size_t(i)] -
                            w.before[size_t(i)]));
    const Tensor begin =
        cast(reshape(wrap(std::move(first), {taps_of}), {taps_of, 1, 1}), x.dtype());
    const Tensor step = cast(arange(i ? ow : oh) * w.stride[size_t(i)], x.dtype());
    const Tensor line = reshape(step, i ? Shape{1, 1, ow} : Shape{1, oh, 1});
    all.push_back(
        taps(select(moved, 2, i) + begin + line, x.size(i + 2), "linear", Beyond::zeros, true));
  }
  const Tensor by_part = reshape(x, {b * parts, c / parts, x.size(2), x.size(3)});
  Tensor columns = reshape(sampled(by_part, all, true), {b * parts, c / parts, taps_of, oh * ow});
  if (mask.defined()) columns = columns * reshape(mask, {b * parts, 1, taps_of, oh * ow});
  columns = reshape(columns, {b, groups, c / groups * taps_of, oh * ow});
  const Tensor rows = reshape(weight, {1, groups, outputs / groups, c / groups * taps_of});
  Tensor y = reshape(matmul(rows, columns), {b, outputs, oh, ow});
  if (n.has(3)) y = y + reshape(n.in(3), {outputs, 1, 1});
  return {y};
}

// --- Blocks and borders
// ---------------------------------------------------------------------------

/// Adds blocks up to a picture: each column's numbers go to the places that they were taken from.
Tensors col2im(I& n) {
  const Tensor x = n.in(0);
  const Ints image = n.ints(1), block = n.ints(2);
  const size_t axes = image.size();
  const Ints stride = n.list("strides").value_or(Ints(axes, 1));
  const Ints dilation = n.list("dilations").value_or(Ints(axes, 1));
  const Ints pads = n.list("pads").value_or(Ints(2 * axes, 0));
  n.need(x.dim() == 3 && axes > 0 && axes < 6 && block.size() == axes && stride.size() == axes &&
             dilation.size() == axes && pads.size() == 2 * axes,
         "shapes and attributes are not those of ", axes, " axes");
  int64_t pixels = 1, taps_of = 1, blocks = 1;
  Ints count;
  for (size_t i = 0; i < axes; ++i) {
    constexpr int64_t most = 1 << 20;
    n.need(image[i] > 0 && image[i] < most && block[i] > 0 && block[i] < most && stride[i] > 0 &&
               stride[i] < most && dilation[i] > 0 && dilation[i] < most && pads[i] >= 0 &&
               pads[i] < most && pads[i + axes] >= 0 && pads[i + axes] < most,
           "sizes, strides and dilations must be positive, pads not negative");
    const int64_t room = image[i] + pads[i] + pads[i + axes] - dilation[i] * (block[i] - 1) - 1;
    n.need(room >= 0, "a block is larger than the picture");
    count.push_back(room / stride[i] + 1);
    pixels *= image[i];
    taps_of *= block[i];
    blocks *= count.back();
    n.need(pixels < (int64_t(1) << 32) && taps_of * blocks < (int64_t(1) << 28), "too many blocks");
  }
  n.need(x.size(1) % taps_of == 0 && x.size(2) == blocks, "shape ", x.shape(), " for ", taps_of,
         " numbers in each of ", blocks, " blocks");
  // What lies in the padding goes to one more pixel, which is cut off.
  Ints places;
  for (int64_t t = 0; t < taps_of; ++t)
    for (int64_t b = 0; b < blocks; ++b) {
      int64_t tap = t, at = b, place = 0, step = 1;
      bool inside = true;
      for (size_t i = axes; i-- > 0;) {
        const int64_t p = at % count[i] * stride[i] + tap % block[i] * dilation[i] - pads[i];
        inside = inside && p >= 0 && p < image[i];
        place += p * step;
        step *= image[i];
        at /= count[i];
        tap /= block[i];
      }
      places.push_back(inside ? place : pixels);
    }
  const int64_t planes = x.size(0) * (x.size(1) / taps_of);
  const Tensor index = expand(reshape(numbers(std::move(places)), {1, taps_of * blocks}),
                              {planes, taps_of * blocks});
  const Tensor sums = scatter_add(zeros({planes, pixels + 1}, x.dtype()), 1, contiguous(index),
                                  reshape(x, {planes, taps_of * blocks}));
  Shape shape{x.size(0), x.size(1) / taps_of};
  for (int64_t d : image) shape.push_back(d);
  return {reshape(slice(sums, 1, 0, pixels), shape)};
}

Tensors center_crop_pad(I& n) {
  Tensor x = n.in(0);
  const Ints size = n.ints(1);
  Ints axes = n.list("axes").value_or(Ints());
  if (!n.attribute("axes"))
    for (int i = 0; i < x.dim(); ++i) axes.push_back(i);
  n.need(axes.size() == size.size(), size.size(), " lengths for ", axes.size(), " axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = axis_of(n, axes[i], x.dim());
    const int64_t have = x.size(axis), want = size[i];
    n.need(want >= 0 && want < (int64_t(1) << 40), "a length of ", want);
    if (want < have) {
      const int64_t from = (have - want) / 2;
      x = slice(x, axis, from, from + want);
    } else if (want > have) {
      Shape more;
      for (int a = x.dim() - 1; a > axis; --a) more.push_back(0), more.push_back(0);
      more.push_back((want - have) / 2);
      more.push_back(want - have - (want - have) / 2);
      x = pad(x, more);
    }
  }
  return {x};
}

// --- Boxes
// ----------------------------------------------------------------------------------------

Tensors roi_align_(I& n) {
  RoiAlign how;
  how.height = n.integer("output_height", 1);
  how.width = n.integer("output_width", 1);
  how.sampling_ratio = n.integer("sampling_ratio", 0);
  how.spatial_scale = n.real("spatial_scale", 1);
  const std::string mode = n.text("mode", "avg");
  n.need(mode == "avg" || mode == "max", "mode ", mode);
  how.largest = mode == "max";
  how.half_pixel =
      n.opset() >= 16 && n.text("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  return {roi_align(n.in(0), cast(n.in(1), n.in(0).dtype()), n.in(2), how)};
}

struct Box {
  float low[2], high[2];
  float area() const { return (high[0] - low[0]) * (high[1] - low[1]); }
};
float overlap(const Box& a, const Box& b) {
  float shared = 1;
  for (int k = 0; k < 2; ++k)
    shared *= std::max(0.0f, std::min(a.high[k], b.high[k]) - std::max(a.low[k], b.low[k]));
  const float whole = a.area() + b.area() - shared;
  return shared <= 0 || whole <= 0 ? 0 : shared / whole;
}

/// The best boxes of each class, without those that overlap a better one.
Tensors non_max_suppression(I& n) {
  const Tensor boxes = as_contiguous(n.known(0), f32), scores = as_contiguous(n.known(1), f32);
  n.need(boxes.dim() == 3 && boxes.size(2) == 4 && scores.dim() == 3 &&
             scores.size(0) == boxes.size(0) && scores.size(2) == boxes.size(1),
         "boxes of shape ", boxes.shape(), " and scores of shape ", scores.shape());
  const int64_t most = n.has(2) ? n.whole_number(2) : 0;
  const float limit = n.has(3) ? float(n.number(3)) : 0;
  const bool bounded = n.has(4);
  const float least = bounded ? float(n.number(4)) : 0;
  const bool centred = n.flag("center_point_box", false);
  const int64_t count = boxes.size(1), classes = scores.size(1);
  Ints selected;
  for (int64_t b = 0; b < boxes.size(0); ++b) {
    std::vector<Box> all(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const float* p = boxes.data<float>() + (b * count + i) * 4;
      for (int k = 0; k < 2; ++k) {
        const float first = centred ? p[k] - p[k + 2] / 2 : p[k];
        const float second = centred ? p[k] + p[k + 2] / 2 : p[k + 2];
        all[size_t(i)].low[k] = std::min(first, second);
        all[size_t(i)].high[k] = std::max(first, second);
      }
    }
    for (int64_t c = 0; c < classes; ++c) {
      const float* score = scores.data<float>() + (b * classes + c) * count;
      Ints order;
      for (int64_t i = 0; i < count; ++i)
        if (!bounded || score[i] > least) order.push_back(i);
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t i, int64_t j) { return score[i] > score[j]; });
      Ints kept;
      for (int64_t i : order) {
        if (int64_t(kept.size()) >= most) break;
        const bool alone = std::none_of(kept.begin(), kept.end(), [&](int64_t k) {
          return overlap(all[size_t(i)], all[size_t(k)]) > limit;
        });
        if (alone) kept.push_back(i);
      }
      for (int64_t i : kept) selected.insert(selected.end(), {b, c, i});
    }
  }
  const auto rows = int64_t(selected.size() / 3);
  return {reshape(numbers(std::move(selected)), {rows, 3})};
}

}  // namespace

void add_vision_imports(OnnxImports& t) {
  t.insert({{"GridSample", grid_sample},
            {"AffineGrid", affine_grid},
            {"DeformConv", deform_conv},
            {"Col2Im", col2im},
            {"CenterCropPad", center_crop_pad},
            {"RoiAlign", roi_align_},
            {"NonMaxSuppression", non_max_suppression}});
}

}  // namespace tandem::detail
