// The rows where overhead counts, in PyTorch's C++ library. The protocol of tandem_rows.cpp.
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace {

torch::Tensor filled(at::IntArrayRef shape, uint32_t seed, double scale = 1) {
  torch::Tensor t = torch::empty(shape);
  float* p = t.data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    uint32_t v = uint32_t(i) * 2654435761u + seed * 40503u;
    v ^= v >> 16;
    v *= 2246822519u;
    v ^= v >> 13;
    p[i] = float((double(v) / 4294967296.0 * 2 - 1) * scale);
  }
  return t;
}

struct Row {
  double units = 1;
  std::function<torch::Tensor()> run;
};

Row tiny_add(bool grad, bool inference) {
  c10::InferenceMode guard(inference);
  torch::Tensor x = torch::ones({1}), y = torch::ones({1});
  if (grad) x.requires_grad_();
  return {1000, [=] {
            c10::InferenceMode mode(inference);
            for (int i = 0; i < 999; ++i) x + y;
            return x + y;
          }};
}

Row tiny_chain() {
  torch::Tensor x = torch::ones({1}), y = torch::ones({1});
  x.requires_grad_();
  return {100, [=] {
            torch::Tensor z = x;
            for (int i = 0; i < 100; ++i) z = z + y;
            z.backward();
            return z.detach();
          }};
}

Row mlp_step(const std::vector<int64_t>& widths, int64_t n) {
  torch::nn::Sequential net;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    if (i) net->push_back(torch::nn::ReLU());
    net->push_back(torch::nn::Linear(widths[i], widths[i + 1]));
  }
  {
    torch::NoGradGuard guard;
    uint32_t seed = 1;
    for (auto& p : net->parameters()) {
      const bool vector = p.dim() == 1;
      const double scale = vector ? 0.1 : 1 / std::sqrt(double(p.numel() / p.size(0)));
      p.copy_(filled(p.sizes(), seed++, scale));
    }
  }
  auto opt = std::make_shared<torch::optim::SGD>(net->parameters(), 1e-4);
  const torch::Tensor x = filled({n, widths.front()}, 100), y = filled({n, widths.back()}, 101);
  return {1, [=]() mutable {
            torch::Tensor loss = torch::mse_loss(net->forward(x), y, at::Reduction::Sum);
            opt->zero_grad();
            loss.backward();
            opt->step();
            return loss.detach();
          }};
}

const std::map<std::string, std::function<Row()>> rows = {
    {"add_tiny_nograd@inference_mode", [] { return tiny_add(false, true); }},
    {"add_tiny_nograd@plain", [] { return tiny_add(false, false); }},
    {"add_tiny_grad@plain", [] { return tiny_add(true, false); }},
    {"add_tiny_fwdbwd@plain", tiny_chain},
    {"mlp_tiny_step@cpp",
     [] {
       return mlp_step({4, 8, 8, 4}, 4);
     }},
    {"two_layer_step@cpp",
     [] {
       return mlp_step({1000, 100, 10}, 64);
     }},
};

double now() {
  using clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
  torch::set_num_threads(argc > 1 ? std::atoi(argv[1]) : 2);
  std::map<std::string, Row> made;
  std::string name;
  while (std::cin >> name) {
    if (name == "drop") {
      made.clear();
      continue;
    }
    int samples = 0;
    double seconds = 0, check = 0;
    std::cin >> samples >> seconds;
    auto it = made.find(name);
    if (it == made.end()) {
      it = made.emplace(name, rows.at(name)()).first;
      check = it->second.run().to(torch::kDouble).abs().mean().item<double>();
    }
    Row& row = it->second;
    double start = now();
    row.run();
    const int repeat = std::max(1, int(seconds / samples / std::max(now() - start, 1e-9)));
    std::printf("{\"row\": \"%s\", \"check\": %.9g, \"seconds\": [", name.c_str(), check);
    for (int s = 0; s < samples; ++s) {
      start = now();
      for (int i = 0; i < repeat; ++i) row.run();
      std::printf("%s%.9g", s ? ", " : "", (now() - start) / repeat / row.units);
    }
    std::printf("]}\n");
    std::fflush(stdout);
  }
}
