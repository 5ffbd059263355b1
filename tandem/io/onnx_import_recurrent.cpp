// ONNX's RNN, LSTM and GRU as records.
#include "tandem/core/factory.h"
#include "tandem/io/detail/onnx_import.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/recurrent.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/tanh.h"

namespace tandem::detail {
namespace {

using I = OnnxImporter;
using Ints = std::vector<int64_t>;

/// One direction's weight or bias with its gates in PyTorch's order.
Tensor gates(const Tensor& x, const Ints& order, int64_t hidden) {
  if (order.size() == 1) return x;
  std::vector<Tensor> parts;
  for (int64_t g : order) parts.push_back(slice(x, 0, g * hidden, (g + 1) * hidden));
  return cat(parts, 0);
}

/// f(x, states, weights, reverse) runs one direction and gives y and the last states.
template <class F>
Tensors recurrent(I& n, const Ints& order, int states, const F& f) {
  Tensor x = n.in(0);
  const Tensor w = n.in(1), r = n.in(2), b = n.in_or_none(3);
  const int64_t g = int64_t(order.size());
  n.need(x.dim() == 3 && w.dim() == 3 && r.dim() == 3 && (!b.defined() || b.dim() == 2),
         "X, W and R need 3 axes, B 2");
  const int64_t hidden = r.size(2), directions = w.size(0);
  const std::string direction = n.text("direction", "forward");
  n.need(directions == (direction == "bidirectional" ? 2 : 1) && w.size(1) == g * hidden &&
             r.size(1) == g * hidden && r.size(0) == directions &&
             (!b.defined() || b.shape() == Shape{directions, 2 * g * hidden}),
         "W, R and B are not those of ", directions, " directions of ", hidden, " units");
  if (n.attribute("clip")) n.unsupported("clip");
  if (n.integer("input_forget", 0)) n.unsupported("input_forget");
  if (states == 2 && n.has(7)) n.unsupported("peepholes");
  const bool batch_first = n.integer("layout", 0);
  if (batch_first) x = transpose(x, 0, 1);
  if (n.has(4))
    for (int64_t length : n.ints(4))
      if (length != x.size(0)) n.unsupported("sequences of different lengths");
  std::vector<Tensor> y, last[2];
  for (int64_t d = 0; d < directions; ++d) {
    Tensor start[2];
    for (int k = 0; k < states; ++k) {
      Tensor given = n.in_or_none(5 + k);
      if (given.defined() && batch_first) given = transpose(given, 0, 1);
      start[k] = given.defined() ? select(given, 0, d) : zeros({x.size(1), hidden}, x.dtype());
    }
    Tensor weights[4] = {
        gates(select(w, 0, d), order, hidden), gates(select(r, 0, d), order, hidden), {}, {}};
    if (b.defined()) {
      const Tensor line = select(b, 0, d);
      weights[2] = gates(slice(line, 0, 0, g * hidden), order, hidden);
      weights[3] = gates(slice(line, 0, g * hidden, 2 * g * hidden), order, hidden);
    }
    const Tensors out = f(x, start, weights, direction == "reverse" || d == 1, d);
    y.push_back(out[0]);
    for (int k = 0; k < states; ++k) last[k].push_back(out[size_t(k) + 1]);
  }
  Tensors all{batch_first ? transpose(stack(y, 2), 0, 1) : stack(y, 1)};
  for (int k = 0; k < states; ++k) all.push_back(stack(last[k], batch_first ? 1 : 0));
  return all;
}

std::vector<std::string> activations(I& n, const std::vector<std::string>& usual) {
  const auto* a = n.attribute("activations");
  if (!a || a->strings.empty()) return usual;
  return a->strings;
}

Tensors rnn_(I& n) {
  const auto act = activations(n, {"Tanh", "Tanh"});
  for (const std::string& a : act)
    if (a != "Tanh" && a != "Relu") n.unsupported("activation ", a);
  return recurrent(n, {0}, 1,
                   [&](const Tensor& x, const Tensor* s, const Tensor* w, bool reverse, int64_t d) {
                     const std::string& a = act[size_t(d) < act.size() ? size_t(d) : 0];
                     return apply_all(Rnn{a == "Tanh" ? "tanh" : "relu", reverse},
                                      {x, s[0], w[0], w[1], w[2], w[3]});
                   });
}
void need_usual(I& n, const std::vector<std::string>& one) {
  const auto act = activations(n, one);
  for (size_t i = 0; i < act.size(); ++i)
    if (act[i] != one[i % one.size()]) n.unsupported("activation ", act[i]);
}
Tensors lstm_(I& n) {
  need_usual(n, {"Sigmoid", "Tanh", "Tanh"});
  return recurrent(n, {0, 2, 3, 1}, 2,
                   [](const Tensor& x, const Tensor* s, const Tensor* w, bool reverse, int64_t) {
                     return apply_all(Lstm{reverse}, {x, s[0], s[1], w[0], w[1], w[2], w[3]});
                   });
}
/// ONNX's own GRU, whose reset gate comes before the product: step by step.
Tensors gru_steps(const Tensor& x, const Tensor& h0, const Tensor* w, bool reverse) {
  const int64_t steps = x.size(0), hidden = h0.size(1);
  Tensor h = h0;
  std::vector<Tensor> y(size_t(steps), h0);
  const Tensor own = w[3].defined() ? w[3] : zeros({3 * hidden}, x.dtype());
  auto part = [&](const Tensor& t, int64_t gate, int axis) {
    return slice(t, axis, gate * hidden, (gate + 1) * hidden);
  };
  for (int64_t i = 0; i < steps; ++i) {
    const int64_t at = reverse ? steps - 1 - i : i;
    const Tensor gx = linear(select(x, 0, at), w[0], w[2]);
    auto gate = [&](int64_t g) {
      return sigmoid(part(gx, g, 1) + linear(h, part(w[1], g, 0), part(own, g, 0)));
    };
    const Tensor r = gate(0), z = gate(1);
    const Tensor fresh = tanh(part(gx, 2, 1) + linear(r * h, part(w[1], 2, 0), part(own, 2, 0)));
    h = (1.0 - z) * fresh + z * h;
    y[size_t(at)] = h;
  }
  return {stack(y), h};
}
Tensors gru_(I& n) {
  need_usual(n, {"Sigmoid", "Tanh"});
  if (!n.integer("linear_before_reset", 0))
    return recurrent(n, {1, 0, 2}, 1,
                     [&](const Tensor& x, const Tensor* s, const Tensor* w, bool reverse, int64_t) {
                       n.need(x.size(0) > 0, "a sequence of no steps");
                       if (x.size(0) > 10'000) n.unsupported("more than 10000 steps");
                       return gru_steps(x, s[0], w, reverse);
                     });
  return recurrent(n, {1, 0, 2}, 1,
                   [](const Tensor& x, const Tensor* s, const Tensor* w, bool reverse, int64_t) {
                     return apply_all(Gru{reverse}, {x, s[0], w[0], w[1], w[2], w[3]});
                   });
}

}  // namespace

void add_recurrent_imports(OnnxImports& t) {
  t.insert({{"RNN", rnn_}, {"LSTM", lstm_}, {"GRU", gru_}});
}

}  // namespace tandem::detail
