// ONNX's RNN, LSTM and GRU as records, or step by step where no record has what they ask for.
#include <algorithm>
#include <cctype>
#include <limits>

#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_quantized.h"
#include "tandem/ops/abs.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/clamp.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/elu.h"
#include "tandem/ops/gather.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/recurrent.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softplus.h"
#include "tandem/ops/tanh.h"
#include "tandem/ops/where.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;
constexpr int64_t most_steps = 10'000;

// --- Activations --------------------------------------------------------------------------------

/// One of the activations that a node names, with its numbers.
struct Activation {
  std::string name;
  float alpha = 0, beta = 0;

  Tensor operator()(const Tensor& x) const {
    if (name == "sigmoid") return sigmoid(x);
    if (name == "tanh") return tanh(x);
    if (name == "relu") return relu(x);
    if (name == "affine") return x * double(alpha) + double(beta);
    if (name == "leakyrelu") return leaky_relu(x, alpha);
    if (name == "thresholdedrelu") return where(x >= double(alpha), x, full({}, 0, x.dtype()));
    if (name == "scaledtanh") return tanh(x * double(beta)) * double(alpha);
    if (name == "hardsigmoid") return clamp(x * double(alpha) + double(beta), 0.0, 1.0);
    if (name == "elu") return elu(x, alpha);
    if (name == "softsign") return x / (abs(x) + 1.0);
    return softplus(x);
  }
};

std::string lowered(std::string s) {
  for (char& c : s) c = char(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

/// Those of every direction, `usual` when the node names none.
std::vector<Activation> activations(I& n, const std::vector<std::string>& usual,
                                    int64_t directions) {
  struct Known {
    std::string_view name;
    bool has_alpha, has_beta;
    float alpha, beta;
  };
  constexpr Known known[] = {
      {"sigmoid", false, false, 0, 0},      {"tanh", false, false, 0, 0},
      {"relu", false, false, 0, 0},         {"affine", true, true, 1, 0},
      {"leakyrelu", true, false, 0.01f, 0}, {"thresholdedrelu", true, false, 1, 0},
      {"scaledtanh", true, true, 1, 1},     {"hardsigmoid", true, true, 0.2f, 0.5f},
      {"elu", true, false, 1, 0},           {"softsign", false, false, 0, 0},
      {"softplus", false, false, 0, 0}};
  std::vector<std::string> names = n.texts("activations");
  if (names.empty())
    for (int64_t d = 0; d < directions; ++d) names.insert(names.end(), usual.begin(), usual.end());
  n.need(names.size() == usual.size() * size_t(directions), names.size(), " activations for ",
         directions, " directions");
  const auto alphas = n.reals("activation_alpha"), betas = n.reals("activation_beta");
  size_t next_alpha = 0, next_beta = 0;
  std::vector<Activation> all;
  for (const std::string& given : names) {
    const std::string name = lowered(given);
    const auto* k = std::find_if(std::begin(known), std::end(known),
                                 [&](const Known& one) { return one.name == name; });
    if (k == std::end(known)) n.unsupported("activation ", given);
    Activation a{name, k->alpha, k->beta};
    if (k->has_alpha && alphas && next_alpha < alphas->size()) a.alpha = (*alphas)[next_alpha++];
    if (k->has_beta && betas && next_beta < betas->size()) a.beta = (*betas)[next_beta++];
    all.push_back(std::move(a));
  }
  return all;
}

// --- One direction ------------------------------------------------------------------------------

/// A matrix [outputs, inputs]: real numbers, or 8-bit integers with a scale and a zero point, one
/// or one an output. What these are multiplied with is stored in 8 bits as well, by its own range.
struct Weight {
  Tensor values, scale, zero;

  Tensor of(I& n, const Tensor& x, const Tensor& bias) const {
    if (!scale.defined()) return linear(x, values, bias);
    const QuantizedTensor q = quantized_by_range(x);
    const Tensor sums = int8_product(n, q.values, transpose(values, 0, 1), q.zero, zero);
    const Tensor y = cast(sums, f32) * (q.scale * scale);
    return bias.defined() ? y + bias : y;
  }
};

/// What one direction of a layer is made of.
struct Layer {
  Tensor x;               ///< [steps, batch, inputs]
  Tensor start[2];        ///< [batch, hidden]
  Weight weight, again;   ///< of x and of the state, gates in ONNX's order
  Tensor wb, rb;          ///< biases, which may be undefined
  Tensor peepholes;       ///< [3 hidden], LSTM only
  Tensor lengths;         ///< i64[batch], where sequences end early
  const Activation* act;  ///< f, g, h
  double clip = std::numeric_limits<double>::infinity();
  bool input_forget = false, linear_before_reset = false;
  bool reverse = false;  ///< from the last step to the first

  int64_t hidden() const { return start[0].size(1); }
  Tensor clipped(const Tensor& t) const {
    return clip < std::numeric_limits<double>::infinity() ? clamp(t, -clip, clip) : t;
  }
  Tensor part(const Tensor& t, int64_t gate, int axis) const {
    return slice(t, axis, gate * hidden(), (gate + 1) * hidden());
  }
  /// Gates in another order.
  Tensor ordered(const Tensor& t, const Ints& order) const {
    if (!t.defined() || order.size() == 1) return t;
    std::vector<Tensor> parts;
    for (int64_t g : order) parts.push_back(part(t, g, 0));
    return cat(parts, 0);
  }
};
/// y [steps, batch, hidden], and the last states.
struct Results {
  Tensor y, last[2];
};

/// Which steps are part of their sequences: [steps, batch, 1].
Tensor inside(const Layer& l) {
  const int64_t steps = l.x.size(0), batch = l.x.size(1);
  return reshape(arange(steps), {steps, 1, 1}) < reshape(l.lengths, {1, batch, 1});
}

/// The states at the end of sequences that end early; the results behind it are nothing.
Results ended(const Layer& l, const Tensor& y, const Tensor* states, int count) {
  Results out{y, {}};
  const int64_t batch = y.size(1), hidden = y.size(2);
  out.y = where(inside(l), y, full({}, 0, y.dtype()));
  const Tensor end = clamp(reshape(l.lengths, {1, batch, 1}) - 1, 0.0);
  const Tensor at = contiguous(expand(end, {1, batch, hidden}));
  const Tensor some = reshape(l.lengths, {batch, 1}) > 0;
  for (int k = 0; k < count; ++k)
    out.last[k] = where(some, select(gather(states[k], 0, at), 0, 0), l.start[k]);
  return out;
}

/// f(x part of the gates, states) gives the next states, step after step.
template <class F>
Results by_steps(I& n, const Layer& l, int states, const F& f) {
  const int64_t steps = l.x.size(0);
  if (steps > most_steps) n.unsupported("more than ", most_steps, " steps");
  n.need(steps > 0, "a sequence of no steps");
  const Tensor gates = l.weight.of(n, l.x, l.wb);
  std::vector<Tensor> all[2];
  Tensor now[2] = {l.start[0], l.start[1]};
  for (int64_t i = 0; i < steps; ++i) {
    f(select(gates, 0, l.reverse ? steps - 1 - i : i), now);
    for (int k = 0; k < states; ++k) all[k].push_back(now[k]);
  }
  if (l.reverse) std::reverse(all[0].begin(), all[0].end());
  Tensor stacked[2];
  for (int k = 0; k < states; ++k) stacked[k] = stack(all[k]);
  if (!l.lengths.defined()) return {stacked[0], {now[0], now[1]}};
  return ended(l, stacked[0], stacked, states);
}

Results rnn_layer(I& n, const Layer& l) {
  const bool usual = l.act[0].name == "tanh" || l.act[0].name == "relu";
  if (usual && l.clip == std::numeric_limits<double>::infinity()) {
    const Tensors out = apply_all(Rnn{l.act[0].name, l.reverse},
                                  {l.x, l.start[0], l.weight.values, l.again.values, l.wb, l.rb});
    if (!l.lengths.defined()) return {out[0], {out[1], {}}};
    return ended(l, out[0], &out[0], 1);
  }
  return by_steps(n, l, 1, [&](const Tensor& gx, Tensor* h) {
    h[0] = l.act[0](l.clipped(gx + l.again.of(n, h[0], l.rb)));
  });
}

/// Gates i, o, f, c in the file; i, f, c, o in the record.
Results lstm_layer(I& n, const Layer& l) {
  const bool usual = l.act[0].name == "sigmoid" && l.act[1].name == "tanh" &&
                     l.act[2].name == "tanh" && !l.peepholes.defined() && !l.input_forget &&
                     !l.weight.scale.defined();
  if (usual && l.clip == std::numeric_limits<double>::infinity()) {
    const Ints order{0, 2, 3, 1};
    const Tensors out =
        apply_all(Lstm{l.reverse}, {l.x, l.start[0], l.start[1], l.ordered(l.weight.values, order),
                                    l.ordered(l.again.values, order), l.ordered(l.wb, order),
                                    l.ordered(l.rb, order)});
    if (!l.lengths.defined()) return {out[0], {out[1], out[2]}};
    const Tensor states[2] = {out[0], out[4]};
    return ended(l, out[0], states, 2);
  }
  auto seen = [&](const Tensor& gate, int64_t which, const Tensor& cell) {
    return l.peepholes.defined() ? gate + l.part(l.peepholes, which, 0) * cell : gate;
  };
  return by_steps(n, l, 2, [&](const Tensor& gx, Tensor* s) {
    const Tensor all = gx + l.again.of(n, s[0], l.rb);
    const Tensor i = l.act[0](l.clipped(seen(l.part(all, 0, 1), 0, s[1])));
    const Tensor f =
        l.input_forget ? 1.0 - i : l.act[0](l.clipped(seen(l.part(all, 2, 1), 2, s[1])));
    const Tensor c = f * s[1] + i * l.act[1](l.clipped(l.part(all, 3, 1)));
    const Tensor o = l.act[0](l.clipped(seen(l.part(all, 1, 1), 1, c)));
    s[0] = o * l.act[2](c);
    s[1] = c;
  });
}

/// Gates z, r, h in the file; r, z, n in the record.
Results gru_layer(I& n, const Layer& l) {
  const bool usual = l.act[0].name == "sigmoid" && l.act[1].name == "tanh";
  if (usual && l.linear_before_reset && l.clip == std::numeric_limits<double>::infinity()) {
    const Ints order{1, 0, 2};
    const Tensors out =
        apply_all(Gru{l.reverse}, {l.x, l.start[0], l.ordered(l.weight.values, order),
                                   l.ordered(l.again.values, order), l.ordered(l.wb, order),
                                   l.ordered(l.rb, order)});
    if (!l.lengths.defined()) return {out[0], {out[1], {}}};
    return ended(l, out[0], &out[0], 1);
  }
  auto own = [&](const Tensor& h, int64_t gate) {
    return linear(h, l.part(l.again.values, gate, 0),
                  l.rb.defined() ? l.part(l.rb, gate, 0) : Tensor());
  };
  return by_steps(n, l, 1, [&](const Tensor& gx, Tensor* s) {
    const Tensor h = s[0];
    const Tensor z = l.act[0](l.clipped(l.part(gx, 0, 1) + own(h, 0)));
    const Tensor r = l.act[0](l.clipped(l.part(gx, 1, 1) + own(h, 1)));
    const Tensor back = l.linear_before_reset ? r * own(h, 2) : own(r * h, 2);
    const Tensor fresh = l.act[1](l.clipped(l.part(gx, 2, 1) + back));
    s[0] = (1.0 - z) * fresh + z * h;
  });
}

// --- A node -------------------------------------------------------------------------------------

/// Each sequence backwards, as far as it goes.
Tensor backwards(const Tensor& x, const Tensor& lengths) {
  const int64_t steps = x.size(0), batch = x.size(1);
  const Tensor step = reshape(arange(steps), {steps, 1}), length = reshape(lengths, {1, batch});
  const Tensor at = where(step < length, length - 1 - step, step);
  return gather(x, 0, contiguous(expand(reshape(at, {steps, batch, 1}), x.shape())));
}

using RunLayer = Results (*)(I&, const Layer&);

/// A layer with `gates` gates and `states` states; weights [directions, gates hidden, ...].
Tensors recurrent(I& n, int64_t gates, int states, const std::vector<std::string>& usual,
                  const Weight& weight, const Weight& again, RunLayer run) {
  const Tensor &w = weight.values, &r = again.values;
  Tensor x = n.in(0);
  const Tensor b = n.in_or_none(3), peepholes = states == 2 ? n.in_or_none(7) : Tensor();
  n.need(x.dim() == 3 && w.dim() == 3 && r.dim() == 3 && (!b.defined() || b.dim() == 2),
         "X, W and R need 3 axes, B 2");
  const int64_t hidden = r.size(2), directions = w.size(0);
  const std::string direction = n.text("direction", "forward");
  n.need(direction == "forward" || direction == "reverse" || direction == "bidirectional",
         "direction ", direction);
  n.need(hidden > 0 && n.integer("hidden_size", hidden) == hidden,
         "hidden_size=", n.integer("hidden_size", hidden), " for R of shape ", r.shape());
  n.need(directions == (direction == "bidirectional" ? 2 : 1) && w.size(1) == gates * hidden &&
             r.size(1) == gates * hidden && r.size(0) == directions &&
             (!b.defined() || b.shape() == Shape{directions, 2 * gates * hidden}) &&
             (!peepholes.defined() || peepholes.shape() == Shape{directions, 3 * hidden}),
         "W, R and B are not those of ", directions, " directions of ", hidden, " units");
  const bool batch_first = n.flag("layout", false);
  if (batch_first) x = transpose(x, 0, 1);
  n.need(w.size(2) == x.size(2), "X has shape ", n.in(0).shape(), " and W shape ", w.shape());
  const auto act = activations(n, usual, directions);
  std::vector<Tensor> y, last[2];
  for (int64_t d = 0; d < directions; ++d) {
    Layer l;
    l.act = act.data() + size_t(d) * usual.size();
    l.clip = n.attribute("clip") ? n.real("clip", 0) : l.clip;
    n.need(l.clip > 0, "clip=", l.clip);
    l.input_forget = n.flag("input_forget", false);
    l.linear_before_reset = n.flag("linear_before_reset", false);
    if (n.has(4)) {
      n.need(n.in(4).shape() == Shape{x.size(1)}, "sequence_lens of shape ", n.in(4).shape());
      const bool whole =
          !n.in(4).is_symbolic() && n.ints(4) == Ints(size_t(x.size(1)), int64_t(x.size(0)));
      if (!whole) l.lengths = cast(n.in(4), i64);
    }
    for (int k = 0; k < states; ++k) {
      Tensor given = n.in_or_none(5 + k);
      if (given.defined() && batch_first) given = transpose(given, 0, 1);
      n.need(!given.defined() || given.shape() == Shape{directions, x.size(1), hidden},
             "a first state of shape ", given.defined() ? given.shape() : Shape());
      l.start[k] = given.defined() ? select(given, 0, d) : zeros({x.size(1), hidden}, x.dtype());
    }
    auto one = [&](const Weight& of) {
      auto part = [&](const Tensor& t) { return t.defined() ? select(t, 0, d) : t; };
      return Weight{part(of.values), part(of.scale), part(of.zero)};
    };
    l.weight = one(weight);
    l.again = one(again);
    if (b.defined()) {
      const Tensor line = select(b, 0, d);
      l.wb = slice(line, 0, 0, gates * hidden);
      l.rb = slice(line, 0, gates * hidden, 2 * gates * hidden);
    }
    if (peepholes.defined()) l.peepholes = select(peepholes, 0, d);
    const bool reverse = direction == "reverse" || d == 1;
    const bool each = reverse && l.lengths.defined();
    l.reverse = reverse && !each;
    l.x = each ? backwards(x, l.lengths) : x;
    if (l.weight.scale.defined() && l.lengths.defined())  // what is not read widens no range
      l.x = where(inside(l), l.x, full({}, 0, x.dtype()));
    const Results out = run(n, l);
    y.push_back(each ? backwards(out.y, l.lengths) : out.y);
    for (int k = 0; k < states; ++k) last[k].push_back(out.last[k]);
  }
  Tensors all{batch_first ? transpose(stack(y, 2), 0, 1) : stack(y, 1)};
  for (int k = 0; k < states; ++k) all.push_back(stack(last[k], batch_first ? 1 : 0));
  return all;
}

Tensors recurrent(I& n, int64_t gates, int states, const std::vector<std::string>& usual,
                  RunLayer run) {
  return recurrent(n, gates, states, usual, Weight{n.in(1), {}, {}}, Weight{n.in(2), {}, {}}, run);
}
Tensors rnn_(I& n) { return recurrent(n, 1, 1, {"Tanh"}, rnn_layer); }
Tensors lstm_(I& n) { return recurrent(n, 4, 2, {"Sigmoid", "Tanh", "Tanh"}, lstm_layer); }
Tensors gru_(I& n) { return recurrent(n, 3, 1, {"Sigmoid", "Tanh"}, gru_layer); }

/// LSTM with weights of 8 bits, [directions, inputs, gates hidden].
Tensors dynamic_quantize_lstm(I& n) {
  auto weight = [&](int i, int scale) {
    const Tensor w = n.in(i), s = cast(n.in(scale), f32), z = n.in(scale + 1);
    n.need(w.dim() == 3, "input ", i, " has shape ", w.shape());
    for (const Tensor& t : {s, z})
      n.need(t.shape() == Shape{w.size(0)} || t.shape() == Shape{w.size(0), w.size(2)},
             "a scale or zero point of shape ", t.shape(), " for a weight of shape ", w.shape());
    return Weight{transpose(w, 1, 2), s, z};
  };
  return recurrent(n, 4, 2, {"Sigmoid", "Tanh", "Tanh"}, weight(1, 8), weight(2, 10), lstm_layer);
}

}  // namespace

void add_recurrent_imports(OnnxImports& t) {
  t.insert({{"RNN", rnn_},
            {"LSTM", lstm_},
            {"GRU", gru_},
            {"com.microsoft.DynamicQuantizeLSTM", dynamic_quantize_lstm}});
}

}  // namespace tandem::detail
