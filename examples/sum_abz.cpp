// c = sum(a * b + z): its gradients by hand and by autograd.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

int main() {
  manual_seed(0);
  const Tensor a = randn({3, 4}).requires_grad_(), b = randn({3, 4}).requires_grad_(),
               z = randn({3, 4}).requires_grad_();

  const Tensor c = sum(a * b + z);
  c.backward();

  // By hand: dc/dz is one everywhere, dc/da is b, dc/db is a.
  const Tensor grad_z = ones({3, 4}), grad_a = grad_z * b, grad_b = grad_z * a;

  std::printf("c = %.6f\n", c.item<double>());
  const double difference = (a.grad() - grad_a).abs().max().item<double>() +
                            (b.grad() - grad_b).abs().max().item<double>() +
                            (z.grad() - grad_z).abs().max().item<double>();
  std::printf("difference of the gradients: %g\n", difference);
}
