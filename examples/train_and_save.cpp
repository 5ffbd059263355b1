// Trains a small net, saves it and its training step as ONNX models; run_saved goes on with them.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const Tensor x = randn({64, 8}), y = sum(x * x, {1}, true);
  nn::Sequential net(nn::Linear(8, 32), nn::Tanh(), nn::Linear(32, 1));
  optim::SGD optimizer(net.parameters(), {.lr = 1e-2, .momentum = 0.9});
  auto step = compile([&](const Tensor& in, const Tensor& target) {
    const Tensor loss = mse_loss(net(in), target);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return loss;
  });
  double loss = 0;
  for (int i = 0; i < 200; ++i) loss = step(x, y).item<double>();

  save(net, "model.onnx", {x});
  save(step, "training.onnx", {.names = net.state_dict()});
  save_safetensors("data.safetensors", {{"x", x}, {"y", y}, {"predicted", net(x)}});
  std::printf("loss after 200 steps: %.6f\n", loss);
}
