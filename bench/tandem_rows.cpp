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

Row tiny_add(bool grad) {
  Tensor x = ones({1}), y = ones({1});
  if (grad) x.requires_grad_();
  return {1000, [=] {
            for (int i = 0; i < 999; ++i) x + y;
            return x + y;
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
Row mlp_step(const std::vector<int64_t>& widths, int64_t n) {
  nn::Sequential net;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    if (i) net.push_back(nn::ReLU());
    net.push_back(nn::Linear(widths[i], widths[i + 1]));
  }
  fill_parameters(net);
  auto model = std::make_shared<nn::Sequential>(net);
  auto opt = std::make_shared<optim::SGD>(model->parameters(), optim::SGDOptions{.lr = 1e-4});
  const Tensor x = filled({n, widths.front()}, 100), y = filled({n, widths.back()}, 101);
  return {1, [=] {
            Tensor loss = mse_loss((*model)(x), y, "sum");
            opt->zero_grad();
            loss.backward();
            opt->step();
            return loss.detach();
          }};
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
    for (int64_t& d : s) d = std::min<int64_t>(d, 8);
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
            conv2d(xg, wg, {}, 1, 1).backward(dy);
            return wg.grad();
          }};
}

template <class M>
Row train_step(std::shared_ptr<M> model, const Shape& shape, int64_t classes) {
  fill_parameters(*model);
  auto opt = std::make_shared<optim::SGD>(model->parameters(), optim::SGDOptions{.lr = 1e-3});
  const Tensor x = filled(shape, 100), y = labels(shape[0], classes);
  return {1, [=] {
            Tensor loss = cross_entropy((*model)(x), y);
            opt->zero_grad();
            loss.backward();
            opt->step();
            return loss.detach();
          }};
}

Row cnn28() {
  auto net = std::make_shared<nn::Sequential>(
      nn::Conv2d(1, 32, 3), nn::ReLU(), nn::Conv2d(32, 64, 3), nn::ReLU(), nn::MaxPool2d(2),
      nn::Flatten(), nn::Linear(9216, 128), nn::ReLU(), nn::Linear(128, 10));
  return train_step(net, {128, 1, 28, 28}, 10);
}

Row resnet_infer() {
  auto net = std::make_shared<ResNet18>();
  fill_parameters(*net);
  net->eval();
  const Tensor x = filled({1, 3, 224, 224}, 100);
  return {1, [=] {
            const NoGrad guard;
            return (*net)(x);
          }};
}

const std::map<std::string, std::function<Row()>>& rows() {
  static const std::map<std::string, std::function<Row()>> all = {
      {"add_tiny_nograd", [] { return tiny_add(false); }},
      {"add_tiny_grad", [] { return tiny_add(true); }},
      {"add_tiny_fwdbwd", tiny_chain},
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
      {"cnn28_step_n128", cnn28},
      {"resnet18_step_n16",
       [] {
         return train_step(std::make_shared<ResNet18>(), {16, 3, 224, 224}, 1000);
       }},
      {"resnet18_infer_n1", resnet_infer},
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
