// AnomalyMode. What is an anomaly, and at which op, is torch.autograd.detect_anomaly()'s answer for
// the same program (PyTorch 2).
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using testing::error_of;
using Doubles = std::vector<double>;

Tensor leaf(const Doubles& v) { return wrap(v, {int64_t(v.size())}).clone().requires_grad_(); }
Doubles values(const Tensor& t) { return t.to_vector<double>(); }
/// The gradient of sqrt at 0 is inf, and 0 * inf is NaN: at sqrt.
Tensor nan_at_zero(const Tensor& x) { return (sqrt(x) * 0.0).sum(); }
constexpr const char* at_sqrt = ": the gradient of input 0 of shape [2] has NaN";
std::string here(int line) { return cat(" in the function compiled at ", __FILE__, ":", line); }

TEST(Anomaly, NamesTheOpWhoseGradientIsNan) {
  const AnomalyMode mode;
  const Tensor x = leaf({0, 1});
  EXPECT_EQ(error_of<GradientError>([&] { nan_at_zero(x).backward(); }),
            cat("anomaly: sqrt()", at_sqrt));
  EXPECT_FALSE(x.grad().defined());
}

TEST(Anomaly, AGradientThatIsGivenAsNan) {
  const AnomalyMode mode;
  const Tensor x = leaf({0, 1});
  const Tensor y = x * wrap(Doubles{1, 2}, {2});
  EXPECT_EQ(error_of<GradientError>([&] {
              y.backward(wrap(Doubles{NAN, 1}, {2}));
            }),
            cat("anomaly: mul()", at_sqrt));
}

TEST(Anomaly, AForwardNanIsNone) {
  const AnomalyMode mode;
  const Tensor x = leaf({-INFINITY, 1});
  Tensor y = x + INFINITY;
  EXPECT_TRUE(std::isnan(values(y)[0]));
  y += wrap(Doubles{NAN, 0}, {2});
  y.sum().backward();
  EXPECT_EQ(values(x.grad()), (Doubles{1, 1}));
}

/// The program f(x) in the ways in which it can be differentiated by a graph.
template <class F>
std::vector<std::string> errors_of_graphs(F f, const Doubles& at, int& line) {
  std::vector<std::string> all;
  const Tensor x = leaf(at);
  line = __LINE__ + 1;
  auto inside = compile([&](const Tensor& t) { return grad(f(t), t); });
  auto outside = compile(f);
  const auto graph = Graph::make();
  Tensor in, d, step, v, initial;
  {
    const GraphScope scope(graph);
    in = placeholder("x", {-1}, f64);
    in.requires_grad_();
    d = gradients(f(in), {in})[0];
    v = variable("v", wrap(at, {int64_t(at.size())}));
    optim::SGD sgd({v}, {.lr = 0.0625});
    step = minimize(sgd, f(v));
    initial = global_variables_initializer();
  }
  Session session(graph);
  session.run(initial);
  // Without the mode first, so that fused plans are there; then with it; then without it again.
  for (const bool on : {false, true, false}) {
    std::optional<AnomalyMode> mode;
    if (on) mode.emplace();
    const auto note = [&](const std::string& e) {
      if (on) all.push_back(e);
      else EXPECT_EQ(e, "no error");
    };
    note(error_of<GradientError>([&] { inside(x); }));
    note(error_of<GradientError>([&] { outside(x).backward(); }));
    note(error_of<GradientError>([&] { session.run(d, {{in, x.detach()}}); }));
    const Doubles before = values(session.value(v));
    if (on) {
      note(error_of<GradientError>([&] { session.run(step); }));
      if (all.back() != "no error") {
        EXPECT_EQ(values(session.value(v)), before);
      }
    }
  }
  return all;
}

TEST(Anomaly, GraphsNameTheOpAndWhereItWasRecorded) {
  int line = 0;
  const auto all = errors_of_graphs(nan_at_zero, {0, 1}, line);
  const std::string compiled = cat("anomaly: sqrt()", here(line), at_sqrt);
  const std::string outside = cat("anomaly: sqrt()", here(line + 1), at_sqrt);
  const std::string built = cat("anomaly: sqrt()", at_sqrt);
  EXPECT_EQ(all, (std::vector<std::string>{compiled, outside, built, built}));
}

TEST(Anomaly, GraphsFindTheFirstOfAFusedChain) {
  int line = 0;
  // tanh and exp give 0, exp and what comes before sqrt pass its NaN on.
  const auto f = [](const Tensor& x) { return (tanh(exp(sqrt(exp(x) - 1.0))) * 0.0).sum(); };
  for (const std::string& e : errors_of_graphs(f, {0, 1}, line))
    EXPECT_EQ(e.substr(0, 15), "anomaly: sqrt()") << e;
}

TEST(Anomaly, GraphsWithAForwardNanRun) {
  int line = 0;
  // log(-1) is NaN, its gradient -1.
  const auto f = [](const Tensor& x) { return log(x).sum(); };
  for (const std::string& e : errors_of_graphs(f, {-1, 1}, line)) EXPECT_EQ(e, "no error");
}

TEST(Anomaly, AGraphWithoutNanGivesTheSame) {
  const auto f = [](const Tensor& x) { return sum(tanh(exp(x) * 0.5)); };
  auto inside = compile([&](const Tensor& t) { return grad(f(t), t); }, {.deterministic = true});
  const Tensor x = leaf({0.25, -1, 2});
  const Doubles want = values(inside(x));
  const AnomalyMode mode;
  EXPECT_EQ(values(inside(x)), want);
  EXPECT_EQ(values(inside(x)), want);
  EXPECT_EQ(inside.captures(), 1);
}

TEST(Anomaly, ATrainingStepThatFailsChangesNothing) {
  const Tensor w = leaf({4, 1}), x = wrap(Doubles{1, 1}, {2});
  optim::Adam adam({w}, {.lr = 0.0625});
  auto step = compile([&](const Tensor& in) {
    adam.zero_grad();
    const Tensor loss = (sqrt(w * in) * in).sum();
    loss.backward();
    adam.step();
    return loss;
  });
  for (int i = 0; i < 3; ++i) step(x);
  const Doubles before = values(w), gradient = values(w.grad());
  {
    const AnomalyMode mode;
    const std::string e = error_of<GradientError>([&] { step(wrap(Doubles{0, 1}, {2})); });
    EXPECT_NE(e.find("anomaly: sqrt() in the function compiled at "), std::string::npos) << e;
    EXPECT_EQ(values(w), before);
    EXPECT_EQ(values(w.grad()), gradient);
    step(x);
    EXPECT_NE(values(w), before);
  }
  // What the plain optimizer makes of the four steps.
  const Tensor u = leaf({4, 1});
  optim::Adam plain({u}, {.lr = 0.0625});
  for (int i = 0; i < 4; ++i) {
    plain.zero_grad();
    (sqrt(u * x) * x).sum().backward();
    plain.step();
  }
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(values(w)[i], values(u)[i], 1e-12);
}

TEST(Anomaly, GraphsNameTheModule) {
  nn::Sequential net{nn::Linear(2, 2), nn::Sequential{nn::Linear(2, 2), nn::ReLU()}};
  const Tensor x = ones({1, 2});
  auto loss = compile([&](const Tensor& t) { return net(t).sum(); });
  loss(x);
  nn::init::constant_(net.at<nn::Sequential>(1).at<nn::Linear>(0).weight, NAN);
  const AnomalyMode mode;
  for (const std::string& e : {error_of<GradientError>([&] { net(x).sum().backward(); }),
                               error_of<GradientError>([&] { loss(x).backward(); })})
    EXPECT_NE(e.find(") in module Sequential.1.0"), std::string::npos) << e;
}

TEST(Anomaly, OnlyTheBranchThatIsTakenCounts) {
  // Both branches' gradients may be NaN; a graph computes those of one, as plain code does.
  const auto f = [](const Tensor& x, const Tensor& yes) {
    return cond(
        yes, [&] { return nan_at_zero(x); }, [&] { return (x * 2.0).sum(); });
  };
  auto through = compile(f);
  auto inside = compile([&](const Tensor& x, const Tensor& yes) { return grad(f(x, yes), x); });
  const Tensor x = leaf({0, 1}), yes = full({}, true), no = full({}, false);
  for (const bool on : {true, false}) {
    std::optional<AnomalyMode> mode;
    if (on) mode.emplace();
    EXPECT_EQ(values(inside(x, no)), (Doubles{2, 2}));
    through(x, no).backward();
    EXPECT_EQ(values(x.grad()), (Doubles{2, 2}));
    x.set_grad({});
    const std::string want = on ? "anomaly: sqrt()" : "no error";
    EXPECT_EQ(error_of<GradientError>([&] { inside(x, yes); }).substr(0, want.size()), want);
    EXPECT_EQ(error_of<GradientError>([&] { through(x, yes).backward(); }).substr(0, want.size()),
              want);
    x.set_grad({});
  }
}

TEST(Anomaly, OpsBeforeABranchCountWhereItIsTaken) {
  // sqrt stands before the cond; only one branch reads it. Its gradient at 0 is 0 * inf.
  const auto f = [](const Tensor& x, const Tensor& yes) {
    const Tensor root = sqrt(x);
    return cond(
        yes, [&] { return (root * 0.0).sum(); }, [&] { return (x * 2.0).sum(); });
  };
  auto through = compile(f);
  auto inside = compile([&](const Tensor& x, const Tensor& yes) { return grad(f(x, yes), x); });
  const Tensor x = leaf({0, 1}), yes = full({}, true), no = full({}, false);
  const AnomalyMode mode;
  EXPECT_EQ(values(inside(x, no)), (Doubles{2, 2}));
  through(x, no).backward();
  EXPECT_EQ(values(x.grad()), (Doubles{2, 2}));
  for (const std::string& e : {error_of<GradientError>([&] { inside(x, yes); }),
                               error_of<GradientError>([&] { through(x, yes).backward(); })})
    EXPECT_EQ(e.substr(0, 15), "anomaly: sqrt()") << e;
}

TEST(Anomaly, LoopsCountToo) {
  const auto f = [](const Tensor& x) {
    return while_loop([](const Tensor& i, const Tensor&) { return i < 3; },
                      [](const Tensor& i, const Tensor& y) {
                        return std::vector<Tensor>{i + 1, sqrt(y)};
                      },
                      {full({}, int64_t(0)), x})[1];
  };
  auto inside = compile([&](const Tensor& x) { return grad((f(x) * 0.0).sum(), x); });
  const Tensor x = leaf({0, 1});
  inside(x);
  const AnomalyMode mode;
  const std::string e = error_of<GradientError>([&] { inside(x); });
  EXPECT_EQ(e.substr(0, 15), "anomaly: sqrt()") << e;
}

TEST(Anomaly, SecondDerivatives) {
  // PyTorch: the gradient of d sqrt(x), 0 * inf.
  const auto f = [](const Tensor& x) {
    const Tensor d = grad(sqrt(x).sum(), x, {.create_graph = true});
    return grad((d * 0.0).sum(), x);
  };
  auto inside = compile(f);
  auto first = compile([](const Tensor& x) { return sqrt(x).sum(); });
  const Tensor x = leaf({0, 4});
  const auto outside = [&] {
    const Tensor d = grad(first(x), x, {.create_graph = true});
    return grad((d * 0.0).sum(), x);
  };
  inside(x), outside();
  const AnomalyMode mode;
  for (const std::string& e :
       {error_of<GradientError>([&] { f(x); }), error_of<GradientError>([&] { inside(x); }),
        error_of<GradientError>(outside)})
    EXPECT_EQ(e.substr(0, 9), "anomaly: ") << e;
}

TEST(Anomaly, BelongsToTheThreadAndEnds) {
  const Tensor x = leaf({0, 1});
  { const AnomalyMode mode; }
  nan_at_zero(x).backward();
  EXPECT_TRUE(std::isnan(values(x.grad())[0]));
}

}  // namespace
}  // namespace tandem
