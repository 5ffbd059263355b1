// The same net from layers; the update is still written by hand.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x = randn({N, D_in}), y = randn({N, D_out});

  nn::Sequential model{nn::Linear(D_in, H), nn::ReLU(), nn::Linear(H, D_out)};
  const nn::MSELoss loss_fn({.reduction = "sum"});

  const double learning_rate = 1e-4;
  double last = 0;
  for (int t = 0; t < 500; ++t) {
    const Tensor y_pred = model(x);
    const Tensor loss = loss_fn(y_pred, y);
    last = loss.item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, last);

    model.zero_grad();
    loss.backward();

    const NoGrad no_grad;
    for (Tensor& parameter : model.parameters()) parameter -= learning_rate * parameter.grad();
  }
  std::printf("final loss: %.6e\n", last);
}
