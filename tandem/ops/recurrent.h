#pragma once
#include <array>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/op/op.h"

namespace tandem {

// Recurrent layers over whole sequences: one layer, one direction a record. Inputs are time-major,
// x [T, N, I]; states h0 (and c0) [N, H]; w_ih [G H, I], w_hh [G H, H], biases [G H], with
// PyTorch's gate orders. Outputs: y [T, N, H], the last h (and c) [N, H], and what the gradient
// needs of each step. `reverse` runs from the last step to the first; y keeps the order of x.
//
// The gradient records give the gradients of all inputs of the forward record at once.

/// h = act(W_ih x + b_ih + W_hh h + b_hh), act tanh or relu.
struct Rnn {
  static constexpr std::string_view name = "rnn";
  static constexpr std::string_view inputs = "x, h0, w_ih, w_hh, b_ih?, b_hh?";
  static constexpr int outputs = 3;
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5}, .out = {0, 2}};

  std::string nonlinearity = "tanh";
  bool reverse = false;
  static constexpr auto fields =
      Fields{field("nonlinearity", &Rnn::nonlinearity), field("reverse", &Rnn::reverse)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Rnn> samples();
};

struct RnnGrad {
  static constexpr std::string_view name = "rnn_grad";
  static constexpr std::string_view inputs =
      "x, h0, w_ih, w_hh, b_ih?, b_hh?, y?, steps?, dy?, dh?";
  static constexpr int outputs = 6;
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5, 8, 9}, .out = {}};

  std::string nonlinearity = "tanh";
  bool reverse = false;
  static constexpr auto fields =
      Fields{field("nonlinearity", &RnnGrad::nonlinearity), field("reverse", &RnnGrad::reverse)};

  std::array<Spec, 6> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<RnnGrad> samples();
};

/// Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gate): gates i, f, g, o;
/// c = f c + i g, h = o tanh(c).
struct Lstm {
  static constexpr std::string_view name = "lstm";
  static constexpr std::string_view inputs = "x, h0, c0, w_ih, w_hh, b_ih?, b_hh?";
  static constexpr int outputs = 5;  // y, h, c, gates [T, N, 4H], cells [T, N, H]
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5, 6}, .out = {0, 3, 4}};

  bool reverse = false;
  static constexpr auto fields = Fields{field("reverse", &Lstm::reverse)};

  std::array<Spec, 5> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Lstm> samples();
};

struct LstmGrad {
  static constexpr std::string_view name = "lstm_grad";
  static constexpr std::string_view inputs =
      "x, h0, c0, w_ih, w_hh, b_ih?, b_hh?, y?, gates?, cells?, dy?, dh?, dc?";
  static constexpr int outputs = 7;
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5, 6, 10, 11, 12}, .out = {}};

  bool reverse = false;
  static constexpr auto fields = Fields{field("reverse", &LstmGrad::reverse)};

  std::array<Spec, 7> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<LstmGrad> samples();
};

/// Gated recurrent unit (Cho et al. 2014, PyTorch's variant): gates r, z, n;
/// n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h = (1 - z) n + z h.
struct Gru {
  static constexpr std::string_view name = "gru";
  static constexpr std::string_view inputs = "x, h0, w_ih, w_hh, b_ih?, b_hh?";
  static constexpr int outputs = 3;  // y, h, steps [T, N, 4H]
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5}, .out = {0, 2}};

  bool reverse = false;
  static constexpr auto fields = Fields{field("reverse", &Gru::reverse)};

  std::array<Spec, 3> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<Gru> samples();
};

struct GruGrad {
  static constexpr std::string_view name = "gru_grad";
  static constexpr std::string_view inputs =
      "x, h0, w_ih, w_hh, b_ih?, b_hh?, y?, steps?, dy?, dh?";
  static constexpr int outputs = 6;
  static constexpr Saves saves{.in = {0, 1, 2, 3, 4, 5, 8, 9}, .out = {}};

  bool reverse = false;
  static constexpr auto fields = Fields{field("reverse", &GruGrad::reverse)};

  std::array<Spec, 6> infer(Specs in) const;
  void cpu(Inputs in, Outputs out) const;
  Tensors vjp(const Saved& s, const Tensors& dy) const;
  static Samples<GruGrad> samples();
};

/// How a stack of recurrent layers is put together; PyTorch's arguments.
struct RecurrentOptions {
  ByName by_name = ByName();
  int64_t num_layers = 1;
  bool bidirectional = false;
  bool batch_first = false;
  double dropout = 0;  ///< between layers, while training
  bool training = false;
};
struct RnnResult {
  Tensor output;  ///< [T, N, D H], or [N, T, D H] when batch_first; without N for one sequence
  Tensor h_n;     ///< [layers D, N, H]
  static constexpr auto fields =
      Fields{field("output", &RnnResult::output), field("h_n", &RnnResult::h_n)};
};
struct LstmResult {
  Tensor output, h_n, c_n;
  static constexpr auto fields =
      Fields{field("output", &LstmResult::output), field("h_n", &LstmResult::h_n),
             field("c_n", &LstmResult::c_n)};
};

/// Stacked, possibly bidirectional layers. `params` holds w_ih, w_hh, b_ih, b_hh (or two, without
/// biases) for every layer and direction, in PyTorch's order. Undefined initial states are zeros.
/// Errors: ShapeError.
TANDEM_API RnnResult rnn(const Tensor& x, const Tensor& h0, std::span<const Tensor> params,
                         const std::string& nonlinearity = "tanh",
                         const RecurrentOptions& options = {});
TANDEM_API RnnResult gru(const Tensor& x, const Tensor& h0, std::span<const Tensor> params,
                         const RecurrentOptions& options = {});
TANDEM_API LstmResult lstm(const Tensor& x, const Tensor& h0, const Tensor& c0,
                           std::span<const Tensor> params, const RecurrentOptions& options = {});

}  // namespace tandem
