// The same net as a module of our own.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

struct TwoLayerNet : nn::Module<TwoLayerNet> {
  nn::Linear linear1, linear2;
  static constexpr auto fields =
      std::tuple{field("linear1", &TwoLayerNet::linear1), field("linear2", &TwoLayerNet::linear2)};

  TwoLayerNet(int64_t D_in, int64_t H, int64_t D_out) : linear1(D_in, H), linear2(H, D_out) {}
  Tensor forward(const Tensor& x) const { return linear2(clamp(linear1(x), 0)); }
};

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x = randn({N, D_in}), y = randn({N, D_out});

  TwoLayerNet model(D_in, H, D_out);
  const nn::MSELoss loss_fn({.reduction = "sum"});
  optim::SGD optimizer(model, {.lr = 1e-4});

  double last = 0;
  for (int t = 0; t < 500; ++t) {
    const Tensor y_pred = model(x);
    const Tensor loss = loss_fn(y_pred, y);
    last = loss.item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, last);

    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  }
  std::printf("final loss: %.6e\n", last);
}
