#include <gtest/gtest.h>

#include "tandem/graph/ir.h"
#include "tandem/graph/passes.h"
#include "tandem/graph/session.h"
#include "tandem/tandem.h"

namespace tandem {
namespace {

TEST(GraphText, ATrainingGraphComesBack) {
  nn::Sequential net(nn::Conv2d(1, 4, 3), nn::ReLU(), nn::Flatten(), nn::Dropout(0.25),
                     nn::Linear(16, 3));
  optim::Adam opt(net.parameters(), {.lr = 1e-3});
  const auto g = Graph::make();
  const Tensor x = g->input("x", {{5, 1, 4, 4}, f32, {}}), y = g->input("y", {{5}, i64, {}});
  {
    const detail::CaptureScope scope(*g);
    const Tensor loss = cross_entropy(net(x), y);
    loss.backward();
    opt.step();
    g->output("loss", loss);
    g->take_gradients();
  }
  const std::string text = to_string(*g);
  const auto back = graph::parse(text);
  graph::verify(*back);
  EXPECT_EQ(to_string(*back), text);
}

TEST(GraphText, RunsWhatItParsed) {
  const auto g = graph::parse(R"(graph(%x: f32[2, 3])
  %1: f32[] = constant(2)
  %2: f32[2, 3] = mul(%x, %1)
  %3: f32[2] = sum(%2, axes=[1], keepdim=false)
  return %3
)");
  graph::verify(*g);
  const Tensor x = ones({2, 3});
  EXPECT_EQ(g->run({&x, 1})[0].to_vector<float>(), (std::vector<float>{6, 6}));
}

std::string refusal(std::string_view text) {
  try {
    graph::verify(*graph::parse(text));
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}

TEST(GraphText, Refusals) {
  EXPECT_EQ(refusal("graph(%x: f32[2])\n  %1: f32[2] = nonsense(%x)\n"),
            "graph::parse(): line 2: no record is called nonsense: %1: f32[2] = nonsense(%x)");
  EXPECT_EQ(refusal("graph(%x: f32[2])\n  return %7\n"),
            "graph::parse(): line 2: %7 is not defined: return %7");
  EXPECT_EQ(refusal("graph(%x: f32[2])\n  %1: f32[3] = exp(%x)\n  return %1\n"),
            "graph: exp(): result %1 is f32[2], the graph says f32[3]");
  EXPECT_EQ(refusal("graph(%x: f99[2])\n"),
            "graph::parse(): line 1: unknown dtype in \"f99[2]\": graph(%x: f99[2])");
}

TEST(GraphText, Dot) {
  const auto g = graph::parse("graph(%x: f32[2])\n  %1: f32[2] = exp(%x)\n  return %1\n");
  EXPECT_EQ(g->to_dot(), R"dot(digraph {
  node [shape=box, fontname="sans-serif"]
  v2 [shape=oval, label="x\nf32[2]"]
  n0 [label="exp()"]
  v2 -> n0 [label="f32[2]"]
  out0 [shape=oval, label="out0"]
  n0 -> out0
}
)dot");
}

/// Text before a pass, the pass, text after.
void expect_pass(void (*pass)(Graph&), std::string_view before, std::string_view after) {
  const auto g = graph::parse(before);
  pass(*g);
  graph::verify(*g);
  EXPECT_EQ(to_string(*g), after);
}

TEST(GraphPasses, DeadCode) {
  expect_pass(graph::eliminate_dead_code,
              "graph(%x: f32[2])\n  %1: f32[2] = exp(%x)\n  %2: f32[2] = sin(%x)\n  return %2\n",
              "graph(%x: f32[2])\n  %2: f32[2] = sin(%x)\n  return %2\n");
}

TEST(GraphPasses, CommonSubexpressions) {
  expect_pass(graph::eliminate_common_subexpressions,
              "graph(%x: f32[2])\n  %1: f32[2] = exp(%x)\n  %2: f32[2] = exp(%x)\n"
              "  %3: f32[2] = add(%1, %2)\n  return %3\n",
              "graph(%x: f32[2])\n  %1: f32[2] = exp(%x)\n  %3: f32[2] = add(%1, %1)\n"
              "  return %3\n");
}

TEST(GraphPasses, Simplify) {
  expect_pass(graph::simplify,
              "graph(%x: f32[2])\n  %1: f32[] = constant(1)\n  %2: f32[2] = mul(%x, %1)\n"
              "  %3: f32[2] = cast(%2, dtype=f32)\n  %4: f32[2] = exp(%3)\n  return %4\n",
              "graph(%x: f32[2])\n  %4: f32[2] = exp(%x)\n  return %4\n");
}

TEST(GraphPasses, ConstantsFold) {
  const auto g = graph::parse(
      "graph(%x: f32[])\n  %1: f32[] = constant(2)\n  %2: f32[] = constant(3)\n"
      "  %3: f32[] = mul(%1, %2)\n  %4: f32[] = add(%x, %3)\n  return %4\n");
  graph::fold_constants(*g);
  graph::verify(*g);
  EXPECT_EQ(g->nodes().size(), 1u);
  const Tensor x = full({}, 1.0);
  EXPECT_EQ(g->run({&x, 1})[0].item<float>(), 7);
}

}  // namespace
}  // namespace tandem
