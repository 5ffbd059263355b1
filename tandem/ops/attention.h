#pragma once
#include <array>

#include "tandem/op/op.h"

namespace tandem {

/// softmax(scale q k^T + mask) v, q [..., L, E], k [..., S, E], v [..., S, V] with equal leading
/// axes; blocks of query rows, so that no [L, S] matrix is stored. The mask broadcasts to
/// [..., L, S]: booleans say where to look, numbers are added. A row that sees nothing gives zeros.
/// Outputs: y [..., L, V] and the logarithm of each row's sum, which the gradient needs.
struct ScaledDotProductAttention {
  static constexpr std::string_view name = "scaled_dot_product_attention";
  static constexpr std::string_view inputs = "q, k, v, attn_mask?";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {0, 1, 2, 3}, .out = {0, 1}};

  bool is_causal = false;
  std::optional<double> scale = {};
  static constexpr auto fields =
      Fields{field("is_causal", &ScaledDotProductAttention::is_causal),
                 field("scale", &ScaledDotProductAttention::scale)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<ScaledDotProductAttention> samples();
};

/// The gradients by q, k and v, from the rows' sums of the forward pass (the backward pass of
/// Dao et al., FlashAttention, 2022, algorithm 4).
struct ScaledDotProductAttentionGrad {
  static constexpr std::string_view name = "scaled_dot_product_attention_grad";
  static constexpr std::string_view inputs = "q, k, v, y, row_sum, dy, attn_mask?";
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1, 2, 5, 6}, .out = {}};

  bool is_causal = false;
  std::optional<double> scale = {};
  static constexpr auto fields =
      Fields{field("is_causal", &ScaledDotProductAttentionGrad::is_causal),
                 field("scale", &ScaledDotProductAttentionGrad::scale)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<ScaledDotProductAttentionGrad> samples();
};

/// Attention (Vaswani et al. 2017). `scale` defaults to 1 / sqrt(E). Leading axes broadcast.
/// Dropout with probability `dropout_p` falls on the weights. Errors: ShapeError, DTypeError.
TANDEM_API Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                               const Tensor& attn_mask = {}, double dropout_p = 0,
                                               bool is_causal = false,
                                               std::optional<double> scale = {});

}  // namespace tandem
