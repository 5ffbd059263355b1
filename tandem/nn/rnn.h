#pragma once
#include "tandem/core/by_name.h"
#include "tandem/nn/module.h"
#include "tandem/ops/recurrent.h"

namespace tandem::nn {

struct RNNOptions {
  ByName by_name = ByName();
  int64_t num_layers = 1;
  std::string nonlinearity = "tanh";  ///< or "relu"; nn::RNN only
  bool bias = true;
  bool batch_first = false;  ///< x is [N, T, I] instead of [T, N, I]
  double dropout = 0;        ///< between layers, while training
  bool bidirectional = false;
};

/// What RNN, LSTM and GRU have in common. Parameters are weight_ih_l0 [G H, I], weight_hh_l0
/// [G H, H], bias_ih_l0, bias_hh_l0 [G H], then _l1, and with _reverse behind for the way back; all
/// start as U(-k, k), k = 1 / sqrt(hidden_size).
template <class Self>
struct Recurrent : Module<Self> {
  int64_t input_size, hidden_size, num_layers;
  bool bias, batch_first;
  double dropout;
  bool bidirectional;
  ParameterDict weights;

  static constexpr auto fields = std::tuple{field("input_size", &Recurrent::input_size),
                                            field("hidden_size", &Recurrent::hidden_size),
                                            field("num_layers", &Recurrent::num_layers),
                                            field("bias", &Recurrent::bias),
                                            field("batch_first", &Recurrent::batch_first),
                                            field("dropout", &Recurrent::dropout),
                                            field("bidirectional", &Recurrent::bidirectional),
                                            field("", &Recurrent::weights)};

 protected:
  Recurrent(int64_t input_size, int64_t hidden_size, const RNNOptions& o);
  std::vector<Tensor> params() const;
  RecurrentOptions options() const {
    return {.num_layers = num_layers,
            .bidirectional = bidirectional,
            .batch_first = batch_first,
            .dropout = dropout,
            .training = this->is_training()};
  }
};

/// Elman's recurrent net over a sequence: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh). Takes
/// x [T, N, I] and h0 [layers D, N, H] (zeros when left out), gives output [T, N, D H] and h_n.
struct TANDEM_API RNN : Recurrent<RNN> {
  std::string nonlinearity;
  RNN(int64_t input_size, int64_t hidden_size, RNNOptions options = {});
  static constexpr auto fields =
      std::tuple_cat(Recurrent::fields, std::tuple{field("nonlinearity", &RNN::nonlinearity)});
  RnnResult forward(const Tensor& x, const Tensor& h0 = {}) const;
};

/// Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gate; gates in the order
/// i, f, g, o. Takes x, h0 and c0, gives output, h_n and c_n; shapes as for RNN.
struct TANDEM_API LSTM : Recurrent<LSTM> {
  LSTM(int64_t input_size, int64_t hidden_size, RNNOptions options = {});
  LstmResult forward(const Tensor& x, const Tensor& h0 = {}, const Tensor& c0 = {}) const;
};

/// Gated recurrent unit (Cho et al. 2014), gates in the order r, z, n, with the reset gate behind
/// the recurrent product; shapes as for RNN.
struct TANDEM_API GRU : Recurrent<GRU> {
  GRU(int64_t input_size, int64_t hidden_size, RNNOptions options = {});
  RnnResult forward(const Tensor& x, const Tensor& h0 = {}) const;
};

}  // namespace tandem::nn
