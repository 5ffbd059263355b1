// Stacks of recurrent layers, their directions, and the samples of the records they run.
#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/cat.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/recurrent.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"

namespace tandem {
namespace {

/// Runs `layer(x, h0, c0, weights, reverse)`, which gives y, h (and c), for every layer and
/// direction. `states` is 1, or 2 with a cell state.
template <class F>
Tensors run_stack(std::string_view name, const Tensor& input, const Tensor& h0, const Tensor& c0,
                  std::span<const Tensor> params, const RecurrentOptions& o, size_t states,
                  const F& layer) {
  const int64_t directions = o.bidirectional ? 2 : 1, total = o.num_layers * directions;
  require(o.num_layers > 0, name, "(): num_layers is ", o.num_layers, ", needs at least 1");
  const int64_t per = total > 0 ? int64_t(params.size()) / total : 0;
  require((per == 2 || per == 4) && per * total == int64_t(params.size()), name,
          "(): ", int64_t(params.size()), " parameters for ", total,
          " layers and directions, needs 2 or 4 for each");
  require<ShapeError>(input.dim() == 2 || input.dim() == 3, name, "(): x has shape ", input.shape(),
                      ", needs 2 or 3 axes");
  const bool single = input.dim() == 2;  // one sequence without a batch axis
  Tensor x = single ? unsqueeze(input, 1) : o.batch_first ? transpose(input, 0, 1) : input;
  const Length hidden = params[1].size(1);
  const Tensor given[] = {h0, c0};
  // A graph's batch may have any length: there the zeros are one, repeated.
  auto no_state = [&](const Shape& shape) {
    return x.is_symbolic() ? expand(zeros({1, 1, 1}, x.dtype(), x.device()), shape)
                           : zeros(shape, x.dtype(), x.device());
  };
  Tensor start[2];
  for (size_t k = 0; k < states; ++k) {
    start[k] = given[k].defined() ? (single ? unsqueeze(given[k], 1) : given[k])
                                  : no_state({total, x.size(1), hidden});
    require<ShapeError>(detail::may_equal(start[k].shape(), Shape{total, x.size(1), hidden}), name,
                        "(): the ", k ? "cell" : "hidden", " state has shape ", start[k].shape(),
                        ", needs [", total, ", ", x.size(1), ", ", hidden, "]");
  }
  std::vector<Tensor> last[2];
  for (int64_t l = 0; l < o.num_layers; ++l) {
    std::vector<Tensor> sides;
    for (int64_t d = 0; d < directions; ++d) {
      const int64_t i = l * directions + d;
      Tensor weights[4];
      for (int64_t k = 0; k < per; ++k) weights[k] = params[size_t(i * per + k)];
      const Tensors r = layer(x, select(start[0], 0, i),
                              states > 1 ? select(start[1], 0, i) : Tensor(), weights, d == 1);
      sides.push_back(r[0]);
      for (size_t k = 0; k < states; ++k) last[k].push_back(r[1 + k]);
    }
    x = directions == 1 ? sides[0] : cat(sides, 2);
    if (o.dropout > 0 && l + 1 < o.num_layers) x = dropout(x, o.dropout, o.training);
  }
  Tensors out{single ? squeeze(x, 1) : o.batch_first ? transpose(x, 0, 1) : x};
  for (size_t k = 0; k < states; ++k) {
    const Tensor all = stack(last[k]);
    out.push_back(single ? squeeze(all, 1) : all);
  }
  return out;
}

}  // namespace

RnnResult rnn(const Tensor& x, const Tensor& h0, std::span<const Tensor> params,
              const std::string& nonlinearity, const RecurrentOptions& options) {
  const Tensors r = run_stack(
      "rnn", x, h0, {}, params, options, 1,
      [&](const Tensor& in, const Tensor& h, const Tensor&, const Tensor* w, bool reverse) {
        return apply_all(Rnn{nonlinearity, reverse}, {in, h, w[0], w[1], w[2], w[3]});
      });
  return {r[0], r[1]};
}

RnnResult gru(const Tensor& x, const Tensor& h0, std::span<const Tensor> params,
              const RecurrentOptions& options) {
  const Tensors r = run_stack(
      "gru", x, h0, {}, params, options, 1,
      [&](const Tensor& in, const Tensor& h, const Tensor&, const Tensor* w, bool reverse) {
        return apply_all(Gru{reverse}, {in, h, w[0], w[1], w[2], w[3]});
      });
  return {r[0], r[1]};
}

LstmResult lstm(const Tensor& x, const Tensor& h0, const Tensor& c0, std::span<const Tensor> params,
                const RecurrentOptions& options) {
  const Tensors r = run_stack(
      "lstm", x, h0, c0, params, options, 2,
      [&](const Tensor& in, const Tensor& h, const Tensor& c, const Tensor* w, bool reverse) {
        return apply_all(Lstm{reverse}, {in, h, c, w[0], w[1], w[2], w[3]});
      });
  return {r[0], r[1], r[2]};
}

// Steps 3, batch 2, input 4, hidden 3. The gradient records are reached through these.
Samples<Rnn> Rnn::samples() {
  using namespace sample;
  const InputSpec x({3, 2, 4}), h({2, 3}), wi({3, 4}), wh({3, 3}), b(Shape{3});
  return {.ok = {{{}, {x, h, wi, wh, b, b}},
                 {{.nonlinearity = "tanh", .reverse = true}, {x, h, wi, wh}},
                 {{.nonlinearity = "relu"}, {x, h, wi, wh, b, b}},
                 {{}, {{{0, 2, 4}}, h, wi, wh, b, b}},
                 {{}, {{{2, 1, 3}}, {{1, 0}}, {{0, 3}}, {{0, 0}}}}},
          .errors = {{{},
                      {{{3, 4}}, h, wi, wh},
                      "rnn(nonlinearity=tanh, reverse=false): x has shape [3, 4], needs [steps, "
                      "batch, input]"},
                     {{.nonlinearity = "sin"},
                      {x, h, wi, wh},
                      "rnn(nonlinearity=sin, reverse=false): nonlinearity is \"sin\", needs "
                      "\"tanh\" or \"relu\""}}};
}

Samples<Lstm> Lstm::samples() {
  using namespace sample;
  const InputSpec x({3, 2, 4}), h({2, 3}), wi({12, 4}), wh({12, 3}), b(Shape{12});
  return {.ok = {{{}, {x, h, h, wi, wh, b, b}},
                 {{.reverse = true}, {strided({3, 2, 4}), h, h, wi, strided({12, 3})}},
                 {{}, {{{0, 2, 4}}, h, h, wi, wh, b, b}}},
          .errors = {{{},
                      {x, h, h, {{8, 4}}, wh},
                      "lstm(reverse=false): w_ih has shape [8, 4], needs [12, 4]"}}};
}

Samples<Gru> Gru::samples() {
  using namespace sample;
  const InputSpec x({3, 2, 4}), h({2, 3}), wi({9, 4}), wh({9, 3}), b(Shape{9});
  return {.ok = {{{}, {x, h, wi, wh, b, b}},
                 {{.reverse = true}, {x, h, wi, wh}},
                 {{}, {{{0, 2, 4}}, h, wi, wh, b, b}},
                 {{}, {{{2, 1, 3}}, {{1, 0}}, {{0, 3}}, {{0, 0}}}}},
          .errors = {{{},
                      {x, {{3, 3}}, wi, wh},
                      "gru(reverse=false): h0 has shape [3, 3], needs [2, hidden] for x of shape "
                      "[3, 2, 4]"}}};
}

// Values that a forward pass kept (y, gates, cells) are consistent with the inputs only when they
// come from one; with free values the kernels still give a definite function of them.
Samples<RnnGrad> RnnGrad::samples() {
  const InputSpec x({3, 2, 4}), h({2, 3}), wi({3, 4}), wh({3, 3}), b(Shape{3}), y({3, 2, 3});
  return {.ok = {{{}, {x, h, wi, wh, b, b, y, y, y, h}, false}}, .errors = {}};
}
Samples<LstmGrad> LstmGrad::samples() {
  const InputSpec x({3, 2, 4}), h({2, 3}), wi({12, 4}), wh({12, 3}), b(Shape{12}), y({3, 2, 3});
  return {.ok = {{{}, {x, h, h, wi, wh, b, b, y, {{3, 2, 12}}, y, y, h, h}, false}}, .errors = {}};
}
Samples<GruGrad> GruGrad::samples() {
  const InputSpec x({3, 2, 4}), h({2, 3}), wi({9, 4}), wh({9, 3}), b(Shape{9}), y({3, 2, 3});
  return {.ok = {{{}, {x, h, wi, wh, b, b, y, {{3, 2, 12}}, y, h}, false}}, .errors = {}};
}

}  // namespace tandem
