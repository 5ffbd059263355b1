// Minibatches: a dataset, a loader, 20 epochs.
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
  data::DataLoader loader(data::TensorDataset(randn({N, D_in}), randn({N, D_out})),
                          {.batch_size = 8, .shuffle = true});

  TwoLayerNet model(D_in, H, D_out);
  optim::SGD optimizer(model, {.lr = 1e-2});

  double mean = 0;
  for (int epoch = 0; epoch < 20; ++epoch) {
    mean = 0;
    for (auto& [x, y] : loader) {
      const Tensor loss = mse_loss(model(x), y);
      mean += loss.item<double>() / double(loader.size());

      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    }
    std::printf("epoch %d: loss %g\n", epoch + 1, mean);
  }
  std::printf("final loss: %.6e\n", mean);
}
