// Graphs that are saved as ONNX models, loaded and run: what eager code gives. What other programs
// say of the files: tests/onnx_runtime.
#include "tandem/io/onnx.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tandem/op/registry.h"
#include "tandem/tandem.h"
#include "tests/support/inputs.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

struct TemporaryFolder {
  std::string path;
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "tandem_graph_XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

template <class E, class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

double largest_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.spec(), b.spec());
  if (!(a.spec() == b.spec())) return INFINITY;
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    const double d = std::abs(x[i] - y[i]) / (1 + std::abs(y[i]));
    most = std::isnan(d) ? INFINITY : std::max(most, d);
  }
  return most;
}

TEST(Onnx, AModuleSavedLoadedAndRunForAnyBatch) {
  const TemporaryFolder folder;
  nn::Sequential net(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 3));
  save(net, folder / "mlp.onnx", {randn({2, 4})});
  LoadedGraph g = load_graph(folder / "mlp.onnx");
  ASSERT_EQ(g.inputs().size(), 1u);
  EXPECT_EQ(to_string(g.inputs()[0]), "input: f32[batch, 4]");
  EXPECT_EQ(to_string(g.outputs().at(0)), "output0: f32[batch, 3]");
  for (int64_t n : {1, 5, 64}) {
    const Tensor x = randn({n, 4});
    EXPECT_LT(largest_difference(g.run({x})[0], net(x)), 1e-6);
    EXPECT_LT(largest_difference(g.run({{"input", x}})[0], net(x)), 1e-6);
  }
  NamedTensors names = g.state_dict();
  ASSERT_EQ(names.size(), 4u);
  EXPECT_EQ(names[0].first, "0.weight");
  EXPECT_TRUE(net.is_training());
}

}  // namespace
}  // namespace tandem
