// ONNX's Einsum and Resize as products and reductions.
#include <algorithm>
#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

// --- Einsum -----------------------------------------------------------------------------------

/// A tensor and a letter for each of its axes. Digits stand for the axes of an ellipsis.
struct Labelled {
  Tensor t;
  std::string axes;
};

bool has(const std::string& axes, char c) { return axes.find(c) != axes.npos; }

/// Its axes in that order; letters that it lacks are left out.
Labelled arranged(const Labelled& x, const std::string& order) {
  Labelled out{x.t, ""};
  Shape axes;
  for (char c : order)
    if (const size_t at = x.axes.find(c); at != x.axes.npos) {
      axes.push_back(int64_t(at));
      out.axes += c;
    }
  out.t = permute(x.t, axes);
  return out;
}
Labelled without(const Labelled& x, const std::string& kept) {
  Shape gone;
  Labelled out{x.t, ""};
  for (size_t i = 0; i < x.axes.size(); ++i) {
    if (has(kept, x.axes[i])) out.axes += x.axes[i];
    else gone.push_back(int64_t(i));
  }
  if (!gone.empty()) out.t = sum(x.t, gone);
  return out;
}

/// The sum of products over the letters that are not in `kept`.
Labelled contract(I& n, Labelled a, Labelled b, const std::string& kept) {
  a = without(a, kept + b.axes);
  b = without(b, kept + a.axes);
  std::string both, rows, columns, inner;
  for (char c : a.axes) (!has(b.axes, c) ? rows : has(kept, c) ? both : inner) += c;
  for (char c : b.axes)
    if (!has(a.axes, c)) columns += c;
  a = arranged(a, both + rows + inner);
  b = arranged(b, both + inner + columns);
  auto length = [&](const Labelled& x, const std::string& letters) {
    int64_t v = 1;
    for (char c : letters) v *= x.t.size(int(x.axes.find(c)));
    return v;
  };
  Shape shape;
  for (char c : both) {
    const int64_t p = a.t.size(int(a.axes.find(c))), q = b.t.size(int(b.axes.find(c)));
    n.need(p == q, "axes of lengths ", p, " and ", q, " have the same letter");
    shape.push_back(p);
  }
  for (char c : rows) shape.push_back(a.t.size(int(a.axes.find(c))));
  for (char c : columns) shape.push_back(b.t.size(int(b.axes.find(c))));
  const int64_t batch = length(a, both), k = length(a, inner);
  n.need(k == length(b, inner), "axes of different lengths have the same letter");
  const Tensor y = matmul(reshape(a.t, {batch, length(a, rows), k}),
                          reshape(b.t, {batch, k, length(b, columns)}));
  return {reshape(y, shape), both + rows + columns};
}

Tensors einsum(I& n) {
  std::string equation = n.text("equation", "");
  std::erase(equation, ' ');
  const size_t arrow = equation.find("->");
  std::vector<std::string> terms{""};
  for (char c : equation.substr(0, arrow)) {
    if (c == ',') terms.emplace_back();
    else terms.back() += c;
  }
  n.need(int(terms.size()) == n.inputs(), "equation ", equation, " for ", n.inputs(), " inputs");
  int widest = 0;  // axes of the ellipses
  std::vector<Labelled> all;
  std::string letters;
  for (int i = 0; i < n.inputs(); ++i) {
    Labelled x{n.in(i), terms[size_t(i)]};
    if (const size_t dots = x.axes.find("..."); dots != x.axes.npos) {
      const int rest = x.t.dim() - int(x.axes.size() - 3);
      n.need(rest >= 0 && rest < 10, "equation ", equation, " for shape ", x.t.shape());
      widest = std::max(widest, rest);
      std::string digits;  // the last axis of every ellipsis is 0
      for (int d = rest - 1; d >= 0; --d) digits += char('0' + d);
      x.axes.replace(dots, 3, digits);
    }
    n.need(int(x.axes.size()) == x.t.dim(), "equation ", equation, " for shape ", x.t.shape());
    for (size_t a = 0; a < x.axes.size();) {  // a letter twice is a diagonal
      const size_t again = x.axes.find(x.axes[a], a + 1);
      if (again == x.axes.npos) {
        ++a;
        continue;
      }
      x.t = diagonal(x.t, 0, int64_t(a), int64_t(again));
      const char c = x.axes[a];
      x.axes.erase(again, 1);
      x.axes.erase(a, 1);
      x.axes += c;
    }
    for (char c : terms[size_t(i)])
      if (c != '.') letters += c;
    all.push_back(std::move(x));
  }
  std::string ellipsis, out;
  for (int d = widest - 1; d >= 0; --d) ellipsis += char('0' + d);
  if (arrow == equation.npos) {
    out = ellipsis;
    std::string sorted = letters;
    std::sort(sorted.begin(), sorted.end());
    for (char c : sorted)
      if (std::count(letters.begin(), letters.end(), c) == 1) out += c;
  } else {
    out = equation.substr(arrow + 2);
    if (const size_t dots = out.find("..."); dots != out.npos) out.replace(dots, 3, ellipsis);
  }
  Labelled y = all[0];
  for (size_t i = 1; i < all.size(); ++i) {
    std::string kept = out;
    for (size_t k = i + 1; k < all.size(); ++k) kept += all[k].axes;
    y = contract(n, y, all[i], kept);
  }
  y = without(y, out);
  for (char c : out) n.need(has(y.axes, c), "equation ", equation, ": no input has ", c);
  return {arranged(y, out).t};
}

// --- Resize -----------------------------------------------------------------------------------

struct Resizing {
  std::string mode, coordinates, nearest;
  double cubic = -0.75;
  bool exclude_outside = false, antialias = false;
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
Tensor resized(I& n, const Tensor& x, int axis, int64_t out, double scale, const Resizing& r) {
  const int64_t length = x.size(axis);
  n.need(length > 0 && out > 0 && out < (1 << 24), "from ", length, " to ", out, " elements");
  if (r.mode == "nearest") {
    std::vector<int64_t> places;
    for (int64_t i = 0; i < out; ++i)
      places.push_back(
          std::clamp<int64_t>(nearest(r, source(n, r, i, length, out, scale)), 0, length - 1));
    return index_select(x, axis, wrap(std::move(places), {out}));
  }
  n.need(length * out < (int64_t(1) << 28), "from ", length, " to ", out, " elements");
  std::vector<double> weights(size_t(length * out), 0);
  const double stretch = r.antialias && scale < 1 ? scale : 1;  // of the kernel
  const int64_t reach = int64_t(std::ceil((r.mode == "linear" ? 1 : 2) / stretch)) + 1;
  for (int64_t i = 0; i < out; ++i) {
    const double at = source(n, r, i, length, out, scale);
    double total = 0;
    double* row = weights.data() + i * length;
    for (int64_t k = int64_t(std::floor(at)) - reach; k <= int64_t(std::floor(at)) + reach; ++k) {
      const double w = kernel(r, (double(k) - at) * stretch);
      if (r.exclude_outside && (k < 0 || k >= length)) continue;
      row[std::clamp<int64_t>(k, 0, length - 1)] += w;
      total += w;
    }
    for (int64_t k = 0; k < length && total != 0; ++k) row[k] /= total;
  }
  const Tensor matrix = cast(wrap(std::move(weights), {out, length}), x.dtype());
  const int last = x.dim() - 1;
  const Tensor lines = axis == last ? x : transpose(x, axis, last);
  const Tensor y = matmul(lines, transpose(matrix, 0, 1));
  return axis == last ? y : transpose(y, axis, last);
}

Tensors resize(I& n) {
  Tensor x = n.in(0);
  const bool old = n.opset() < 11;  // and Upsample
  Resizing r;
  r.mode = n.text("mode", "nearest");
  if (r.mode == "bilinear") r.mode = "linear";
  if (r.mode != "nearest" && r.mode != "linear" && r.mode != "cubic")
    n.unsupported("mode ", r.mode);
  r.coordinates = n.text("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
  r.nearest = n.text("nearest_mode", old ? "floor" : "round_prefer_floor");
  r.cubic = n.real("cubic_coeff_a", -0.75);
  r.exclude_outside = n.integer("exclude_outside", 0);
  r.antialias = n.integer("antialias", 0);
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
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = int(axes[i]);
    const double length = double(x.size(axis));
    const double scale = scales.empty() ? double(sizes[i]) / length : scales[i];
    n.need(scale > 0 && scale < 1e6, "a scale of ", scale);
    const int64_t out = sizes.empty() ? int64_t(std::floor(length * scale)) : sizes[i];
    if (scale != 1 || out != x.size(axis)) x = resized(n, x, axis, out, scale, r);
  }
  return {x};
}

}  // namespace

void add_einsum_imports(OnnxImports& t) {
  t.insert({{"Einsum", einsum}, {"Resize", resize}, {"Upsample", resize}});
}

}  // namespace tandem::detail
