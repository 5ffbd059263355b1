#include "tandem/nn/conv.h"

#include "tandem/core/factory.h"
#include "tandem/nn/linear.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/flip.h"

namespace tandem::nn {
namespace {

void check_channels(const char* name, int64_t in, int64_t out, int64_t groups,
                    const std::string& mode = "zeros") {
  require(groups > 0 && in % groups == 0 && out % groups == 0, name, "(", in, ", ", out,
          ", groups=", groups, "): the groups must divide both channel numbers");
  require(mode == "zeros" || mode == "reflect" || mode == "replicate" || mode == "circular", name,
          "(padding_mode=", mode, "): must be zeros, reflect, replicate or circular");
}

struct Sides {
  int64_t before, after;
};
/// The padding along one axis; of an odd number the larger half goes behind, as in PyTorch.
Sides sides(const Padding& p, int64_t size, int64_t kernel, int64_t dilation) {
  if (!p.same) return {size, size};
  const int64_t total = dilation * (kernel - 1);
  return {total / 2, total - total / 2};
}

}  // namespace

Conv1d::Conv1d(int64_t in_channels, int64_t out_channels, int64_t kernel_size, Conv1dOptions o)
    : in_channels(in_channels),
      out_channels(out_channels),
      kernel_size(kernel_size),
      stride(o.stride),
      padding(o.padding),
      dilation(o.dilation),
      groups(o.groups),
      padding_mode(std::move(o.padding_mode)) {
  check_channels("Conv1d", in_channels, out_channels, groups, padding_mode);
  require(!padding.same || stride == 1, "Conv1d(padding=same): needs stride 1, got ", stride);
  weight = parameter(empty({out_channels, in_channels / groups, kernel_size}));
  if (o.bias) bias = parameter(empty({out_channels}));
  detail::start_weight(weight, bias);
}

Tensor Conv1d::forward(const Tensor& x) const {
  const Sides s = sides(padding, padding.size.w, kernel_size, dilation);
  if (padding_mode == "zeros" && s.before == s.after)
    return conv1d(x, weight, bias,
                  {.stride = stride, .padding = s.before, .dilation = dilation, .groups = groups});
  const Tensor wide =
      pad(x, {s.before, s.after}, padding_mode == "zeros" ? "constant" : padding_mode);
  return conv1d(wide, weight, bias, {.stride = stride, .dilation = dilation, .groups = groups});
}

Conv2d::Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, Conv2dOptions o)
    : in_channels(in_channels),
      out_channels(out_channels),
      kernel_size(kernel_size),
      stride(o.stride),
      padding(o.padding),
      dilation(o.dilation),
      groups(o.groups),
      padding_mode(std::move(o.padding_mode)) {
  check_channels("Conv2d", in_channels, out_channels, groups, padding_mode);
  require(!padding.same || stride == Pair(1), "Conv2d(padding=same): needs stride 1, got (",
          stride.h, ", ", stride.w, ")");
  weight = parameter(empty({out_channels, in_channels / groups, kernel_size.h, kernel_size.w}));
  if (o.bias) bias = parameter(empty({out_channels}));
  detail::start_weight(weight, bias);
}

Tensor Conv2d::forward(const Tensor& x) const {
  const Sides h = sides(padding, padding.size.h, kernel_size.h, dilation.h);
  const Sides w = sides(padding, padding.size.w, kernel_size.w, dilation.w);
  if (padding_mode == "zeros" && h.before == h.after && w.before == w.after)
    return conv2d(x, weight, bias,
                  {.stride = stride,
                   .padding = {h.before, w.before},
                   .dilation = dilation,
                   .groups = groups});
  const Tensor wide = pad(x, {w.before, w.after, h.before, h.after},
                          padding_mode == "zeros" ? "constant" : padding_mode);
  return conv2d(wide, weight, bias,
                {.stride = stride, .padding = {0, 0}, .dilation = dilation, .groups = groups});
}

ConvTranspose2d::ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                                 ConvTranspose2dOptions o)
    : in_channels(in_channels),
      out_channels(out_channels),
      kernel_size(kernel_size),
      stride(o.stride),
      padding(o.padding),
      output_padding(o.output_padding),
      groups(o.groups),
      dilation(o.dilation) {
  check_channels("ConvTranspose2d", in_channels, out_channels, groups);
  weight = parameter(empty({in_channels, out_channels / groups, kernel_size.h, kernel_size.w}));
  if (o.bias) bias = parameter(empty({out_channels}));
  detail::start_weight(weight, bias);
}

Tensor ConvTranspose2d::forward(const Tensor& x) const {
  return conv_transpose2d(x, weight, bias,
                          {.stride = stride,
                           .padding = padding,
                           .output_padding = output_padding,
                           .groups = groups,
                           .dilation = dilation});
}

}  // namespace tandem::nn
