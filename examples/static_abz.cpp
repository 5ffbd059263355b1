// a * b + z, summed, as a static graph: placeholders, and gradients through a session.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const int64_t N = 3, D = 4;
  const Tensor a = randn({N, D}), b = randn({N, D}), z = randn({N, D});

  const auto graph = Graph::make();
  const GraphScope scope(graph);
  const Tensor A = placeholder("a", {N, D}).requires_grad_();
  const Tensor B = placeholder("b", {N, D}).requires_grad_();
  const Tensor Z = placeholder("z", {N, D}).requires_grad_();
  const Tensor c = sum(A * B + Z);
  const auto grads = gradients(c, {A, B, Z});

  Session session(graph);
  const auto out = session.run({c, grads[0], grads[1], grads[2]}, {{A, a}, {B, b}, {Z, z}});

  const EagerScope eager;  // the graph is built; what follows runs at once
  std::printf("sum %.6f, by hand %.6f\n", out[0].item<double>(), sum(a * b + z).item<double>());
  const double difference = (out[1] - b).abs().max().item<double>() +
                            (out[2] - a).abs().max().item<double>() +
                            (out[3] - 1).abs().max().item<double>();
  std::printf("difference of the gradients: %g\n", difference);
}
