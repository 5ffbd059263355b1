// ONNX's pooling operators as records.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_windows.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/div.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"

namespace tandem::detail {

using Ints = std::vector<int64_t>;

namespace {
constexpr double most_padding = 1 << 22;  // elements
}

Shape to_shape(const Ints& list) {
  Shape s;
  for (int64_t v : list) s.push_back(v);
  return s;
}

OnnxWindows onnx_windows(OnnxImporter& n, Ints kernel) {
  const Shape& x = n.in(0).shape();
  const size_t axes = kernel.size();
  n.need(x.size() == int(axes) + 2 && axes > 0, "input 0 has shape ", x, ", needs ", axes + 2,
         " axes");
  OnnxWindows w;
  w.kernel = std::move(kernel);
  w.stride = n.list("strides").value_or(Ints(axes, 1));
  w.dilation = n.list("dilations").value_or(Ints(axes, 1));
  const Ints pads = n.list("pads").value_or(Ints(2 * axes, 0));
  n.need(w.stride.size() == axes && w.dilation.size() == axes && pads.size() == 2 * axes,
         "strides, dilations or pads are not those of ", axes, " axes");
  w.before.assign(pads.begin(), pads.begin() + std::ptrdiff_t(axes));
  w.after.assign(pads.begin() + std::ptrdiff_t(axes), pads.end());
  constexpr int64_t most = 1 << 20;
  for (size_t i = 0; i < axes; ++i)
    n.need(w.kernel[i] > 0 && w.stride[i] > 0 && w.dilation[i] > 0 && w.kernel[i] < most &&
               w.stride[i] < most && w.dilation[i] < most && w.before[i] >= 0 && w.after[i] >= 0 &&
               w.before[i] < most && w.after[i] < most,
           "kernel, strides and dilations must be positive, pads not negative, all below ", most);
  const bool ceil = n.flag("ceil_mode", false);
  const std::string pad = n.text("auto_pad", "NOTSET");
  n.need(pad == "NOTSET" || pad == "VALID" || pad == "SAME_UPPER" || pad == "SAME_LOWER",
         "auto_pad ", pad);
  double padded = 1, plain = 1;
  for (size_t i = 0; i < axes; ++i) {
    const int64_t length = x[int(i) + 2];
    if (pad == "VALID") w.before[i] = w.after[i] = 0;
    if (pad.starts_with("SAME")) {
      const int64_t out = (length + w.stride[i] - 1) / w.stride[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * w.stride[i] + w.reach(i) - length);
      w.before[i] = pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.after[i] = total - w.before[i];
    }
    const int64_t room = length + w.before[i] + w.after[i] - w.reach(i);
    int64_t out = room < 0 ? 0 : room / w.stride[i] + 1;
    // The last window must begin inside, or in the padding ahead; even the first may hang over.
    if (ceil && room > -w.stride[i] && room % w.stride[i] &&
        out * w.stride[i] < length + w.before[i])
      ++out;
    w.out.push_back(out);
    plain *= double(length);
    padded *= double(length + w.before[i] + w.after[i]);
  }
  if (padded * double(x[0]) * double(x[1]) >
      most_padding + 64 * plain * double(x[0]) * double(x[1]))
    n.unsupported("more padding than input");
  return w;
}

Tensor padded_for(const Tensor& x, const OnnxWindows& w, double value) {
  Shape list;
  for (size_t i = w.kernel.size(); i-- > 0;) {
    const int64_t end = (w.out[i] - 1) * w.stride[i] + w.reach(i);
    const int64_t have = x.size(int(i) + 2) + w.before[i];
    list.push_back(w.before[i]);
    list.push_back(std::max<int64_t>(0, std::max(end - have, w.out[i] ? 0 : w.after[i])));
  }
  return pad(x, list, "constant", value);
}

namespace {

using I = OnnxImporter;
using Windows = OnnxWindows;

/// The windows of one or two axes from `first` on; one of a single axis gets a second of length 1.
Windows some(const Windows& w, size_t first, size_t count) {
  Windows part;
  auto take = [&](const Ints& from, Ints& to, int64_t other) {
    to.assign(from.begin() + std::ptrdiff_t(first), from.begin() + std::ptrdiff_t(first + count));
    if (count == 1) to.push_back(other);
  };
  take(w.kernel, part.kernel, 1);
  take(w.stride, part.stride, 1);
  take(w.dilation, part.dilation, 1);
  take(w.before, part.before, 0);
  take(w.after, part.after, 0);
  take(w.out, part.out, 0);
  return part;
}
/// For windows of lines, each number of which is a row of one column.
Windows lines(const Windows& w, size_t first, int64_t columns) {
  Windows part = some(w, first, 1);
  part.out[1] = columns;
  return part;
}
Windows pool_windows(I& n) {
  const Ints kernel = n.list("kernel_shape").value_or(Ints());
  if (kernel.size() > 3) n.unsupported(kernel.size(), " axes of space");
  return onnx_windows(n, kernel);
}
/// Pooling by that of planes, f(x, windows): lines are planes of one column; what is pooled over
/// planes, and then along the third axis, is pooled over space.
template <class F>
Tensor by_planes(const Tensor& x, const Windows& w, F f) {
  const Shape& s = x.shape();
  if (w.kernel.size() == 1) return squeeze(f(unsqueeze(x, 3), lines(w, 0, 1)), 3);
  if (w.kernel.size() == 2) return f(x, w);
  Tensor y = f(reshape(x, {s[0], s[1] * s[2], s[3], s[4]}), some(w, 1, 2));
  const int64_t high = y.size(2), wide = y.size(3);
  y = f(reshape(y, {s[0], s[1], s[2], high * wide}), lines(w, 0, high * wide));
  return reshape(y, {s[0], s[1], y.size(2), high, wide});
}
/// Whether a record's own padding gives these windows: it has the same at both ends, at most half a
/// window.
bool in_record(const Tensor& x, const Windows& w) {
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    const int64_t room = x.size(int(i) + 2) + 2 * w.before[i] - w.reach(i);
    if (2 * w.before[i] > w.kernel[i] || room < 0 || room / w.stride[i] + 1 != w.out[i])
      return false;
  }
  return w.even();
}

// --- The largest --------------------------------------------------------------------------------

double lowest(DType d) {
  if (is_floating(d)) return -std::numeric_limits<double>::infinity();
  return d == u8 ? 0 : d == i8 ? -128 : d == i32 ? std::numeric_limits<int32_t>::min() : -0x1p63;
}

/// Values, and their places h * width + w in planes of x.
std::pair<Tensor, Tensor> plane_maxima(const Tensor& x, const Windows& w) {
  const int64_t width = x.size(3);
  if (in_record(x, w)) {
    const Tensors both = max_pool2d_with_indices(x, to_shape(w.kernel),
                                                 {.stride = to_shape(w.stride),
                                                  .padding = to_shape(w.before),
                                                  .dilation = to_shape(w.dilation)});
    return {both[0], both[1]};
  }
  const Tensor wide = padded_for(x, w, lowest(x.dtype()));
  const Tensors both = max_pool2d_with_indices(
      wide, to_shape(w.kernel), {.stride = to_shape(w.stride), .dilation = to_shape(w.dilation)});
  const Tensor row = div(both[1], full({}, wide.size(3), i64), "floor");
  const Tensor column = both[1] - row * wide.size(3);
  return {both[0], (row - w.before[0]) * width + (column - w.before[1])};
}

/// [1, ..., n, 1, ...] counting the indices of an axis, each worth `step`.
Tensor counted(const Shape& shape, int axis, int64_t step) {
  return reshape(arange(shape[axis]) * step, along_axis(shape.size(), axis, shape[axis]));
}

Tensors max_pool(I& n) {
  const Tensor x = n.in(0);
  const Windows w = pool_windows(n);
  const size_t axes = w.kernel.size();
  if (!n.wants(1))
    return {by_planes(x, w,
                      [](const Tensor& p, const Windows& v) { return plane_maxima(p, v).first; })};
  const bool by_columns = n.flag("storage_order", false);
  const Shape& s = x.shape();
  Tensor y, at;
  if (axes == 3) {
    if (by_columns) n.unsupported("storage_order 1 of space");
    const auto [planes, in_plane] =
        plane_maxima(reshape(x, {s[0], s[1] * s[2], s[3], s[4]}), some(w, 1, 2));
    const int64_t many = planes.size(2) * planes.size(3);
    const Shape deep{s[0], s[1], s[2], many};
    const auto [values, line] = plane_maxima(reshape(planes, deep), lines(w, 0, many));
    // The place along the third axis, and behind it that in its plane.
    const Tensor depth = div(line, full({}, many, i64), "floor");
    at = depth * (s[3] * s[4]) + gather(reshape(in_plane, deep), 2, depth);
    const Shape out{s[0], s[1], w.out[0], w.out[1], w.out[2]};
    y = reshape(values, out);
    at = reshape(at, out);
  } else {
    const auto [values, places] =
        axes == 1 ? plane_maxima(unsqueeze(x, 3), lines(w, 0, 1)) : plane_maxima(x, w);
    y = axes == 1 ? squeeze(values, 3) : values;
    at = axes == 1 ? squeeze(places, 3) : places;
    if (by_columns && axes == 2) {
      const Tensor row = div(at, full({}, s[3], i64), "floor");
      at = (at - row * s[3]) * s[2] + row;
    }
  }
  int64_t plane = 1;
  for (int i = 2; i < s.size(); ++i) plane *= s[i];
  return {y, at + counted(y.shape(), 0, s[1] * plane) + counted(y.shape(), 1, plane)};
}

// --- Sums ---------------------------------------------------------------------------------------

/// The sums of windows of planes, padding counted as nothing.
Tensor plane_sums(const Tensor& x, const Windows& w) {
  const Tensor wide = padded_for(x, w, 0);
  if (!w.dilated())
    return avg_pool2d(wide, to_shape(w.kernel),
                      {.stride = to_shape(w.stride), .divisor_override = 1});
  const Tensor each = ones({x.size(1), 1, w.kernel[0], w.kernel[1]}, x.dtype());
  return conv2d(
      wide, each, {},
      {.stride = to_shape(w.stride), .dilation = to_shape(w.dilation), .groups = x.size(1)});
}
/// How many elements the windows hold along an axis: of the input, or of the padding in the file,
/// too.
Tensor counts(const Shape& shape, const Windows& w, size_t axis, bool padding, DType dtype) {
  std::vector<double> list;
  const int64_t length = shape[int(axis) + 2];
  const int64_t low = padding ? -w.before[axis] : 0, high = length + (padding ? w.after[axis] : 0);
  for (int64_t o = 0; o < w.out[axis]; ++o) {
    int64_t count = 0;
    for (int64_t k = 0; k < w.kernel[axis]; ++k) {
      const int64_t at = o * w.stride[axis] - w.before[axis] + k * w.dilation[axis];
      count += at >= low && at < high;
    }
    list.push_back(double(count));
  }
  const int rank = shape.size();
  return cast(
      reshape(wrap(std::move(list), {w.out[axis]}), along_axis(rank, int(axis) + 2, w.out[axis])),
      dtype);
}
}  // namespace

Tensor average_pool(I& n, const Tensor& x) {
  const Windows w = pool_windows(n);
  const bool count_pad = n.flag("count_include_pad", false);
  const bool ceil = n.flag("ceil_mode", false);
  return by_planes(x, w, [&](const Tensor& p, const Windows& v) {
    if (!w.dilated() && !ceil && in_record(p, v))
      return avg_pool2d(p, to_shape(v.kernel),
                        {.stride = to_shape(v.stride),
                         .padding = to_shape(v.before),
                         .count_include_pad = count_pad});
    const Tensor sums = plane_sums(p, v);
    return sums / counts(p.shape(), v, 0, count_pad, x.dtype()) /
           counts(p.shape(), v, 1, count_pad, x.dtype());
  });
}

namespace {

Tensors average_pool_(I& n) { return {average_pool(n, n.in(0))}; }

/// (sum |x|^p)^(1 / p)
Tensors lp_pool(I& n) {
  const Tensor x = n.in(0);
  const int64_t p = n.opset() < 2 ? int64_t(n.real("p", 2)) : n.integer("p", 2);
  n.need(p > 0, "p=", p);
  const Windows w = pool_windows(n);
  const Tensor size = p == 2 ? square(x) : p == 1 ? abs(x) : pow(abs(x), double(p));
  const Tensor sums = by_planes(size, w, plane_sums);
  return {p == 1 ? sums : pow(sums, 1.0 / double(p))};
}

Shape space(I& n) {
  Shape axes;
  for (int i = 2; i < n.in(0).dim(); ++i) axes.push_back(i);
  n.need(!axes.empty(), "input 0 has shape ", n.in(0).shape());
  return axes;
}
Tensors global_average(I& n) { return {mean(n.in(0), space(n), true)}; }
Tensors global_max(I& n) { return {amax(n.in(0), space(n), true)}; }
Tensors global_lp(I& n) {
  const int64_t p = n.opset() < 2 ? int64_t(n.real("p", 2)) : n.integer("p", 2);
  n.need(p > 0, "p=", p);
  return {pow(sum(pow(abs(n.in(0)), double(p)), space(n), true), 1.0 / double(p))};
}

/// Puts values where MaxPool found them.
Tensors max_unpool(I& n) {
  const Tensor x = n.in(0), at = n.in(1);
  const Ints kernel = n.list("kernel_shape").value_or(Ints());
  n.need(at.shape() == x.shape() && x.dim() == int(kernel.size()) + 2, "indices of shape ",
         at.shape(), " for values of shape ", x.shape());
  const Ints stride = n.list("strides").value_or(Ints(kernel.size(), 1));
  const Ints pads = n.list("pads").value_or(Ints(2 * kernel.size(), 0));
  n.need(stride.size() == kernel.size() && pads.size() == 2 * kernel.size(),
         "strides or pads are not those of ", kernel.size(), " axes");
  Shape shape{x.size(0), x.size(1)};
  for (size_t i = 0; i < kernel.size(); ++i)
    shape.push_back((x.size(int(i) + 2) - 1) * stride[i] + kernel[i] - pads[i] -
                    pads[i + kernel.size()]);
  for (int64_t d : shape) n.need(d >= 0, "a result of shape ", shape);
  const Tensor flat =
      scatter(zeros({shape.numel()}, x.dtype()), 0, reshape(cast(at, i64), {-1}), reshape(x, {-1}));
  Tensor y = reshape(flat, shape);
  if (!n.has(2)) return {y};
  const Ints wanted = n.ints(2);
  n.need(int(wanted.size()) == shape.size(), "output_shape has ", wanted.size(), " numbers");
  Shape more;
  for (int i = shape.size(); i-- > 0;) {
    n.need(wanted[size_t(i)] >= shape[i], "output_shape is smaller than ", shape);
    more.push_back(0);
    more.push_back(wanted[size_t(i)] - shape[i]);
  }
  return {pad(y, more)};
}

}  // namespace

void add_pool_imports(OnnxImports& t) {
  t.insert({{"MaxPool", max_pool},
            {"AveragePool", average_pool_},
            {"LpPool", lp_pool},
            {"MaxUnpool", max_unpool},
            {"GlobalAveragePool", global_average},
            {"GlobalMaxPool", global_max},
            {"GlobalLpPool", global_lp}});
}

}  // namespace tandem::detail
