// The same net with a function of our own: forward and backward are ours, autograd does the rest.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

struct MyReLU {
  Tensor x;
  Tensor forward(const Tensor& input) {
    x = input;
    return clamp(input, 0);
  }
  Tensor backward(const Tensor& grad_y) {
    Tensor grad_x = grad_y.clone();
    grad_x[x < 0] = 0;
    return grad_x;
  }
};

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x = randn({N, D_in}), y = randn({N, D_out});
  Tensor w1 = randn({D_in, H}).requires_grad_(), w2 = randn({H, D_out}).requires_grad_();

  const double learning_rate = 1e-6;
  double last = 0;
  for (int t = 0; t < 500; ++t) {
    const Tensor y_pred = custom<MyReLU>(x.mm(w1)).mm(w2);
    const Tensor loss = sum(pow(y_pred - y, 2));
    last = loss.item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, last);

    loss.backward();

    const NoGrad no_grad;
    w1 -= learning_rate * w1.grad();
    w2 -= learning_rate * w2.grad();
    w1.set_grad({});
    w2.set_grad({});
  }
  std::printf("final loss: %.6e\n", last);
}
