// ONNX Runtime's own operators ("com.microsoft"), which its optimiser puts where several nodes
// were.
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_attention.h"
#include "tandem/ops/add.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/gelu.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mean.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/norm.h"
#include "tandem/ops/pow.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sqrt.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;

// --- Products and activations -------------------------------------------------------------------

/// `outer` moves the first axis behind all leading ones.
Tensor turned(I& n, Tensor x, bool last, bool outer) {
  if (last && x.dim() > 1) x = transpose(x, x.dim() - 1, x.dim() - 2);
  if (outer) n.unsupported("transBatchA or transBatchB");
  return x;
}
Tensors fused_product(I& n) {
  const Tensor a = turned(n, n.in(0), n.flag("transA", false), n.flag("transBatchA", false));
  const Tensor b = turned(n, n.in(1), n.flag("transB", false), n.flag("transBatchB", false));
  const double alpha = n.real("alpha", 1);
  return {alpha == 1 ? matmul(a, b) : matmul(a, b) * alpha};
}
Tensor biased(I& n) { return n.has(1) ? n.in(0) + n.in(1) : n.in(0); }
Tensors gelu_(I& n) { return {gelu(n.in(0))}; }
Tensors bias_gelu(I& n) { return {gelu(biased(n))}; }
Tensors fast_gelu(I& n) { return {gelu(biased(n), "tanh")}; }
Tensors quick_gelu(I& n) { return {n.in(0) * sigmoid(n.in(0) * n.real("alpha", 1.702f))}; }

// --- Normalisation ------------------------------------------------------------------------------

struct Normed {
  Tensor y, mean, inverse;  ///< of the last axis, [..., 1]
};
Normed normed(I& n, const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  n.need(x.dim() > 0, "input 0 has no axes");
  const Shape last{-1};
  const Tensor m = mean(x, last, true);
  return {layer_norm(x, Shape{x.size(-1)}, gamma, beta, eps), m,
          rsqrt(mean(square(x - m), last, true) + eps)};
}
/// Of the sum of two branches, and a bias.
Tensors skip_layer_norm(I& n) {
  Tensor x = n.in(0) + n.in(1);
  if (n.has(4)) x = x + n.in(4);
  const Normed out = normed(n, x, n.in(2), n.in_or_none(3), n.real("epsilon", 1e-12f));
  return {out.y, out.mean, out.inverse, x};
}
Tensors root_mean_square(I& n, const Tensor& x, const Tensor& gamma, int64_t axis, double eps) {
  Shape axes;
  for (int i = axis_of(n, axis, x.dim()); i < x.dim(); ++i) axes.push_back(i);
  const Tensor inverse = rsqrt(mean(square(cast(x, f32)), axes, true) + eps);
  return {cast(cast(x, f32) * inverse, x.dtype()) * gamma, inverse};
}
Tensors simplified_layer_norm(I& n) {
  return root_mean_square(n, n.in(0), n.in(1), n.integer("axis", -1), n.real("epsilon", 1e-5f));
}
Tensors skip_simplified_layer_norm(I& n) {
  Tensor x = n.in(0) + n.in(1);
  if (n.has(3)) x = x + n.in(3);
  const Tensors out = root_mean_square(n, x, n.in(2), -1, n.real("epsilon", 1e-12f));
  return {out[0], {}, out[1], x};
}
/// Words, places and segments.
Tensors embed_layer_norm(I& n) {
  const Tensor ids = n.in(0);
  n.need(ids.dim() == 2, "input_ids of shape ", ids.shape());
  auto rows = [&](const Tensor& table, const Tensor& at) {
    n.need(table.dim() == 2, "an embedding of shape ", table.shape());
    Shape s = at.shape();
    s.push_back(table.size(1));
    return reshape(index_select(table, 0, reshape(places(at, table.size(0)), {at.numel()})), s);
  };
  Tensor x = rows(n.in(2), ids);
  x = x + (n.has(8) ? rows(n.in(3), n.in(8)) : unsqueeze(slice(n.in(3), 0, 0, ids.size(1)), 0));
  if (n.has(1) && n.has(4)) x = x + rows(n.in(4), n.in(1));
  Tensors out{normed(n, x, n.in(5), n.in(6), n.real("epsilon", 1e-12f)).y};
  if (n.wants(1) || n.wants(2)) {
    // How many words a line has.
    out.push_back(n.has(7) ? cast(sum(cast(n.in(7), i32), {1}), i32) : zeros({ids.size(0)}, i32));
    out.push_back(x);
  }
  return out;
}

// --- Attention ----------------------------------------------------------------------------------

/// What is added to scores [batch, heads, l, s] by the kinds of masks: keys of [batch] lengths,
/// [batch, s] or [batch, l, s] flags.
Tensor mask_bias(I& n, int i, int64_t batch, int64_t l, int64_t s) {
  if (!n.has(i)) return {};
  const Tensor m = n.in(i);
  Tensor seen;
  const Tensor at = reshape(arange(s), {1, 1, 1, s});
  if (m.shape() == Shape{batch}) {
    seen = at < reshape(cast(m, i64), {batch, 1, 1, 1});
  } else if (m.shape() == Shape{2 * batch}) {
    auto ends = [&](int64_t from) {
      return reshape(cast(slice(m, 0, from, from + batch), i64), {batch, 1, 1, 1});
    };
    seen = logical_and(at < ends(0), at >= ends(batch));
  } else if (m.shape() == Shape{batch, s}) {
    seen = reshape(m, {batch, 1, 1, s}) > 0.0;
  } else if (m.shape() == Shape{batch, l, s}) {
    seen = reshape(m, {batch, 1, l, s}) > 0.0;
  } else {
    n.unsupported("a mask of shape ", m.shape());
  }
  return where(seen, full({}, 0.0), full({}, n.real("mask_filter_value", -10000)));
}
/// q, k and v by heads give [batch, l, heads * size].
Tensor attended(I& n, const Tensor& q, const Tensor& k, const Tensor& v, Tensor bias, int more) {
  const int64_t l = q.size(2), s = k.size(2);
  if (n.has(more)) bias = bias.defined() ? bias + n.in(more) : n.in(more);
  if (n.flag("unidirectional", false)) {
    const Tensor seen = reshape(arange(s), {1, s}) <= reshape(arange(s - l, s), {l, 1});
    bias = where(seen, bias.defined() ? bias : full({}, 0.0),
                 full({}, -std::numeric_limits<double>::infinity()));
  }
  const double given = n.real("scale", 0);
  const double scale = given != 0 ? given : 1 / std::sqrt(double(q.size(3)));
  if (bias.defined()) bias = cast(bias, q.dtype());
  const Tensor y = scaled_dot_product_attention(q, k, v, {.attn_mask = bias, .scale = scale});
  return reshape(transpose(y, 1, 2), {y.size(0), l, y.size(1) * y.size(3)});
}

/// Attention with the product that makes q, k and v.
Tensors attention(I& n) {
  const Tensor x = n.in(0), weight = n.in(1);
  const int64_t heads = n.integer("num_heads", 0);
  if (n.flag("do_rotary", false) || n.has(6)) n.unsupported("do_rotary or a shared buffer");
  n.need(x.dim() == 3 && weight.dim() == 2 && weight.size(0) == x.size(2), "shapes ", x.shape(),
         " and ", weight.shape());
  Tensor all = matmul(x, weight);
  if (n.has(2)) all = all + n.in(2);
  auto sizes = n.list("qkv_hidden_sizes").value_or(std::vector<int64_t>(3, weight.size(1) / 3));
  n.need(sizes.size() == 3 && sizes[0] >= 0 && sizes[0] == sizes[1] && sizes[2] >= 0 &&
             sizes[0] + sizes[1] + sizes[2] == weight.size(1),
         "qkv_hidden_sizes are not those of a weight of shape ", weight.shape());
  int64_t from = 0;
  Tensor part[3];
  for (size_t i = 0; i < 3; from += sizes[i++])
    part[i] = by_heads(n, slice(all, 2, from, from + sizes[i]), heads, "num_heads");
  Tensor k = part[1], v = part[2], present;
  if (n.has(4)) {
    n.need(n.in(4).dim() == 5 && n.in(4).size(0) == 2, "past of shape ", n.in(4).shape());
    k = cat({select(n.in(4), 0, 0), k}, 2);
    v = cat({select(n.in(4), 0, 1), v}, 2);
  }
  if (n.wants(1)) present = stack({k, v}, 0);
  const Tensor mask = mask_bias(n, 3, x.size(0), x.size(1), k.size(2));
  return {attended(n, part[0], k, v, mask, 5), present};
}
/// q, k and v as [batch, length, heads * size], or k and v by heads already.
Tensors multi_head_attention(I& n) {
  const int64_t heads = n.integer("num_heads", 0);
  if (!n.has(1) || !n.has(2) || n.in(0).dim() != 3) n.unsupported("packed q, k and v");
  Tensor part[3];
  int64_t from = 0;
  for (int i = 0; i < 3; ++i) {
    Tensor x = n.in(i);
    n.need(x.dim() == 3 || (x.dim() == 4 && x.size(1) == heads), "input ", i, " has shape ",
           x.shape());
    if (x.dim() == 3) {
      if (n.has(3)) x = x + slice(n.in(3), 0, from, from + x.size(2));
      from += x.size(2);
      x = by_heads(n, x, heads, "num_heads");
    }
    part[i] = x;
  }
  n.need(n.has(6) == n.has(7), "past_key and past_value come together");
  if (n.has(8)) n.unsupported("a shared buffer");
  for (int i = 1; i < 3; ++i)
    if (n.has(5 + i)) part[i] = cat({n.in(5 + i), part[i]}, 2);
  const Tensor mask = mask_bias(n, 4, n.in(0).size(0), part[0].size(2), part[1].size(2));
  return {attended(n, part[0], part[1], part[2], mask, 5), part[1], part[2]};
}
/// One place for each of the batch, or the first one of all.
Tensors rotary(I& n) {
  const Tensor x = n.in(0);
  if (n.real("scale", 1) != 1 || n.flag("is_packed_batching", false))
    n.unsupported("scale or is_packed_batching");
  n.need(x.dim() == 3 || x.dim() == 4, "input 0 has shape ", x.shape());
  Tensor at = cast(n.in(1), i64);
  const int64_t batch = x.size(0), length = x.size(x.dim() - 2);
  if (at.numel() == 1 && at.shape() != Shape{batch, length})
    at = expand(reshape(at, {1, 1}) + reshape(arange(length), {1, length}), {batch, length});
  if (x.dim() == 4 || n.attribute("num_heads")) return {rotated(n, x, n.in(2), n.in(3), at)};
  // The cache says how long a head is.
  const int64_t size = n.in(2).dim() == 2 ? 2 * int64_t(n.in(2).size(1)) : 0;
  n.need(size > 0 && x.size(2) % size == 0, "shapes ", x.shape(), " and ", n.in(2).shape());
  const Tensor y = rotated(n, by_heads(n, x, x.size(2) / size, "num_heads"), n.in(2), n.in(3), at);
  return {reshape(transpose(y, 1, 2), x.shape())};
}

}  // namespace

void add_microsoft_imports(OnnxImports& t) {
  t.insert({{"com.microsoft.FusedMatMul", fused_product},
            {"com.microsoft.Gelu", gelu_},
            {"com.microsoft.BiasGelu", bias_gelu},
            {"com.microsoft.FastGelu", fast_gelu},
            {"com.microsoft.QuickGelu", quick_gelu},
            {"com.microsoft.SkipLayerNormalization", skip_layer_norm},
            {"com.microsoft.SkipSimplifiedLayerNormalization", skip_simplified_layer_norm},
            {"SimplifiedLayerNormalization", simplified_layer_norm},
            {"com.microsoft.SimplifiedLayerNormalization", simplified_layer_norm},
            {"com.microsoft.EmbedLayerNormalization", embed_layer_norm},
            {"com.microsoft.Attention", attention},
            {"com.microsoft.MultiHeadAttention", multi_head_attention},
            {"com.microsoft.RotaryEmbedding", rotary}});
}

}  // namespace tandem::detail
