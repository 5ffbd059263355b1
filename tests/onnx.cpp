// Graphs that are saved as ONNX models, loaded and run: what eager code gives. What other programs
// say of the files: tests/onnx_runtime.
#include "tandem/io/onnx.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tandem/io/onnx_file.h"
#include "tests/onnx_runtime/graphs.h"
#include "tests/support/errors.h"
#include "tests/support/folder.h"

namespace tandem {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

namespace fs = std::filesystem;

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

TEST(Onnx, ModelsOfEveryKindComeBack) {
  const TemporaryFolder folder;
  for (const auto& e : testing::save_models(folder.path)) {
    LoadedGraph g = load_graph(folder / (e.name + ".onnx"));
    auto expect_same = [&](const testing::SavedExample& call) {
      const auto out = g.run(call.inputs);
      ASSERT_EQ(out.size(), call.expected.size());
      for (size_t i = 0; i < out.size(); ++i)
        EXPECT_LT(largest_difference(out[i], call.expected[i]), 1e-5) << call.name << ", " << i;
    };
    expect_same(e);
    for (const auto& call : e.more) expect_same(call);
  }
}

class OnnxRecords : public ::testing::TestWithParam<DType> {};

/// In every floating dtype; samples of integers, bools, 0-d and empty tensors are among them.
TEST_P(OnnxRecords, ComeBack) {
  const TemporaryFolder folder;
  const auto all = testing::save_samples(folder.path, GetParam());
  // A record that ONNX writes as several operators is rounded after each of them.
  auto tolerance = [](DType d) {
    return d == f16 ? 0x1p-9 : d == bf16 ? 0x1p-6 : d == f64 ? 0x1p-50 : 0x1p-21;
  };
  EXPECT_GT(all.size(), 500u);
  for (const auto& e : all) {
    LoadedGraph g = load_graph(folder / (e.name + ".onnx"));
    const auto out = g.run(e.inputs);
    ASSERT_EQ(out.size(), e.expected.size());
    for (size_t i = 0; i < out.size(); ++i)
      EXPECT_LT(largest_difference(out[i], e.expected[i]), tolerance(e.expected[i].dtype()))
          << e.name << " output " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, OnnxRecords, ::testing::Values(f32, f64, f16, bf16),
                         [](const auto& test) { return std::string(name(test.param)); });

/// A step of Adam with dropout and batch norm: the file goes on where the program stopped.
TEST(Onnx, ATrainingStepGoesOnFromTheFile) {
  const TemporaryFolder folder;
  manual_seed(3);
  nn::Sequential net(nn::Linear(6, 8), nn::BatchNorm1d(8), nn::ReLU(), nn::Linear(8, 3));
  optim::Adam opt(net.parameters(), {.lr = 1e-2});
  auto step = compile([&](const Tensor& x, const Tensor& y) {
    Tensor loss = cross_entropy(net(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  });
  std::vector<Tensor> x, y;
  for (int i = 0; i < 20; ++i) {
    x.push_back(randn({i < 4 ? 16 + 8 * (i % 2) : 16, 6}));  // two lengths: any batch
    y.push_back(randint(3, {x.back().size(0)}));
  }
  for (size_t i = 0; i < 10; ++i) step(x[i], y[i]);
  save(step, folder / "train.onnx", {.names = net.state_dict()});
  std::vector<double> here, there;
  LoadedGraph loaded = load_graph(folder / "train.onnx");
  EXPECT_EQ(to_string(loaded.inputs()[0]), "in0: f32[batch, 6]");
  ASSERT_EQ(loaded.outputs().size(), 1u);
  for (size_t i = 10; i < 20; ++i) {
    there.push_back(loaded.run({x[i], y[i]})[0].item<double>());
    here.push_back(step(x[i], y[i]).item<double>());
    EXPECT_NEAR(here.back(), there.back(), 1e-5);
  }
  for (const auto& [name, t] : net.state_dict())
    EXPECT_LT(largest_difference(find(loaded.state_dict(), name), t), 1e-5) << name;
}

TEST(Onnx, DropoutDrawsAnew) {
  const TemporaryFolder folder;
  const auto g = Graph::make();
  {
    const GraphScope scope(g);
    g->output("y", dropout(placeholder("x", {-1}), 0.5, true));
  }
  save(*g, folder / "dropout.onnx");
  LoadedGraph loaded = load_graph(folder / "dropout.onnx");
  const Tensor x = ones({200}), a = loaded.run({x})[0], b = loaded.run({x})[0];
  EXPECT_NE(a.to_vector<float>(), b.to_vector<float>());
  EXPECT_NEAR(a.to_vector<double>()[0] * (2 - a.to_vector<double>()[0]), 0, 1e-6);  // 0 or 2
}

TEST(Onnx, ASessionsGraph) {
  const TemporaryFolder folder;
  const auto g = Graph::make();
  Tensor x, y, loss, train, init;
  {
    const GraphScope scope(g);
    x = placeholder("x", {-1, 3});
    y = placeholder("y", {-1, 1});
    const Tensor w = variable("w", zeros({3, 1}));
    loss = mse_loss(matmul(x, w), y);
    optim::SGD sgd({w}, {.lr = 0.1});
    train = minimize(sgd, loss);
    init = global_variables_initializer();
  }
  Session s(g);
  s.run(init);
  const Tensor X = randn({8, 3}), Y = randn({8, 1});
  s.run({train}, {{x, X}, {y, Y}});
  EXPECT_EQ(error_of<ValueError>([&] {
              save(*g, folder / "s.onnx", {.outputs = {{"loss", loss}}});
            }),
            "save(): variable \"w\" has a value in each Session only; give them in "
            "options.variables (session.state_dict())");
  save(*g, folder / "eval.onnx", {.variables = s.state_dict(), .outputs = {{"loss", loss}}});
  save(*g, folder / "train.onnx",
       {.variables = s.state_dict(), .outputs = {{"loss", loss}, {"train", train}}});
  LoadedGraph eval = load_graph(folder / "eval.onnx"), on = load_graph(folder / "train.onnx");
  for (int i = 0; i < 5; ++i) {
    const double want = s.run({loss, train}, {{x, X}, {y, Y}})[0].item<double>();
    EXPECT_NEAR(on.run({{"x", X}, {"y", Y}}).at(0).item<double>(), want, 1e-6);
    if (i == 0) {
      EXPECT_NEAR(eval.run({{"x", X}, {"y", Y}}).at(0).item<double>(), want, 1e-6);
    }
  }
}

TEST(Onnx, ControlFlow) {
  const TemporaryFolder folder;
  const auto g = Graph::make();
  const Tensor w = tensor({2.f, 3.f}), zero = zeros({});
  {
    const GraphScope scope(g);
    const Tensor x = placeholder("x", {-1, 2});
    const Tensor y = cond(
        sum(x) > 0.0, [&] { return x * w; }, [&] { return x - w; });
    const auto last = while_loop([&](const Tensor& v) { return sum(abs(v)) < 100.0; },
                                 [&](const Tensor& v) { return v * 2.0 + w; }, {y});
    g->output("y", y);
    g->output("last", last[0]);
    g->output("running", scan([](const Tensor& a, const Tensor& b) { return a + b; },
                              placeholder("list", {4}), zero));
  }
  save(*g, folder / "flow.onnx");
  LoadedGraph loaded = load_graph(folder / "flow.onnx");
  const Tensor list = tensor({1.f, 2.f, 3.f, 4.f});
  for (double sign : {1.0, -1.0}) {
    const Tensor x = (rand({3, 2}) + 0.1) * sign;
    const Tensor y = sign > 0 ? x * w : x - w;
    Tensor last = y;
    while (sum(abs(last)).item<double>() < 100) last = last * 2.0 + w;
    const auto out = loaded.run({x, list});
    EXPECT_LT(largest_difference(out[0], y), 1e-6);
    EXPECT_LT(largest_difference(out[1], last), 1e-6);
    EXPECT_EQ(out[2].to_vector<float>(), (std::vector<float>{1, 3, 6, 10}));
  }
}

TEST(Onnx, StateIsReadAndWrittenByName) {
  const TemporaryFolder folder;
  nn::Linear net(4, 3), other(4, 3);
  save(net, folder / "net.onnx", {randn({2, 4})}, {.external_above = 8});
  EXPECT_TRUE(fs::exists(folder / "net.onnx.data"));
  LoadedGraph g = load_graph(folder / "net.onnx");
  const Tensor x = randn({5, 4});
  EXPECT_LT(largest_difference(g.run({x})[0], net(x)), 1e-6);
  g.load_state_dict(other.state_dict());
  EXPECT_LT(largest_difference(g.run({x})[0], other(x)), 1e-6);
  EXPECT_EQ(error_of<ValueError>([&] {
              g.load_state_dict({{"bias", ones({4})}, {"b", x}});
            }),
            "LoadedGraph::load_state_dict(): missing weight; bias has shape [4], needs [3]; "
            "unexpected b;");
  // What was loaded can be saved again, with the state that it has now.
  const Shape shape{5, 4};
  save(*g.graph({&shape, 1}), folder / "again.onnx");
  EXPECT_LT(largest_difference(load_graph(folder / "again.onnx").run({x})[0], other(x)), 1e-6);
}

/// Records have no checks of their own for inputs that are always there.
TEST(Onnx, RecordsWithoutTheirInputs) {
  for (const OpInfo* info : ops()) {
    onnx::Model m;
    m.operator_sets = {{"", 17}, {"tandem", 1}};
    onnx::Node node;
    node.op_type = std::string(info->name);
    node.domain = "tandem";
    node.inputs.assign(size_t(std::max(1, info->min_inputs)), "");
    node.outputs = {"y"};
    m.graph.nodes = {node};
    onnx::ValueInfo out;
    out.name = "y";
    out.type.kind = onnx::Type::Kind::tensor;
    out.type.element = onnx::ElementType::float32;
    m.graph.outputs = {out};
    const std::string bytes = onnx::serialize(m);
    EXPECT_THROW(parse_graph({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()})
                     .run(std::span<const Tensor>()),
                 Error)
        << info->name;
  }
}

/// Every file that is cut, or has one byte changed, gives an answer or a typed error.
TEST(Onnx, DamagedFiles) {
  const TemporaryFolder folder;
  nn::Sequential net(nn::Linear(4, 8), nn::LayerNorm(8), nn::Linear(8, 3));
  save(net, folder / "net.onnx", {randn({2, 4})});
  const std::string whole = onnx::serialize(onnx::read_model(folder / "net.onnx"));
  const Tensor x = randn({2, 4});
  int answers = 0, errors = 0;
  auto look = [&](const std::string& bytes) {
    try {
      parse_graph({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}).run({x});
      ++answers;
    } catch (const Error&) {
      ++errors;
    }
  };
  for (size_t n = 0; n < whole.size(); n += 7) look(whole.substr(0, n));
  EXPECT_LE(answers, 3);  // cut between the graph and the metadata
  answers = errors = 0;
  for (size_t n = 0; n < whole.size(); ++n) {
    std::string bytes = whole;
    bytes[n] = char(bytes[n] ^ (1 << (n % 8)));
    look(bytes);
  }
  EXPECT_GT(answers, 0);
  EXPECT_GT(errors, 100);
}

TEST(Onnx, Errors) {
  const TemporaryFolder folder;
  nn::Linear net(4, 3);
  save(net, folder / "net.onnx", {randn({2, 4})});
  LoadedGraph g = load_graph(folder / "net.onnx");
  EXPECT_EQ(error_of<ShapeError>([&] {
              g.run({randn({2, 5})});
            }),
            "LoadedGraph::run(): input input: f32[batch, 4], got shape [2, 5]");
  EXPECT_EQ(error_of<DTypeError>([&] {
              g.run({ones({2, 4}, i64)});
            }),
            "LoadedGraph::run(): input input: f32[batch, 4], got i64");
  EXPECT_EQ(error_of<ValueError>([&] {
              g.run({{"z", randn({2, 4})}});
            }),
            "LoadedGraph::run(): missing input: f32[batch, 4]; unknown z;");
  EXPECT_EQ(error_of<ValueError>([&] { g.run(std::span<const Tensor>()); }),
            "LoadedGraph::run(): 0 inputs for 1");
  onnx::Model m = onnx::read_model(folder / "net.onnx");
  m.graph.nodes[0].op_type = "Resample";
  auto load = [&] {
    const std::string bytes = onnx::serialize(m);
    parse_graph({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  };
  EXPECT_EQ(
      error_of<NotImplemented>(load),
      "load_graph(): Resample \"Linear/linear\" of domain \"ai.onnx\", operator set 17, cannot be "
      "imported; docs/graphs.md lists those that can");
  m.graph.nodes[0].op_type = "Gemm";
  m.graph.nodes[0].inputs[0] = "nothing";
  EXPECT_EQ(
      error_of<ValueError>(load),
      "load_graph(): Gemm \"Linear/linear\" takes \"nothing\", which nothing before it gives");
  EXPECT_THROW(load_graph(folder / "none.onnx"), IOError);
}

}  // namespace
}  // namespace tandem
