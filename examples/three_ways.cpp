// One module trained eagerly, compiled, and in a session: the same losses at three speeds.
#include <tandem/tandem.h>

#include <chrono>
#include <cmath>
#include <cstdio>

using namespace tandem;

namespace {

constexpr int steps = 2000;

/// Makes the same net and optimizer each time; `train(net, optimizer)` gives the last loss.
template <class Train>
double timed(const char* name, Train train) {
  manual_seed(1);
  nn::Sequential net(nn::Linear(16, 32), nn::Tanh(), nn::Linear(32, 4));
  optim::Adam optimizer(net.parameters(), {.lr = 1e-3});
  const auto begin = std::chrono::steady_clock::now();
  const double loss = train(net, optimizer);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%-10s loss %.9g  %8.0f steps/s\n", name, loss, steps / took.count());
  return loss;
}

}  // namespace

int main() {
  manual_seed(0);
  const Tensor x = randn({32, 16}), y = randn({32, 4});

  const double eager = timed("eager", [&](auto& net, auto& optimizer) {
    Tensor loss;
    for (int i = 0; i < steps; ++i) {
      loss = mse_loss(net(x), y);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    }
    return loss.template item<double>();
  });

  const double compiled = timed("compiled", [&](auto& net, auto& optimizer) {
    auto step = compile([&](const Tensor& in, const Tensor& target) {
      const Tensor loss = mse_loss(net(in), target);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      return loss;
    });
    Tensor loss;
    for (int i = 0; i < steps; ++i) loss = step(x, y);
    return loss.template item<double>();
  });

  const double session = timed("session", [&](auto& net, auto& optimizer) {
    const auto graph = Graph::make();
    const GraphScope scope(graph);
    const Tensor in = placeholder("x", {-1, 16}), target = placeholder("y", {-1, 4});
    const Tensor loss = mse_loss(net(in), target);
    const Tensor update = minimize(optimizer, loss);
    Session s(graph);
    Tensor last;
    for (int i = 0; i < steps; ++i) last = s.run({loss, update}, {{in, x}, {target, y}})[0];
    return last.template item<double>();
  });

  const double difference = std::abs(eager - compiled) + std::abs(eager - session);
  std::printf("difference of the losses: %g\n", difference);
}
