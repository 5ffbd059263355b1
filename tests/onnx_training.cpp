// Saved training graphs with control flow inside: the file goes on as the program would have.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tandem/io/onnx.h"
#include "tandem/io/onnx_file.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"
#include "tests/support/folder.h"

namespace tandem {
namespace {

using testing::error_of;
using testing::TemporaryFolder;
/// Trains a few steps, saves, and compares the steps that follow with those of the file.
void goes_on(const char* what, Tensor (*forward)(const nn::Linear&, const Tensor&)) {
  SCOPED_TRACE(what);
  const TemporaryFolder folder;
  manual_seed(5);
  nn::Linear net(3, 3);
  optim::Adam opt(net.parameters(), {.lr = 1e-2});
  auto step = compile([&](const Tensor& x, const Tensor& y) {
    Tensor loss = mse_loss(forward(net, x), y);
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  });
  const Tensor x = rand({4, 3}), y = randn({4, 3});
  const double first = step(x, y).item<double>();
  step(x, y);
  save(step, folder / "train.onnx", {.names = net.state_dict()});
  LoadedGraph loaded = load_graph(folder / "train.onnx");
  std::vector<double> here, there;
  manual_seed(9);
  for (int i = 0; i < 8; ++i) there.push_back(loaded.run({x, y}).at(0).item<double>());
  manual_seed(9);
  for (int i = 0; i < 8; ++i) here.push_back(step(x, y).item<double>());
  for (size_t i = 0; i < here.size(); ++i)
    EXPECT_NEAR(here[i], there[i], 1e-5 * std::max(1.0, std::abs(here[i])));
  EXPECT_NE(here.back(), first);
  for (const auto& [name, t] : net.state_dict()) {
    const auto a = find(loaded.state_dict(), name).to_vector<double>(), b = t.to_vector<double>();
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5) << name;
  }
}

/// While the sum of squares is below a bound: how often depends on the values.
Tensor grown(const nn::Linear& net, const Tensor& x) {
  return while_loop(
      [](const Tensor& v, const Tensor& n) { return logical_and(sum(v * v) < 60.0, n < 12); },
      [&](const Tensor& v, const Tensor& n) {
        return std::vector<Tensor>{tanh(net(v)) + v * 1.2, n + 1};
      },
      {x, zeros({}, i64)})[0];
}

TEST(OnnxTraining, WhileLoop) { goes_on("while_loop", grown); }

TEST(OnnxTraining, ALoopWithABoundOnItsSteps) {
  goes_on("maximum_iterations", [](const nn::Linear& net, const Tensor& x) {
    return while_loop([](const Tensor&) { return ones({}, boolean); },
                      [&](const Tensor& v) { return tanh(net(v)); }, {x},
                      {.maximum_iterations = 3})[0];
  });
}

TEST(OnnxTraining, FoldsAndMaps) {
  goes_on("foldl", [](const nn::Linear& net, const Tensor& x) {
    const Tensor last =
        foldl([&](const Tensor& a, const Tensor& b) { return tanh(net(a)) + b; }, x, zeros({3}));
    return last.expand({4, 3});
  });
  goes_on("foldr", [](const nn::Linear& net, const Tensor& x) {
    const Tensor last =
        foldr([&](const Tensor& a, const Tensor& b) { return net(a * b) - b; }, x, ones({3}));
    return last.expand({4, 3});
  });
  goes_on("scan", [](const nn::Linear& net, const Tensor& x) {
    return scan([&](const Tensor& a, const Tensor& b) { return tanh(net(a)) + b; }, x, zeros({3}));
  });
  goes_on("map_fn", [](const nn::Linear& net, const Tensor& x) {
    return map_fn([&](const Tensor& a) { return tanh(net(a)); }, x);
  });
}

TEST(OnnxTraining, Branches) {
  goes_on("cond", [](const nn::Linear& net, const Tensor& x) {
    const Tensor h = net(x);
    return cond(
        sum(h) > 0.0, [&] { return tanh(h) * 2.0; }, [&] { return h * net.weight.sum(); });
  });
  goes_on("switch_case", [](const nn::Linear& net, const Tensor& x) {
    const Tensor h = net(x);
    return switch_case((sum(x) > 100.0).to(i64) + 1, [&] { return h; }, [&] { return exp(h); },
                       [&] { return -h; });
  });
}

TEST(OnnxTraining, LoopsInsideOneAnother) {
  goes_on("a loop in a branch", [](const nn::Linear& net, const Tensor& x) {
    return cond(
        sum(x) > -100.0, [&] { return grown(net, x); }, [&] { return net(x); });
  });
  goes_on("a branch in a loop", [](const nn::Linear& net, const Tensor& x) {
    return while_loop([](const Tensor& v) { return sum(v * v) < 60.0; },
                      [&](const Tensor& v) {
                        return cond(
                            sum(v) > 0.0, [&] { return v * 1.5 + tanh(net(v)); },
                            [&] { return v * 1.4 - tanh(net(v)); });
                      },
                      {x})[0];
  });
  goes_on("a loop in a loop", [](const nn::Linear& net, const Tensor& x) {
    return while_loop([](const Tensor& v) { return sum(v * v) < 900.0; },
                      [&](const Tensor& v) { return grown(net, v * 0.5) * 2.0 + v; }, {x},
                      {.maximum_iterations = 3})[0];
  });
}

TEST(OnnxTraining, RandomNumbersInRegions) {
  goes_on("dropout in a loop", [](const nn::Linear& net, const Tensor& x) {
    return while_loop([](const Tensor& v) { return sum(v * v) < 60.0; },
                      [&](const Tensor& v) { return v * 1.3 + dropout(tanh(net(v)), 0.5, true); },
                      {x})[0];
  });
  goes_on("noise in a branch, and outside", [](const nn::Linear& net, const Tensor& x) {
    const Tensor h = net(x + 0.1 * randn({4, 3}));
    const Tensor y = cond(
        sum(h) > 0.0,
        [&] {
          return h + randn({4, 3}) * 0.1;
        },
        [&] { return h * 1.0; });
    return y + 0.01 * randn({4, 3});
  });
}

/// A penalty on the gradient: the derivative of a derivative.
TEST(OnnxTraining, DerivativesOfHigherOrder) {
  goes_on("gradient penalty", [](const nn::Linear& net, const Tensor& x) {
    const Tensor y = grown(net, x);
    const Tensor d = grad(sum(y * y), net.weight, {.create_graph = true});
    return y + sum(d * d) * 1e-4;
  });
}

/// Of any batch: the regions' shapes are made from it.
TEST(OnnxTraining, AnyBatch) {
  const TemporaryFolder folder;
  manual_seed(2);
  nn::Linear net(3, 3);
  optim::SGD opt(net.parameters(), {.lr = 0.01});
  auto step = compile([&](const Tensor& x) {
    Tensor loss = mean(grown(net, x));
    opt.zero_grad();
    loss.backward();
    opt.step();
    return loss;
  });
  std::vector<Tensor> x;
  for (int64_t n : {4, 6, 2, 4, 5, 1}) x.push_back(rand({n, 3}));
  step(x[0]);
  step(x[1]);
  ASSERT_EQ(step.captures(), 1);
  save(step, folder / "train.onnx");
  LoadedGraph loaded = load_graph(folder / "train.onnx");
  ASSERT_EQ(to_string(loaded.inputs()[0]), "in0: f32[batch, 3]");
  for (size_t i = 2; i < x.size(); ++i) {
    const double there = loaded.run({x[i]}).at(0).item<double>();
    EXPECT_NEAR(step(x[i]).item<double>(), there, 1e-5);
  }
}

/// The graph of a Session, only a part of which draws.
TEST(OnnxTraining, ASessionWithRandomLoops) {
  const TemporaryFolder folder;
  const auto g = Graph::make();
  Tensor x, w, loss, train, init;
  {
    const GraphScope scope(g);
    x = placeholder("x", {-1, 3});
    w = variable("w", ones({3}));
    const Tensor noisy = while_loop([](const Tensor& v) { return sum(v * v) < 90.0; },
                                    [&](const Tensor& v) { return v * w + rand({3}); }, {x})[0];
    loss = mean(noisy);
    train = assign_sub(w, 0.001 * gradients(loss, {w})[0]);
    init = global_variables_initializer();
  }
  Session s(g);
  s.run(init);
  const Tensor X = rand({4, 3});
  s.run({loss, train}, {{x, X}});
  save(*g, folder / "s.onnx",
       {.variables = s.state_dict(), .outputs = {{"loss", loss}, {"train", train}}});
  LoadedGraph loaded = load_graph(folder / "s.onnx");
  std::vector<double> here, there;
  manual_seed(4);
  for (int i = 0; i < 4; ++i) there.push_back(loaded.run({X}).at(0).item<double>());
  manual_seed(4);
  for (int i = 0; i < 4; ++i) here.push_back(s.run({loss, train}, {{x, X}})[0].item<double>());
  for (size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(here[i], there[i], 1e-5);
  EXPECT_NE(here[0], here[1]);
}

/// Constants alone go into the loop, and yet its course is only known at each run.
TEST(OnnxTraining, ALoopWhoseVariablesStartAsConstants) {
  const TemporaryFolder folder;
  const auto g = Graph::make();
  {
    const GraphScope scope(g);
    const Tensor x = placeholder("x", {2});
    g->output("y", while_loop([](const Tensor& v) { return sum(v) < 10.0; },
                              [&](const Tensor& v) { return v + x; }, {zeros({2})})[0]);
    g->output("n", while_loop([](const Tensor& n) { return n < 20000; },
                              [](const Tensor& n) { return n + 1; }, {zeros({}, i64)})[0]);
  }
  save(*g, folder / "constant.onnx");
  LoadedGraph loaded = load_graph(folder / "constant.onnx");
  const auto out = loaded.run({tensor({1.f, 2.f})});
  EXPECT_EQ(out[0].to_vector<float>(), (std::vector<float>{4, 8}));
  EXPECT_EQ(out[1].item<int64_t>(), 20000);
}

/// The node's own attributes are checked against its inputs: every byte that was changed gives an
/// answer or a typed error.
TEST(OnnxTraining, DamagedFiles) {
  const TemporaryFolder folder;
  const auto g = Graph::make();
  {
    const GraphScope scope(g);
    Tensor x = placeholder("x", {2});
    x.requires_grad_();
    const Tensor y = while_loop([](const Tensor& v) { return sum(v) < 9.0; },
                                [&](const Tensor& v) { return v * 1.5 + x; }, {x},
                                {.maximum_iterations = 20})[0];
    g->output("d", grad(sum(y), x));
  }
  save(*g, folder / "g.onnx");
  onnx::Model model = onnx::read_model(folder / "g.onnx");
  const Tensor x = tensor({1.f, 2.f});
  auto run = [&](const std::string& bytes) {
    return parse_graph({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}).run({x});
  };
  const std::string whole = onnx::serialize(model);
  // v -> 1.5 v + x, three times from x: 1.5^3 + 1.5^2 + 1.5 + 1.
  EXPECT_NEAR(run(whole).at(0).to_vector<double>()[0], 8.125 - 3.375, 1e-5);
  int errors = 0;
  for (size_t n = 0; n < whole.size(); ++n) {
    std::string bytes = whole;
    bytes[n] = char(bytes[n] ^ (1 << (n % 8)));
    try {
      run(bytes);
    } catch (const Error&) {
      ++errors;
    }
  }
  EXPECT_GT(errors, 100);

  auto node = std::find_if(model.graph.nodes.begin(), model.graph.nodes.end(),
                           [](const onnx::Node& n) { return n.op_type == "while_loop_grad"; });
  ASSERT_NE(node, model.graph.nodes.end());
  const onnx::Node good = *node;
  node->inputs.pop_back();
  EXPECT_NE(error_of<ValueError>([&] {
              run(onnx::serialize(model));
            }).find("its graph takes 3 inputs, gets 2"),
            std::string::npos);
  *node = good;
  for (onnx::Attribute& a : node->attributes)
    if (a.name == "condition") a.graphs[0].outputs.push_back(a.graphs[0].outputs[0]);
  EXPECT_NE(error_of<ValueError>([&] { run(onnx::serialize(model)); })
                .find("while_loop_grad(order=1): the body gives the variables, the condition one "
                      "number"),
            std::string::npos);
  *node = good;
  for (onnx::Attribute& a : node->attributes)
    if (a.name == "order") a.i = 0;
  EXPECT_NE(error_of<ValueError>([&] {
              run(onnx::serialize(model));
            }).find("its inputs are not those of a loop of 1 variables"),
            std::string::npos);
}

TEST(OnnxTraining, AGroupIsNoValue) {
  const TemporaryFolder folder;
  const auto graph = Graph::make();
  const GraphScope scope(graph);
  const Tensor v = variable("v", zeros({})), x = placeholder("x", {0});
  const Tensor y = x + group({assign_add(v, full({}, 1.0))});
  EXPECT_EQ(error_of<ValueError>([&] {
              save(*graph, folder / "group.onnx", {.outputs = {{"y", y}}});
            }),
            "save(): a group of effects is used as a value");
}

}  // namespace
}  // namespace tandem
