// The two-layer net as a static graph. The weights are fed like the data and updated outside.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x_value = randn({N, D_in}), y_value = randn({N, D_out});
  Tensor w1_value = randn({D_in, H}), w2_value = randn({H, D_out});

  const auto graph = Graph::make();
  Tensor x, y, w1, w2, loss;
  std::vector<Tensor> grads;
  {
    const GraphScope scope(graph);
    x = placeholder("x", {N, D_in});
    y = placeholder("y", {N, D_out});
    w1 = placeholder("w1", {D_in, H}).requires_grad_();
    w2 = placeholder("w2", {H, D_out}).requires_grad_();
    const Tensor y_pred = maximum(x.mm(w1), 0).mm(w2);
    loss = sum(pow(y_pred - y, 2));
    grads = gradients(loss, {w1, w2});
  }

  Session session(graph);
  const double learning_rate = 1e-6;
  double last = 0;
  for (int t = 0; t < 500; ++t) {
    const auto out = session.run({loss, grads[0], grads[1]},
                                 {{x, x_value}, {y, y_value}, {w1, w1_value}, {w2, w2_value}});
    last = out[0].item<double>();
    if (t % 100 == 99) std::printf("%d %g\n", t, last);
    w1_value -= learning_rate * out[1];
    w2_value -= learning_rate * out[2];
  }
  std::printf("final loss: %.6e\n", last);
}
