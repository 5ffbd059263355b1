// ONNX's attention and what stands around it, as records.
#include <cmath>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/graph/control_flow.h"
#include "tandem/io/detail/onnx_attention.h"
#include "tandem/op/recorder.h"
#include "tandem/ops/add.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/div.h"
#include "tandem/ops/exp.h"
#include "tandem/ops/flip.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/logical.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/silu.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sum.h"
#include "tandem/ops/tanh.h"
#include "tandem/ops/where.h"

namespace tandem::detail {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

Tensor by_heads(I& n, const Tensor& x, int64_t heads, std::string_view name) {
  n.need(heads > 0 && x.dim() == 3 && x.size(2) % heads == 0, name, "=", heads, " for shape ",
         x.shape());
  return transpose(reshape(x, {x.size(0), x.size(1), heads, x.size(2) / heads}), 1, 2);
}

namespace {

/// Each head of k and v serves a group of q's: [b, heads, l, e] as [b, kv_heads, group, l, e].
Tensor grouped(const Tensor& x, int64_t kv_heads) {
  return reshape(x, {x.size(0), kv_heads, x.size(1) / kv_heads, x.size(2), x.size(3)});
}
Tensor ungrouped(const Tensor& x) {
  return reshape(x, {x.size(0), x.size(1) * x.size(2), x.size(3), x.size(4)});
}

/// True where a key is seen: the mask that the file gives as bools, or a number to add.
struct Mask {
  Tensor seen, bias;
  void hide(const Tensor& more) { seen = seen.defined() ? logical_and(seen, more) : more; }
  /// One tensor that `scaled_dot_product_attention` takes.
  Tensor joined(DType dtype) const {
    if (!bias.defined() || !seen.defined()) return seen.defined() ? seen : bias;
    return where(seen, bias, full({}, -std::numeric_limits<double>::infinity(), dtype));
  }
};

/// A mask of up to four axes as [b, kv_heads or 1, group or 1, l, s].
Tensor grouped_mask(I& n, Tensor m, int64_t kv_heads) {
  n.need(m.dim() >= 1 && m.dim() <= 4, "a mask of shape ", m.shape());
  while (m.dim() < 4) m = unsqueeze(m, 0);
  return m.size(1) == 1 ? unsqueeze(m, 2) : grouped(m, kv_heads);
}

Tensors attention(I& n) {
  Tensor q = n.in(0), k = n.in(1), v = n.in(2);
  const bool flat = q.dim() == 3;
  n.need((flat || q.dim() == 4) && k.dim() == q.dim() && v.dim() == q.dim(), "shapes ", q.shape(),
         ", ", k.shape(), " and ", v.shape());
  if (flat) {
    const int64_t heads = n.integer("kv_num_heads", 0);
    q = by_heads(n, q, n.integer("q_num_heads", 0), "q_num_heads");
    k = by_heads(n, k, heads, "kv_num_heads");
    v = by_heads(n, v, heads, "kv_num_heads");
  }
  int64_t past = 0;
  n.need(n.has(4) == n.has(5), "past_key and past_value come together");
  if (n.has(4)) {
    past = n.in(4).size(2);
    k = cat({n.in(4), k}, 2);
    v = cat({n.in(5), v}, 2);
  }
  const int64_t heads = k.size(1), l = q.size(2), s = k.size(2);
  n.need(heads > 0 && q.size(1) % heads == 0 && v.size(1) == heads, "heads of shapes ", q.shape(),
         ", ", k.shape(), " and ", v.shape());
  Mask mask;
  if (n.has(3)) {
    Tensor given = n.in(3);
    const bool flags = given.dtype() == boolean;
    n.need(given.dim() > 0 && given.size(-1) <= s, "a mask of shape ", given.shape(), " for ", s,
           " keys");
    if (given.size(-1) == 1 && s != 1) given = contiguous(given);
    if (const int64_t more = s - given.size(-1); more > 0)
      given = flags ? cast(pad(cast(given, u8), {0, more}), boolean)
                    : pad(given, {0, more}, "constant", -std::numeric_limits<double>::infinity());
    (flags ? mask.seen : mask.bias) = grouped_mask(n, given, heads);
  }
  if (n.flag("is_causal", false))
    mask.hide(reshape(arange(s), {1, s}) <= reshape(arange(past, past + l), {l, 1}));
  if (n.has(6))
    mask.hide(reshape(arange(s), {1, 1, 1, 1, s}) < reshape(n.in(6), {q.size(0), 1, 1, 1, 1}));

  const double scale = n.real("scale", 1 / std::sqrt(double(q.size(3)))),
               cap = n.real("softcap", 0);
  const Tensor q5 = grouped(q, heads), k5 = unsqueeze(k, 2), v5 = unsqueeze(v, 2);
  Tensor y, scores;
  if (cap > 0 || n.wants(3)) {
    const double root = std::sqrt(scale);
    scores = matmul(q5 * root, transpose(k5, 3, 4) * root);
    Tensor biased = cap > 0 ? tanh(scores / cap) * cap : scores;
    const int64_t mode = n.integer("qk_matmul_output_mode", 0);
    if (mode == 1) scores = biased;
    if (mask.bias.defined()) biased = biased + mask.bias;
    if (mask.seen.defined())
      biased = where(mask.seen, biased,
                     full({}, -std::numeric_limits<double>::infinity(), biased.dtype()));
    if (mode == 2) scores = biased;
    const Tensor weights = softmax(biased, -1);
    if (mode == 3) scores = weights;
    y = matmul(weights, v5);
    scores = ungrouped(scores);
  } else {
    const Tensor m = mask.joined(q.dtype());
    y = scaled_dot_product_attention(q5, k5, v5, {.attn_mask = m, .scale = scale});
  }
  y = ungrouped(y);
  if (flat) y = reshape(transpose(y, 1, 2), {y.size(0), l, y.size(1) * y.size(3)});
  return {y, k, v, scores};
}

/// Attention whose scores and weights are changed by graphs of the node.
Tensors flex_attention(I& n) {
  const Tensor q = n.in(0), k = n.in(1), v = n.in(2);
  n.need(q.dim() == 4 && k.dim() == 4 && v.dim() == 4 && k.size(1) > 0 &&
             q.size(1) % k.size(1) == 0 && v.size(1) == k.size(1),
         "shapes ", q.shape(), ", ", k.shape(), " and ", v.shape());
  const int64_t heads = k.size(1);
  const DType precise = n.attribute("softmax_precision")
                            ? dtype_of(n, n.integer("softmax_precision", 1))
                        : q.dtype() == f64 ? f64
                                           : f32;
  const double root = std::sqrt(n.real("scale", 1 / std::sqrt(double(q.size(3)))));
  Tensor scores =
      ungrouped(matmul(grouped(q, heads) * root, unsqueeze(transpose(k, 2, 3), 2) * root));
  scores = cast(scores, precise);
  auto changed = [&](std::string_view name, const Tensor& x) {
    const onnx::Attribute* a = n.attribute(name);
    if (!a) return x;
    n.need(a->type == onnx::Attribute::Type::graph, "attribute ", name, " is no graph");
    const Tensors out = n.run_body(a->graphs.at(0), Tensors{x});
    n.need(out.size() == 1 && out[0].spec() == x.spec(), name, " changes the shape or the dtype");
    return out[0];
  };
  const Tensor weights = changed("prob_mod", softmax(changed("score_mod", scores), -1));
  return {ungrouped(matmul(grouped(cast(weights, q.dtype()), heads), unsqueeze(v, 2)))};
}

// --- Recurrent attention ------------------------------------------------------------------------

/// A matrix a head that remembers keys and values: S = exp(decay) S + k (beta (v - S k)), read by
/// q.
Tensors linear_attention(I& n) {
  const std::string rule = n.text("update_rule", "gated_delta");
  n.need(rule == "linear" || rule == "gated" || rule == "delta" || rule == "gated_delta",
         "update_rule ", rule);
  const bool gated = rule.starts_with("gated"), delta = rule.ends_with("delta");
  const int64_t q_heads = n.integer("q_num_heads", 0), heads = n.integer("kv_num_heads", 0);
  n.need(heads > 0 && q_heads > 0 && q_heads % heads == 0, "q_num_heads=", q_heads,
         " and kv_num_heads=", heads);
  n.need(n.in(0).dim() == 3 && n.in(1).dim() == 3 && n.in(2).dim() == 3, "takes 3 axes");
  n.need(n.has(4) == gated && n.has(5) == delta, "update_rule ", rule,
         " takes other inputs than decay and beta as given");
  const DType dtype = n.in(0).dtype();
  auto heads_of = [&](int i, int64_t count, std::string_view name) {
    return cast(by_heads(n, n.in(i), count, name), f32);
  };
  const Tensor q = heads_of(0, q_heads, "q_num_heads"), k = heads_of(1, heads, "kv_num_heads"),
               v = heads_of(2, heads, "kv_num_heads");
  const int64_t b = q.size(0), steps = q.size(2), dk = k.size(3), dv = v.size(3);
  n.need(q.size(3) == dk && k.size(2) == steps && v.size(2) == steps,
         "shapes of q, k and v differ");
  Tensor decay, beta;  // [b, heads, steps, dk or 1], [b, heads or 1, steps, 1]
  if (gated) {
    n.need(n.in(4).dim() == 3 && (n.in(4).size(2) == heads || n.in(4).size(2) == heads * dk),
           "a decay of shape ", n.in(4).shape());
    decay = exp(heads_of(4, heads, "kv_num_heads"));
  }
  if (delta) {
    n.need(n.in(5).dim() == 3 && (n.in(5).size(2) == heads || n.in(5).size(2) == 1),
           "a beta of shape ", n.in(5).shape());
    beta = heads_of(5, n.in(5).size(2), "kv_num_heads");
  }
  const double given = n.real("scale", 0), scale = given != 0 ? given : 1 / std::sqrt(double(dk));
  const Tensor past = n.in_or_none(3);
  n.need(!past.defined() || past.shape() == Shape{b, heads, dk, dv}, "a state of shape ",
         past.defined() ? past.shape() : Shape());
  Tensor state = past.defined() ? cast(past, f32) : zeros({b, heads, dk, dv});
  constexpr int64_t most_steps = 4096;
  if (steps > most_steps) n.unsupported("more than ", most_steps, " steps");
  std::vector<Tensor> read;
  for (int64_t i = 0; i < steps; ++i) {
    auto at = [&](const Tensor& x) { return select(x, 2, i); };  // [b, heads, size]
    if (gated) state = state * unsqueeze(at(decay), 3);
    Tensor value = unsqueeze(at(v), 2);  // [b, heads, 1, dv]
    const Tensor key = unsqueeze(at(k), 3);
    if (delta) value = unsqueeze(at(beta), 3) * (value - sum(state * key, {2}, true));
    state = state + key * value;
    const Tensor query = reshape(at(q), {b, heads, q_heads / heads, dk});
    read.push_back(reshape(matmul(query, state), {b, q_heads, dv}) * scale);
  }
  const Tensor y = steps ? stack(read, 1) : zeros({b, 0, q_heads, dv});  // [b, steps, heads, dv]
  return {cast(reshape(y, {b, steps, q_heads * dv}), dtype),
          cast(state, past.defined() ? past.dtype() : dtype)};
}

/// A convolution of each channel over what was and is, and what the next call needs of it.
Tensors causal_conv(I& n) {
  const Tensor x = n.in(0), weight = n.in(1);
  n.need(x.dim() == 3 && weight.dim() == 3 && weight.size(0) == x.size(1) && weight.size(1) == 1,
         "shapes ", x.shape(), " and ", weight.shape());
  const std::string act = n.text("activation", "none");
  n.need(act == "none" || act == "silu" || act == "swish", "activation ", act);
  const int64_t before = weight.size(2) - 1;
  const Tensor past = n.has(3) ? n.in(3) : zeros({x.size(0), x.size(1), before}, x.dtype());
  n.need(past.shape() == Shape{x.size(0), x.size(1), before}, "a state of shape ", past.shape());
  const Tensor all = cat({past, x}, 2);
  const Tensor y = conv1d(all, weight, n.in_or_none(2), {.groups = x.size(1)});
  return {act == "none" ? y : silu(y), slice(all, 2, all.size(2) - before, all.size(2))};
}

// --- Places and caches --------------------------------------------------------------------------

}  // namespace

Tensor rotated(I& n, const Tensor& given, const Tensor& cosines, const Tensor& sines,
               const Tensor& index) {
  n.need(given.dim() == 3 || given.dim() == 4, "input 0 has shape ", given.shape());
  Tensor x = given;  // [batch, heads, length, size]
  if (given.dim() == 3) x = by_heads(n, given, n.integer("num_heads", 0), "num_heads");
  const int64_t asked = n.integer("rotary_embedding_dim", 0),
                dim = asked ? asked : int64_t(x.size(3));
  n.need(dim > 0 && dim <= x.size(3) && dim % 2 == 0, "rotary_embedding_dim=", dim, " for shape ",
         given.shape());
  auto angles = [&](Tensor t) {
    if (index.defined()) {
      n.need(t.dim() == 2 && index.dim() == 2, "position_ids of shape ", index.shape(),
             " for a cache of shape ", t.shape());
      t = reshape(index_select(t, 0, reshape(places(index, t.size(0)), {index.numel()})),
                  {index.size(0), index.size(1), t.size(1)});
    }
    n.need(t.dim() == 3 && t.size(2) == dim / 2, "a cache of shape ", t.shape(), " for ", dim,
           " turned numbers");
    return unsqueeze(t, 1);
  };
  const Tensor c = angles(cosines), s = angles(sines);
  const Tensor turned = slice(x, 3, 0, dim), rest = slice(x, 3, dim, x.size(3));
  const bool interleaved = n.flag("interleaved", false);
  const Tensor a = interleaved ? slice(turned, 3, 0, dim, 2) : slice(turned, 3, 0, dim / 2);
  const Tensor b = interleaved ? slice(turned, 3, 1, dim, 2) : slice(turned, 3, dim / 2, dim);
  const Tensor real = c * a - s * b, imaginary = s * a + c * b;
  const Tensor both = interleaved ? reshape(stack({real, imaginary}, 4), turned.shape())
                                  : cat({real, imaginary}, 3);
  const Tensor y = cat({both, rest}, 3);
  return given.dim() == 4 ? y : reshape(transpose(y, 1, 2), given.shape());
}

namespace {

/// Turns pairs of numbers by the angles of their places.
Tensors rotary(I& n) { return {rotated(n, n.in(0), n.in(1), n.in(2), n.in_or_none(3))}; }

/// Writes new rows into a cache, for each of the batch from its own place on.
Tensors tensor_scatter(I& n) {
  const Tensor cache = n.in(0), update = n.in(1);
  const int axis = axis_of(n, n.integer("axis", -2), cache.dim());
  const std::string mode = n.text("mode", "linear");
  n.need(axis > 0 && update.dim() == cache.dim() && update.size(axis) <= cache.size(axis) &&
             (mode == "linear" || mode == "circular"),
         "axis ", axis, " of shapes ", cache.shape(), " and ", update.shape(), ", mode ", mode);
  const int64_t length = update.size(axis), most = cache.size(axis);
  Tensor at = reshape(arange(length), along_axis(cache.dim(), axis, length));
  if (n.has(2)) at = at + reshape(n.in(2), along_axis(cache.dim(), 0, cache.size(0)));
  if (mode == "circular") at = remainder(at, full({}, most, i64));
  return {scatter(cache, axis, contiguous(expand(at, update.shape())), update)};
}

}  // namespace

void add_attention_imports(OnnxImports& t) {
  t.insert({{"Attention", attention},
            {"ai.onnx.preview.FlexAttention", flex_attention},
            {"LinearAttention", linear_attention},
            {"CausalConvWithState", causal_conv},
            {"RotaryEmbedding", rotary},
            {"TensorScatter", tensor_scatter}});
}

}  // namespace tandem::detail
