// ONNX's Resize: each axis by a product, or by the places of the nearest elements.
#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/round.h"
#include "tandem/ops/weighted_select.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

struct Resizing {
  std::string mode, coordinates, nearest;
  double cubic = -0.75;
  bool exclude_outside = false, antialias = false;
  double from = 0, to = 1;  ///< the part of an axis that is asked for
  double beyond = 0;
};

/// Where element `i` of `out` comes from, in units of the input's elements.
double source(I& n, const Resizing& r, int64_t i, int64_t length, int64_t out, double scale) {
  const double x = double(i);
  if (r.coordinates == "half_pixel") return (x + 0.5) / scale - 0.5;
  if (r.coordinates == "pytorch_half_pixel") return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
  if (r.coordinates == "asymmetric") return x / scale;
  if (r.coordinates == "align_corners")  // of the result's length before it was rounded down
    return out > 1 ? x * double(length - 1) / (double(length) * scale - 1) : 0;
  if (r.coordinates == "half_pixel_symmetric") {
    const double adjustment = double(out) / (scale * double(length));
    return double(length) / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5;
  }
  if (r.coordinates == "tf_crop_and_resize") {  // from a part of the axis
    const double last = double(length - 1);
    return out > 1 ? (r.from + x * (r.to - r.from) / double(out - 1)) * last
                   : (r.from + r.to) / 2 * last;
  }
  n.unsupported("coordinate_transformation_mode ", r.coordinates);
}

int64_t nearest(const Resizing& r, double x) {
  const double fraction = x - std::floor(x);
  if (r.nearest == "floor") return int64_t(std::floor(x));
  if (r.nearest == "ceil") return int64_t(std::ceil(x));
  if (r.nearest == "round_prefer_ceil") return int64_t(std::floor(x + 0.5));
  return int64_t(fraction == 0.5 ? std::floor(x) : std::floor(x + 0.5));
}

/// The kernel of Keys (1981), or a triangle.
double kernel(const Resizing& r, double x) {
  x = std::abs(x);
  if (r.mode == "linear") return std::max(0.0, 1 - x);
  const double a = r.cubic;
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((x - 5) * x + 8) * x * a - 4 * a;
  return 0;
}

/// One axis: rows of weights over the input's elements, or places alone.
Tensor resized_inside(I& n, const Tensor& x, int axis, int64_t out, double scale,
                      const Resizing& r) {
  const int64_t length = x.size(axis);
  n.need(length > 0 && out > 0 && out < (1 << 24), "from ", length, " to ", out, " elements");
  if (r.mode == "nearest") {
    std::vector<int64_t> places;
    for (int64_t i = 0; i < out; ++i)
      places.push_back(
          std::clamp<int64_t>(nearest(r, source(n, r, i, length, out, scale)), 0, length - 1));
    return index_select(x, axis, wrap(std::move(places), {out}));
  }
  const double stretch = r.antialias && scale < 1 ? scale : 1;  // of the kernel
  const int64_t reach = int64_t(std::ceil((r.mode == "linear" ? 1 : 2) / stretch)) + 1;
  // The taps of each element that weigh anything, all lists as long as the longest.
  std::vector<std::vector<std::pair<int64_t, double>>> rows;
  size_t longest = 1;
  for (int64_t i = 0; i < out; ++i) {
    const double at = source(n, r, i, length, out, scale);
    double total = 0;
    std::vector<std::pair<int64_t, double>> row;
    for (int64_t k = int64_t(std::floor(at)) - reach; k <= int64_t(std::floor(at)) + reach; ++k) {
      const double w = kernel(r, (double(k) - at) * stretch);
      if (w == 0 || (r.exclude_outside && (k < 0 || k >= length))) continue;
      const int64_t place = std::clamp<int64_t>(k, 0, length - 1);
      if (!row.empty() && row.back().first == place) row.back().second += w;
      else row.emplace_back(place, w);
      total += w;
    }
    for (auto& [place, w] : row)
      if (total != 0) w /= total;
    longest = std::max(longest, row.size());
    n.need(longest * size_t(out) < (size_t(1) << 26), "from ", length, " to ", out, " elements");
    rows.push_back(std::move(row));
  }
  std::vector<int64_t> places;
  std::vector<double> weights;
  for (const auto& row : rows)
    for (size_t k = 0; k < longest; ++k) {
      // Where there is nothing more, the first tap again: what it holds is part of the sum anyway.
      places.push_back(k < row.size() ? row[k].first : row.empty() ? 0 : row[0].first);
      weights.push_back(k < row.size() ? row[k].second : 0);
    }
  const Shape shape{out, int64_t(longest)};
  return weighted_select(x, axis, wrap(std::move(places), shape),
                         cast(wrap(std::move(weights), shape), x.dtype()));
}

/// The same; what lies beyond the input has a value of its own when a part of the axis was asked
/// for.
Tensor resized(I& n, const Tensor& x, int axis, int64_t out, double scale, const Resizing& r) {
  const Tensor y = resized_inside(n, x, axis, out, scale, r);
  if (r.coordinates != "tf_crop_and_resize") return y;
  std::vector<float> outside;
  for (int64_t i = 0; i < out; ++i) {
    const double at = source(n, r, i, x.size(axis), out, scale);
    outside.push_back(at < 0 || at > double(x.size(axis) - 1) ? 1 : 0);
  }
  const Tensor flags = reshape(wrap(std::move(outside), {out}), along_axis(y.dim(), axis, out));
  return where(flags > 0.5, full({}, r.beyond, y.dtype()), y);
}

Tensors resize(I& n) {
  const Tensor given = n.in(0);
  Tensor x = given;
  const bool old = n.opset() < 11;  // and Upsample
  Resizing r;
  r.mode = n.text("mode", "nearest");
  if (r.mode == "bilinear") r.mode = "linear";
  if (r.mode != "nearest" && r.mode != "linear" && r.mode != "cubic")
    n.unsupported("mode ", r.mode);
  r.coordinates = n.text("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
  r.nearest = n.text("nearest_mode", old ? "floor" : "round_prefer_floor");
  r.cubic = n.real("cubic_coeff_a", -0.75);
  r.exclude_outside = n.flag("exclude_outside", false);
  r.antialias = n.flag("antialias", false);
  r.beyond = n.real("extrapolation_value", 0);
  if (r.mode != "nearest" && !is_floating(x.dtype()))
    x = cast(x, itemsize(x.dtype()) < 4 ? f32 : f64);
  const std::string policy = n.text("keep_aspect_ratio_policy", "stretch");
  std::vector<double> scales;
  std::vector<int64_t> sizes;
  const int place = old ? 1 : 2;
  if (n.has(place) && n.in(place).numel() > 0) {
    if (n.in(place).is_symbolic()) n.needs_value(place);
    scales = n.in(place).to_vector<double>();
  } else if (!old && n.has(3)) {
    sizes = n.ints(3);
  } else if (const auto* a = n.attribute("scales")) {
    scales.assign(a->floats.begin(), a->floats.end());
  }
  std::vector<int64_t> axes = n.list("axes").value_or(std::vector<int64_t>());
  if (axes.empty())
    for (int i = 0; i < x.dim(); ++i) axes.push_back(i);
  n.need(axes.size() == std::max(scales.size(), sizes.size()), "sizes and scales are not those of ",
         axes.size(), " axes");
  for (int64_t& a : axes) {
    if (a < 0) a += x.dim();
    n.need(a >= 0 && a < x.dim(), "an axis is out of range");
  }
  if (!sizes.empty() && policy != "stretch") {
    double common = policy == "not_larger" ? INFINITY : 0;
    for (size_t i = 0; i < axes.size(); ++i) {
      const double s = double(sizes[i]) / double(x.size(int(axes[i])));
      common = policy == "not_larger" ? std::min(common, s) : std::max(common, s);
    }
    for (size_t i = 0; i < axes.size(); ++i)
      sizes[i] = int64_t(std::floor(common * double(x.size(int(axes[i]))) + 0.5));
    scales.assign(axes.size(), common);
  }
  std::vector<double> part;
  if (r.coordinates == "tf_crop_and_resize") {
    part = n.known(1).to_vector<double>();
    n.need(part.size() == 2 * axes.size(), "roi has ", part.size(), " numbers");
    for (double p : part) n.need(std::abs(p) < 1e6, "a roi of ", p);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = int(axes[i]);
    if (!part.empty()) r.from = part[i], r.to = part[i + axes.size()];
    const double length = double(x.size(axis));
    const double scale = scales.empty() ? double(sizes[i]) / length : scales[i];
    n.need(scale > 0 && scale < 1e6, "a scale of ", scale);
    const int64_t out = sizes.empty() ? int64_t(std::floor(length * scale)) : sizes[i];
    if (scale != 1 || out != x.size(axis) || !part.empty()) x = resized(n, x, axis, out, scale, r);
  }
  // Integers: linear ones are cut off, as ONNX Runtime does; cubic ones, which it has not, are
  // rounded, as the operator's reference does.
  if (x.dtype() != given.dtype() && r.mode == "cubic") x = round(x);
  return {x.dtype() == given.dtype() ? x : cast(x, given.dtype())};
}

}  // namespace

void add_resize_imports(OnnxImports& t) { t.insert({{"Resize", resize}, {"Upsample", resize}}); }

}  // namespace tandem::detail
