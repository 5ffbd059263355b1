// The rows of the benchmark in Tandem. Reads a row's name a line, answers with one JSON line:
// seconds of one run (several samples) and a number that the peer must reproduce.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <tandem/graph/compile.h>
#include <tandem/graph/passes.h>
#include <tandem/graph/plan.h>
#include <tandem/op/recorder.h>

#include "resnet18.h"

namespace bench {
namespace {

/// The same values on both sides, whatever the library: uniform in (-scale, scale).
Tensor filled(const Shape& shape, uint32_t seed, double scale = 1, double shift = 0) {
  Tensor t = empty(shape);
  float* p = t.data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    uint32_t v = uint32_t(i) * 2654435761u + seed * 40503u;
    v ^= v >> 16;
    v *= 2246822519u;
    v ^= v >> 13;
    p[i] = float((double(v) / 4294967296.0 * 2 - 1) * scale + shift);
  }
  return t;
}

template <class M>
void fill_parameters(M& model) {
  const NoGrad guard;
  uint32_t seed = 1;
  for (auto& [name, p] : model.named_parameters()) {
    const bool vector = p.dim() == 1;
    const double fan = vector ? 1 : double(p.numel() / p.size(0));
    const bool scale_of_norm =
        vector && name.find("bn") != std::string::npos && name.ends_with("weight");
    p.copy_(filled(p.shape(), seed++, vector ? 0.1 : 1 / std::sqrt(fan), scale_of_norm ? 1 : 0));
  }
}

Tensor labels(int64_t n, int64_t classes) {
  Tensor t = empty({n}, i64);
  for (int64_t i = 0; i < n; ++i) t.data<int64_t>()[i] = i * 7 % classes;
  return t;
}

/// A row: how many units of work one call is, and the call. The call gives the checked number.
struct Row {
  double units = 1;
  std::function<Tensor()> run;
};

/// `f(x, y)` as it is, or captured and compiled.
template <class F>
Row call(bool compiled, const Tensor& x, const Tensor& y, F f) {
  if (!compiled) return {1, [=] { return f(x, y).detach(); }};
  auto fast = std::make_shared<Compiled<F>>(compile(f));
  return {1, [=] { return (*fast)(x, y); }};
}

Row tiny_add(bool grad) {
  Tensor x = ones({1}), y = ones({1});
  if (grad) x.requires_grad_();
  return {1000, [=] {
            for (int i = 0; i < 999; ++i) x + y;
            return x + y;
          }};
}

/// 1000 additions that a tape keeps, into new tensors or in place.
Row tiny_sum(bool grad, bool in_place) {
  Tensor y = ones({1});
  if (grad) y.requires_grad_();
  return {1000, [=] {
            Tensor x = zeros({1});
            for (int i = 0; i < 1000; ++i) {
              if (in_place) x += y;
              else x = x + y;
            }
            return x.detach();
          }};
}

Row tiny_chain() {
  Tensor x = ones({1}), y = ones({1});
  x.requires_grad_();
  return {100, [=] {
            Tensor z = x;
            for (int i = 0; i < 100; ++i) z = z + y;
            z.backward();
            return z.detach();
          }};
}

/// A full SGD step of layers x -> relu -> y on a summed square error.
Row mlp_step(const std::vector<int64_t>& widths, int64_t n, bool compiled = false) {
  nn::Sequential net;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    if (i) net.push_back(nn::ReLU());
    net.push_back(nn::Linear(widths[i], widths[i + 1]));
  }
  fill_parameters(net);
  auto model = std::make_shared<nn::Sequential>(net);
  auto opt = std::make_shared<optim::SGD>(model->parameters(), optim::SGDOptions{.lr = 1e-4});
  return call(compiled, filled({n, widths.front()}, 100), filled({n, widths.back()}, 101),
              [=](const Tensor& x, const Tensor& y) {
                Tensor loss = mse_loss((*model)(x), y, "sum");
                opt->zero_grad();
                loss.backward();
                opt->step();
                return loss;
              });
}

Row elementwise(const std::function<Tensor(const Tensor&, const Tensor&)>& f, const Shape& shape) {
  const Tensor x = filled(shape, 1), y = filled(shape, 2);
  return {1, [=] { return f(x, y); }};
}

/// Adam over the 62 parameters of ResNet-18, every size cut to at most 8.
Row adam() {
  ResNet18 net;
  std::vector<Tensor> parameters;
  uint32_t seed = 1;
  for (const Tensor& p : net.parameters()) {
    Shape s = p.shape();
    for (Length& d : s) d = min(d, 8);
    Tensor small = filled(s, seed++, 0.1);
    small.requires_grad_();
    small.set_grad(filled(s, seed++, 0.1));
    parameters.push_back(small);
  }
  auto opt = std::make_shared<optim::Adam>(parameters, optim::AdamOptions{.lr = 1e-3});
  return {1, [=] {
            opt->step();
            return parameters[0].detach();
          }};
}

Row convolution(int64_t channels) {
  const Tensor x = filled({16, channels, 56, 56}, 1),
               w = filled({channels, channels, 3, 3}, 2, 0.05);
  const Tensor dy = filled({16, channels, 56, 56}, 3);
  Tensor xg = x, wg = w;
  xg.requires_grad_();
  wg.requires_grad_();
  return {1, [=] {
            xg.set_grad({});
            wg.set_grad({});
            conv2d(xg, wg, {}, {.padding = 1}).backward(dy);
            return wg.grad();
          }};
}

/// Another length at each call, for longer than a compiled function remembers them.
template <class F>
Row new_lengths(bool compiled, const Shape& rest, F f) {
  constexpr int64_t lengths = 220;
  std::vector<Tensor> x;
  for (int64_t n = 0; n < lengths; ++n) {
    Shape shape = rest;
    shape.insert(0, n * 7919 % lengths + 1);
    x.push_back(filled(shape, 1));
  }
  return {double(lengths), [=] {
            const NoGrad guard;
            auto fast = compile(f);  // it has seen none of them
            Tensor last;
            for (const Tensor& in : x) last = compiled ? fast(in) : f(in);
            return last;
          }};
}

Row new_lengths_mlp(bool compiled) {
  nn::Sequential net(nn::Linear(64, 128), nn::ReLU(), nn::Linear(128, 128), nn::ReLU(),
                     nn::Linear(128, 10));
  fill_parameters(net);
  auto model = std::make_shared<nn::Sequential>(net);
  return new_lengths(compiled, {64}, [=](const Tensor& x) { return (*model)(x); });
}

Row new_lengths_conv(bool compiled) {
  nn::Sequential net(nn::Conv2d(1, 16, 3), nn::ReLU(), nn::Conv2d(16, 32, 3), nn::ReLU(),
                     nn::MaxPool2d(2));
  fill_parameters(net);
  auto model = std::make_shared<nn::Sequential>(net);
  return new_lengths(compiled, {1, 16, 16}, [=](const Tensor& x) { return (*model)(x); });
}

/// A recurrent layer written out: as many steps as x is long.
Row new_lengths_rnn(bool compiled) {
  const Tensor wx = filled({16, 32}, 2, 0.1), wh = filled({32, 32}, 3, 0.1);
  return new_lengths(compiled, {4, 16}, [=](const Tensor& x) {
    Tensor h = zeros({4, 32});
    for (int64_t t = 0; t < x.size(0); ++t) h = tanh(matmul(x[t], wx) + matmul(h, wh));
    return h;
  });
}

template <class M>
auto step_of(std::shared_ptr<M> model) {
  fill_parameters(*model);
  auto opt = std::make_shared<optim::SGD>(model->parameters(), optim::SGDOptions{.lr = 1e-3});
  return [=](const Tensor& x, const Tensor& y) {
    Tensor loss = cross_entropy((*model)(x), y);
    opt->zero_grad();
    loss.backward();
    opt->step();
    return loss;
  };
}
template <class M>
Row train_step(std::shared_ptr<M> model, const Shape& shape, int64_t classes, bool compiled) {
  return call(compiled, filled(shape, 100), labels(shape[0], classes), step_of(model));
}

Row cnn28(bool compiled) {
  auto net = std::make_shared<nn::Sequential>(
      nn::Conv2d(1, 32, 3), nn::ReLU(), nn::Conv2d(32, 64, 3), nn::ReLU(), nn::MaxPool2d(2),
      nn::Flatten(), nn::Linear(9216, 128), nn::ReLU(), nn::Linear(128, 10));
  return train_step(net, {128, 1, 28, 28}, 10, compiled);
}

Row resnet_step(bool compiled) {
  return train_step(std::make_shared<ResNet18>(), {16, 3, 224, 224}, 1000, compiled);
}

/// Capture, passes and plan of ResNet-18's step, and a run of it for the checked number.
Row compile_latency() {
  const auto step = step_of(std::make_shared<ResNet18>());
  const Tensor x = filled({16, 3, 224, 224}, 100), y = labels(16, 1000);
  auto first = std::make_shared<bool>(true);
  return {1, [=] {
            auto g = graph::Graph::make();
            {
              const detail::CaptureScope scope(*g);
              const Tensor a = g->input("x", x.spec()), b = g->input("y", y.spec());
              g->output("loss", step(a, b));
              g->take_gradients();
            }
            graph::optimize(*g, false);
            graph::Plan plan(g);
            if (!std::exchange(*first, false)) return Tensor();
            const Tensor in[] = {x, y};
            return plan.run(in)[0];
          }};
}

/// gelu(x w + b) mask + res.
Row gelu_chain(int64_t rows) {
  const Shape whole{rows, 1024};
  const Tensor w = filled({1024}, 2), b = filled({1024}, 3), res = filled(whole, 5);
  const Tensor mask = (filled(whole, 4) > 0.0).to(f32);
  auto f = compile([](const Tensor& in, const Tensor& scale, const Tensor& shift, const Tensor& on,
                      const Tensor& add) { return gelu(in * scale + shift) * on + add; });
  auto fast = std::make_shared<decltype(f)>(f);
  return {1, [=, x = filled(whole, 1)] {
            const NoGrad guard;
            return (*fast)(x, w, b, mask, res);
          }};
}

Row transformer_block() {
  auto block = std::make_shared<nn::TransformerEncoderLayer>(
      256, 4,
      nn::TransformerEncoderLayerOptions{.dim_feedforward = 1024,
                                         .dropout = 0,
                                         .activation = "gelu",
                                         .batch_first = true,
                                         .norm_first = true});
  fill_parameters(*block);
  auto opt = std::make_shared<optim::SGD>(block->parameters(), optim::SGDOptions{.lr = 1e-3});
  return call(true, filled({8, 128, 256}, 100), filled({8, 128, 256}, 101),
              [=](const Tensor& x, const Tensor& y) {
                Tensor loss = mse_loss((*block)(x), y);
                opt->zero_grad();
                loss.backward();
                opt->step();
                return loss;
              });
}

Row resnet_infer(bool compiled) {
  auto net = std::make_shared<ResNet18>();
  fill_parameters(*net);
  net->eval();
  const Tensor x = filled({1, 3, 224, 224}, 100);
  const Row row =
      call(compiled, x, x, [=](const Tensor& image, const Tensor&) { return (*net)(image); });
  return {1, [=] {
            const NoGrad guard;
            return row.run();
          }};
}

const std::map<std::string, std::function<Row()>>& rows() {
  static const std::map<std::string, std::function<Row()>> all = {
      {"add_tiny_nograd", [] { return tiny_add(false); }},
      {"add_tiny_grad", [] { return tiny_add(true); }},
      {"add_tiny_fwdbwd", tiny_chain},
      {"add_sum_tiny_nograd", [] { return tiny_sum(false, false); }},
      {"add_sum_tiny_nograd_inplace", [] { return tiny_sum(false, true); }},
      {"add_sum_tiny_grad", [] { return tiny_sum(true, false); }},
      {"add_sum_tiny_grad_inplace", [] { return tiny_sum(true, true); }},
      {"new_lengths_mlp", [] { return new_lengths_mlp(false); }},
      {"new_lengths_mlp_static", [] { return new_lengths_mlp(true); }},
      {"new_lengths_rnn", [] { return new_lengths_rnn(false); }},
      {"new_lengths_rnn_static", [] { return new_lengths_rnn(true); }},
      {"new_lengths_conv", [] { return new_lengths_conv(false); }},
      {"new_lengths_conv_static", [] { return new_lengths_conv(true); }},
      {"mlp_tiny_step",
       [] {
         return mlp_step({4, 8, 8, 4}, 4);
       }},
      {"two_layer_step",
       [] {
         return mlp_step({1000, 100, 10}, 64);
       }},
      {"add_16m",
       [] {
         return elementwise([](const Tensor& x, const Tensor& y) { return x + y; }, {16 << 20});
       }},
      {"softmax_16m",
       [] {
         return elementwise([](const Tensor& x, const Tensor&) { return softmax(x, -1); },
                            {16 << 10, 1024});
       }},
      {"layernorm_16m",
       [] {
         const Tensor w = filled({1024}, 3, 1), b = filled({1024}, 4, 1);
         return elementwise(
             [=](const Tensor& x, const Tensor&) { return layer_norm(x, {1024}, w, b); },
             {16 << 10, 1024});
       }},
      {"adam_62", adam},
      {"conv3x3_64_56_n16", [] { return convolution(64); }},
      {"conv3x3_256_56_n16", [] { return convolution(256); }},
      {"cnn28_step_n128", [] { return cnn28(false); }},
      {"resnet18_step_n16", [] { return resnet_step(false); }},
      {"resnet18_infer_n1", [] { return resnet_infer(false); }},
      {"mlp_tiny_step_static",
       [] {
         return mlp_step({4, 8, 8, 4}, 4, true);
       }},
      {"two_layer_step_static",
       [] {
         return mlp_step({1000, 100, 10}, 64, true);
       }},
      {"gelu_chain_16m_static", [] { return gelu_chain(16 << 10); }},
      {"gelu_chain_64k_static", [] { return gelu_chain(64); }},
      {"cnn28_step_n128_static", [] { return cnn28(true); }},
      {"resnet18_step_n16_static", [] { return resnet_step(true); }},
      {"resnet18_infer_n1_static", [] { return resnet_infer(true); }},
      {"transformer_block_step_static", transformer_block},
      {"compile_latency_resnet18_step", compile_latency},
  };
  return all;
}

double now() {
  using clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(clock::now().time_since_epoch()).count();
}

/// The mean of the absolute values: one number that the peer must come close to.
double digest(const Tensor& t) {
  const std::vector<double> v = t.to_vector<double>();
  double s = 0;
  for (double x : v) s += std::abs(x);
  return s / double(v.size());
}

void answer(const std::string& name, int samples, double seconds,
            std::map<std::string, Row>& made) {
  auto it = made.find(name);
  double check = 0;
  if (it == made.end()) {
    it = made.emplace(name, rows().at(name)()).first;
    check = digest(it->second.run());
  }
  const Row& row = it->second;
  double start = now();
  row.run();
  const double once = std::max(now() - start, 1e-9);
  const int repeat = std::max(1, int(seconds / samples / once));
  std::printf("{\"row\": \"%s\", \"check\": %.9g, \"seconds\": [", name.c_str(), check);
  for (int s = 0; s < samples; ++s) {
    start = now();
    for (int i = 0; i < repeat; ++i) row.run();
    std::printf("%s%.9g", s ? ", " : "", (now() - start) / repeat / row.units);
  }
  std::printf("]}\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace bench

// Lines: "ROW SAMPLES SECONDS"; "drop" forgets the rows made so far.
int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--list") {
    for (const auto& [name, make] : bench::rows()) std::printf("%s\n", name.c_str());
    return 0;
  }
  std::map<std::string, bench::Row> made;
  std::string name;
  while (std::cin >> name) {
    if (name == "drop") {
      made.clear();
      continue;
    }
    int samples = 0;
    double seconds = 0;
    std::cin >> samples >> seconds;
    try {
      bench::answer(name, samples, seconds, made);
    } catch (const std::exception& e) {
      std::printf("{\"row\": \"%s\", \"error\": \"%s\"}\n", name.c_str(), e.what());
      std::fflush(stdout);
    }
  }
}
