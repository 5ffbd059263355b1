// Dense layers with He's initialisation, on placeholders: the modules that eager code uses.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const int64_t N = 64, D_in = 1000, H = 100, D_out = 10;
  const Tensor x_value = randn({N, D_in}), y_value = randn({N, D_out});
  nn::Linear hidden(D_in, H), output(H, D_out);
  nn::init::kaiming_normal_(hidden.weight);
  nn::init::kaiming_normal_(output.weight);
  std::vector<Tensor> weights;
  for (auto* layer : {&hidden, &output})
    for (const Tensor& p : layer->parameters()) weights.push_back(p);
  optim::SGD optimizer(weights, {.lr = 1e-2});

  const auto graph = Graph::make();
  const GraphScope scope(graph);
  const Tensor x = placeholder("x", {-1, D_in}), y = placeholder("y", {-1, D_out});
  const Tensor loss = mse_loss(output(relu(hidden(x))), y);
  const Tensor updates = minimize(optimizer, loss);

  Session session(graph);
  double first = 0, last = 0;
  for (int t = 0; t < 500; ++t) {
    last = session.run({loss, updates}, {{x, x_value}, {y, y_value}})[0].item<double>();
    if (t == 0) first = last;
    if (t % 100 == 99) std::printf("%d %g\n", t, last);
  }
  std::printf("first loss: %.6e\nfinal loss: %.6e\n", first, last);
}
