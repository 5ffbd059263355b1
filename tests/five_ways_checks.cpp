// five_ways must find what is wrong: its parts on programs and results with one fault each.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>

#include "tandem/core/factory.h"
#include "tandem/ops/add.h"
#include "tandem/ops/mul.h"
#include "tests/five_ways/child.h"
#include "tests/five_ways/compare.h"
#include "tests/five_ways/draw.h"
#include "tests/five_ways/runs.h"
#include "tests/five_ways/shrink.h"
#include "tests/five_ways/text.h"
#include "tests/support/sanitizer.h"

namespace tandem::five_ways {
namespace {

/// v1 = softmax(v0), v2 = v1 * 2 for v0 [n, 3], called for n = 2 and n = 4.
Program example() {
  Program p;
  p.seed = 7;
  p.values = 3;
  p.inputs = {{.id = 0, .shape = {{1, 0}, {3, -1}}, .gradient = true}};
  Step softmax{.name = "softmax", .attributes = {{"axis", int64_t(-1)}}};
  softmax.in = {{0, {}}};
  softmax.out = {1};
  Step twice{.name = "mul"};
  twice.in = {{1, {}}, {-1, Expr::constant(2)}};
  twice.out = {2};
  p.steps = {softmax, twice};
  p.results = {2};
  p.calls = {{2}, {4}};
  return p;
}

const Announce quiet = [](const std::string&) {};

TEST(FiveWays, ARightProgramIsTheSameInEveryWay) {
  for (const Difference& d : run_ways(example(), {}, quiet))
    ADD_FAILURE() << d.way << " " << d.kind << ": " << d.what;
}

TEST(FiveWays, TheSameSeedDrawsTheSameProgram) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Json a = to_json(draw_program(seed)), b = to_json(draw_program(seed));
    EXPECT_EQ(a.dump(), b.dump());
    EXPECT_NE(a.dump(), to_json(draw_program(seed + 1000)).dump());
    EXPECT_EQ(to_json(program_of(a)).dump(), a.dump());
  }
}

/// What the comparer says when a result has been changed by `f`.
std::string verdict(const Program& p, Tensor (*f)(const Tensor&), bool bits) {
  const std::vector<Result> plain = run_plain(p, nullptr);
  Comparer comparer(p, plain);
  Outcome got = plain[0].forward;
  got.values[0].second = f(got.values[0].second);
  return comparer.outcomes(0, false, got, bits).kind;
}

TEST(FiveWays, WrongResultsAreFound) {
  const Program p = example();
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t; }, true),
            "");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t * 1.001; }, false),
            "value");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t * (1 + 1e-6); }, false),
            "");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t * (1 + 1e-6); }, true),
            "bits");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t.reshape({-1}); }, false),
            "shape");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t.to(f64); }, false),
            "shape");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t + NAN; }, false),
            "value");
}

TEST(FiveWays, AnErrorWhereAValueBelongsIsFound) {
  const Program p = example();
  const std::vector<Result> plain = run_plain(p, nullptr);
  Comparer comparer(p, plain);
  Outcome got;
  attempt(got, [] { zeros({2}) + zeros({3}); });
  EXPECT_EQ(got.error, "ShapeError");
  EXPECT_EQ(comparer.outcomes(0, false, got, false).kind, "error");
}

TEST(FiveWays, WhatRoundingsDecideIsNotCompared) {
  Program p = example();
  // floor(softmax * 1e7): any rounding may move it.
  p.steps[1].in[1].number = Expr::constant(1e7);
  Step floor{.name = "floor"};
  floor.in = {{2, {}}};
  floor.out = {3};
  p.steps.push_back(floor);
  p.values = 4;
  p.results = {3};
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t + 1; }, false),
            "");
  EXPECT_EQ(verdict(
                p, [](const Tensor& t) { return t + 1000; }, false),
            "value");
}

TEST(FiveWays, ShrinkingKeepsWhatFails) {
  int tries = 0;
  const auto has_softmax = [&](const Program& p) {
    ++tries;
    const auto calls = calls_of(p);
    return std::find(calls.begin(), calls.end(), "softmax") != calls.end();
  };
  const Program p = shrink(example(), {has_softmax, facts_of, [] { return false; }});
  ASSERT_EQ(p.steps.size(), 1u);
  EXPECT_EQ(p.steps[0].name, "softmax");
  EXPECT_EQ(p.calls.size(), 1u);
  EXPECT_FALSE(p.inputs[0].gradient);
  EXPECT_EQ(shape_at(p.inputs[0], p.calls[0]), (Shape{1, 1}));
  EXPECT_LT(tries, 100);
}

TEST(FiveWays, ProgramsArePrintedAsCpp) {
  const std::string text = cpp_text(example(), {"compiled", "value", 1, "result v2 is wrong"});
  for (const char* line :
       {"// five_ways, seed 7: compiled differs from plain code (value) at call 1",
        "    Tensor v1 = apply(Softmax{}, {v0});\n",
        "    Tensor v2 = apply(Mul{}, {v1, Tensor(2.0)});\n",
        "  auto c = compile(f, {.every_length = true, .deterministic = false});\n"})
    EXPECT_NE(text.find(line), text.npos) << line << "\n" << text;
}

TEST(FiveWays, CrashesAndHangsOfAChildAreFound) {
  Board& board = *Board::make();
  auto run = [&](const std::function<void(const Write&)>& body) {
    return in_child(board, {.bytes = int64_t(4) << 30, .seconds = 0.3}, [&](const Write& write) {
      board.announce("a test");
      body(write);
    });
  };
  const Ending good = run([](const Write& write) { write("done"); });
  EXPECT_EQ(good.output, "done");
  EXPECT_FALSE(good.failed());
  if (!TANDEM_TEST_SANITIZER) {  // which has an end of its own for it
    EXPECT_EQ(run([](const Write&) { std::raise(SIGSEGV); }).failure,
              "crash: Segmentation fault in a test");
  }
  EXPECT_EQ(run([](const Write&) { throw std::runtime_error("wrong"); }).failure,
            "crash: exit code 4 in a test");
  EXPECT_EQ(run([](const Write&) {
              for (std::atomic<int> i = 0;; ++i) {}
            }).failure,
            "hang in a test");
}

}  // namespace
}  // namespace tandem::five_ways
