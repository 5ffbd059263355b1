#include "tandem/nn/attention.h"

#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/nn/init.h"
#include "tandem/ops/add.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/gelu.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/tril.h"
#include "tandem/ops/where.h"

namespace tandem::nn {

MultiheadAttention::MultiheadAttention(int64_t embed_dim, int64_t num_heads,
                                       MultiheadAttentionOptions o)
    : embed_dim(embed_dim),
      num_heads(num_heads),
      dropout(o.dropout),
      batch_first(o.batch_first),
      in_proj_weight(init::xavier_uniform_(parameter(empty({3 * embed_dim, embed_dim})))),
      out_proj(embed_dim, embed_dim, {.bias = o.bias}) {
  require(num_heads > 0 && embed_dim % num_heads == 0, "MultiheadAttention(embed_dim=", embed_dim,
          ", num_heads=", num_heads, "): embed_dim must be a multiple of num_heads");
  if (!o.bias) return;
  in_proj_bias = parameter(zeros({3 * embed_dim}));
  init::zeros_(out_proj.bias);
}

namespace {

/// What is added to the scores: -inf where a boolean mask is true.
Tensor additive(const Tensor& mask, DType dtype) {
  if (mask.dtype() != boolean) return mask;
  const Tensor closed = full({}, -std::numeric_limits<double>::infinity(), dtype);
  return where(mask, closed, zeros({}, dtype));
}

}  // namespace

AttentionResult MultiheadAttention::forward(const Tensor& query, const Tensor& key,
                                            const Tensor& value,
                                            const AttentionOptions& options) const {
  const bool batched = query.dim() == 3;
  require<ShapeError>(
      (batched || query.dim() == 2) && key.dim() == query.dim() && value.dim() == query.dim() &&
          query.size(-1) == embed_dim && key.size(-1) == embed_dim && value.size(-1) == embed_dim,
      "MultiheadAttention(embed_dim=", embed_dim,
      "): query, key and value need 2 or 3 axes, the last of length embed_dim, got ", query.shape(),
      ", ", key.shape(), " and ", value.shape());
  // All that follows is [N, L, E].
  auto arranged = [&](const Tensor& t) {
    if (!batched) return unsqueeze(t, 0);
    return batch_first ? t : transpose(t, 0, 1);
  };
  const Tensor x = arranged(query);
  Tensors qkv;
  if (query.is_same(key) && key.is_same(value)) {
    qkv = chunk(linear(x, in_proj_weight, in_proj_bias), 3, -1);
  } else {
    const Tensor sources[] = {x, arranged(key), arranged(value)};
    for (int i = 0; i < 3; ++i) {
      const Tensor bias =
          in_proj_bias.defined() ? narrow(in_proj_bias, 0, i * embed_dim, embed_dim) : Tensor();
      qkv.push_back(linear(sources[i], narrow(in_proj_weight, 0, i * embed_dim, embed_dim), bias));
    }
  }
  const Length n = x.size(0), l = x.size(1), s = qkv[1].size(1);
  const int64_t d = embed_dim / num_heads;
  for (Tensor& t : qkv) t = permute(reshape(t, {t.size(0), t.size(1), num_heads, d}), {0, 2, 1, 3});
  const Tensor &q = qkv[0], &k = qkv[1], &v = qkv[2];

  Tensor mask;
  auto add_mask = [&](const Tensor& m) { mask = mask.defined() ? mask + m : m; };
  if (options.attn_mask.defined()) {
    const Tensor m = additive(options.attn_mask, q.dtype());
    add_mask(m.dim() == 3 ? reshape(m, {n, num_heads, l, s}) : m);
  }
  if (options.key_padding_mask.defined())
    add_mask(reshape(additive(options.key_padding_mask, q.dtype()), {n, 1, 1, s}));
  const bool only_causal = options.is_causal && !mask.defined() && !options.need_weights;
  if (options.is_causal && !only_causal && !options.attn_mask.defined())
    add_mask(additive(triu(ones({l, s}, boolean), 1), q.dtype()));

  const double p = is_training() ? dropout : 0;
  AttentionResult result;
  Tensor y;
  if (options.need_weights) {
    Tensor scores = matmul(q * (1 / std::sqrt(double(d))), transpose(k, -2, -1));
    if (mask.defined()) scores = scores + mask;
    const Tensor weights = tandem::dropout(softmax(scores, -1), p, p > 0);
    y = matmul(weights, v);
    result.weights = options.average_attn_weights ? mean(weights, {1}) : weights;
    if (!batched) result.weights = squeeze(result.weights, 0);
  } else {
    y = scaled_dot_product_attention(q, k, v,
                                     {.attn_mask = mask, .dropout_p = p, .is_causal = only_causal});
  }
  y = out_proj(reshape(permute(y, {0, 2, 1, 3}), {n, l, embed_dim}));
  if (!batched) result.output = squeeze(y, 0);
  else result.output = batch_first ? y : transpose(y, 0, 1);
  return result;
}

TransformerEncoderLayer::TransformerEncoderLayer(int64_t d_model, int64_t nhead,
                                                 TransformerEncoderLayerOptions o)
    : norm_first(o.norm_first),
      activation(o.activation),
      self_attn(d_model, nhead,
                {.dropout = o.dropout, .bias = o.bias, .batch_first = o.batch_first}),
      linear1(d_model, o.dim_feedforward, {.bias = o.bias}),
      dropout(o.dropout),
      linear2(o.dim_feedforward, d_model, {.bias = o.bias}),
      norm1(d_model, {.eps = o.layer_norm_eps, .bias = o.bias}),
      norm2(d_model, {.eps = o.layer_norm_eps, .bias = o.bias}),
      dropout1(o.dropout),
      dropout2(o.dropout) {
  require(activation == "relu" || activation == "gelu",
          "TransformerEncoderLayer(activation=", activation, "): must be relu or gelu");
}

Tensor TransformerEncoderLayer::attend(const Tensor& x, const EncoderMasks& masks) const {
  return dropout1(self_attn(x, x, x,
                            {.key_padding_mask = masks.src_key_padding_mask,
                             .need_weights = false,
                             .attn_mask = masks.src_mask,
                             .is_causal = masks.is_causal})
                      .output);
}

Tensor TransformerEncoderLayer::feed(const Tensor& x) const {
  const Tensor h = linear1(x);
  return dropout2(linear2(dropout(activation == "relu" ? relu(h) : gelu(h))));
}

Tensor TransformerEncoderLayer::forward(const Tensor& x, const EncoderMasks& masks) const {
  if (norm_first) {
    const Tensor y = x + attend(norm1(x), masks);
    return y + feed(norm2(y));
  }
  const Tensor y = norm1(x + attend(x, masks));
  return norm2(y + feed(y));
}

}  // namespace tandem::nn
