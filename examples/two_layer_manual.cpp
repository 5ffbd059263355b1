// A net of two layers, trained with gradients written by hand.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x = randn({N, D_in}), y = randn({N, D_out});
  Tensor w1 = randn({D_in, H}), w2 = randn({H, D_out});

  const double learning_rate = 1e-6;
  double loss = 0;
  for (int t = 0; t < 500; ++t) {
    // Forward.
    const Tensor h = x.mm(w1), h_relu = clamp(h, 0);
    const Tensor y_pred = h_relu.mm(w2);
    loss = sum(pow(y_pred - y, 2)).item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, loss);

    // Backward.
    const Tensor grad_y_pred = 2 * (y_pred - y);
    const Tensor grad_w2 = h_relu.t().mm(grad_y_pred);
    const Tensor grad_h = grad_y_pred.mm(w2.t());
    grad_h[h < 0] = 0;
    const Tensor grad_w1 = x.t().mm(grad_h);

    // Update.
    w1 -= learning_rate * grad_w1;
    w2 -= learning_rate * grad_w2;
  }
  std::printf("final loss: %.6e\n", loss);
}
