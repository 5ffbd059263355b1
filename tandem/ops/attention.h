#pragma once
#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

/// softmax(q k^T scale + mask) v a block at a time, without the matrix of scores. Gives y and the
/// logarithm of each row's sum of exponentials.
struct ScaledDotProductAttention {
  static constexpr std::string_view name = "scaled_dot_product_attention";
  static constexpr std::string_view inputs = "q, k, v, attn_mask?";
  static constexpr int outputs = 2;
  static constexpr Saves saves{.in = {0, 1, 2, 3}, .out = {}};

  bool is_causal = false;
  std::optional<Number> scale = {};
  /// Rows without a visible key are NaN, as softmax makes them, and not zero.
  bool nan_rows = false;
  static constexpr auto fields = Fields{field("is_causal", &ScaledDotProductAttention::is_causal),
                                        field("scale", &ScaledDotProductAttention::scale),
                                        field("nan_rows", &ScaledDotProductAttention::nan_rows)};

  std::array<Spec, 2> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<ScaledDotProductAttention> samples();
};

/// The gradients of attention by q, k and v, whose leading axes are equal. The weights are computed
/// anew, a block at a time.
struct ScaledDotProductAttentionGrad {
  static constexpr std::string_view name = "scaled_dot_product_attention_grad";
  static constexpr std::string_view inputs = "q, k, v, dy, dlse, attn_mask?";
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5}, .out = {}};

  bool is_causal = false;
  std::optional<Number> scale = {};
  static constexpr auto fields =
      Fields{field("is_causal", &ScaledDotProductAttentionGrad::is_causal),
             field("scale", &ScaledDotProductAttentionGrad::scale)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& g) const;
  static Samples<ScaledDotProductAttentionGrad> samples();
};

struct ScaledDotProductAttentionOptions {
  ByName by_name = ByName();
  Tensor attn_mask = {};  ///< broadcasts to [..., l, s]
  double dropout_p = 0;
  bool is_causal = false;
  std::optional<Number> scale = {};  ///< 1 / sqrt(e) unless given
};
/// Attention (Vaswani et al., arXiv 1706.03762), computed as by Dao et al., arXiv 2205.14135.
/// q[..., l, e], k[..., s, e], v[..., s, ev] give [..., l, ev]; leading axes broadcast.
/// attn_mask broadcasts to [..., l, s]: false or minus infinity hides a key, other numbers are
/// added to the scores. is_causal hides keys after the query's own place. scale: 1 / sqrt(e) unless
/// given. Rows without a visible key are zero, as in PyTorch; softmax(scores) v written out gives
/// NaN there, compiled as well. dropout_p > 0 drops attention weights, by a slower path. Errors:
/// ShapeError, DTypeError, ValueError for a mask together with is_causal.
TANDEM_API Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                               const ScaledDotProductAttentionOptions& o = {});

}  // namespace tandem
