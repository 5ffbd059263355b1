// ONNX's convolutions, pooling, normalisation and losses as records.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/div.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/log.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/minmax.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/nll_loss.h"
#include "tandem/ops/norm.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/reciprocal.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

Shape to_shape(const Ints& list) {
  Shape s;
  for (int64_t v : list) s.push_back(v);
  return s;
}

/// Windows along the last axes of input 0, with padding before and after each axis.
struct Windows {
  Ints kernel, stride, dilation, before, after;
  bool even() const { return before == after; }
};
Windows windows(I& n, Ints kernel) {
  const Shape& x = n.in(0).shape();
  const size_t axes = kernel.size();
  n.need(x.size() == int(axes) + 2 && axes > 0, "input 0 has shape ", x, ", needs ", axes + 2,
         " axes");
  Windows w;
  w.kernel = std::move(kernel);
  w.stride = n.list("strides").value_or(Ints(axes, 1));
  w.dilation = n.list("dilations").value_or(Ints(axes, 1));
  const Ints pads = n.list("pads").value_or(Ints(2 * axes, 0));
  n.need(w.stride.size() == axes && w.dilation.size() == axes && pads.size() == 2 * axes,
         "strides, dilations or pads are not those of ", axes, " axes");
  w.before.assign(pads.begin(), pads.begin() + std::ptrdiff_t(axes));
  w.after.assign(pads.begin() + std::ptrdiff_t(axes), pads.end());
  for (size_t i = 0; i < axes; ++i)
    n.need(w.kernel[i] > 0 && w.stride[i] > 0 && w.dilation[i] > 0 && w.kernel[i] < (1 << 20) &&
               w.stride[i] < (1 << 20) && w.dilation[i] < (1 << 20) && w.before[i] >= 0 &&
               w.after[i] >= 0,
           "kernel, strides and dilations must be positive, pads not negative");
  const std::string pad = n.text("auto_pad", "NOTSET");
  if (pad == "VALID") {
    w.before = w.after = Ints(axes, 0);
  } else if (pad != "NOTSET") {
    n.need(pad == "SAME_UPPER" || pad == "SAME_LOWER", "auto_pad ", pad);
    for (size_t i = 0; i < axes; ++i) {
      const int64_t length = x[int(i) + 2], reach = w.dilation[i] * (w.kernel[i] - 1) + 1;
      const int64_t out = (length + w.stride[i] - 1) / w.stride[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * w.stride[i] + reach - length);
      w.before[i] = pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      w.after[i] = total - w.before[i];
    }
  }
  return w;
}
/// Padding of its own, where a record has none or only the same at both ends.
Tensor padded(const Tensor& x, const Windows& w, double value) {
  Shape list;
  for (size_t i = w.kernel.size(); i-- > 0;) {
    list.push_back(w.before[i]);
    list.push_back(w.after[i]);
  }
  return pad(x, list, "constant", value);
}

/// A convolution of space: each plane of the kernel is one of planes.
Tensor conv3(const Tensor& x, const Tensor& weight, const Tensor& bias, const Windows& w,
             int64_t groups) {
  const int64_t reach = w.dilation[0] * (w.kernel[0] - 1) + 1;
  const int64_t depth = x.size(2) < reach ? 0 : int64_t((x.size(2) - reach) / w.stride[0] + 1);
  const Shape stride{w.stride[1], w.stride[2]}, dilation{w.dilation[1], w.dilation[2]};
  Tensor sum;
  for (int64_t k = 0; k < w.kernel[0]; ++k) {
    const int64_t from = k * w.dilation[0];
    Tensor part = slice(x, 2, from, from + depth * w.stride[0] - w.stride[0] + 1, w.stride[0]);
    part = reshape(transpose(part, 1, 2), {x.size(0) * depth, x.size(1), x.size(3), x.size(4)});
    const Tensor y = conv2d(part, select(weight, 2, k), {}, stride, 0, dilation, groups);
    sum = sum.defined() ? sum + y : y;
  }
  sum = reshape(sum, {x.size(0), depth, sum.size(1), sum.size(2), sum.size(3)});
  if (bias.defined()) sum = sum + reshape(bias, {bias.size(0), 1, 1});
  return transpose(sum, 1, 2);
}

}  // namespace

Tensor import_conv(I& n, Tensor x, const Tensor& weight, const Tensor& bias) {
  n.need(weight.dim() > 2, "a weight of shape ", weight.shape());
  Windows w = windows(n, {weight.shape().begin() + 2, weight.shape().end()});
  const int64_t groups = n.integer("group", 1);
  if (w.kernel.size() > 3) n.unsupported(w.kernel.size(), " axes of space");
  if (!w.even() || w.kernel.size() == 3) {
    x = padded(x, w, 0);
    w.before = Ints(w.kernel.size(), 0);
  }
  if (w.kernel.size() == 3) return conv3(x, weight, bias, w, groups);
  if (w.kernel.size() == 1)
    return conv1d(x, weight, bias, to_shape(w.stride), to_shape(w.before), to_shape(w.dilation),
                  groups);
  return conv2d(x, weight, bias, to_shape(w.stride), to_shape(w.before), to_shape(w.dilation),
                groups);
}

namespace {

Tensors conv(I& n) { return {import_conv(n, n.in(0), n.in(1), n.in_or_none(2))}; }

Tensors conv_transpose(I& n) {
  Tensor x = n.in(0), weight = n.in(1);
  const Tensor bias = n.in_or_none(2);
  n.need(weight.dim() > 2, "a weight of shape ", weight.shape());
  const size_t axes = size_t(weight.dim()) - 2;
  if (axes > 2) n.unsupported(axes, " axes of space");
  Ints kernel(weight.shape().begin() + 2, weight.shape().end());
  const std::string automatic = n.text("auto_pad", "NOTSET");
  if (automatic != "NOTSET" && automatic != "VALID") n.unsupported("auto_pad ", automatic);
  Windows w = windows(n, kernel);
  Ints extra = n.list("output_padding").value_or(Ints(axes, 0));
  n.need(extra.size() == axes, "output_padding has ", extra.size(), " numbers");
  if (const auto size = n.list("output_shape")) {
    const size_t skip = size->size() - axes;  // some files give all axes
    n.need(size->size() >= axes, "output_shape has ", size->size(), " numbers");
    for (size_t i = 0; i < axes; ++i) {
      const int64_t total = w.stride[i] * (x.size(int(i) + 2) - 1) + extra[i] +
                            (w.kernel[i] - 1) * w.dilation[i] + 1 - (*size)[i + skip];
      n.need(total >= 0, "output_shape is larger than the operator's reach");
      w.before[i] = total / 2;
      w.after[i] = total - total / 2;
    }
  }
  if (axes == 1) {
    x = unsqueeze(x, 2);
    weight = unsqueeze(weight, 2);
    for (Ints* list : {&w.before, &w.after, &extra}) list->insert(list->begin(), 0);
    for (Ints* list : {&w.stride, &w.dilation}) list->insert(list->begin(), 1);
  }
  // Padding here cuts the result: the common part inside the record, the rest after it.
  Ints common, cut_before, cut_after;
  for (size_t i = 0; i < 2; ++i) {
    common.push_back(std::min(w.before[i], w.after[i]));
    cut_before.push_back(w.before[i] - common[i]);
    cut_after.push_back(w.after[i] - common[i]);
  }
  Tensor y = conv_transpose2d(x, weight, bias, to_shape(w.stride), to_shape(common),
                              to_shape(extra), n.integer("group", 1), to_shape(w.dilation));
  for (int i = 0; i < 2; ++i)
    if (cut_before[size_t(i)] || cut_after[size_t(i)])
      y = slice(y, i + 2, cut_before[size_t(i)],
                std::max<int64_t>(0, y.size(i + 2) - cut_after[size_t(i)]));
  return {axes == 1 ? squeeze(y, 2) : y};
}

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
  return part;
}
/// Pooling by that of planes, f(x, windows): lines are planes of one column; what is pooled over
/// planes, and then along the third axis, is pooled over space.
template <class F>
Tensors by_planes(I& n, F f) {
  const Tensor x = n.in(0);
  const Windows w = windows(n, n.list("kernel_shape").value_or(Ints()));
  const Shape& s = x.shape();
  if (w.kernel.size() > 3) n.unsupported(w.kernel.size(), " axes of space");
  if (w.kernel.size() == 1) return {squeeze(f(unsqueeze(x, 3), some(w, 0, 1)), 3)};
  if (w.kernel.size() == 2) return {f(x, w)};
  Tensor y = f(reshape(x, {s[0], s[1] * s[2], s[3], s[4]}), some(w, 1, 2));
  const int64_t high = y.size(2), wide = y.size(3);
  y = f(reshape(y, {s[0], s[1], s[2], high * wide}), some(w, 0, 1));
  return {reshape(y, {s[0], s[1], y.size(2), high, wide})};
}
/// A record pads at most half a window.
bool in_record(const Windows& w) {
  for (size_t i = 0; i < w.kernel.size(); ++i)
    if (2 * w.before[i] > w.dilation[i] * (w.kernel[i] - 1) + 1) return false;
  return w.even();
}
Tensors max_pool(I& n) {
  if (n.node().outputs.size() > 1 && !n.node().outputs[1].empty()) n.unsupported("Indices");
  const bool ceil = n.integer("ceil_mode", 0);
  return by_planes(n, [&](Tensor x, Windows w) {
    if (!in_record(w)) {
      x = padded(x, w, -std::numeric_limits<double>::infinity());
      w.before = Ints(2, 0);
    }
    return max_pool2d(x, to_shape(w.kernel), to_shape(w.stride), to_shape(w.before),
                      to_shape(w.dilation), ceil);
  });
}
Tensors average_pool(I& n) {
  const bool ceil = n.integer("ceil_mode", 0), count_pad = n.integer("count_include_pad", 0);
  return by_planes(n, [&](const Tensor& x, const Windows& w) {
    for (int64_t d : w.dilation)
      if (d != 1) n.unsupported("dilations");
    const Shape kernel = to_shape(w.kernel), stride = to_shape(w.stride);
    if (in_record(w)) return avg_pool2d(x, kernel, stride, to_shape(w.before), ceil, count_pad);
    if (ceil) n.unsupported("uneven pads with ceil_mode");
    // Sums over the padded planes, by how many elements were there.
    const Tensor y = avg_pool2d(padded(x, w, 0), kernel, stride, 0);
    if (count_pad) return y;
    return y / avg_pool2d(padded(ones(x.shape(), x.dtype()), w, 0), kernel, stride, 0);
  });
}
Shape space(I& n) {
  Shape axes;
  for (int i = 2; i < n.in(0).dim(); ++i) axes.push_back(i);
  n.need(!axes.empty(), "input 0 has shape ", n.in(0).shape());
  return axes;
}
Tensors global_average(I& n) { return {mean(n.in(0), space(n), true)}; }
Tensors global_max(I& n) { return {amax(n.in(0), space(n), true)}; }

// --- Normalisation ----------------------------------------------------------------------------

Tensors batch_norm_(I& n) {
  if (n.integer("training_mode", 0) || (n.opset() < 7 && !n.integer("is_test", 0)))
    n.unsupported("training mode");
  return {batch_norm(n.in(0), n.in(3), n.in(4), n.in(1), n.in(2), false, 0.1,
                     n.real("epsilon", 1e-5f))};
}
Tensors instance_norm(I& n) {
  const Tensor x = n.in(0);
  n.need(x.dim() > 2, "input 0 has shape ", x.shape());
  return {group_norm(x, x.size(1), n.in(1), n.in(2), n.real("epsilon", 1e-5f))};
}
/// From operator set 21 scale and bias belong to channels, before to groups.
Tensors group_norm_(I& n) {
  const Tensor x = n.in(0);
  const int64_t groups = n.integer("num_groups", 1);
  n.need(x.dim() > 2 && groups > 0 && x.size(1) % groups == 0, "num_groups=", groups, " for shape ",
         x.shape());
  auto by_channel = [&](const Tensor& t) {
    if (t.numel() != groups || groups == x.size(1)) return t;
    const int64_t each = x.size(1) / groups;
    return reshape(expand(reshape(t, {groups, 1}), {groups, each}), {x.size(1)});
  };
  return {
      group_norm(x, groups, by_channel(n.in(1)), by_channel(n.in(2)), n.real("epsilon", 1e-5f))};
}
Tensors layer_norm_(I& n) {
  const Tensor x = n.in(0);
  int64_t axis = n.integer("axis", -1);
  if (axis < 0) axis += x.dim();
  n.need(axis >= 0 && axis < x.dim(), "axis is out of range");
  Shape shape;
  for (int i = int(axis); i < x.dim(); ++i) shape.push_back(x.size(i));
  auto whole = [&](const Tensor& t) {
    return !t.defined() || t.shape() == shape ? t : contiguous(expand(t, shape));
  };
  const double eps = n.real("epsilon", 1e-5f);
  Tensors out{layer_norm(x, shape, whole(n.in(1)), whole(n.in_or_none(2)), eps)};
  if (n.node().outputs.size() > 1) {
    Shape axes;
    for (int i = int(axis); i < x.dim(); ++i) axes.push_back(i);
    const Tensor m = mean(x, axes, true);
    out.push_back(m);
    out.push_back(rsqrt(mean(square(x - m), axes, true) + eps));
  }
  return out;
}
Tensors rms_norm(I& n) {
  const Tensor x = n.in(0);
  int64_t axis = n.integer("axis", -1);
  if (axis < 0) axis += x.dim();
  Shape axes;
  for (int i = int(axis); i < x.dim(); ++i) axes.push_back(i);
  n.need(axis >= 0 && !axes.empty(), "axis is out of range");
  return {x * rsqrt(mean(square(x), axes, true) + n.real("epsilon", 1e-5f)) * n.in(1)};
}
Tensors lp_norm(I& n) {
  const Tensor x = n.in(0);
  const Shape axis{n.integer("axis", -1)};
  const int64_t p = n.integer("p", 2);
  n.need(p == 1 || p == 2, "p=", p);
  const Tensor size = p == 1 ? sum(abs(x), axis, true) : sqrt(sum(square(x), axis, true));
  return {where(size == 0.0, full({}, 0, x.dtype()), x / size)};
}
Tensors mean_variance(I& n) {
  const Tensor x = n.in(0);
  const Shape axes = to_shape(n.list("axes").value_or(Ints{0, 2, 3}));
  const Tensor centred = x - mean(x, axes, true);
  return {centred / (sqrt(mean(square(centred), axes, true)) + 1e-9)};
}
/// Across channels (Krizhevsky et al. 2012): the mean of squares over a window, by pooling.
Tensors lrn(I& n) {
  const Tensor x = n.in(0);
  const int64_t size = n.integer("size", 1);
  n.need(x.dim() == 4 && size > 0 && size < (1 << 20), "size=", size, " for shape ", x.shape());
  const Shape s = x.shape();
  const Tensor lines = reshape(square(x), {s[0], 1, s[1], s[2] * s[3]});
  const Tensor wide = pad(lines, {0, 0, (size - 1) / 2, size - 1 - (size - 1) / 2});
  const Tensor means = reshape(avg_pool2d(wide, Shape{size, 1}, Shape{1, 1}), s);
  return {x / pow(means * n.real("alpha", 1e-4f) + n.real("bias", 1), n.real("beta", 0.75))};
}

template <Tensor (*f)(const Tensor&, int64_t, std::optional<DType>)>
Tensors softmax_(I& n) {
  const Tensor x = n.in(0);
  int64_t axis = n.integer("axis", n.opset() < 13 ? 1 : -1);
  if (n.opset() >= 13) return {f(x, axis, {})};
  // Older operator sets flatten to a matrix first.
  if (axis < 0) axis += x.dim();
  n.need(axis >= 0 && axis <= x.dim(), "axis is out of range");
  if (axis == x.dim() - 1) return {f(x, axis, {})};
  int64_t rows = 1, columns = 1;
  for (int i = 0; i < x.dim(); ++i) (i < axis ? rows : columns) *= x.size(i);
  return {reshape(f(reshape(x, {rows, columns}), 1, {}), x.shape())};
}

// --- Losses -----------------------------------------------------------------------------------

Tensors cross_entropy_(I& n) {
  const Tensor loss = cross_entropy(n.in(0), cast(n.in(1), i64), n.in_or_none(2),
                                    n.integer("ignore_index", -100), n.text("reduction", "mean"));
  return {loss, n.node().outputs.size() > 1 ? log_softmax(n.in(0), 1) : Tensor()};
}
Tensors nll(I& n) {
  return {nll_loss(n.in(0), cast(n.in(1), i64), n.in_or_none(2), n.integer("ignore_index", -100),
                   n.text("reduction", "mean"))};
}

}  // namespace

void add_layer_imports(OnnxImports& t) {
  t.insert({{"Conv", conv},
            {"ConvTranspose", conv_transpose},
            {"MaxPool", max_pool},
            {"AveragePool", average_pool},
            {"GlobalAveragePool", global_average},
            {"GlobalMaxPool", global_max},
            {"BatchNormalization", batch_norm_},
            {"InstanceNormalization", instance_norm},
            {"GroupNormalization", group_norm_},
            {"LayerNormalization", layer_norm_},
            {"RMSNormalization", rms_norm},
            {"LpNormalization", lp_norm},
            {"MeanVarianceNormalization", mean_variance},
            {"LRN", lrn},
            {"Softmax", softmax_<softmax>},
            {"LogSoftmax", softmax_<log_softmax>},
            {"SoftmaxCrossEntropyLoss", cross_entropy_},
            {"NegativeLogLikelihoodLoss", nll}});
}

}  // namespace tandem::detail
