#pragma once
// The options of a few ops in their order, as ports from PyTorch have them: conv2d(x, w, b, 2, 1).
// What stands in such a place is a number, a Shape or a Tensor; a list in braces does not compile,
// for nobody would see what it means. Each is the op of its name, which documents it.
#include "tandem/ops/attention.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/binary_cross_entropy_with_logits.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/nll_loss.h"
#include "tandem/ops/pool.h"

namespace tandem {

namespace detail {
/// One number for all axes, or one for each.
template <class T>
concept Sizes = AxisNumber<T> || std::same_as<T, Shape>;
}  // namespace detail

template <detail::Sizes S, detail::Sizes P = int, detail::Sizes D = int>
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const S& stride,
              const P& padding = 0, const D& dilation = 1, int64_t groups = 1) {
  return conv1d(
      x, weight, bias,
      Conv1dOptions{.stride = stride, .padding = padding, .dilation = dilation, .groups = groups});
}
template <detail::Sizes S, detail::Sizes P = int, detail::Sizes D = int>
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const S& stride,
              const P& padding = 0, const D& dilation = 1, int64_t groups = 1) {
  return conv2d(
      x, weight, bias,
      Conv2dOptions{.stride = stride, .padding = padding, .dilation = dilation, .groups = groups});
}
template <detail::Sizes S, detail::Sizes P = int, detail::Sizes O = int, detail::Sizes D = int>
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const S& stride,
                        const P& padding = 0, const O& output_padding = 0, int64_t groups = 1,
                        const D& dilation = 1) {
  return conv_transpose2d(x, weight, bias,
                          ConvTranspose2dOptions{.stride = stride,
                                                 .padding = padding,
                                                 .output_padding = output_padding,
                                                 .groups = groups,
                                                 .dilation = dilation});
}

template <detail::Sizes S, detail::Sizes P = int, detail::Sizes D = int>
Tensors max_pool2d_with_indices(const Tensor& x, const Shape& kernel_size, const S& stride,
                                const P& padding = 0, const D& dilation = 1,
                                bool ceil_mode = false) {
  return max_pool2d_with_indices(
      x, kernel_size,
      MaxPool2dOptions{
          .stride = stride, .padding = padding, .dilation = dilation, .ceil_mode = ceil_mode});
}
template <detail::Sizes P, detail::Sizes D = int>
Tensors max_pool2d_with_indices(const Tensor& x, const Shape& kernel_size, const Shape& stride,
                                const P& padding, const D& dilation = 1, bool ceil_mode = false) {
  return max_pool2d_with_indices<Shape>(x, kernel_size, stride, padding, dilation, ceil_mode);
}
template <detail::Sizes S, detail::Sizes P = int, detail::Sizes D = int>
Tensor max_pool2d(const Tensor& x, const Shape& kernel_size, const S& stride, const P& padding = 0,
                  const D& dilation = 1, bool ceil_mode = false) {
  return max_pool2d_with_indices(x, kernel_size, stride, padding, dilation, ceil_mode)[0];
}
template <detail::Sizes S, detail::Sizes P = int>
Tensor avg_pool2d(const Tensor& x, const Shape& kernel_size, const S& stride, const P& padding = 0,
                  bool ceil_mode = false, bool count_include_pad = true,
                  std::optional<int64_t> divisor_override = {}) {
  return avg_pool2d(x, kernel_size,
                    AvgPool2dOptions{.stride = stride,
                                     .padding = padding,
                                     .ceil_mode = ceil_mode,
                                     .count_include_pad = count_include_pad,
                                     .divisor_override = divisor_override});
}

template <std::same_as<Tensor> T>
Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const T& attn_mask) {
  return scaled_dot_product_attention(q, k, v,
                                      ScaledDotProductAttentionOptions{.attn_mask = attn_mask});
}
inline Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                           const Tensor& attn_mask, double dropout_p,
                                           bool is_causal = false,
                                           std::optional<Number> scale = {}) {
  return scaled_dot_product_attention(
      q, k, v,
      ScaledDotProductAttentionOptions{
          .attn_mask = attn_mask, .dropout_p = dropout_p, .is_causal = is_causal, .scale = scale});
}

inline Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                         const Tensor& weight, const Tensor& bias, bool training = false,
                         double momentum = 0.1, double eps = 1e-5) {
  return batch_norm(
      x, running_mean, running_var,
      BatchNormOptions{
          .weight = weight, .bias = bias, .training = training, .momentum = momentum, .eps = eps});
}

template <std::same_as<Tensor> T>
Tensor cross_entropy(const Tensor& x, const Tensor& target, const T& weight) {
  return cross_entropy(x, target, CrossEntropyLossOptions{.weight = weight});
}
inline Tensor cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight,
                            int64_t ignore_index, std::string reduction = "mean",
                            double label_smoothing = 0) {
  return cross_entropy(x, target,
                       CrossEntropyLossOptions{.weight = weight,
                                               .ignore_index = ignore_index,
                                               .label_smoothing = label_smoothing,
                                               .reduction = std::move(reduction)});
}
template <std::same_as<Tensor> T>
Tensor nll_loss(const Tensor& x, const Tensor& target, const T& weight) {
  return nll_loss(x, target, NLLLossOptions{.weight = weight});
}
inline Tensor nll_loss(const Tensor& x, const Tensor& target, const Tensor& weight,
                       int64_t ignore_index, std::string reduction = "mean") {
  return nll_loss(
      x, target,
      NLLLossOptions{
          .weight = weight, .ignore_index = ignore_index, .reduction = std::move(reduction)});
}
template <std::same_as<Tensor> T>
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target, const T& weight) {
  return binary_cross_entropy_with_logits(x, target, BCEWithLogitsLossOptions{.weight = weight});
}
inline Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target,
                                               const Tensor& weight, const Tensor& pos_weight,
                                               std::string reduction = "mean") {
  return binary_cross_entropy_with_logits(
      x, target,
      BCEWithLogitsLossOptions{
          .weight = weight, .pos_weight = pos_weight, .reduction = std::move(reduction)});
}

}  // namespace tandem
