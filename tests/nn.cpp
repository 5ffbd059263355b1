// Modules: derived names, state and printing; every layer against PyTorch
// (tests/golden/make_nn.py).
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/graph/compile.h"
#include "tandem/io/npy.h"
#include "tandem/nn/activation.h"
#include "tandem/nn/attention.h"
#include "tandem/nn/container.h"
#include "tandem/nn/conv.h"
#include "tandem/nn/init.h"
#include "tandem/nn/linear.h"
#include "tandem/nn/loss.h"
#include "tandem/nn/norm.h"
#include "tandem/nn/pool.h"
#include "tandem/nn/rnn.h"
#include "tandem/ops/add.h"
#include "tandem/ops/batch_norm.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/pool.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/sum.h"
#include "tests/support/compare.h"

namespace tandem {
namespace {

using testing::difference;
using testing::Tolerance;

const std::map<std::string, Tensor>& golden() {
  static const auto arrays = load_npz(TANDEM_SOURCE_DIR "/tests/golden/nn.npz");
  return arrays;
}
Tensor golden(const std::string& name) {
  const auto it = golden().find(name);
  return it == golden().end() ? Tensor() : it->second;
}

constexpr Tolerance tight{1e-9, 1e-10, 1e-12};

void expect_same(const Tensor& got, const std::string& name) {
  const Tensor want = golden(name);
  ASSERT_TRUE(want.defined()) << "no golden " << name;
  ASSERT_TRUE(got.defined()) << name << " is undefined";
  EXPECT_EQ(difference(got, want, tight), "") << name;
}

std::string joined(const NamedTensors& list) {
  std::string s;
  for (const auto& [name, t] : list) s += (s.empty() ? "" : "\n") + name;
  return s;
}

std::vector<Tensor> list(const Tensor& t) { return {t}; }
std::vector<Tensor> list(const RnnResult& r) { return {r.output, r.h_n}; }
std::vector<Tensor> list(const LstmResult& r) { return {r.output, r.h_n, r.c_n}; }
std::vector<Tensor> list(const nn::AttentionResult& r) { return {r.output, r.weights}; }

/// Loads the case's weights into `module`, runs `call(module, inputs)` and its gradient, and
/// compares all there is.
template <class M, class F>
void check(const std::string& name, M module, F call, bool training = true) {
  SCOPED_TRACE(name);
  module.to(f64).train(training);
  const Tensor names = golden(name + ".names");
  ASSERT_TRUE(names.defined()) << "no golden " << name;
  const std::vector<uint8_t> bytes = names.to_vector<uint8_t>();
  EXPECT_EQ(joined(module.state_dict()), std::string(bytes.begin(), bytes.end()));
  NamedTensors state;
  for (const auto& [key, t] : module.state_dict()) {
    const Tensor value = golden(name + ".state." + key);
    if (value.defined()) state.emplace_back(key, value);
  }
  module.load_state_dict(state);

  std::vector<Tensor> in;
  for (int i = 0; golden(cat(name, ".in", i)).defined(); ++i) {
    in.push_back(golden(cat(name, ".in", i)).clone());
    if (is_floating(in.back().dtype())) in.back().requires_grad_();
  }
  const std::vector<Tensor> out = list(call(module, in));
  std::vector<Tensor> roots, cotangents;
  for (size_t i = 0; i < out.size(); ++i) {
    if (!golden(cat(name, ".out", i)).defined()) continue;
    expect_same(out[i].detach(), cat(name, ".out", i));
    if (!out[i].requires_grad()) continue;
    roots.push_back(out[i]);
    cotangents.push_back(golden(cat(name, ".dy", i)));
  }
  EXPECT_FALSE(golden(cat(name, ".out", out.size())).defined()) << "an output is missing";
  backward(roots, cotangents);
  for (size_t i = 0; i < in.size(); ++i)
    if (golden(cat(name, ".gradin", i)).defined())
      expect_same(in[i].grad(), cat(name, ".gradin", i));
  for (const auto& [key, p] : module.named_parameters())
    if (golden(name + ".grad." + key).defined()) expect_same(p.grad(), name + ".grad." + key);
  for (const auto& [key, b] : module.named_buffers())
    if (golden(name + ".after." + key).defined()) expect_same(b, name + ".after." + key);
}
template <class M>
void check(const std::string& name, M module, bool training = true) {
  check(
      name, std::move(module), [](M& m, const std::vector<Tensor>& in) { return m(in[0]); },
      training);
}
template <class M>
void check_loss(const std::string& name, M module) {
  check(name, std::move(module),
        [](M& m, const std::vector<Tensor>& in) { return m(in[0], in[1]); });
}

TEST(Layers, LinearAndSmallOnes) {
  check("linear", nn::Linear(5, 3));
  check("linear_nobias", nn::Linear(5, 3, {.bias = false}));
  check("embedding", nn::Embedding(7, 4, {.padding_idx = 2}));
  check("flatten", nn::Flatten());
  check("flatten_dims", nn::Flatten(0, 1));
  check("identity", nn::Identity());
  check("dropout_eval", nn::Dropout(0.3), false);
  check("sequential", nn::Sequential{nn::Linear(4, 6), nn::ReLU(), nn::Linear(6, 2)});
}

TEST(Layers, Activations) {
  check("relu", nn::ReLU());
  check("leaky_relu", nn::LeakyReLU(0.2));
  check("elu", nn::ELU(0.7));
  check("gelu", nn::GELU());
  check("gelu_tanh", nn::GELU("tanh"));
  check("silu", nn::SiLU());
  check("softplus", nn::Softplus(2, 3));
  check("hardtanh", nn::Hardtanh(-0.5, 2));
  check("tanh", nn::Tanh());
  check("sigmoid", nn::Sigmoid());
  check("softmax", nn::Softmax(0));
  check("log_softmax", nn::LogSoftmax(-1));
}

TEST(Layers, Losses) {
  const Tensor weight = tensor({0.5, 2.0, 1.0, 0.1, 3.0}, f64);
  check_loss("mse", nn::MSELoss());
  check_loss("mse_sum", nn::MSELoss({.reduction = "sum"}));
  check_loss("l1", nn::L1Loss({.reduction = "none"}));
  check_loss("smooth_l1", nn::SmoothL1Loss({.beta = 0.5}));
  check_loss("cross_entropy", nn::CrossEntropyLoss());
  check_loss("kl_div", nn::KLDivLoss({.reduction = "batchmean"}));
  check_loss("bce", nn::BCEWithLogitsLoss());
  // Weights of losses are buffers that PyTorch saves; the goldens of these carry no state.
  auto call = [](auto loss) {
    return [loss](nn::Identity&, const std::vector<Tensor>& in) { return loss(in[0], in[1]); };
  };
  check("cross_entropy_options", nn::Identity(),
        call(nn::CrossEntropyLoss({.weight = weight, .ignore_index = 4, .label_smoothing = 0.1})));
  check("nll", nn::Identity(), call(nn::NLLLoss({.weight = weight, .reduction = "sum"})));
  check("bce_pos_weight", nn::Identity(), call(nn::BCEWithLogitsLoss({.pos_weight = weight})));
}

TEST(Layers, Convolutions) {
  check("conv1d", nn::Conv1d(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2}));
  check("conv1d_same", nn::Conv1d(2, 3, 4, {.padding = "same", .dilation = 2}));
  check("conv1d_circular", nn::Conv1d(2, 3, 3, {.padding = 2, .padding_mode = "circular"}));
  check("conv2d", nn::Conv2d(3, 4, 3, {.padding = 1}));
  check("conv2d_options",
        nn::Conv2d(4, 6, {3, 2},
                   {.stride = {2, 1}, .padding = {1, 0}, .dilation = {1, 2}, .groups = 2}));
  check("conv2d_nobias", nn::Conv2d(3, 4, 1, {.bias = false}));
  check("conv2d_same", nn::Conv2d(2, 3, {4, 3}, {.padding = "same"}));
  check("conv2d_reflect", nn::Conv2d(2, 3, 3, {.padding = {2, 1}, .padding_mode = "reflect"}));
  check("conv_transpose2d", nn::ConvTranspose2d(3, 4, 3));
  check(
      "conv_transpose2d_options",
      nn::ConvTranspose2d(4, 6, 3, {.stride = 2, .padding = 1, .output_padding = 1, .groups = 2}));
}

TEST(Layers, Pools) {
  check("max_pool2d", nn::MaxPool2d(2));
  check("max_pool2d_options",
        nn::MaxPool2d({3, 2}, {.stride = 2, .padding = 1, .ceil_mode = true}));
  check("avg_pool2d", nn::AvgPool2d(2));
  check("avg_pool2d_options",
        nn::AvgPool2d(3, {.stride = nn::Pair(2, 1), .padding = 1, .count_include_pad = false}));
  check("adaptive_avg_pool2d", nn::AdaptiveAvgPool2d({3, 4}));
}

TEST(Layers, Norms) {
  check("batch_norm1d", nn::BatchNorm1d(4));
  check("batch_norm1d_3d", nn::BatchNorm1d(4, {.eps = 1e-3, .momentum = 0.3}));
  check("batch_norm2d", nn::BatchNorm2d(3));
  check("batch_norm2d_eval", nn::BatchNorm2d(3), false);
  check("batch_norm2d_plain", nn::BatchNorm2d(3, {.momentum = {}, .affine = false}));
  check("batch_norm2d_untracked", nn::BatchNorm2d(3, {.track_running_stats = false}), false);
  check("layer_norm", nn::LayerNorm(5));
  check("layer_norm_nobias", nn::LayerNorm({3, 5}, {.eps = 1e-3, .bias = false}));
  check("layer_norm_plain", nn::LayerNorm(5, {.elementwise_affine = false}));
  check("group_norm", nn::GroupNorm(2, 6));
}

/// As in PyTorch: no elements give no gradient and leave the running statistics alone.
TEST(Layers, NormsOverNothing) {
  const Tensor x = zeros({0, 4, 7, 5});
  nn::BatchNorm2d batch(4);
  nn::GroupNorm group(2, 4);
  nn::LayerNorm layer(5);
  batch(x).sum().backward();
  group(x).sum().backward();
  layer(x).sum().backward();
  for (const Tensor& p : {batch.weight, batch.bias, group.weight, group.bias, layer.weight})
    EXPECT_EQ(p.grad().to_vector<float>(), std::vector<float>(size_t(p.numel()), 0)) << p.numel();
  EXPECT_EQ(batch.running_mean.to_vector<float>(), (std::vector<float>{0, 0, 0, 0}));
  EXPECT_EQ(batch.running_var.to_vector<float>(), (std::vector<float>{1, 1, 1, 1}));
  Tensor w = ones({4}), b = ones({4});
  w.requires_grad_();
  b.requires_grad_();
  auto f = compile([](const Tensor& in, const Tensor& weight, const Tensor& bias) {
    return batch_norm(in, {}, {}, {.weight = weight, .bias = bias, .training = true}).sum();
  });
  f(zeros({3, 4, 0}), w, b).backward();
  EXPECT_EQ(w.grad().to_vector<float>(), (std::vector<float>{0, 0, 0, 0}));
}

/// In evaluation an infinity is one element's own affair.
TEST(Layers, BatchNormGradientBesideAnInfinity) {
  nn::BatchNorm1d norm(2);
  norm.eval();
  Tensor x = tensor({{1.f, 2.f}, {HUGE_VALF, 3.f}, {NAN, 4.f}});
  x.requires_grad_();
  norm(x).sum().backward();
  for (float g : x.grad().to_vector<float>()) EXPECT_FLOAT_EQ(g, float(1 / std::sqrt(1 + 1e-5)));
}

/// PyTorch's values; its backward pass writes beyond the picture. No element, no gradient.
TEST(Layers, PoolingWindowsInThePaddingAlone) {
  Tensor x = tensor({1.f, 2.f, 3.f, 4.f, 5.f}).reshape({1, 1, 1, 5}).clone();
  x.requires_grad_();
  auto pool = [](const Tensor& in) {
    return max_pool2d_with_indices(in, 2, {.stride = 1, .padding = 1, .dilation = 2});
  };
  const Tensors y = pool(x);
  EXPECT_EQ(y[0].to_vector<float>(), std::vector<float>(5, -HUGE_VALF));
  EXPECT_EQ(y[1].to_vector<int64_t>(), std::vector<int64_t>(5, -1));
  const Tensor root = y[0].sum(), leaf = x;
  const Tensor dx = grad({&root, 1}, {&leaf, 1}, {}, {.create_graph = true})[0];
  EXPECT_EQ(dx.to_vector<float>(), std::vector<float>(5, 0));
  auto compiled = compile([&](const Tensor& in) { return relu(pool(relu(in))[0]).sum(); });
  Tensor z = x.detach().clone();
  z.requires_grad_();
  compiled(z).backward();
  EXPECT_EQ(z.grad().to_vector<float>(), std::vector<float>(5, 0));
  const std::pair<DType, int64_t> least[] = {
      {i8, -128}, {u8, 0}, {i32, INT32_MIN}, {i64, INT64_MIN}};
  for (const auto& [d, want] : least)
    EXPECT_EQ(pool(ones({1, 1, 1, 5}, d))[0].to_vector<int64_t>()[0], want) << name(d);
  EXPECT_THROW(max_pool2d(ones({1, 1, 5, 5}), 3, {.stride = 1, .padding = 2}), ValueError);
}

TEST(Layers, Recurrent) {
  check("rnn", nn::RNN(3, 4));
  check("rnn_options",
        nn::RNN(3, 4,
                {.num_layers = 2, .nonlinearity = "relu", .bias = false, .bidirectional = true}),
        [](nn::RNN& m, const std::vector<Tensor>& in) { return m(in[0], in[1]); });
  check("lstm", nn::LSTM(3, 4));
  check("lstm_options",
        nn::LSTM(3, 4, {.num_layers = 2, .batch_first = true, .bidirectional = true}),
        [](nn::LSTM& m, const std::vector<Tensor>& in) { return m(in[0], in[1], in[2]); });
  check("gru", nn::GRU(3, 4));
  check("gru_options", nn::GRU(3, 4, {.num_layers = 2, .bias = false, .batch_first = true}));
}

TEST(Layers, Attention) {
  using nn::MultiheadAttention;
  auto self = [](MultiheadAttention& m, const std::vector<Tensor>& in) {
    return m(in[0], in[0], in[0]);
  };
  const Tensor padding = tensor({{0, 0, 1}, {0, 1, 0}}).to(boolean);
  const Tensor later = tensor({{0, 1, 1, 1}, {0, 0, 1, 1}, {0, 0, 0, 1}, {0, 0, 0, 0}}).to(boolean);
  check("mha", MultiheadAttention(6, 3), self);
  check("mha_cross", MultiheadAttention(6, 2, {.bias = false, .batch_first = true}),
        [&](MultiheadAttention& m, const std::vector<Tensor>& in) {
          return m(in[0], in[1], in[2],
                   {.key_padding_mask = padding, .average_attn_weights = false});
        });
  check("mha_causal", MultiheadAttention(6, 2),
        [&](MultiheadAttention& m, const std::vector<Tensor>& in) {
          return m(in[0], in[0], in[0], {.need_weights = false, .attn_mask = later});
        });
  check("mha_causal", MultiheadAttention(6, 2),
        [&](MultiheadAttention& m, const std::vector<Tensor>& in) {
          return m(in[0], in[0], in[0], {.need_weights = false, .is_causal = true});
        });
  check("mha_unbatched", MultiheadAttention(6, 2), self);
  check("encoder", nn::TransformerEncoderLayer(6, 2, {.dim_feedforward = 9, .dropout = 0}));
  const Tensor last = tensor({{0, 0, 0, 1}, {0, 0, 0, 0}}).to(boolean);
  check("encoder_options",
        nn::TransformerEncoderLayer(6, 2,
                                    {.dim_feedforward = 9,
                                     .dropout = 0,
                                     .activation = "gelu",
                                     .layer_norm_eps = 1e-3,
                                     .batch_first = true,
                                     .norm_first = true}),
        [&](nn::TransformerEncoderLayer& m, const std::vector<Tensor>& in) {
          return m(in[0], {.src_mask = later, .src_key_padding_mask = last});
        });
}

// --- Modules ----------------------------------------------------------------------------------

struct Block : nn::Module<Block> {
  nn::Linear left{4, 4}, right{4, 4, {.bias = false}};
  static constexpr auto fields = Fields{field("left", &Block::left), field("right", &Block::right)};
  Tensor forward(const Tensor& x) const { return left(x) * right(x); }
};

struct Net : nn::Module<Net> {
  nn::Sequential body{nn::Linear(3, 4), [](const Tensor& x) { return relu(x); }, Block(),
                      nn::named("norm", nn::BatchNorm1d(4))};
  std::vector<nn::Linear> heads{nn::Linear(4, 2), nn::Linear(4, 1)};
  std::optional<nn::Dropout> dropout;
  nn::ModuleList<Block> blocks{Block()};
  Tensor scale = nn::parameter(ones({2}));
  Tensor seen = zeros({}), cache = zeros({1});
  double rate = 0.5;
  static constexpr auto fields = Fields{field("body", &Net::body),
                                        field("heads", &Net::heads),
                                        field("dropout", &Net::dropout),
                                        field("blocks", &Net::blocks),
                                        field("scale", &Net::scale),
                                        nn::buffer("seen", &Net::seen),
                                        nn::buffer("cache", &Net::cache, false),
                                        field("rate", &Net::rate)};
  Tensor forward(const Tensor& x) const { return heads[0](blocks[0](body(x))) * scale; }
};

TEST(Module, NamesComeFromTheFieldLists) {
  const Net net;
  EXPECT_EQ(
      joined(net.named_parameters()),
      "body.0.weight\nbody.0.bias\nbody.2.left.weight\nbody.2.left.bias\nbody.2.right.weight\n"
      "body.norm.weight\nbody.norm.bias\nheads.0.weight\nheads.0.bias\nheads.1.weight\n"
      "heads.1.bias\nblocks.0.left.weight\nblocks.0.left.bias\nblocks.0.right.weight\nscale");
  EXPECT_EQ(joined(net.named_buffers()),
            "body.norm.running_mean\nbody.norm.running_var\nbody.norm.num_batches_tracked\nseen\n"
            "cache");
  EXPECT_FALSE(find(net.state_dict(), "cache").defined());
  EXPECT_TRUE(find(net.state_dict(), "seen").defined());
  EXPECT_EQ(net.num_parameters(), 16 + 20 + 16 + 8 + 10 + 5 + 20 + 16 + 2);
  Net moving;
  std::string paths;
  for (const auto& [path, m] : moving.named_modules()) paths += path + ":" + m->type_name() + " ";
  EXPECT_EQ(paths,
            ":Net body:Sequential body.0:Linear body.1:Lambda body.2:Block body.2.left:Linear "
            "body.2.right:Linear body.norm:BatchNorm1d heads.0:Linear heads.1:Linear "
            "blocks:ModuleList blocks.0:Block blocks.0.left:Linear blocks.0.right:Linear ");
  EXPECT_EQ(moving.submodule("body.2.left").as<nn::Linear>()->in_features, 4);
  EXPECT_THROW(moving.submodule("body.9"), IndexError);
}

struct Small : nn::Module<Small> {
  nn::Sequential body{nn::Linear(3, 400), nn::ReLU(), Block()};
  std::vector<nn::Linear> heads{nn::Linear(4, 2, {.bias = false})};
  double rate = 0.5;
  static constexpr auto fields = Fields{field("body", &Small::body), field("heads", &Small::heads),
                                        field("rate", &Small::rate)};
  Tensor forward(const Tensor& x) const { return body(x); }
};

TEST(Module, PrintsItsTreeWithCounts) {
  Small net;
  net.heads[0].requires_grad_(false);
  EXPECT_EQ(net.str(),
            "Small(rate=0.5                                                   1,644\n"
            "  (body): Sequential(                                            1,636\n"
            "    (0): Linear(in_features=3, out_features=400)                 1,600\n"
            "    (1): ReLU()\n"
            "    (2): Block(                                                     36\n"
            "      (left): Linear(in_features=4, out_features=4)                 20\n"
            "      (right): Linear(in_features=4, out_features=4, bias=none)     16\n"
            "    )\n"
            "  )\n"
            "  (heads.0): Linear(in_features=4, out_features=2, bias=none)        8\n"
            ")\n"
            "1,644 parameters, 1,636 trainable, 6.42 KiB");
}

TEST(Module, TrainAndEvalReachEverySubmodule) {
  Net net;
  net.eval();
  int training = 0, all = 0;
  net.apply([&](nn::ModuleBase& m) { training += m.is_training(), ++all; });
  EXPECT_EQ(training, 0);
  EXPECT_EQ(all, 14);
  net.train();
  net.apply([&](nn::ModuleBase& m) { training += m.is_training(); });
  EXPECT_EQ(training, 14);
}

TEST(Module, CloneIsTypedDeepAndKeepsSharing) {
  Net net;
  net.heads[1].weight = net.heads[0].bias;
  const Net copy = net.clone();
  EXPECT_TRUE(copy.heads[1].weight.is_same(copy.heads[0].bias));
  EXPECT_FALSE(copy.scale.is_same(net.scale));
  EXPECT_TRUE(copy.scale.requires_grad());
  EXPECT_FALSE(copy.body.at<nn::Linear>(0).weight.is_same(net.body.at<nn::Linear>(0).weight));
  EXPECT_EQ(joined(copy.state_dict()), joined(net.state_dict()));
  {
    const NoGrad guard;
    Tensor w = copy.body.at<nn::Linear>(0).weight;
    w.fill_(7);
  }
  EXPECT_NE(net.body.at<nn::Linear>(0).weight.to_vector<float>()[0], 7);
  EXPECT_EQ(net.parameters().size(), net.named_parameters().size());
  EXPECT_FALSE(find(net.named_parameters(), "heads.1.weight").defined());
  EXPECT_TRUE(find(net.state_dict(), "heads.1.weight").defined());
}

TEST(Module, CopiesShareTensors) {
  const nn::Linear a(2, 3);
  const nn::Linear b = a;
  EXPECT_TRUE(a.weight.is_same(b.weight));
  const nn::Sequential s{a, nn::ReLU()};
  EXPECT_TRUE(s.at<nn::Linear>(0).weight.is_same(a.weight));
}

TEST(Module, ToConvertsInPlaceSoThatHandlesStayValid) {
  nn::BatchNorm1d norm(3);
  const Tensor weight = norm.weight;
  norm.weight.set_grad(ones({3}));
  norm.to(f64);
  EXPECT_TRUE(norm.weight.is_same(weight));
  EXPECT_EQ(weight.dtype(), f64);
  EXPECT_EQ(weight.grad().dtype(), f64);
  EXPECT_EQ(norm.running_var.dtype(), f64);
  EXPECT_EQ(norm.num_batches_tracked.dtype(), i64);
  weight.set_grad({});
  sum(norm(ones({2, 3}, f64) * weight)).backward();
  EXPECT_EQ(weight.grad().dtype(), f64);
  EXPECT_THROW(norm.to(i64), DTypeError);
}

TEST(Module, LoadStateDictIsStrictAndAllOrNothing) {
  Block block;
  NamedTensors state = block.clone().state_dict();
  const std::vector<float> before = block.left.weight.to_vector<float>();
  state[0].second = zeros({4, 4});
  state[1].second = zeros({9});
  state.pop_back();
  state.emplace_back("extra", zeros({1}));
  try {
    block.load_state_dict(state);
    FAIL();
  } catch (const ValueError& e) {
    EXPECT_STREQ(e.what(),
                 "load_state_dict(Block): 1 missing key: right.weight; 1 unexpected key: extra; 1 "
                 "wrong shape: left.bias is [9], not [4]");
  }
  EXPECT_EQ(block.left.weight.to_vector<float>(), before);
  state[1].second = zeros({4});
  const nn::LoadReport report = block.load_state_dict(state, {.strict = false});
  EXPECT_EQ(report.missing, std::vector<std::string>{"right.weight"});
  EXPECT_EQ(report.unexpected, std::vector<std::string>{"extra"});
  EXPECT_EQ(block.left.weight.to_vector<float>(), std::vector<float>(16, 0));
  EXPECT_TRUE(block.left.weight.requires_grad());
}

TEST(Module, HooksSeeAndReplaceTensors) {
  nn::Linear layer(2, 1, {.bias = false});
  nn::init::ones_(layer.weight);
  std::vector<std::string> order;
  const int64_t pre = layer.register_forward_pre_hook([&](nn::ModuleBase& m, Tensors& in) {
    order.push_back("before " + m.type_name());
    in[0] = in[0] * 2.0;
  });
  layer.register_forward_hook([&](nn::ModuleBase&, const Tensors& in, Tensors& out) {
    order.push_back(cat("after ", in[0].shape()));
    out[0] = out[0] + 1.0;
  });
  EXPECT_EQ(layer(ones({1, 2})).item<float>(), 5);
  EXPECT_EQ(order, (std::vector<std::string>{"before Linear", "after [1, 2]"}));
  layer.remove_hook(pre);
  EXPECT_EQ(layer(ones({1, 2})).item<float>(), 3);
  nn::LSTM lstm(2, 3);
  lstm.register_forward_hook([&](nn::ModuleBase&, const Tensors&, Tensors& out) {
    EXPECT_EQ(out.size(), 3u);
    out[1] = zeros({7});
  });
  EXPECT_EQ(lstm(ones({4, 1, 2})).h_n.shape(), Shape{7});
}

TEST(Module, RequiresGradAndZeroGrad) {
  nn::Linear layer(2, 2);
  sum(layer(ones({1, 2}))).backward();
  EXPECT_TRUE(layer.weight.grad().defined());
  layer.zero_grad(false);
  EXPECT_EQ(layer.weight.grad().to_vector<float>(), std::vector<float>(4, 0));
  layer.zero_grad();
  EXPECT_FALSE(layer.weight.grad().defined());
  layer.requires_grad_(false);
  EXPECT_EQ(layer.num_parameters(true), 0);
  EXPECT_FALSE(layer(ones({1, 2})).requires_grad());
}

TEST(Sequential, ErrorsNameTheRule) {
  const nn::Sequential net{nn::Linear(2, 2), nn::ReLU()};
  EXPECT_EQ(net.size(), 2u);
  EXPECT_THROW(net[2], IndexError);
  EXPECT_THROW(net.at<nn::Linear>(1), ValueError);
  EXPECT_THROW((nn::Sequential{nn::named("a", nn::ReLU()), nn::named("a", nn::ReLU())}),
               ValueError);
  EXPECT_THROW(nn::Conv2d(3, 4, 3, {.groups = 2}), ValueError);
  EXPECT_THROW(nn::MultiheadAttention(6, 4), ValueError);
  EXPECT_THROW(nn::Dropout(1.5), ValueError);
  EXPECT_THROW(nn::BatchNorm2d(3)(ones({2, 3})), ShapeError);
}

// --- Starting values --------------------------------------------------------------------------

TEST(Rnn, NeedsUnits) {
  for (const int64_t hidden : {int64_t(0), int64_t(-1)}) {
    EXPECT_THROW(nn::GRU(4, hidden), ValueError);
    EXPECT_THROW(nn::LSTM(4, hidden), ValueError);
    EXPECT_THROW(nn::RNN(4, hidden), ValueError);
  }
}

}  // namespace
}  // namespace tandem
