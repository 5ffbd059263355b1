#include "tandem/graph/session.h"

#include <gtest/gtest.h>

#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using testing::error_of;

TEST(Session, PlaceholdersAndGradients) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  Tensor a = placeholder("a", {2}), b = placeholder("b", {2}), z = placeholder("z", {2});
  a.requires_grad_();
  const Tensor c = sum(a * b + z);
  const auto d = gradients(c, {a});
  Session s(g);
  const auto out = s.run(
      {c, d[0]}, {{a, tensor({1.f, 2.f})}, {b, tensor({3.f, 4.f})}, {z, tensor({10.f, 20.f})}});
  EXPECT_EQ(out[0].item<float>(), 41);
  EXPECT_EQ(out[1].to_vector<float>(), (std::vector<float>{3, 4}));
}

TEST(Session, VariablesChangeOnlyWhenTheirAssignmentIsFetched) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {-1, 3}), y = placeholder("y", {-1, 1});
  const Tensor w = variable("w", zeros({3, 1}));
  const Tensor loss = mse_loss(matmul(x, w), y);
  const auto dw = gradients(loss, {w});
  const Tensor train = assign_sub(w, dw[0] * 0.1);
  Session s(g);
  EXPECT_EQ(error_of<ValueError>([&] { s.run(w); }),
            "Session::run(): variable \"w\" has no value yet; run "
            "global_variables_initializer()");
  s.run(global_variables_initializer());
  Tensor X, Y, part_x, part_y;
  {
    const EagerScope now;
    X = ones({4, 3});
    Y = ones({4, 1});
    part_x = X(range(0, 2));
    part_y = Y(range(0, 2));
  }
  const double before = s.run(loss, {{x, X}, {y, Y}}).item<double>();
  EXPECT_EQ(before, 1);
  EXPECT_EQ(s.run(loss, {{x, X}, {y, Y}}).item<double>(), before);
  const auto out = s.run({loss, train}, {{x, X}, {y, Y}});
  EXPECT_EQ(out[0].item<double>(), before);
  EXPECT_NEAR(out[1].to_vector<double>()[0], 0.2, 1e-6);
  EXPECT_NEAR(s.run(loss, {{x, X}, {y, Y}}).item<double>(), 0.16, 1e-6);
  // A fetch of the loss computes less than one of the update.
  const int64_t start = s.nodes_run();
  s.run(loss, {{x, X}, {y, Y}});
  const int64_t alone = s.nodes_run() - start;
  s.run(train, {{x, X}, {y, Y}});
  EXPECT_LT(alone, s.nodes_run() - start - alone);
  // Another batch size needs no other graph.
  EXPECT_NO_THROW(s.run(loss, {{x, part_x}, {y, part_y}}));
}

TEST(Session, MinimizeWithEveryOptimizer) {
  auto train = [](auto make) {
    const auto g = Graph::make();
    const GraphScope scope(g);
    const Tensor x = placeholder("x", {-1, 4}), y = placeholder("y", {-1});
    const Tensor w = variable("w", full({4}, 0.5));
    auto opt = make(std::vector<Tensor>{w});
    const Tensor loss = mse_loss(sum(x * w, {1}), y);
    const Tensor step = minimize(opt, loss);
    Session s(g);
    s.run(global_variables_initializer());
    const EagerScope now;
    Tensor v = full({4}, 0.5);
    v.requires_grad_();
    auto eager = make(std::vector<Tensor>{v});
    for (int i = 0; i < 20; ++i) {
      const Tensor X = randn({8, 4}), Y = randn({8});
      s.run({loss, step}, {{x, X}, {y, Y}});
      eager.zero_grad();
      mse_loss(sum(X * v, {1}), Y).backward();
      eager.step();
    }
    EXPECT_EQ(s.value(w).to_vector<float>(), v.to_vector<float>());
  };
  train([](auto p) { return optim::SGD(p, {.lr = 0.1, .momentum = 0.9}); });
  train([](auto p) { return optim::Adam(p, {.lr = 0.1}); });
  train([](auto p) { return optim::AdamW(p, {.lr = 0.1}); });
  train([](auto p) { return optim::RMSprop(p, {.lr = 0.1}); });
  train([](auto p) { return optim::Adagrad(p, {.lr = 0.1}); });
}

TEST(Session, ModulesOnPlaceholders) {
  nn::Sequential net(nn::Linear(4, 5), nn::ReLU(), nn::Linear(5, 2));
  const Tensor X = randn({3, 4});
  const Tensor want = net(X);
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {-1, 4});
  const Tensor out = net(x);
  Session s(g);
  EXPECT_EQ(s.run(out, {{x, X}}).to_vector<float>(), want.to_vector<float>());
}

TEST(Session, InnerNodesCanBeFed) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {2});
  const Tensor h = exp(x), y = h * 2;
  Session s(g);
  EXPECT_EQ(s.run(y, {{h, tensor({1.f, 2.f})}}).to_vector<float>(), (std::vector<float>{2, 4}));
}

TEST(Session, Errors) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {-1, 4}), y = x * 2;
  Session s(g);
  Tensor bad, whole;
  {
    const EagerScope now;
    bad = ones({3, 5});
    whole = ones({3, 4}, i64);
  }
  EXPECT_EQ(error_of<ValueError>([&] { s.run(y); }),
            "Session::run(): placeholder \"x\" of f32[?, 4] is needed and was not fed");
  EXPECT_EQ(error_of<ShapeError>([&] {
              s.run(y, {{x, bad}});
            }),
            "Session::run(): placeholder \"x\" is f32[?, 4], fed f32[3, 5]");
  EXPECT_EQ(error_of<DTypeError>([&] {
              s.run(y, {{x, whole}});
            }),
            "Session::run(): placeholder \"x\" is f32[?, 4], fed i64[3, 4]");
  const Tensor z = placeholder("z", {-1, 1}), both = y + z;
  EXPECT_EQ(error_of<ShapeError>([&] {
              const EagerScope now;
              s.run(both, {{x, ones({2, 4})}, {z, ones({3, 1})}});
            }),
            "add(): shapes [2, 4] and [3, 1] do not broadcast");
}

TEST(Session, ErrorsShowUnknownLengthsAsSuch) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {-1, 3});
  EXPECT_EQ(error_of<ShapeError>([&] {
              matmul(x, zeros({4, 3}));
            }),
            "matmul(): shapes [?, 3] and [4, 3] cannot be multiplied: 3 != 4");
  EXPECT_EQ(error_of<ShapeError>([&] {
              x.reshape({-1, -1});
            }),
            "reshape(shape=[-1, -1]): only one size can be -1");
  // Whether these fit is known at the run.
  const Tensor product = matmul(x, x), pairs = x.reshape({-1, 2});
  Session s(g);
  const EagerScope now;
  EXPECT_EQ(s.run(product, {{x, ones({3, 3})}}).shape(), Shape({3, 3}));
  EXPECT_EQ(error_of<ShapeError>([&] {
              s.run(product, {{x, ones({2, 3})}});
            }),
            "matmul(): shapes [2, 3] and [2, 3] cannot be multiplied: 3 != 2");
  EXPECT_EQ(s.run(pairs, {{x, ones({4, 3})}}).shape(), Shape({6, 2}));
  EXPECT_EQ(error_of<ShapeError>([&] {
              s.run(pairs, {{x, ones({3, 3})}});
            }),
            "reshape(shape=[-1, 2]): shape [3, 3] of 9 elements does not fit");
}

TEST(Session, ShapesThatNeverFitAreErrorsWhenTheGraphIsBuilt) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {-1, 3});
  const Tensor yes = x.sum() > 0;
  EXPECT_EQ(error_of<ShapeError>([&] {
              cond(
                  yes, [&] { return x + zeros({5}); }, [&] { return x; });
            }),
            "add(): shapes [?, 3] and [5] do not broadcast");
}

TEST(Session, WhatAValueDependsOnHappensWithIt) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {2}), runs = variable("runs", zeros({}));
  const Tensor alone = x * 2, counted = with_dependencies({assign_add(runs, ones({}))}, alone);
  Session s(g);
  s.run(global_variables_initializer());
  const Tensor in = tensor({1.f, 4.f});
  const std::vector<float> want{2, 8};
  EXPECT_EQ(s.run(alone, {{x, in}}).to_vector<float>(), want);
  EXPECT_EQ(s.run(runs).item<float>(), 0);
  for (int i = 1; i <= 2; ++i) {
    EXPECT_EQ(s.run(counted, {{x, in}}).to_vector<float>(), want);
    EXPECT_EQ(s.run(runs).item<float>(), float(i));
  }
  EXPECT_EQ(s.run(counted + 1.0, {{x, in}}).to_vector<float>(), (std::vector<float>{3, 9}));
  EXPECT_EQ(s.run(runs).item<float>(), 3);
}

TEST(Session, StateDict) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor w = variable("w", randn({3})), v = variable("v", w * 2);
  const Tensor init = global_variables_initializer();
  Session first(g), second(g);
  EXPECT_THROW(first.run(init), ValueError);  // v needs w
  first.load_state_dict({{"w", tensor({1.f, 2.f, 3.f})}, {"v", tensor({4.f, 5.f, 6.f})}});
  second.load_state_dict(first.state_dict());
  EXPECT_EQ(second.run(v).to_vector<float>(), (std::vector<float>{4, 5, 6}));
  EXPECT_THROW(second.load_state_dict({{"w", tensor({1.f})}}), ValueError);
}

/// Only the plan of what was fetched, with one part for each set of shapes, and times on request.
TEST(Session, ExplainShowsThePlanOfTheFetches) {
  const auto g = Graph::make();
  Tensor x, w, loss, train, init, image, convolved;
  {
    const GraphScope scope(g);
    x = placeholder("x", {-1, 3});
    w = variable("w", ones({3, 2}));
    loss = mean(relu(matmul(x, w)));
    optim::Adam adam({w}, {.lr = 0.1});
    train = minimize(adam, loss);
    init = global_variables_initializer();
    image = placeholder("image", {1, 16, 8, 8});
    convolved = relu(conv2d(image, ones({16, 16, 3, 3})));
  }
  Session s(g);
  EXPECT_EQ(error_of<ValueError>([&] { (void)s.explain(loss); }),
            "Session::explain(): these fetches were not run yet, and their plan depends on the "
            "shapes that are fed; run them first");
  s.run(init);
  s.run(loss, {{x, ones({4, 3})}});
  s.run({loss, train}, {{x, ones({4, 3})}});
  const std::string forward = s.explain(loss), both = s.explain({loss, train});
  EXPECT_EQ(forward.find("run with x: f32[4, 3]\n"), 0u) << forward;
  EXPECT_NE(forward.find("matmul"), std::string::npos) << forward;
  EXPECT_NE(forward.find(" bytes"), std::string::npos) << forward;
  EXPECT_EQ(forward.find("adam_step"), std::string::npos) << forward;
  EXPECT_NE(both.find("adam_step"), std::string::npos) << both;
  EXPECT_EQ(forward.find(" us "), std::string::npos) << forward;

  s.set_profile(true);
  for (int i = 0; i < 3; ++i) s.run(loss, {{x, ones({4, 3})}});
  s.run(loss, {{x, ones({7, 3})}});
  const std::string timed = s.explain(loss);
  EXPECT_NE(timed.find("the mean of 3 timed runs"), std::string::npos) << timed;
  EXPECT_NE(timed.find("run with x: f32[7, 3]\n"), std::string::npos) << timed;
  EXPECT_NE(timed.find("the mean of 1 timed runs"), std::string::npos) << timed;
  s.set_profile(false);
  s.run(loss, {{x, ones({4, 3})}});
  EXPECT_NE(s.explain(loss).find("the mean of 3 timed runs"), std::string::npos);

  s.run(convolved, {{image, ones({1, 16, 8, 8})}});
  EXPECT_NE(s.explain(convolved).find("run with image: f32[1, 16, 8, 8]\n"), std::string::npos);
}

/// Building a graph writes nothing, so a tape of eager code goes on; a run does.
TEST(Session, OnlyARunRaisesTheVersionsOfWhatItWrites) {
  nn::Linear net(3, 1);
  const Tensor X = ones({2, 3});
  auto eager_loss = [&] { return sum(net(X) * net(X)); };
  // The gradient by X reads the weight.
  Tensor x = X.clone().requires_grad_();
  auto tape = [&] { return sum(linear(x, net.weight, net.bias)); };

  const Tensor before = tape(), other = eager_loss();
  const auto g = Graph::make();
  Tensor loss, train, fed;
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  {
    const GraphScope scope(g);
    fed = placeholder("x", {-1, 3});
    loss = mean(net(fed));
    train = minimize(sgd, loss);
  }
  before.backward();
  EXPECT_EQ(x.grad().to_vector<float>()[0], net.weight.to_vector<float>()[0]);
  other.backward();

  // A run of the loss alone writes nothing either; the update does.
  const Tensor loss_alone = tape(), updated = tape();
  Session s(g);
  s.run(loss, {{fed, X}});
  loss_alone.backward();
  s.run(train, {{fed, X}});
  EXPECT_NE(error_of<GradientError>([&] { updated.backward(); }).find("has overwritten"),
            std::string::npos);
}

/// While a graph is recorded, what its tape saved before a write is told from what is there after.
TEST(Session, AWriteOutsideOfAnEffectStaysOneForTheGraph) {
  Tensor w = ones({3}), a = ones({3});
  a.requires_grad_();
  const Tensor before = sum(a * w);  // saves w
  const auto g = Graph::make();
  Tensor recorded;
  {
    const GraphScope scope(g);
    recorded = sum(a * w);
    w += 1;
    EXPECT_NE(error_of<GradientError>([&] {
                gradients(recorded, {a});
              }).find("a recorded function has overwritten; give the op a clone() of it"),
              std::string::npos);
  }
  before.backward();
  EXPECT_EQ(a.grad().to_vector<float>(), (std::vector<float>{1, 1, 1}));
  const GraphScope scope(g);
  EXPECT_THROW(gradients(recorded, {a}), GradientError);
}

TEST(Session, FeedsAreCheckedByEveryRun) {
  const auto g = Graph::make();
  Tensor x, y;
  {
    const GraphScope scope(g);
    x = placeholder("x", {-1});
    y = x * 2;
  }
  const Tensor X = ones({2});
  Session s(g);
  EXPECT_EQ(s.run(y, {{x, X}}).to_vector<float>(), (std::vector<float>{2, 2}));
  const GraphScope scope(g);
  // The plan for this shape is there already.
  EXPECT_NE(error_of<ValueError>([&] {
              s.run(y, {{x, ones({2})}});
            }).find("is symbolic"),
            std::string::npos);
  EXPECT_EQ(error_of<ValueError>([&] {
              s.run(y, {{x, X}, {x, X}});
            }),
            "Session::run(): \"x\" is fed twice");
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(error_of<ValueError>([&] {
                s.run(y, {{x, X}, {X, X}});
              }),
              "Session::run(): a f32[2] is fed that is no value of the graph");
  EXPECT_EQ(error_of<ValueError>([&] {
              s.run(Tensor(), {{x, X}});
            }),
            "Session::run(): a fetch is undefined");
  EXPECT_EQ(error_of<ValueError>([&] {
              s.run(y, {{x, Tensor()}});
            }),
            "Session::run(): a feed is undefined");
}

/// As tf.gradients: often, of anything, of gradients; several elements count as their sum.
TEST(Session, GradientsAsOftenAsOneLikes) {
  const auto g = Graph::make();
  Tensor x, w, first, second, third, mixed, dx, of_several;
  {
    const GraphScope scope(g);
    x = placeholder("x", {-1});
    EXPECT_NE(error_of<GradientError>([&] {
                gradients(x * 2, {x});
              }).find("a f32[?], does not require a gradient; call requires_grad_()"),
              std::string::npos);
    x.requires_grad_();
    w = variable("w", full({}, 3.0));
    const Tensor y = w * x * x * x, loss = sum(y);
    first = gradients(loss, {x})[0];
    dx = gradients(loss, {w})[0];
    second = gradients(first, {x})[0];
    third = gradients(second, {x})[0];
    mixed = gradients(first, {w})[0];
    of_several = gradients(y, {w})[0];
  }
  Session s(g);
  {
    const GraphScope scope(g);
    s.run(global_variables_initializer());
  }
  for (const std::vector<float>& v : {std::vector<float>{1, 2}, {3, -1, 2}, {0.5f}}) {
    std::vector<float> d1, d2, d3;
    float cubes = 0, squares = 0;
    for (float a : v) {
      d1.push_back(9 * a * a);
      d2.push_back(18 * a);
      d3.push_back(18);
      cubes += a * a * a;
      squares += 3 * a * a;
    }
    const std::vector<Tensor> fetches{first, second, third, dx, mixed, of_several};
    const std::vector<Feed> feeds{{x, tensor(std::span<const float>(v), {int64_t(v.size())})}};
    const auto out = s.run(fetches, feeds);
    EXPECT_EQ(out[0].to_vector<float>(), d1);
    EXPECT_EQ(out[1].to_vector<float>(), d2);
    EXPECT_EQ(out[2].to_vector<float>(), d3);
    EXPECT_EQ(out[3].item<float>(), cubes);
    EXPECT_EQ(out[4].item<float>(), squares);
    EXPECT_EQ(out[5].item<float>(), cubes);
  }
}

/// Two optimizers that each train a part on one loss, after its gradients were asked for.
TEST(Session, SeveralMinimizesOfOneLoss) {
  auto nets = [] {
    manual_seed(5);
    return std::pair{nn::Linear(3, 4), nn::Linear(4, 1)};
  };
  const Tensor X = rand({6, 3}), Y = rand({6, 1});
  auto [a1, b1] = nets();
  auto [a2, b2] = nets();
  optim::SGD sgd1(a1, {.lr = 0.1}), sgd2(a2, {.lr = 0.1});
  optim::Adam adam1(b1, {.lr = 0.01}), adam2(b2, {.lr = 0.01});
  const auto g = Graph::make();
  Tensor x, y, loss, norm, train_a, train_b;
  {
    const GraphScope scope(g);
    x = placeholder("x", {-1, 3});
    y = placeholder("y", {-1, 1});
    loss = mse_loss(b2(tanh(a2(x))), y);
    norm = sum(square(gradients(loss, {a2.weight})[0]));
    train_a = minimize(sgd2, loss);
    train_b = minimize(adam2, loss);
  }
  Session s(g);
  for (int i = 0; i < 10; ++i) {
    const Tensor want = mse_loss(b1(tanh(a1(X))), Y);
    sgd1.zero_grad();
    adam1.zero_grad();
    want.backward();
    const double size = sum(square(a1.weight.grad())).item<double>();
    if (i % 3 != 0) sgd1.step();
    if (i % 3 != 1) adam1.step();
    std::vector<Tensor> fetches{loss, norm};
    if (i % 3 != 0) fetches.push_back(train_a);
    if (i % 3 != 1) fetches.push_back(train_b);
    const std::vector<Feed> feeds{{x, X}, {y, Y}};
    const auto out = s.run(fetches, feeds);
    EXPECT_NEAR(out[0].item<double>(), want.item<double>(), 1e-6) << i;
    EXPECT_NEAR(out[1].item<double>(), size, 1e-5) << i;
    for (const auto& [p, q] : {std::pair{a1.weight, a2.weight}, {b1.weight, b2.weight}})
      for (size_t k = 0; k < size_t(p.numel()); ++k)
        EXPECT_NEAR(p.to_vector<double>()[k], q.to_vector<double>()[k], 1e-6) << i;
  }
}

/// What is fed is what the code began with.
TEST(Session, APlaceholderMayBeWritten) {
  auto g = Graph::make();
  Tensor x, part, twice;
  {
    const GraphScope scope(g);
    x = placeholder("x", {2, 3});
    twice = x * 2;
    part = x.select(0, 1);
    part(2) += 5;
    x += 1;
  }
  Session session(g);
  for (int k = 0; k < 2; ++k) {
    const auto out = session.run({x, part, twice}, {{x, zeros({2, 3})}});
    EXPECT_EQ(out[0].to_vector<float>(), (std::vector<float>{1, 1, 1, 1, 1, 6}));
    EXPECT_EQ(out[1].to_vector<float>(), (std::vector<float>{1, 1, 6}));
    EXPECT_EQ(out[2].to_vector<float>(), std::vector<float>(6, 0));
  }
}

/// Each layer's weight is updated by a product's rows. In a thread's first run updates come last,
/// when the gradient's place is long taken by other values.
TEST(Session, TheFirstStepOfTrainingIsRight) {
  const auto train = [](bool plain) {
    manual_seed(3);
    nn::MultiheadAttention layer(4, 2, {.batch_first = true});
    nn::Linear last(4, 4);
    const Tensor x = randn({1, 1, 4}), other = randn({1, 1, 4});
    std::vector<Tensor> all = layer.parameters();
    for (const Tensor& t : last.parameters()) all.push_back(t);
    optim::SGD optimizer(all, {.lr = 0.1});
    const auto loss_of = [&](const Tensor& t) {
      return sum(square(last(relu(last(layer(t, other, other).output)))));
    };
    if (plain) {
      loss_of(x).backward();
      optimizer.step();
    } else {
      auto g = Graph::make();
      Tensor place, step;
      {
        const GraphScope scope(g);
        place = placeholder("x", {1, 1, 4});
        step = minimize(optimizer, loss_of(place));
      }
      Session(g).run(step, {{place, x}});
    }
    std::vector<float> values;
    for (const Tensor& t : all)
      for (const float v : t.detach().to_vector<float>()) values.push_back(v);
    return values;
  };
  const std::vector<float> want = train(true), got = train(false);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << i;
}

}  // namespace
}  // namespace tandem
