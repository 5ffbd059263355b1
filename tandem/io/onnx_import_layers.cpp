// ONNX's convolutions, normalisation and losses as records.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_windows.h"
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
using Windows = OnnxWindows;

/// A convolution of space: each plane of the kernel is one of planes.
Tensor conv3(const Tensor& x, const Tensor& weight, const Tensor& bias, const Windows& w,
             int64_t groups) {
  const int64_t depth = w.out[0];
  const Shape stride{w.stride[1], w.stride[2]}, dilation{w.dilation[1], w.dilation[2]};
  Tensor sum;
  for (int64_t k = 0; k < w.kernel[0]; ++k) {
    const int64_t from = k * w.dilation[0];
    Tensor part = slice(x, 2, from, from + depth * w.stride[0] - w.stride[0] + 1, w.stride[0]);
    part = reshape(transpose(part, 1, 2), {x.size(0) * depth, x.size(1), x.size(3), x.size(4)});
    const Tensor y = conv2d(part, select(weight, 2, k), {},
                            {.stride = stride, .dilation = dilation, .groups = groups});
    sum = sum.defined() ? sum + y : y;
  }
  sum = reshape(sum, {x.size(0), depth, sum.size(1), sum.size(2), sum.size(3)});
  if (bias.defined()) sum = sum + reshape(bias, {bias.size(0), 1, 1});
  return transpose(sum, 1, 2);
}

}  // namespace

Ints conv_kernel(I& n, const Tensor& weight) {
  n.need(weight.dim() > 2, "a weight of shape ", weight.shape());
  Ints kernel(weight.shape().begin() + 2, weight.shape().end());
  if (const auto said = n.list("kernel_shape"))
    n.need(*said == kernel, "kernel_shape is not that of a weight of shape ", weight.shape());
  return kernel;
}

Tensor import_conv(I& n, Tensor x, const Tensor& weight, const Tensor& bias) {
  Windows w = onnx_windows(n, conv_kernel(n, weight));
  const int64_t groups = n.integer("group", 1);
  if (w.kernel.size() > 3) n.unsupported(w.kernel.size(), " axes of space");
  if (!w.even() || w.kernel.size() == 3) {
    x = padded_for(x, w, 0);
    w.before = Ints(w.kernel.size(), 0);
  }
  if (w.kernel.size() == 3) return conv3(x, weight, bias, w, groups);
  const Conv2dOptions o{.stride = to_shape(w.stride),
                        .padding = to_shape(w.before),
                        .dilation = to_shape(w.dilation),
                        .groups = groups};
  if (w.kernel.size() == 1) return conv1d(x, weight, bias, o);
  return conv2d(x, weight, bias, o);
}

namespace {

Tensors conv(I& n) { return {import_conv(n, n.in(0), n.in(1), n.in_or_none(2))}; }

/// Each plane of the kernel is a transposed convolution of planes, whose results lie a stride
/// apart along the third axis.
Tensor conv_transpose3(const Tensor& x, const Tensor& weight, const Windows& w, const Ints& extra,
                       int64_t groups) {
  const int64_t depth = x.size(2), stride = w.stride[0];
  const Tensor planes =
      reshape(transpose(x, 1, 2), {x.size(0) * depth, x.size(1), x.size(3), x.size(4)});
  Tensor sum;
  for (int64_t k = 0; k < w.kernel[0]; ++k) {
    Tensor y = conv_transpose2d(planes, select(weight, 2, k), {},
                                {.stride = {w.stride[1], w.stride[2]},
                                 .groups = groups,
                                 .dilation = {w.dilation[1], w.dilation[2]}});
    const Shape plane{y.size(1), y.size(2), y.size(3)};
    // [n, depth, plane] with stride - 1 empty ones behind each
    y = reshape(y, {x.size(0), depth, 1, plane.numel()});
    y = reshape(pad(y, {0, 0, 0, stride - 1}), {x.size(0), depth * stride, plane.numel()});
    y = slice(y, 1, 0, std::max<int64_t>(0, (depth - 1) * stride + 1));
    const int64_t ahead = k * w.dilation[0], all = w.reach(0) - 1 - ahead;
    y = reshape(pad(y, {0, 0, ahead, all}),
                {x.size(0), (depth - 1) * stride + w.reach(0), plane[0], plane[1], plane[2]});
    sum = sum.defined() ? sum + y : y;
  }
  sum = transpose(sum, 1, 2);
  Shape more;
  for (size_t i = 3; i-- > 0;) {
    more.push_back(0);
    more.push_back(extra[i]);
  }
  return pad(sum, more);
}

/// How much is cut off each end of the full result; a negative number adds zeros.
void transposed_pads(I& n, Windows& w, const Ints& extra) {
  const Shape& x = n.in(0).shape();
  const size_t axes = w.kernel.size();
  const std::string automatic = n.text("auto_pad", "NOTSET");
  const auto size = n.list("output_shape");
  if (!size && !automatic.starts_with("SAME")) return;
  n.need(!size || size->size() >= axes, "output_shape has ", size ? size->size() : 0, " numbers");
  const size_t skip = size ? size->size() - axes : 0;  // some files give all axes
  for (size_t i = 0; i < axes; ++i) {
    const int64_t length = x[int(i) + 2];
    const int64_t want = size ? (*size)[i + skip] : length * w.stride[i];
    n.need(want > 0 && want < (int64_t(1) << 40), "a length of ", want);
    const int64_t total = w.stride[i] * (length - 1) + extra[i] + w.reach(i) - want;
    w.before[i] = total < 0 ? 0 : automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
    w.after[i] = total - w.before[i];
  }
}

Tensors conv_transpose(I& n) {
  Tensor x = n.in(0), weight = n.in(1);
  const Tensor bias = n.in_or_none(2);
  n.need(weight.dim() > 2, "a weight of shape ", weight.shape());
  const size_t axes = size_t(weight.dim()) - 2;
  if (axes > 3) n.unsupported(axes, " axes of space");
  Windows w = onnx_windows(n, conv_kernel(n, weight));
  Ints extra = n.list("output_padding").value_or(Ints(axes, 0));
  n.need(extra.size() == axes, "output_padding has ", extra.size(), " numbers");
  for (size_t i = 0; i < axes; ++i)
    n.need(extra[i] >= 0 && extra[i] < std::max(w.stride[i], w.dilation[i]), "output_padding of ",
           extra[i]);
  transposed_pads(n, w, extra);
  const int64_t groups = n.integer("group", 1);
  if (axes == 1) {
    x = unsqueeze(x, 2);
    weight = unsqueeze(weight, 2);
    for (Ints* list : {&w.before, &w.after, &extra}) list->insert(list->begin(), 0);
    for (Ints* list : {&w.stride, &w.dilation, &w.kernel}) list->insert(list->begin(), 1);
  }
  // Padding here cuts the result: the common part inside the record, the rest after it.
  const size_t planes = std::max<size_t>(axes, 2);
  Ints common(planes, 0);
  bool cut = axes == 3;
  for (size_t i = 0; i < planes; ++i) {
    if (axes < 3) common[i] = std::max<int64_t>(0, std::min(w.before[i], w.after[i]));
    cut = cut || w.before[i] != common[i] || w.after[i] != common[i];
  }
  Tensor y = axes == 3 ? conv_transpose3(x, weight, w, extra, groups)
                       : conv_transpose2d(x, weight, cut ? Tensor() : bias,
                                          {.stride = to_shape(w.stride),
                                           .padding = to_shape(common),
                                           .output_padding = to_shape(extra),
                                           .groups = groups,
                                           .dilation = to_shape(w.dilation)});
  for (size_t i = 0; cut && i < planes; ++i) {
    const int axis = int(i) + 2;
    const int64_t front = w.before[i] - common[i], back = w.after[i] - common[i];
    y = slice(y, axis, front, std::max<int64_t>(0, y.size(axis) - std::max<int64_t>(0, back)));
    if (back >= 0) continue;
    Shape more;
    for (int a = y.dim() - 1; a > axis; --a) more.push_back(0), more.push_back(0);
    more.push_back(0), more.push_back(-back);
    y = pad(y, more);
  }
  if (cut && bias.defined()) {
    Shape line{bias.size(0)};
    for (size_t i = 0; i < planes; ++i) line.push_back(1);
    y = y + reshape(bias, line);
  }
  return {axes == 1 ? squeeze(y, 2) : y};
}

// --- Normalisation ----------------------------------------------------------------------------

/// By the batch's own statistics, which also move the running ones.
Tensors batch_norm_training(I& n) {
  const Tensor x = n.in(0);
  n.need(x.dim() >= 2, "input 0 has shape ", x.shape());
  Shape axes{0}, line{x.size(1)};
  for (int i = 2; i < x.dim(); ++i) axes.push_back(i), line.push_back(1);
  const Tensor wide = x.dtype() == f64 ? x : cast(x, f32);
  const Tensor m = mean(wide, axes), centred = wide - reshape(m, line);
  const Tensor v = mean(square(centred), axes);
  const double keep = n.real("momentum", 0.9f);
  const Tensor scale = cast(n.in(1), wide.dtype()) * rsqrt(v + n.real("epsilon", 1e-5f));
  const Tensor y = centred * reshape(scale, line) + reshape(cast(n.in(2), wide.dtype()), line);
  auto moved = [&](int i, const Tensor& fresh) {
    const Tensor old = n.in(i);
    return cast(cast(old, wide.dtype()) * keep + fresh * (1 - keep), old.dtype());
  };
  return {cast(y, x.dtype()), moved(3, m), moved(4, v)};
}
Tensors batch_norm_(I& n) {
  if (n.opset() < 7 && !n.flag("is_test", false)) n.unsupported("training mode");
  if (n.flag("training_mode", false)) return batch_norm_training(n);
  return {batch_norm(n.in(0), n.in(3), n.in(4),
                     {.weight = n.in(1), .bias = n.in(2), .eps = n.real("epsilon", 1e-5f)})};
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
  Shape axes;
  for (int i = axis_of(n, n.integer("axis", -1), x.dim()); i < x.dim(); ++i) axes.push_back(i);
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
  n.need(x.dim() == 4 && size > 0, "size=", size, " for shape ", x.shape());
  const Shape s = x.shape();
  // A window beyond all channels holds no more than one that reaches over them from each.
  const int64_t window = std::min<int64_t>(size, 2 * s[1] + 1);
  const Tensor lines = reshape(square(x), {s[0], 1, s[1], s[2] * s[3]});
  const Tensor wide = pad(lines, {0, 0, (window - 1) / 2, window - 1 - (window - 1) / 2});
  const Tensor means = reshape(avg_pool2d(wide, {window, 1}, {.stride = {1, 1}}), s);
  const double factor = n.real("alpha", 1e-4f) * double(window) / double(size);
  return {x / pow(means * factor + n.real("bias", 1), n.real("beta", 0.75))};
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
  const Tensor loss = cross_entropy(n.in(0), cast(n.in(1), i64),
                                    {.weight = n.in_or_none(2),
                                     .ignore_index = n.integer("ignore_index", -100),
                                     .reduction = n.text("reduction", "mean")});
  return {loss, n.node().outputs.size() > 1 ? log_softmax(n.in(0), 1) : Tensor()};
}
Tensors nll(I& n) {
  return {nll_loss(n.in(0), cast(n.in(1), i64),
                   {.weight = n.in_or_none(2),
                    .ignore_index = n.integer("ignore_index", -100),
                    .reduction = n.text("reduction", "mean")})};
}

}  // namespace

void add_layer_imports(OnnxImports& t) {
  t.insert({{"Conv", conv},
            {"ConvTranspose", conv_transpose},
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
