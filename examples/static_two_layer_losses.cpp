// The loss from the library: its mean is taken over all elements, so the rate is larger.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x_value = randn({N, D_in}), y_value = randn({N, D_out});

  const auto graph = Graph::make();
  const GraphScope scope(graph);
  const Tensor x = placeholder("x", {-1, D_in}), y = placeholder("y", {-1, D_out});
  const Tensor w1 = variable("w1", randn({D_in, H})), w2 = variable("w2", randn({H, D_out}));
  const Tensor loss = mse_loss(relu(x.mm(w1)).mm(w2), y);
  optim::SGD optimizer(variables(), {.lr = 1e-6 * double(N * D_out)});
  const Tensor updates = minimize(optimizer, loss);

  Session session(graph);
  session.run(global_variables_initializer());
  double last = 0;
  for (int t = 0; t < 500; ++t) {
    last = session.run({loss, updates}, {{x, x_value}, {y, y_value}})[0].item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, last);
  }
  std::printf("final loss: %.6e\n", last * double(N * D_out));
}
