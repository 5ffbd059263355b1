// A conditional and a fold: as plain code that runs at once, and as nodes of a graph.
#include <tandem/tandem.h>

#include <cstdio>

using namespace tandem;

namespace {

/// z * x or z * y, as z's sign says; the same lines serve both ways.
Tensor choose(const Tensor& x, const Tensor& y, const Tensor& z) {
  return cond(
      sum(z) < 0, [&] { return z * x; }, [&] { return z * y; });
}

/// y_t = (y_{t-1} + x_t) * w over the rows of x.
Tensor recur(const Tensor& y0, const Tensor& x, const Tensor& w) {
  return foldl([&](const Tensor& y, const Tensor& row) { return (y + row) * w; }, x, y0);
}

}  // namespace

int main() {
  manual_seed(0);
  const int64_t N = 3, D = 4, T = 3;
  const Tensor x = randn({N, D}), y = randn({N, D}), rows = randn({T, D}), y0 = randn({D}),
               w = randn({D});
  double difference = 0;
  const auto compare = [&](const char* what, const Tensor& dynamic, const Tensor& fetched) {
    std::printf("%s: dynamic %.6f, static %.6f\n", what, sum(dynamic).item<double>(),
                sum(fetched).item<double>());
    difference += (dynamic - fetched).abs().max().item<double>();
  };

  const auto graph = Graph::make();
  Tensor px, py, pz, pr, p0, pw, chosen, folded;
  {
    const GraphScope scope(graph);
    px = placeholder("x", {N, D});
    py = placeholder("y", {N, D});
    pz = placeholder("z", {N, D});
    pr = placeholder("rows", {T, D});
    p0 = placeholder("y0", {D});
    pw = placeholder("w", {D});
    chosen = choose(px, py, pz);
    folded = recur(p0, pr, pw);
  }
  Session session(graph);
  for (double sign : {-1.0, 1.0}) {
    const Tensor z = abs(randn({N, D})) * sign;
    compare("cond", choose(x, y, z), session.run(chosen, {{px, x}, {py, y}, {pz, z}}));
  }
  compare("foldl", recur(y0, rows, w), session.run(folded, {{p0, y0}, {pr, rows}, {pw, w}}));
  std::printf("difference of static and dynamic: %g\n", difference);
}
