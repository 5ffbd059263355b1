#pragma once
#include "tandem/core/by_name.h"
#include "tandem/nn/linear.h"
#include "tandem/nn/norm.h"

namespace tandem::nn {

struct MultiheadAttentionOptions {
  ByName by_name = ByName();
  double dropout = 0;  ///< of the attention weights, while training
  bool bias = true;
  bool batch_first = false;  ///< [N, L, E] instead of [L, N, E]
};
struct AttentionOptions {
  ByName by_name = ByName();
  Tensor key_padding_mask = {};  ///< [N, S]: true keys (or added values) are not looked at
  bool need_weights = true;      ///< without them a fused kernel serves
  Tensor attn_mask = {};         ///< [L, S] or [N heads, L, S]: likewise, for each query
  bool average_attn_weights = true;
  bool is_causal = false;  ///< queries see no later keys
};
struct AttentionResult {
  Tensor output;   ///< like the query
  Tensor weights;  ///< [N, L, S], [N, heads, L, S] unless averaged; undefined when not needed
  static constexpr auto fields = Fields{field("output", &AttentionResult::output),
                                        field("weights", &AttentionResult::weights)};
};

/// Attention in `num_heads` subspaces (Vaswani et al. 2017): softmax(q k^T / sqrt(E / heads)) v of
/// the projected inputs, projected once more. query [L, N, E], key and value [S, N, E], or without
/// N. Parameters: in_proj_weight [3 E, E], in_proj_bias, out_proj. Errors: ValueError unless
/// num_heads divides embed_dim.
struct TANDEM_API MultiheadAttention : Module<MultiheadAttention> {
  int64_t embed_dim, num_heads;
  double dropout;
  bool batch_first;
  Tensor in_proj_weight, in_proj_bias;
  Linear out_proj;

  MultiheadAttention(int64_t embed_dim, int64_t num_heads, MultiheadAttentionOptions o = {});
  static constexpr auto fields =
      Fields{field("embed_dim", &MultiheadAttention::embed_dim),
             field("num_heads", &MultiheadAttention::num_heads),
             field("dropout", &MultiheadAttention::dropout),
             field("batch_first", &MultiheadAttention::batch_first),
             field("in_proj_weight", &MultiheadAttention::in_proj_weight),
             field("in_proj_bias", &MultiheadAttention::in_proj_bias),
             field("out_proj", &MultiheadAttention::out_proj)};
  AttentionResult forward(const Tensor& query, const Tensor& key, const Tensor& value,
                          const AttentionOptions& options = {}) const;
  /// As every module's call; the options may be braces: `mha(q, k, v, {.is_causal = true})`.
  AttentionResult operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                             const AttentionOptions& options = {}) const {
    return Module::operator()(query, key, value, options);
  }
};

struct TransformerEncoderLayerOptions {
  ByName by_name = ByName();
  int64_t dim_feedforward = 2048;
  double dropout = 0.1;
  std::string activation = "relu";  ///< or "gelu"
  double layer_norm_eps = 1e-5;
  bool batch_first = false;
  bool norm_first = false;  ///< normalise before each part instead of behind its sum
  bool bias = true;
};
struct EncoderMasks {
  Tensor src_mask = {}, src_key_padding_mask = {};  ///< as in AttentionOptions
  bool is_causal = false;
};
/// Self-attention and a two-layer net, each with dropout, a residual sum and layer norm (Vaswani et
/// al. 2017): x [T, N, d_model], [N, T, d_model] when batch_first, or without N.
struct TANDEM_API TransformerEncoderLayer : Module<TransformerEncoderLayer> {
  bool norm_first;
  std::string activation;
  MultiheadAttention self_attn;
  Linear linear1;
  Dropout dropout;
  Linear linear2;
  LayerNorm norm1, norm2;
  Dropout dropout1, dropout2;

  TransformerEncoderLayer(int64_t d_model, int64_t nhead, TransformerEncoderLayerOptions o = {});
  static constexpr auto fields = Fields{field("norm_first", &TransformerEncoderLayer::norm_first),
                                        field("activation", &TransformerEncoderLayer::activation),
                                        field("self_attn", &TransformerEncoderLayer::self_attn),
                                        field("linear1", &TransformerEncoderLayer::linear1),
                                        field("dropout", &TransformerEncoderLayer::dropout),
                                        field("linear2", &TransformerEncoderLayer::linear2),
                                        field("norm1", &TransformerEncoderLayer::norm1),
                                        field("norm2", &TransformerEncoderLayer::norm2),
                                        field("dropout1", &TransformerEncoderLayer::dropout1),
                                        field("dropout2", &TransformerEncoderLayer::dropout2)};
  Tensor forward(const Tensor& x, const EncoderMasks& masks = {}) const;
  Tensor operator()(const Tensor& x, const EncoderMasks& masks = {}) const {
    return Module::operator()(x, masks);
  }

 private:
  Tensor attend(const Tensor& x, const EncoderMasks& masks) const;
  Tensor feed(const Tensor& x) const;
};

}  // namespace tandem::nn
