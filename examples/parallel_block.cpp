// A block of our own, two layers side by side, inside a Sequential.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

struct ParallelBlock : nn::Module<ParallelBlock> {
  nn::Linear linear1, linear2;
  static constexpr auto fields = std::tuple{field("linear1", &ParallelBlock::linear1),
                                            field("linear2", &ParallelBlock::linear2)};

  ParallelBlock(int64_t D_in, int64_t D_out) : linear1(D_in, D_out), linear2(D_in, D_out) {}
  Tensor forward(const Tensor& x) const { return clamp(linear1(x) * linear2(x), 0); }
};

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x = randn({N, D_in}), y = randn({N, D_out});

  nn::Sequential model{ParallelBlock(D_in, H), ParallelBlock(H, H), nn::Linear(H, D_out)};
  optim::Adam optimizer(model, {.lr = 1e-4});

  double last = 0;
  for (int t = 0; t < 500; ++t) {
    const Tensor loss = mse_loss(model(x), y);
    last = loss.item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, last);

    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  }
  std::printf("final loss: %.6e\n", last);
}
