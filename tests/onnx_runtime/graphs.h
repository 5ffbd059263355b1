#pragma once
// Graphs to save: models of every kind, and every record of the op table on its own samples.
#include <memory>
#include <string>
#include <vector>

#include "tandem/io/onnx.h"
#include "tandem/op/registry.h"
#include "tandem/tandem.h"
#include "tests/support/inputs.h"

namespace tandem::testing {

struct SavedExample {
  std::string name;
  NamedTensors inputs;
  Tensors expected;
  std::vector<SavedExample> more = {};  ///< further calls of the same file, at other lengths
};

/// What `model` computes for `inputs`.
template <size_t Inputs, class M>
SavedExample call_example(const std::string& name, M& model, std::span<const Tensor> inputs) {
  SavedExample e{name, {}, {}};
  int count = 0;
  for (const Tensor& t : inputs)
    e.inputs.emplace_back(inputs.size() == 1 ? "input" : cat("input", count++), t);
  const NoGrad guard;
  Tensors list;
  for (const Tensor& t : inputs) list.push_back(t);
  auto result = detail::call_with(model, list, std::make_index_sequence<Inputs>{});
  auto keep = [&](auto& leaf) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, Tensor>)
      if (leaf.defined()) e.expected.push_back(leaf);
  };
  detail::each_leaf(result, keep);
  return e;
}

/// Saves `model` for any batch, and gives what it computes for `inputs`.
template <size_t Inputs = 1, class M>
SavedExample save_example(const std::string& folder, const std::string& name, M& model,
                          std::initializer_list<Tensor> inputs, SaveGraphOptions options = {}) {
  model.eval();
  save<Inputs>(model, folder + "/" + name + ".onnx", inputs, std::move(options));
  return call_example<Inputs>(name, model, {inputs.begin(), inputs.size()});
}

/// One file for all inputs, the first of which it is saved with.
template <class M>
SavedExample save_for_lengths(const std::string& folder, const std::string& name, M& model,
                              const Shape& shape, const std::vector<Tensor>& inputs) {
  SavedExample e = save_example(folder, name, model, {inputs[0]}, {.shapes = {shape}});
  for (size_t i = 1; i < inputs.size(); ++i)
    e.more.push_back(call_example<1>(cat(name, ".", i), model, {&inputs[i], 1}));
  return e;
}

struct ConvNet : nn::Module<ConvNet> {
  nn::Conv2d first{3, 8, 3, {.padding = 1}}, second{8, 8, 3, {.stride = 2, .groups = 2}};
  nn::BatchNorm2d norm{8};
  nn::GroupNorm groups{4, 8};
  nn::ConvTranspose2d up{8, 4, 3, {.stride = 2}};
  nn::Linear out{4 * 2 * 2, 5};
  static constexpr auto fields =
      Fields{field("first", &ConvNet::first), field("second", &ConvNet::second),
             field("norm", &ConvNet::norm),   field("groups", &ConvNet::groups),
             field("up", &ConvNet::up),       field("out", &ConvNet::out)};
  Tensor forward(const Tensor& x) const {
    Tensor h = max_pool2d(relu(norm(first(x))), 2, 2);
    h = avg_pool2d(silu(groups(second(h))), 2, {.stride = 1, .padding = 1});
    h = adaptive_avg_pool2d(leaky_relu(up(h)), Shape{2, 2});
    return log_softmax(out(flatten(h, 1)), -1);
  }
};

struct SequenceNet : nn::Module<SequenceNet> {
  nn::Embedding embedding{11, 6};
  nn::LSTM lstm{6, 5, {.num_layers = 2, .batch_first = true, .bidirectional = true}};
  nn::GRU gru{10, 4, {.batch_first = true}};
  nn::RNN rnn{4, 3, {.batch_first = true}};
  static constexpr auto fields =
      Fields{field("embedding", &SequenceNet::embedding), field("lstm", &SequenceNet::lstm),
             field("gru", &SequenceNet::gru), field("rnn", &SequenceNet::rnn)};
  std::vector<Tensor> forward(const Tensor& x) const {
    const LstmResult a = lstm(embedding(x));
    const RnnResult b = gru(a.output);
    const RnnResult c = rnn(b.output);
    return {c.output, c.h_n, b.h_n, a.h_n, a.c_n};
  }
};

struct CausalAttention : nn::Module<CausalAttention> {
  nn::Linear q{8, 8}, k{8, 8}, v{8, 8};
  static constexpr auto fields =
      Fields{field("q", &CausalAttention::q), field("k", &CausalAttention::k),
             field("v", &CausalAttention::v)};
  Tensor forward(const Tensor& x, const Tensor& mask) const {
    const Tensor a = scaled_dot_product_attention(q(x), k(x), v(x), {.is_causal = true});
    return scaled_dot_product_attention(a, k(x), v(x), {.attn_mask = mask});
  }
};

/// Tokens [batch, length] to the scores of each next token: blocks that normalise first and see
/// what came before.
struct Gpt : nn::Module<Gpt> {
  nn::Embedding tokens{17, 8}, places{32, 8};
  nn::TransformerEncoderLayer first{8, 2, options()}, second{8, 2, options()};
  nn::LayerNorm norm{8};
  nn::Linear head{8, 17};
  static constexpr auto fields = Fields{
      field("tokens", &Gpt::tokens), field("places", &Gpt::places), field("first", &Gpt::first),
      field("second", &Gpt::second), field("norm", &Gpt::norm),     field("head", &Gpt::head)};
  static nn::TransformerEncoderLayerOptions options() {
    return {.dim_feedforward = 16, .activation = "gelu", .batch_first = true, .norm_first = true};
  }
  Tensor forward(const Tensor& x) const {
    const Length n = x.size(1);
    const Tensor hidden = triu(ones({n, n}), 1) > 0.0;
    const nn::EncoderMasks masks{.src_mask = hidden, .is_causal = true};
    const Tensor h = tokens(x) + places(arange(n));
    return head(norm(second(first(h, masks), masks)));
  }
};

/// Pictures of any height and width.
struct AnySizeNet : nn::Module<AnySizeNet> {
  nn::Conv2d first{3, 8, 3, {.padding = 1}}, second{8, 8, 3, {.stride = 2}};
  nn::BatchNorm2d norm{8};
  nn::GroupNorm groups{2, 8};
  nn::Linear out{8, 5};
  static constexpr auto fields =
      Fields{field("first", &AnySizeNet::first), field("second", &AnySizeNet::second),
             field("norm", &AnySizeNet::norm), field("groups", &AnySizeNet::groups),
             field("out", &AnySizeNet::out)};
  std::vector<Tensor> forward(const Tensor& x) const {
    const Tensor small = avg_pool2d(relu(norm(first(x))), 2, {.stride = 1, .padding = 1});
    const Tensor h = max_pool2d(silu(groups(second(small))), 2, 2);
    const Tensor mirrored = cat({small, small.flip({3})}, 3)(all, all, range(1, none, 2));
    return {out(flatten(adaptive_avg_pool2d(h, Shape{1, 1}), 1)), mean(h, {2, 3}), mirrored};
  }
};

/// What `f` makes of x, given to the file as such.
template <class F>
SavedExample save_function(const std::string& folder, const std::string& name, const Tensor& x,
                           const F& f) {
  const auto g = Graph::make();
  {
    const GraphScope scope(g);
    g->output("y", f(placeholder("x", x.shape(), x.dtype())));
  }
  save(*g, folder + "/" + name + ".onnx");
  return {name, {{"x", x}}, {f(x)}};
}

inline SavedExample save_control_flow(const std::string& folder) {
  const auto g = Graph::make();
  const Tensor w = tensor({2.f, 3.f}), x = rand({3, 2});
  auto halve_or_double = [&](const Tensor& t) {
    return cond(
        sum(t) > 100.0, [&] { return t * 0.5; }, [&] { return t * 2.0 + w; });
  };
  auto many = [&](const Tensor& t) {
    return while_loop([&](const Tensor&, const Tensor& i) { return (i < 9).reshape({}); },
                      [&](const Tensor& v, const Tensor& i) {
                        return std::vector<Tensor>{halve_or_double(v), i + 1};
                      },
                      {t, zeros({1}, i64)});
  };
  {
    const GraphScope scope(g);
    const auto out = many(placeholder("x", {-1, 2}));
    g->output("v", out[0]);
    g->output("i", out[1]);
  }
  save(*g, folder + "/control_flow.onnx");
  const auto want = many(x);
  return {"control_flow", {{"x", x}}, {want[0], want[1]}};
}

/// A training step through loops and branches that draw: the checker reads what is inside the
/// nodes, and another process takes the next step.
inline SavedExample save_training_with_loops(const std::string& folder) {
  nn::Linear net(3, 3);
  optim::Adam opt(net.parameters(), {.lr = 1e-2});
  auto step = compile([&](const Tensor& x, const Tensor& y) {
    Tensor h = while_loop([](const Tensor& v) { return sum(v * v) < 60.0; },
                          [&](const Tensor& v) { return v * 1.3 + tanh(net(v)); }, {x})[0];
    h = cond(
        sum(h) > 0.0,
        [&] {
          return h + 0 * randn({4, 3});
        },
        [&] { return net(h); });
    Tensor loss = mse_loss(map_fn([&](const Tensor& v) { return net(v); }, h), y);
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  });
  const Tensor x = rand({4, 3}), y = randn({4, 3});
  step(x, y);
  save(step, folder + "/training_with_loops.onnx");
  return {"training_with_loops", {{"in0", x}, {"in1", y}}, {step(x, y)}};
}

inline std::vector<SavedExample> save_models(const std::string& folder) {
  manual_seed(7);
  std::vector<SavedExample> all;
  nn::Sequential mlp(nn::Linear(4, 16), nn::ReLU(), nn::Linear(16, 8), nn::GELU(), nn::Linear(8, 3),
                     nn::Softmax(-1));
  all.push_back(save_example(folder, "mlp", mlp, {randn({6, 4})}));
  ConvNet cnn;
  for (int i = 0; i < 3; ++i) cnn(randn({4, 3, 12, 12}));  // statistics that are not 0 and 1
  all.push_back(save_example(folder, "cnn", cnn, {randn({2, 3, 12, 12})}));
  SequenceNet sequence;
  all.push_back(save_example(folder, "lstm", sequence, {randint(0, 11, {3, 7})}));
  nn::TransformerEncoderLayer post(8, 2, {.dim_feedforward = 16, .batch_first = true});
  all.push_back(save_example(folder, "transformer", post, {randn({2, 5, 8})}));
  nn::TransformerEncoderLayer pre(
      8, 2, {.dim_feedforward = 16, .activation = "gelu", .batch_first = true, .norm_first = true});
  all.push_back(save_example(folder, "transformer_any_length", pre, {randn({2, 5, 8})},
                             {.shapes = {{-1, -1, 8}}}));
  CausalAttention causal;
  all.push_back(save_example<2>(folder, "attention", causal,
                                {randn({2, 5, 8}), rand({5, 5}) > -1.0 /* all seen */},
                                {.shapes = {{-1, 5, 8}, {5, 5}}}));
  Gpt gpt;
  all.push_back(
      save_for_lengths(folder, "gpt", gpt, {-1, -1},
                       {randint(0, 17, {2, 5}), randint(0, 17, {1, 1}), randint(0, 17, {3, 32})}));
  AnySizeNet any;
  for (int i = 0; i < 3; ++i) any(randn({4, 3, 12, 12}));
  all.push_back(
      save_for_lengths(folder, "cnn_any_size", any, {-1, 3, -1, -1},
                       {randn({2, 3, 12, 12}), randn({1, 3, 17, 9}), randn({3, 3, 6, 31})}));
  const Tensor x = randn({4, 6});
  auto top = [](const Tensor& t) { return topk(t, 2).values; };
  auto sorted = [](const Tensor& t) { return sort(t).indices; };
  auto narrow = [](const Tensor& t) { return softplus(sin(t.to(bf16))).to(f32); };
  auto reflect = [](const Tensor& t) { return pad(t, {1, 2, 2, -1}, "reflect"); };
  all.push_back(save_function(folder, "topk_values", x, top));
  all.push_back(save_function(folder, "sort_indices", x, sorted));
  all.push_back(save_function(folder, "bf16_between", x, narrow));
  all.push_back(save_function(folder, "pad_and_crop", randn({1, 1, 3, 3}), reflect));
  all.push_back(save_control_flow(folder));
  all.push_back(save_training_with_loops(folder));
  return all;
}

/// One model a record and sample, in `real` where the sample's inputs are f64.
inline std::vector<SavedExample> save_samples(const std::string& folder, DType real = f32) {
  std::vector<SavedExample> all;
  for (const OpInfo* info : ops()) {
    SampleSet set;
    info->samples(set);
    for (size_t number = 0; number < set.samples.size(); ++number) {
      const Sample& sample = set.samples[number];
      if (!sample.error.empty()) continue;
      SavedExample e{cat("op_", info->name, "_", number), {}, {}};
      const Tensors in = make_inputs(info->name, int(number), sample.in, real);
      const auto graph = Graph::make();
      Tensors symbolic(in.size());
      for (size_t i = 0; i < in.size(); ++i) {
        if (!in[i].defined()) continue;
        const std::string name = cat("in", i);
        symbolic[i] = graph->input(name, in[i].spec());
        e.inputs.emplace_back(name, detail::as_contiguous(in[i]));
      }
      try {
        e.expected = detail::apply_all(*info, sample.op.get(), in.data(), int(in.size()));
      } catch (const Error&) {
        continue;  // not for this dtype
      }
      const Tensors out =
          detail::apply_all(*info, sample.op.get(), symbolic.data(), int(symbolic.size()));
      // What only gradients use has no place in ONNX's operators.
      const bool first_only = info->onnx.op == "MaxPool" || info->name == "batch_norm" ||
                              info->name == "scaled_dot_product_attention";
      const size_t results = first_only                                   ? 1
                             : info->name == "lstm"                       ? 3
                             : info->name == "gru" || info->name == "rnn" ? 2
                                                                          : out.size();
      e.expected.resize(results);
      for (size_t k = 0; k < results; ++k) graph->output(cat("out", k), out[k]);
      save(*graph, folder + "/" + e.name + ".onnx");
      all.push_back(std::move(e));
    }
  }
  return all;
}

}  // namespace tandem::testing
