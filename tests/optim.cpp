// Optimizers and schedules against what PyTorch does (tests/golden/make_optim.py).
#include "tandem/io/npy.h"
#include "tandem/nn/linear.h"
#include "tandem/ops/range.h"
#include "tandem/optim/adagrad.h"
#include "tandem/optim/adam.h"
#include "tandem/optim/clip.h"
#include "tandem/optim/rmsprop.h"
#include "tandem/optim/schedule.h"
#include "tandem/optim/sgd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tandem/core/factory.h"

namespace tandem {
namespace {

using optim::Optimizer;
using Parameters = optim::Parameters;

const std::map<std::string, Tensor>& golden() {
  static const auto arrays = load_npz(TANDEM_SOURCE_DIR "/tests/golden/optim.npz");
  return arrays;
}
Tensor golden(const std::string& name) {
  const auto it = golden().find(name);
  if (it == golden().end()) throw ValueError("no golden " + name);
  return it->second;
}

Tensor part(const Tensor& from, int64_t begin, const Shape& shape, DType dtype) {
  const std::span<const double> values(from.data<double>() + begin, size_t(shape.numel()));
  return tensor(values, shape).to(dtype).clone();
}

const Shape shapes[] = {{3, 5}, {4}, {2, 3, 2}};

std::vector<Tensor> start(DType dtype) {
  std::vector<Tensor> out;
  for (int i = 0; i < 3; ++i)
    out.push_back(part(golden(cat("start", i)), 0, shapes[i], dtype).requires_grad_());
  return out;
}

// The gradients of one step, as the script gives them.
void set_gradients(const std::vector<Tensor>& params, int step) {
  static const Tensor all = golden("gradients");
  int64_t at = int64_t(step) * 31;
  for (int i = 0; i < 3; ++i) {
    const bool skip = i == 2 && step % 2;
    params[size_t(i)].set_grad(skip ? Tensor()
                                    : part(all, at, shapes[i], params[size_t(i)].dtype()));
    at += shapes[i].numel();
  }
}

std::vector<double> flat(const std::vector<Tensor>& params) {
  std::vector<double> out;
  for (const Tensor& p : params)
    for (double v : p.to_vector<double>()) out.push_back(v);
  return out;
}

std::unique_ptr<Optimizer> make(const std::string& name, const Parameters& p) {
  using namespace optim;
  using std::make_unique;
  if (name == "sgd") return make_unique<SGD>(p, SGDOptions{.lr = 0.1});
  if (name == "sgd_decay") return make_unique<SGD>(p, SGDOptions{.lr = 0.1, .weight_decay = 0.05});
  if (name == "sgd_momentum") return make_unique<SGD>(p, SGDOptions{.lr = 0.05, .momentum = 0.9});
  if (name == "sgd_dampening")
    return make_unique<SGD>(
        p, SGDOptions{.lr = 0.05, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01});
  if (name == "sgd_nesterov")
    return make_unique<SGD>(
        p, SGDOptions{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true});
  if (name == "sgd_maximize")
    return make_unique<SGD>(
        p, SGDOptions{.lr = 0.01, .momentum = 0.5, .weight_decay = 0.1, .maximize = true});
  if (name == "adam") return make_unique<Adam>(p, AdamOptions{.lr = 0.01});
  if (name == "adam_options")
    return make_unique<Adam>(
        p,
        AdamOptions{
            .lr = 0.02, .betas = {0.4, 0.95}, .eps = 1e-4, .weight_decay = 0.1, .maximize = true});
  if (name == "adam_amsgrad")
    return make_unique<Adam>(p, AdamOptions{.lr = 0.01, .weight_decay = 0.01, .amsgrad = true});
  if (name == "adamw") return make_unique<AdamW>(p, AdamWOptions{.lr = 0.01});
  if (name == "adamw_amsgrad")
    return make_unique<AdamW>(p, AdamWOptions{.lr = 0.02, .weight_decay = 0.2, .amsgrad = true});
  if (name == "rmsprop") return make_unique<RMSprop>(p, RMSpropOptions{.lr = 0.01});
  if (name == "rmsprop_centered")
    return make_unique<RMSprop>(p, RMSpropOptions{.lr = 0.01, .alpha = 0.9, .centered = true});
  if (name == "rmsprop_momentum")
    return make_unique<RMSprop>(
        p, RMSpropOptions{.lr = 0.01, .weight_decay = 0.05, .momentum = 0.7, .maximize = true});
  if (name == "rmsprop_both")
    return make_unique<RMSprop>(
        p,
        RMSpropOptions{.lr = 0.01, .alpha = 0.95, .eps = 1e-6, .momentum = 0.6, .centered = true});
  if (name == "adagrad") return make_unique<Adagrad>(p, AdagradOptions{.lr = 0.1});
  if (name == "adagrad_options")
    return make_unique<Adagrad>(
        p, AdagradOptions{
               .lr = 0.1, .lr_decay = 0.02, .weight_decay = 0.1, .initial_accumulator_value = 0.3});
  if (name == "adagrad_maximize")
    return make_unique<Adagrad>(p, AdagradOptions{.lr = 0.1, .eps = 1e-3, .maximize = true});
  throw ValueError("no optimizer " + name);
}

const char* const cases[] = {"sgd",
                             "sgd_decay",
                             "sgd_momentum",
                             "sgd_dampening",
                             "sgd_nesterov",
                             "sgd_maximize",
                             "adam",
                             "adam_options",
                             "adam_amsgrad",
                             "adamw",
                             "adamw_amsgrad",
                             "rmsprop",
                             "rmsprop_centered",
                             "rmsprop_momentum",
                             "rmsprop_both",
                             "adagrad",
                             "adagrad_options",
                             "adagrad_maximize"};

class Trajectory : public testing::TestWithParam<std::tuple<const char*, DType>> {};

TEST_P(Trajectory, EqualsPyTorchOver100Steps) {
  const auto [name, dtype] = GetParam();
  const std::vector<Tensor> params = start(dtype);
  const auto optimizer = make(name, params);
  const Tensor expected = golden(cat(name, dtype == f64 ? ".f64" : ".f32"));
  const std::vector<double> want = expected.to_vector<double>();
  size_t row = 0;
  for (int step = 0; step < 100; ++step) {
    set_gradients(params, step);
    optimizer->step();
    if (step != 0 && step != 9 && step != 99) continue;
    const std::vector<double> got = flat(params);
    double scale = 0;
    for (size_t i = 0; i < 31; ++i) scale = std::max(scale, std::abs(want[row * 31 + i]));
    for (size_t i = 0; i < 31; ++i) {
      const double w = want[row * 31 + i];
      // f32: each of 100 steps may round once differently; relative to the size of the values.
      const double bound = dtype == f64 ? 1e-11 * std::abs(w) + 1e-13 : 1e-6 * scale;
      EXPECT_TRUE(std::abs(got[i] - w) <= bound)
          << "step " << step + 1 << " element " << i << ": " << got[i] << " not " << w;
    }
    ++row;
  }
}
INSTANTIATE_TEST_SUITE_P(Optim, Trajectory,
                         testing::Combine(testing::ValuesIn(cases), testing::Values(f32, f64)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)) +
                                  (std::get<1>(test.param) == f64 ? "_f64" : "_f32");
                         });

// A run that is saved in the middle and goes on in fresh objects ends in the same bits.
class Resume : public testing::TestWithParam<const char*> {};

TEST_P(Resume, IsBitExact) {
  const std::string name = GetParam();
  auto run = [&](int stop) {
    std::vector<Tensor> params = start(f32);
    auto optimizer = make(name, params);
    auto schedule = std::make_unique<optim::CosineAnnealingLR>(*optimizer, 17, 0.001);
    for (int step = 0; step < 40; ++step) {
      if (step == stop) {
        const NamedTensors o = optimizer->state_dict(), s = schedule->state_dict();
        std::vector<Tensor> fresh;
        for (const Tensor& p : params) fresh.push_back(p.detach().clone().requires_grad_());
        params = fresh;
        schedule.reset();
        optimizer = make(name, params);
        schedule = std::make_unique<optim::CosineAnnealingLR>(*optimizer, 17, 0.001);
        optimizer->load_state_dict(o);
        schedule->load_state_dict(s);
      }
      set_gradients(params, step);
      optimizer->step();
      schedule->step();
    }
    return flat(params);
  };
  const std::vector<double> whole = run(-1);
  for (int stop : {0, 1, 13, 39}) {
    const std::vector<double> resumed = run(stop);
    EXPECT_EQ(0, std::memcmp(whole.data(), resumed.data(), whole.size() * sizeof(double)))
        << "stopped before step " << stop;
  }
}
INSTANTIATE_TEST_SUITE_P(Optim, Resume, testing::ValuesIn(cases),
                         [](const auto& test) { return std::string(test.param); });

// --- Schedules --------------------------------------------------------------------------------

std::vector<Tensor> one() { return {zeros({1}).requires_grad_()}; }

std::unique_ptr<Optimizer> two_groups() {
  auto sgd = std::make_unique<optim::SGD>(one(), optim::SGDOptions{.lr = 0.1, .momentum = 0.8});
  sgd->add_param_group(one(), {.lr = 0.03, .momentum = 0.8});
  return sgd;
}

std::unique_ptr<optim::Scheduler> schedule(const std::string& name, Optimizer& o) {
  using namespace optim;
  using std::make_unique;
  if (name == "step") return make_unique<StepLR>(o, 3, 0.7);
  if (name == "multistep")
    return make_unique<MultiStepLR>(o, std::vector<int64_t>{2, 5, 5, 9}, 0.3);
  if (name == "exponential") return make_unique<ExponentialLR>(o, 0.93);
  if (name == "cosine") return make_unique<CosineAnnealingLR>(o, 10, 0.001);
  if (name == "linear") return make_unique<LinearLR>(o, 0.2, 0.9, 7);
  if (name == "linear_default") return make_unique<LinearLR>(o);
  if (name == "lambda") {
    auto f = [](int64_t e) { return 1 / (1 + 0.5 * double(e)); };
    return make_unique<LambdaLR<decltype(f)>>(o, f);
  }
  if (name == "sequential")
    return make_unique<SequentialLR>(
        o, schedulers(LinearLR(o, 0.1, 1, 4), CosineAnnealingLR(o, 9), StepLR(o, 2, 0.7)),
        std::vector<int64_t>{4, 13});
  if (name == "onecycle" || name == "onecycle_adam")
    return make_unique<OneCycleLR>(o, 0.5,
                                   OneCycleOptions{.total_steps = name == "onecycle" ? 40 : 20});
  if (name == "onecycle_options")
    return make_unique<OneCycleLR>(o, std::vector<double>{0.5, 0.2},
                                   OneCycleOptions{.epochs = 5,
                                                   .steps_per_epoch = 7,
                                                   .pct_start = 0.25,
                                                   .anneal_strategy = "linear",
                                                   .base_momentum = 0.7,
                                                   .max_momentum = 0.9,
                                                   .div_factor = 10,
                                                   .final_div_factor = 100,
                                                   .three_phase = true});
  throw ValueError("no schedule " + name);
}

class Schedule : public testing::TestWithParam<const char*> {};

TEST_P(Schedule, EqualsPyTorchExactly) {
  const std::string name = GetParam();
  std::unique_ptr<Optimizer> o = two_groups();
  const char* momentum = "momentum";
  if (name == "onecycle_adam") {
    auto adam = std::make_unique<optim::Adam>(one(), optim::AdamOptions{.lr = 0.1});
    adam->add_param_group(one(), {.lr = 0.03});
    o = std::move(adam);
    momentum = "beta1";
  }
  auto s = schedule(name, *o);
  const Tensor want = golden(cat("lr.", name)), momenta = golden(cat("momentum.", name));
  for (int64_t i = 0; i < want.size(0); ++i) {
    for (int g = 0; g < 2; ++g) {
      EXPECT_EQ(o->lr(g), want.data<double>()[2 * i + g]) << "epoch " << i << " group " << g;
      EXPECT_EQ(o->number(g, momentum), momenta.data<double>()[2 * i + g])
          << "epoch " << i << " group " << g;
    }
    EXPECT_EQ(s->last_epoch(), i);
    EXPECT_EQ(s->last_lr(), (std::vector<double>{o->lr(0), o->lr(1)}));
    o->step();
    s->step();
  }
}

// A schedule restored in the middle goes on with the same rates.
TEST_P(Schedule, ResumesExactly) {
  const std::string name = GetParam();
  if (name == "onecycle_adam") return;
  const Tensor want = golden(cat("lr.", name));
  std::unique_ptr<Optimizer> o = two_groups();
  auto s = schedule(name, *o);
  for (int64_t i = 0; i < want.size(0); ++i) {
    if (i == 5) {
      const NamedTensors os = o->state_dict(), ss = s->state_dict();
      s.reset();
      o = two_groups();
      s = schedule(name, *o);
      o->load_state_dict(os);
      s->load_state_dict(ss);
    }
    for (int g = 0; g < 2; ++g)
      EXPECT_EQ(o->lr(g), want.data<double>()[2 * i + g]) << "epoch " << i << " group " << g;
    s->step();
  }
}
INSTANTIATE_TEST_SUITE_P(Optim, Schedule,
                         testing::Values("step", "multistep", "exponential", "cosine", "linear",
                                         "linear_default", "lambda", "sequential", "onecycle",
                                         "onecycle_options", "onecycle_adam"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Optim, PlateauEqualsPyTorchExactly) {
  const std::vector<double> metrics = golden("metrics").to_vector<double>();
  for (const bool other : {false, true}) {
    auto o = two_groups();
    optim::PlateauOptions options{.patience = 2};
    if (other)
      options = {.mode = "max",
                 .factor = 0.5,
                 .patience = 1,
                 .threshold = 0.05,
                 .threshold_mode = "abs",
                 .cooldown = 2,
                 .min_lr = 0.004};
    optim::ReduceLROnPlateau s(*o, options);
    const Tensor want = golden(other ? "lr.plateau_max" : "lr.plateau");
    for (size_t i = 0; i < metrics.size(); ++i) {
      for (size_t g = 0; g < 2; ++g)
        EXPECT_EQ(o->lr(int(g)), want.data<double>()[2 * i + g]) << other << " epoch " << i;
      s.step(metrics[i]);
    }
  }
}

// --- Clipping ---------------------------------------------------------------------------------

TEST(Optim, ClipByNormEqualsPyTorch) {
  const std::pair<const char*, double> kinds[] = {
      {"two", 2}, {"one", 1}, {"inf", INFINITY}, {"three", 3}};
  for (const auto& [name, kind] : kinds) {
    const std::vector<Tensor> params = start(f64);
    set_gradients(params, 0);
    const Tensor norm = optim::clip_grad_norm_(params, 0.7, kind);
    EXPECT_NEAR(norm.item<double>(), golden(cat("clip.", name, ".norm")).item<double>(), 1e-12);
    const std::vector<double> want = golden(cat("clip.", name)).to_vector<double>();
    size_t at = 0;
    for (const Tensor& p : params)
      for (double g : p.grad().to_vector<double>()) EXPECT_NEAR(g, want[at++], 1e-13);
    EXPECT_EQ(at, want.size());
  }
}

TEST(Optim, ClipLeavesSmallGradientsAndCutsByValue) {
  const std::vector<Tensor> p{ones({3}).requires_grad_(), ones({2}).requires_grad_()};
  p[0].set_grad(tensor({0.1f, -0.2f, 0.3f}));
  EXPECT_NEAR(optim::clip_grad_norm_(p, 10).item<double>(), std::sqrt(0.14), 1e-7);
  EXPECT_EQ(p[0].grad().to_vector<float>(), (std::vector<float>{0.1f, -0.2f, 0.3f}));
  optim::clip_grad_value_(p, 0.15);
  EXPECT_EQ(p[0].grad().to_vector<float>(), (std::vector<float>{0.1f, -0.15f, 0.15f}));
  p[0].set_grad(tensor({0.1f, NAN, 0.3f}));
  EXPECT_THROW(optim::clip_grad_norm_(p, 1, 2, true), ValueError);
}

// --- Behaviour --------------------------------------------------------------------------------

TEST(Optim, GradientsAreNeverChanged) {
  for (const char* name : cases) {
    const std::vector<Tensor> params = start(f32);
    const auto o = make(name, params);
    set_gradients(params, 0);
    std::vector<std::vector<float>> before;
    std::vector<uint32_t> versions;
    for (const Tensor& p : params) {
      before.push_back(p.grad().to_vector<float>());
      versions.push_back(p.grad().version());
    }
    o->step();
    for (size_t i = 0; i < params.size(); ++i) {
      EXPECT_EQ(params[i].grad().to_vector<float>(), before[i]) << name;
      EXPECT_EQ(params[i].grad().version(), versions[i]) << name;
    }
  }
}

TEST(Optim, AStepIsAnInPlaceWriteThatTheTapeNotices) {
  Tensor w = ones({3}).requires_grad_();
  optim::SGD o({w}, {.lr = 0.5});
  const uint32_t version = w.version();
  w.set_grad(ones({3}));
  o.step();
  EXPECT_EQ(w.version(), version + 1);
  EXPECT_TRUE(w.is_leaf());
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{0.5f, 0.5f, 0.5f}));
}

TEST(Optim, StridedHalfAndMixedParametersFollowTheSameRule) {
  // Contiguous f32 is the yardstick; the others go through a copy.
  auto run = [](Tensor p, const Tensor& g) {
    p.requires_grad_();
    optim::Adam o({p}, {.lr = 0.1});
    for (int i = 0; i < 3; ++i) {
      p.set_grad(g);
      o.step();
    }
    return p.to_vector<float>();
  };
  const std::vector<float> values{1, 2, 3, 4, 5, 6}, slopes{3, -1, 2, 0.5f, -4, 1};
  const std::vector<float> turned{1, 4, 2, 5, 3, 6}, turned_slopes{3, 0.5f, -1, -4, 2, 1};
  const std::vector<float> want =
      run(tensor(std::span(values), {2, 3}), tensor(std::span(slopes), {2, 3}));
  std::vector<float> memory = turned, slope_memory = turned_slopes;
  const Tensor strided = wrap(memory.data(), {2, 3}, f32, {}, {1, 2});
  const Tensor strided_slopes = wrap(slope_memory.data(), {2, 3}, f32, {}, {1, 2});
  EXPECT_EQ(run(strided, tensor(std::span(slopes), {2, 3})), want);
  EXPECT_EQ(run(tensor(std::span(values), {2, 3}), strided_slopes), want);
  for (const DType half : {f16, bf16}) {
    const std::vector<float> got =
        run(tensor(std::span(values), {2, 3}).to(half), tensor(std::span(slopes), {2, 3}).to(half));
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got[i], want[i], half == f16 ? 5e-3 : 4e-2) << name(half);
  }
}

TEST(Optim, AConvertedModuleTakesItsStateAlong) {
  nn::Linear layer(3, 2);
  optim::Adam o(layer);
  for (const Tensor& p : layer.parameters()) p.set_grad(ones(p.shape()));
  o.step();
  layer.to(f64);
  const std::vector<double> before = layer.weight.to_vector<double>();
  o.step();
  EXPECT_EQ(find(o.state_dict(), "state.0.weight.exp_avg").dtype(), f64);
  const std::vector<double> after = layer.weight.to_vector<double>();
  for (size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(after[i], before[i] - 1e-3, 1e-9);
}

TEST(Optim, ManyLargeParametersEqualOneByOne) {
  // Above the grain the parameters are cut into chunks over the threads.
  std::vector<Tensor> many, single;
  for (int i = 0; i < 5; ++i) {
    const Tensor t = linspace(-1, 1 + i, 50000 + 7777 * i);
    many.push_back(t.clone().requires_grad_());
    single.push_back(t.clone().requires_grad_());
  }
  optim::Adam all(many);
  std::vector<std::unique_ptr<optim::Adam>> each;
  for (const Tensor& p : single) each.push_back(std::make_unique<optim::Adam>(Parameters{p}));
  for (int step = 0; step < 3; ++step) {
    for (size_t i = 0; i < many.size(); ++i) {
      many[i].set_grad(linspace(2, -3, many[i].numel()));
      single[i].set_grad(linspace(2, -3, many[i].numel()));
      each[i]->step();
    }
    all.step();
  }
  for (size_t i = 0; i < many.size(); ++i)
    EXPECT_EQ(many[i].to_vector<float>(), single[i].to_vector<float>()) << i;
}

TEST(Optim, GroupsHaveTheirOwnOptions) {
  const std::vector<Tensor> a = one(), b = one();
  optim::SGD o(a, {.lr = 1});
  o.add_param_group(b, {.lr = 0.25, .momentum = 0.5});
  a[0].set_grad(ones({1}));
  b[0].set_grad(ones({1}));
  o.step();
  EXPECT_EQ(a[0].item<float>(), -1);
  EXPECT_EQ(b[0].item<float>(), -0.25f);
  o.set_lr(0.5);
  EXPECT_EQ(o.lr(0), 0.5);
  EXPECT_EQ(o.lr(1), 0.5);
  o.set_lr(1, 2);
  EXPECT_EQ(o.options(1).lr, 2);
  EXPECT_EQ(o.options(1).momentum, 0.5);
  EXPECT_EQ(o.options(0).momentum, 0);
  EXPECT_TRUE(o.parameters(1)[0].is_same(b[0]));
}

TEST(Optim, ZeroGradDropsOrFills) {
  const std::vector<Tensor> a = one();
  optim::SGD o(a, {.lr = 1});
  a[0].set_grad(ones({1}));
  o.zero_grad(false);
  EXPECT_EQ(a[0].grad().item<float>(), 0);
  o.zero_grad();
  EXPECT_FALSE(a[0].grad().defined());
}

TEST(Optim, StepTakesAClosure) {
  Tensor w = ones({1}).requires_grad_();
  optim::SGD o({w}, {.lr = 0.5});
  const Tensor loss = o.step([&] {
    w.set_grad(ones({1}));
    return Tensor(3.0);
  });
  EXPECT_EQ(loss.item<double>(), 3.0);
  EXPECT_EQ(w.item<float>(), 0.5f);
}

template <class E, class F>
void expect_error(F f, const std::string& text) {
  try {
    f();
    FAIL() << "nothing was thrown; expected: " << text;
  } catch (const E& e) {
    EXPECT_EQ(e.what(), text);
  }
}

TEST(Optim, ErrorTexts) {
  const Tensor w = ones({2}).requires_grad_();
  using optim::Adam;
  using optim::SGD;
  expect_error<ValueError>([&] { SGD o({w}, {.lr = -1}); }, "SGD(lr=-1): lr must be at least 0");
  expect_error<ValueError>(
      [&] {
        Adam o({w}, {.betas = {0.9, 1}});
      },
      "Adam(beta2=1): beta2 must be in [0, 1)");
  expect_error<ValueError>(
      [&] { SGD o({w}, {.lr = 1, .nesterov = true}); },
      "SGD(nesterov=true): needs momentum above 0 and dampening 0, got 0 and 0");
  expect_error<ValueError>([&] { SGD o({w, w}); }, "SGD: parameter 1 is given twice");
  expect_error<ValueError>([&] { SGD o(std::vector<Tensor>{}); },
                           "SGD: the parameter list is empty");
  expect_error<ValueError>([&] { SGD o({zeros({2}, i64)}); },
                           "SGD: parameter 0 is i64, not floating");
  Adam o(NamedTensors{{"fc.weight", w}});
  expect_error<IndexError>([&] { o.set_lr(2, 1); }, "Adam: group 2 is out of range [0, 0]");
  expect_error<ValueError>([&] { o.set_number(0, "momentum", 1); },
                           "Adam: there is no number called momentum");
  w.set_grad(ones({2}));
  o.step();
  NamedTensors state = o.state_dict();
  std::vector<std::string> names;
  for (const auto& [name, t] : state) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "groups.0.lr", "groups.0.beta1", "groups.0.beta2", "groups.0.eps",
                       "groups.0.weight_decay", "groups.0.amsgrad", "groups.0.maximize",
                       "groups.0.decoupled_weight_decay", "state.0.fc.weight.step",
                       "state.0.fc.weight.exp_avg", "state.0.fc.weight.exp_avg_sq"}));
  state.back().second = zeros({3});
  state.erase(state.begin());
  state.emplace_back("extra", zeros({1}));
  expect_error<ValueError>([&] { o.load_state_dict(state); },
                           "Adam: load_state_dict(): groups.0.lr is missing; "
                           "state.0.fc.weight.exp_avg_sq is [3], not [2]; extra is unexpected");
  expect_error<ValueError>([&] { optim::LinearLR(o, 2); },
                           "LinearLR(start_factor=2): start_factor must be above 0 and at most 1");
}

}  // namespace
}  // namespace tandem
