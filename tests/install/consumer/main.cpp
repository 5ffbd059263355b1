// A user's first program: a model, an optimizer, a loop, and an error caught by its type.
#include <tandem/tandem.h>
#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(1);
  nn::Sequential model{nn::Linear(4, 32), nn::Tanh(), nn::Linear(32, 1)};
  optim::Adam opt(model.parameters(), {.lr = 1e-2});
  const Tensor x = randn({256, 4});
  const Tensor y = sin(sum(x, {1}, true));

  double first = 0, last = 0;
  for (int step = 0; step < 300; ++step) {
    const Tensor loss = mse_loss(model(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  std::printf("loss: %.4f, then %.4f\n", first, last);
  if (!(last < first / 4)) return 1;

  try {
    model(randn({256, 5}));
  } catch (const ShapeError& e) {
    std::printf("caught: %s\n", e.what());
    return 0;
  }
  return 2;
}
