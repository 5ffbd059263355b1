// Convolutions, pooling, normalisation, attention and recurrent layers as ONNX operators.
#include <cmath>
#include <limits>

#include "tandem/io/detail/onnx_export.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/conv.h"
#include "tandem/ops/norm.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/recurrent.h"
#include "tandem/ops/softmax.h"

namespace tandem::detail {
namespace {

using E = OnnxExporter;
using onnx::Attribute;
using Names = E::Names;
using Ints = std::vector<int64_t>;

/// One number for all axes, or one each.
Ints per_axis(const Shape& s, int n) {
  Ints all;
  for (int i = 0; i < n; ++i) all.push_back(s[s.size() == 1 ? 0 : i]);
  return all;
}
/// The same padding at both ends.
Ints both_ends(const Shape& padding, int n) {
  Ints all = per_axis(padding, n);
  for (int i = 0; i < n; ++i) all.push_back(all[size_t(i)]);
  return all;
}
Ints kernel_of(const Shape& weight) { return {weight.begin() + 2, weight.end()}; }

template <class O>
E::Attributes windows(const O& op, const Shape& weight, int n) {
  return {Attribute::of("kernel_shape", kernel_of(weight)),
          Attribute::of("strides", per_axis(op.stride, n)),
          Attribute::of("pads", both_ends(op.padding, n)),
          Attribute::of("dilations", per_axis(op.dilation, n)), Attribute::of("group", op.groups)};
}
template <class O>
bool conv(E& e, const O& op) {
  const int n = e.rank(1) - 2;
  const DType d = e.out().dtype;
  if (e.rank(0) != n + 2 || !is_floating(d)) return false;
  return e.result("Conv", {e.in(0, d), e.in(1, d), e.in(2, d)}, windows(op, e.spec(1).shape, n));
}
bool conv_transpose(E& e, const ConvTranspose2d& op) {
  const DType d = e.out().dtype;
  if (e.rank(0) != 4 || !is_floating(d)) return false;
  const Ints extra = per_axis(op.output_padding, 2), stride = per_axis(op.stride, 2);
  if (extra[0] >= stride[0] || extra[1] >= stride[1]) return false;  // runtimes refuse it
  E::Attributes attributes = windows(op, e.spec(1).shape, 2);
  attributes.push_back(Attribute::of("output_padding", per_axis(op.output_padding, 2)));
  return e.result("ConvTranspose", {e.in(0, d), e.in(1, d), e.in(2, d)}, std::move(attributes));
}

template <class O>
E::Attributes pooling(const O& op) {
  return {Attribute::of("kernel_shape", per_axis(op.kernel_size, 2)),
          Attribute::of("strides", per_axis(op.stride.empty() ? op.kernel_size : op.stride, 2)),
          Attribute::of("pads", both_ends(op.padding, 2)),
          Attribute::of("ceil_mode", int64_t(op.ceil_mode))};
}
bool max_pool(E& e, const MaxPool2d& op) {
  if (e.rank(0) != 4 || e.used(1) || !is_floating(e.dtype(0))) return false;
  E::Attributes attributes = pooling(op);
  attributes.push_back(Attribute::of("dilations", per_axis(op.dilation, 2)));
  return e.result("MaxPool", {e.in(0)}, std::move(attributes));
}
bool avg_pool(E& e, const AvgPool2d& op) {
  // Runtimes disagree about the divisor of windows that ceil_mode lets hang over.
  if (e.rank(0) != 4 || op.divisor_override || op.ceil_mode || !is_floating(e.dtype(0)))
    return false;
  E::Attributes attributes = pooling(op);
  attributes.push_back(Attribute::of("count_include_pad", int64_t(op.count_include_pad)));
  return e.result("AveragePool", {e.in(0)}, std::move(attributes));
}
bool adaptive_avg_pool(E& e, const AdaptiveAvgPool2d&) {
  if (e.rank(0) != 4 || !is_floating(e.dtype(0))) return false;
  const Shape &x = e.spec(0).shape, &y = e.out().shape;
  if (y[2] == 1 && y[3] == 1) return e.result("GlobalAveragePool", {e.in(0)});
  if (e.open({x[2], x[3], y[2], y[3]}) || y[2] == 0 || y[3] == 0) return false;
  if (x[2] % y[2] || x[3] % y[3]) return false;
  const Ints size{x[2] / y[2], x[3] / y[3]};
  return e.result("AveragePool", {e.in(0)},
                  {Attribute::of("kernel_shape", size), Attribute::of("strides", size)});
}

// --- Normalisation --------------------------------------------------------------------------

std::string or_filled(E& e, int i, double value, int64_t n, DType d) {
  return e.has(i) ? e.in(i, d) : e.filled(value, n, d);
}
/// (x - mean) / sqrt(variance + eps) * weight + bias; "" is none.
std::string normalized(E& e, const std::string& centered, const std::string& variance, double eps,
                       const std::string& weight, const std::string& bias) {
  const std::string deviation =
      e.emit("Sqrt", {e.emit("Add", {variance, e.scalar(eps, e.out().dtype)})});
  std::string y = e.emit("Div", {centered, deviation});
  if (!weight.empty()) y = e.emit("Mul", {y, weight});
  return bias.empty() ? y : e.emit("Add", {y, bias});
}
/// Over the axes, which stay with length 1.
std::string mean_over(E& e, const std::string& x, const Ints& axes) {
  return e.emit("ReduceMean", {x}, {Attribute::of("axes", axes), Attribute::of("keepdims", 1)});
}
/// Normalised by its own mean and variance over the axes.
std::string normalized_by_itself(E& e, const std::string& x, const Ints& axes, double eps,
                                 const std::string& weight, const std::string& bias) {
  const std::string centered = e.emit("Sub", {x, mean_over(e, x, axes)});
  const std::string variance = mean_over(e, e.emit("Mul", {centered, centered}), axes);
  return normalized(e, centered, variance, eps, weight, bias);
}
bool batch_norm_(E& e, const BatchNorm& op) {
  const DType d = e.out().dtype;
  if (op.training || e.used(1) || e.used(2) || !e.has(3) || !e.has(4) || !is_floating(d) ||
      e.rank(0) < 2)
    return false;
  const int64_t channels = e.spec(0).shape[1];
  if (!is_exact(op.eps, d)) {
    Shape column{channels};
    for (int i = 2; i < e.rank(0); ++i) column.push_back(1);
    std::string in[5];
    for (int i = 1; i < 5; ++i)
      if (e.has(i)) in[i] = e.reshape(e.in(i, d), column);
    const std::string centered = e.emit("Sub", {e.in(0), in[3]});
    return e.result("Identity", {normalized(e, centered, in[4], op.eps, in[1], in[2])});
  }
  return e.result("BatchNormalization",
                  {e.in(0), or_filled(e, 1, 1, channels, d), or_filled(e, 2, 0, channels, d),
                   e.in(3, d), e.in(4, d)},
                  {Attribute::of("epsilon", float(op.eps))});
}
bool layer_norm_(E& e, const LayerNorm& op) {
  const DType d = e.out().dtype;
  if (!is_floating(d)) return false;
  std::string weight = e.has(1) ? e.in(1, d) : "", bias = e.has(2) ? e.in(2, d) : "";
  if (!is_exact(op.eps, d)) {
    Ints axes;
    for (int i = 0; i < op.normalized_shape.size(); ++i) axes.push_back(-1 - i);
    return e.result("Identity", {normalized_by_itself(e, e.in(0), axes, op.eps, weight, bias)});
  }
  if (weight.empty()) {
    int64_t n = 1;
    for (int64_t length : op.normalized_shape) n *= length;
    weight = e.filled(1, n, d);
    if (op.normalized_shape.size() > 1) weight = e.reshape(weight, op.normalized_shape);
  }
  return e.result("LayerNormalization", {e.in(0), weight, bias},
                  {Attribute::of("axis", -int64_t(op.normalized_shape.size())),
                   Attribute::of("epsilon", float(op.eps))});
}
bool group_norm_(E& e, const GroupNorm& op) {
  const DType d = e.out().dtype;
  const Shape& s = e.spec(0).shape;
  if (!is_floating(d) || s.size() < 3 || must_equal(s.numel(), 0)) return false;
  Length rest = s[1] / op.num_groups;
  for (int i = 2; i < s.size(); ++i) rest *= s[i];
  const std::vector<Attribute> zeros{Attribute::of("allowzero", 1)};  // a length of 0 is one
  const std::string groups =
      e.emit("Reshape", {e.in(0), e.shape({s[0], op.num_groups, rest})}, zeros);
  const std::string flat =
      is_exact(op.eps, d)
          ? e.emit("InstanceNormalization",
                   {groups, e.filled(1, op.num_groups, d), e.filled(0, op.num_groups, d)},
                   {Attribute::of("epsilon", float(op.eps))})
          : normalized_by_itself(e, groups, {-1}, op.eps, "", "");
  const Names back{flat, e.shape(s)};
  if (!e.has(1) && !e.has(2)) return e.result("Reshape", back, zeros);
  std::string y = e.emit("Reshape", back, zeros);
  Shape column{s[1]};
  for (int i = 2; i < s.size(); ++i) column.push_back(1);
  if (e.has(1) && !e.has(2)) return e.result("Mul", {y, e.reshape(e.in(1, d), column)});
  if (e.has(1)) y = e.emit("Mul", {y, e.reshape(e.in(1, d), column)});
  return e.result("Add", {y, e.reshape(e.in(2, d), column)});
}
template <class O>
bool softmax_(E& e, const O& op) {
  const DType d = e.out().dtype;
  return e.rank(0) > 0 && is_floating(d) &&
         e.result(std::string(O::onnx.op), {e.in(0, d)}, {Attribute::of("axis", op.axis)});
}

// --- Attention ------------------------------------------------------------------------------

bool attention(E& e, const ScaledDotProductAttention& op) {
  const DType own = e.out().dtype;
  if (e.used(1) || !is_floating(own) || e.rank(0) < 2) return false;
  // As the record: scores of 16 bits overflow, and large ones decide by digits that they lack.
  const DType d = own == f64 ? f64 : f32;
  const Shape &q = e.spec(0).shape, &k = e.spec(1).shape;
  const int n = q.size();
  const Number scale = op.scale ? *op.scale : 1.0 / sqrt(q[n - 1]);
  Ints axes;
  for (int i = 0; i < k.size(); ++i) axes.push_back(i);
  std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
  std::string scores = e.emit(
      "MatMul", {e.emit("Mul", {e.in(0, d), e.scalar(scale, d)}), e.transpose(e.in(1, d), axes)});
  std::string seen;  // true where a query may look
  if (op.is_causal) {
    const std::string ones =
        e.emit("Expand", {e.scalar(1, i64), e.shape({q[n - 2], k[k.size() - 2]})});
    seen = e.cast(e.emit("Trilu", {ones}, {Attribute::of("upper", 0)}), i64, boolean);
  } else if (e.has(3) && e.dtype(3) == boolean) {
    seen = e.in(3);
  } else if (e.has(3)) {
    scores = e.emit("Add", {scores, e.in(3, d)});
  }
  if (!seen.empty())
    scores = e.emit("Where", {seen, scores, e.scalar(-std::numeric_limits<double>::infinity(), d)});
  std::string weights = e.emit("Softmax", {scores}, {Attribute::of("axis", -1)});
  // A query that may look nowhere gets zeros, where the softmax is not a number.
  // A whole mask says which; otherwise scores of -infinity alone do.
  if (!seen.empty() && !op.is_causal && !op.nan_rows) {
    weights = e.emit("Where", {seen, weights, e.scalar(0, d)});
  } else if ((e.has(3) || op.is_causal) && !op.nan_rows) {
    const std::string most = e.emit(
        "ReduceMax", {scores}, {Attribute::of("axes", Ints{-1}), Attribute::of("keepdims", 1)});
    const std::string none =
        e.emit("Equal", {most, e.scalar(-std::numeric_limits<double>::infinity(), d)});
    weights = e.emit("Where", {none, e.scalar(0, d), weights});
  }
  if (own == d) return e.result("MatMul", {weights, e.in(2, d)});
  return e.result("Cast", {e.emit("MatMul", {weights, e.in(2, d)})},
                  {Attribute::of("to", int32_t(onnx::to_element_type(own)))});
}

// --- Recurrent layers -----------------------------------------------------------------------

/// The rows of a weight or bias, one part a gate, in ONNX's order of gates, with the leading axis
/// of ONNX's directions.
std::string gates(E& e, const std::string& x, const Ints& order, int64_t hidden) {
  Names parts;
  for (int64_t g : order)
    parts.push_back(order.size() == 1 ? x
                                      : e.emit("Slice", {x, e.ints({g * hidden}),
                                                         e.ints({(g + 1) * hidden}), e.ints({0})}));
  const std::string all =
      parts.size() == 1 ? x : e.emit("Concat", parts, {Attribute::of("axis", 0)});
  return e.emit("Unsqueeze", {all, e.ints({0})});
}

/// X, W, R, B, sequence_lens and initial states of layers whose weights begin at input `w`.
Names recurrent_inputs(E& e, int w, const Ints& order) {
  const DType d = e.out().dtype;
  const int64_t hidden = e.spec(1).shape[1], rows = e.spec(w).shape[0];
  Names in{e.in(0, d), gates(e, e.in(w, d), order, hidden),
           gates(e, e.in(w + 1, d), order, hidden)};
  if (e.has(w + 2) || e.has(w + 3))
    in.push_back(e.emit("Concat",
                        {gates(e, or_filled(e, w + 2, 0, rows, d), order, hidden),
                         gates(e, or_filled(e, w + 3, 0, rows, d), order, hidden)},
                        {Attribute::of("axis", 1)}));
  else in.push_back("");
  in.push_back("");
  for (int i = 1; i < w; ++i) in.push_back(e.emit("Unsqueeze", {e.in(i, d), e.ints({0})}));
  return in;
}

/// Y [T, D, N, H] without D for output 0, Y_h (and Y_c) [D, N, H] likewise.
bool recurrent(E& e, const char* op, int states, const Names& in, E::Attributes attributes,
               bool reverse) {
  attributes.push_back(Attribute::of("hidden_size", int64_t(e.spec(1).shape[1])));
  attributes.push_back(Attribute::of("direction", std::string(reverse ? "reverse" : "forward")));
  return e.recurrent(op, in, std::move(attributes), states);
}
bool unused_steps(E& e, int first, int last) {
  for (int i = first; i < last; ++i)
    if (e.used(i)) return false;
  // ONNX's operators have at least one unit, and are not clear about no steps.
  if (must_equal(e.spec(1).shape[1], 0) || must_equal(e.spec(0).shape[0], 0)) return false;
  return e.out().dtype == f32 || e.out().dtype == f64;
}
bool rnn_(E& e, const Rnn& op) {
  if (!unused_steps(e, 2, 3)) return false;
  const std::vector<std::string> act{op.nonlinearity == "tanh" ? "Tanh" : "Relu"};
  return recurrent(e, "RNN", 1, recurrent_inputs(e, 2, {0}), {Attribute::of("activations", act)},
                   op.reverse);
}
bool lstm_(E& e, const Lstm& op) {
  return unused_steps(e, 3, 5) &&
         recurrent(e, "LSTM", 2, recurrent_inputs(e, 3, {0, 3, 1, 2}), {}, op.reverse);
}
bool gru_(E& e, const Gru& op) {
  return unused_steps(e, 2, 3) && recurrent(e, "GRU", 1, recurrent_inputs(e, 2, {1, 0, 2}),
                                            {Attribute::of("linear_before_reset", 1)}, op.reverse);
}

}  // namespace

void add_layer_rules(OnnxRules& r) {
  r.add<Conv1d>(conv), r.add<Conv2d>(conv), r.add<ConvTranspose2d>(conv_transpose);
  r.add<MaxPool2d>(max_pool), r.add<AvgPool2d>(avg_pool);
  r.add<AdaptiveAvgPool2d>(adaptive_avg_pool);
  r.add<BatchNorm>(batch_norm_), r.add<LayerNorm>(layer_norm_), r.add<GroupNorm>(group_norm_);
  r.add<Softmax>(softmax_), r.add<LogSoftmax>(softmax_);
  r.add<ScaledDotProductAttention>(attention);
  r.add<Rnn>(rnn_), r.add<Lstm>(lstm_), r.add<Gru>(gru_);
}

}  // namespace tandem::detail
