#include "tandem/nn/rnn.h"

#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/nn/init.h"

namespace tandem::nn {
namespace {

ParameterDict make_weights(int64_t gates, int64_t input, int64_t hidden, const RNNOptions& o) {
  ParameterDict out;
  const double k = hidden > 0 ? 1 / std::sqrt(double(hidden)) : 0;
  const int directions = o.bidirectional ? 2 : 1;
  for (int64_t layer = 0; layer < o.num_layers; ++layer)
    for (int d = 0; d < directions; ++d) {
      auto add = [&](const char* kind, const Shape& shape) {
        out.emplace_back(cat(kind, "_l", layer, d ? "_reverse" : ""),
                         init::uniform_(parameter(empty(shape)), -k, k));
      };
      add("weight_ih", {gates * hidden, layer == 0 ? input : directions * hidden});
      add("weight_hh", {gates * hidden, hidden});
      if (!o.bias) continue;
      add("bias_ih", {gates * hidden});
      add("bias_hh", {gates * hidden});
    }
  return out;
}

template <class M>
constexpr int64_t gates = 1;
template <>
constexpr int64_t gates<LSTM> = 4;
template <>
constexpr int64_t gates<GRU> = 3;

}  // namespace

template <class Self>
Recurrent<Self>::Recurrent(int64_t input_size, int64_t hidden_size, const RNNOptions& o)
    : input_size(input_size),
      hidden_size(hidden_size),
      num_layers(o.num_layers),
      bias(o.bias),
      batch_first(o.batch_first),
      dropout(o.dropout),
      bidirectional(o.bidirectional) {
  const auto name = [this] { return this->type_name(); };
  require(hidden_size > 0, name, "(hidden_size=", hidden_size, "): needs at least one unit");
  require(num_layers > 0, name, "(num_layers=", num_layers, "): needs at least one layer");
  require(dropout >= 0 && dropout <= 1, name, "(dropout=", dropout, "): must be in [0, 1]");
  weights = make_weights(gates<Self>, input_size, hidden_size, o);
}

template <class Self>
std::vector<Tensor> Recurrent<Self>::params() const {
  std::vector<Tensor> out;
  out.reserve(weights.size());
  for (const auto& [name, t] : weights) out.push_back(t);
  return out;
}

RNN::RNN(int64_t input_size, int64_t hidden_size, RNNOptions options)
    : Recurrent(input_size, hidden_size, options), nonlinearity(options.nonlinearity) {
  require(nonlinearity == "tanh" || nonlinearity == "relu", "RNN(nonlinearity=", nonlinearity,
          "): must be tanh or relu");
}
RnnResult RNN::forward(const Tensor& x, const Tensor& h0) const {
  return rnn(x, h0, params(), nonlinearity, options());
}

LSTM::LSTM(int64_t input_size, int64_t hidden_size, RNNOptions options)
    : Recurrent(input_size, hidden_size, options) {}
LstmResult LSTM::forward(const Tensor& x, const Tensor& h0, const Tensor& c0) const {
  return lstm(x, h0, c0, params(), options());
}

GRU::GRU(int64_t input_size, int64_t hidden_size, RNNOptions options)
    : Recurrent(input_size, hidden_size, options) {}
RnnResult GRU::forward(const Tensor& x, const Tensor& h0) const {
  return gru(x, h0, params(), options());
}

}  // namespace tandem::nn
