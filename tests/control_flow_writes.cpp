// Regions that write to tensors from around them, and conditions of loops that draw random numbers
// or write: a compiled function does what the plain one does, call after call.
#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/session.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using Values = std::vector<double>;
using tandem::testing::error_of;

/// Calls step(x), plain and compiled, for each of `inputs`, on state that begins alike: what it
/// gives and what it leaves in the state is the same after each call.
template <class Step>
void expect_same(const std::vector<Tensor>& state, Step step, const std::vector<Tensor>& inputs,
                 int captures = 1) {
  auto fresh = [&] {
    std::vector<Tensor> s;
    for (const Tensor& t : state) s.push_back(t.clone());
    return s;
  };
  const std::vector<Tensor> plain = fresh(), recorded = fresh();
  auto f = compile([&](const Tensor& x) { return step(x, recorded); });
  for (size_t call = 0; call < inputs.size(); ++call) {
    manual_seed(call);
    const Tensor want = step(inputs[call], plain);
    const Tensor next = rand({1});
    manual_seed(call);
    const Tensor got = f(inputs[call]);
    EXPECT_EQ(rand({1}).item<float>(), next.item<float>()) << "random numbers after call " << call;
    EXPECT_EQ(got.to_vector<double>(), want.to_vector<double>()) << "call " << call;
    for (size_t i = 0; i < state.size(); ++i)
      EXPECT_EQ(recorded[i].to_vector<double>(), plain[i].to_vector<double>())
          << "state " << i << " after call " << call;
  }
  EXPECT_EQ(f.captures(), captures);
}

std::vector<Tensor> both_signs() {
  return {tensor({1.f, 2.f}), tensor({-1.f, -2.f}), tensor({3.f, 0.5f}), tensor({-4.f, 1.f})};
}

TEST(RegionWrites, OfOneBranch) {
  expect_same(
      {zeros({2}), zeros({}, i64)},
      [](const Tensor& x, std::vector<Tensor> s) {
        const Tensor y = cond(
            x.sum() > 0,
            [&] {
              s[0] += x;
              s[1] += 1;
              s[0] *= 2;
              return s[0] + 1;
            },
            [&] { return x * 3; });
        return y + s[0];
      },
      both_signs());
}

TEST(RegionWrites, OfBothBranchesAndAround) {
  expect_same(
      {ones({2}), ones({2, 2})},
      [](const Tensor& x, std::vector<Tensor> s) {
        s[0] += 1;
        const Tensor y = cond(
            x.sum() > 0,
            [&] {
              s[1][0] = x;
              s[0] -= x;
              return s[0] * s[1][0];
            },
            [&] {
              s[0].copy_(x);
              return s[0] + s[1][1];
            });
        s[0] *= 2;
        return y;
      },
      both_signs());
}

TEST(RegionWrites, OfNestedRegions) {
  expect_same(
      {zeros({2}), zeros({2})},
      [](const Tensor& x, std::vector<Tensor> s) {
        return cond(
            x.sum() > 0,
            [&] {
              s[0] += 1;
              return cond(
                  x[0] > 2,
                  [&] {
                    s[0] += x;
                    s[1] += s[0];
                    return s[1] * 1;
                  },
                  [&] { return s[0] * 1; });
            },
            [&] {
              return while_loop([&](const Tensor& i) { return i < 3; },
                                [&](const Tensor& i) {
                                  s[1] -= 1;
                                  return i + 1;
                                },
                                {x.sum()})[0] +
                     s[1];
            });
      },
      both_signs());
}

TEST(RegionWrites, OfASwitch) {
  const std::vector<Tensor> which{tensor({0.f}), tensor({2.f}), tensor({1.f}), tensor({7.f})};
  expect_same(
      {zeros({})},
      [](const Tensor& x, std::vector<Tensor> s) {
        auto add = [&](double by) {
          return [&s, by] {
            s[0] += by;
            return s[0] * 2;
          };
        };
        return switch_case(x.reshape({}).to(i64), add(1), add(10), add(100));
      },
      which);
}

TEST(RegionWrites, OfALoop) {
  expect_same(
      {ones({2}), zeros({}, i64)},
      [](const Tensor& x, std::vector<Tensor> s) {
        // The condition reads what the body writes.
        const auto last = while_loop([&](const Tensor& v) { return (v.sum() + s[1]) < 9; },
                                     [&](const Tensor& v) {
                                       s[1] += 1;
                                       s[0] *= 1.5;
                                       return v + s[0] * s[0];
                                     },
                                     {x});
        return last[0] + s[0];
      },
      both_signs());
}

TEST(RegionWrites, OfFolds) {
  expect_same(
      {zeros({})},
      [](const Tensor& x, std::vector<Tensor> s) {
        const Tensor all = scan(
            [&](const Tensor& a, const Tensor& b) {
              s[0] += b;
              return a * 0.5 + b + s[0];
            },
            x, zeros({}));
        return foldl([&](const Tensor& a, const Tensor& b) { return a + b * s[0]; }, all,
                     zeros({}));
      },
      both_signs());
}

TEST(RegionWrites, BatchStatisticsAndGradients) {
  auto train = [](bool compiled) {
    manual_seed(3);
    nn::Linear in(4, 3), out(3, 1);
    nn::BatchNorm1d norm(3);
    Tensor steps = zeros({}, i64);
    std::vector<Tensor> all{in.weight, in.bias, out.weight, out.bias, norm.weight, norm.bias};
    optim::SGD opt(all, {.lr = 0.1});
    auto plain = [&](const Tensor& x) {
      const Tensor h = in(x);
      const Tensor loss = mean(square(out(cond(
          x.sum() > 0,
          [&] {
            steps += 1;
            return relu(norm(h));
          },
          [&] { return h * 0.5; }))));
      opt.zero_grad();
      loss.backward();
      opt.step();
      return loss.detach();
    };
    auto f = compile(plain);
    Values seen;
    for (int i = 0; i < 12; ++i) {
      manual_seed(uint64_t(i + 100));
      const Tensor x = randn({5, 4});
      seen.push_back((compiled ? f(x) : plain(x)).item<double>());
    }
    for (const Tensor& t : {norm.running_mean, norm.running_var, in.weight, steps.to(f32)})
      for (double v : t.to_vector<double>()) seen.push_back(v);
    return seen;
  };
  const Values want = train(false), got = train(true);
  EXPECT_GT(want.back(), 0);
  EXPECT_LT(want.back(), 12);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << i;
}

/// A step that is left out when the gradient is not finite.
TEST(RegionWrites, AnUpdateOfParametersByCondition) {
  expect_same({tensor({1.f, -2.f})},
              [](const Tensor& x, std::vector<Tensor> s) {
                Tensor w = s[0];
                w.requires_grad_();
                const Tensor loss = (w * w / x).sum();
                const Tensor g = grad(loss, w);
                const NoGrad off;
                return cond(
                    all(isfinite(g)),
                    [&] {
                      w -= g * 0.1;
                      return sum(g);
                    },
                    [&] { return sum(x); });
              },
              {tensor({1.f, 2.f}), tensor({0.f, 1.f}), tensor({-3.f, 4.f})});
}

TEST(LoopCondition, MayDrawAndWrite) {
  for (const int64_t most : {-1, 3, 1, 0})
    expect_same(
        {zeros({}, i64)},
        [=](const Tensor& x, std::vector<Tensor> s) {
          return while_loop(
              [&](const Tensor& v) {
                s[0] += 1;
                return (v.sum() + rand({}) * 4) < 8;
              },
              [&](const Tensor& v) { return v + rand({2}); }, {x}, {.maximum_iterations = most})[0];
        },
        both_signs());
}

TEST(RegionAssign, HappensWithTheFetchOfTheResult) {
  const auto graph = Graph::make();
  const GraphScope scope(graph);
  const Tensor x = placeholder("x", {}), count = variable("count", zeros({}));
  const Tensor w = variable("w", full({}, 3.0));
  const Tensor y = cond(
      x > 0,
      [&] {
        const Tensor now = assign_add(count, Tensor(1.f));
        return x * w + now;
      },
      [&] { return with_dependencies(std::vector{assign(count, x)}, w * 1); });
  const Tensor loss = y * y, dw = gradients(loss, {w})[0];
  const Tensor steps = while_loop([](const Tensor& i) { return i < 3; },
                                  [&](const Tensor& i) {
                                    assign_sub(count, i);
                                    return i + 1;
                                  },
                                  {x})[0];
  Session s(graph);
  s.run(global_variables_initializer());
  auto fed = [&](const Tensor& fetch, float value) {
    return s
        .run(fetch, {{x,
                      [&] {
                        const EagerScope now;
                        return full({}, value, f32);
                      }()}})
        .item<float>();
  };
  EXPECT_EQ(fed(y, 2), 7);  // 2 * 3 + 1, count 1
  EXPECT_EQ(fed(y, 2), 8);  // count 2
  EXPECT_EQ(fed(count, 2), 2);
  EXPECT_EQ(fed(loss, 2), 81);  // what needs the result makes the write, too: count 3
  EXPECT_EQ(fed(count, 2), 3);
  EXPECT_EQ(fed(dw, 2), 40);  // 2 * 10 * x
  EXPECT_EQ(fed(count, 2), 4);
  EXPECT_EQ(fed(y, -5), 3);  // count -5
  EXPECT_EQ(fed(count, 2), -5);
  EXPECT_EQ(fed(steps, 1), 3);  // -5 - 1 - 2
  EXPECT_EQ(fed(count, 2), -8);
  EXPECT_EQ(error_of<NotImplemented>([&] {
              cond(
                  x > 0, [&] { return variable("inner", zeros({})); }, [&] { return x; });
            }),
            "variable(): cannot stand inside cond() and while_loop(); make it outside");
}

// --- Results and operands that are written later -------------------------------------------------

/// f(x), plain and compiled.
template <class F>
void expect_values(F f, const Tensor& x, const Values& want, const char* what) {
  EXPECT_EQ(f(x).template to_vector<double>(), want) << what << ", plain";
  for (const bool deterministic : {false, true}) {
    auto c = compile(f, {.deterministic = deterministic});
    EXPECT_EQ(c(x).template to_vector<double>(), want) << what << ", compiled";
  }
}

/// What a region gives is a tensor of its own, also where it is one from around it.
TEST(RegionResults, AreNobodyElses) {
  using Both = std::pair<const char*, Tensor (*)(const Tensor&)>;
  const Both ways[] = {
      {"cond",
       [](const Tensor& y) {
         return cond(
             y.sum() > 0, [&] { return y; }, [&] { return y * 2; });
       }},
      {"a look",
       [](const Tensor& y) {
         return cond(
             y.sum() > 0, [&] { return y.transpose(0, 1); }, [&] { return y * 2; });
       }},
      {"no turn",
       [](const Tensor& y) {
         return while_loop([](const Tensor& v) { return v.sum() < 0; },
                           [](const Tensor& v) { return Tensors{v * 2}; }, {y})[0];
       }},
      {"a variable that stays",
       [](const Tensor& y) {
         return while_loop([](const Tensor& i, const Tensor&) { return i < 2; },
                           [](const Tensor& i, const Tensor& v) {
                             return Tensors{i + 1, v};
                           },
                           {full({}, 0, i64), y})[1];
       }},
      {"no step",
       [](const Tensor& y) {
         return while_loop([](const Tensor&) { return rand({}) > -1; },
                           [](const Tensor& v) { return Tensors{v * 2}; }, {y},
                           {.maximum_iterations = 0})[0];
       }},
      {"foldr",
       [](const Tensor& y) {
         return foldr([](const Tensor&, const Tensor& row) { return row; }, y, zeros({1}))
             .unsqueeze(0);
       }},
  };
  for (const auto& [what, region] : ways) {
    const auto run = region;
    const auto write_result = [run](const Tensor& x) {
      Tensor y = x * 1, z = run(y);
      z += 2;
      return cat({y, z}, 0);
    };
    const auto write_operand = [run](const Tensor& x) {
      Tensor y = x * 1, z = run(y);
      y += 2;
      return cat({y, z}, 0);
    };
    expect_values(write_result, ones({1, 1}), {1, 3}, what);
    expect_values(write_operand, ones({1, 1}), {3, 1}, what);
  }
}

/// The gradient takes the operands as they were: h is 2 x, and y is 0.175 h, 0.2 h or 3 h.
TEST(RegionOperands, MayBeWrittenLater) {
  Tensor x = tensor({0.5, -1.0}, f64);
  x.requires_grad_();
  const auto expect = [&](const char* what, auto region, double slope) {
    const auto f = [&](const Tensor& v) {
      Tensor h = v * 2;
      Tensor y = region(h);
      h += 1;
      return grad((y + h).sum(), v);
    };
    const Values plain = f(x).template to_vector<double>();
    const Values compiled = compile(f)(x).template to_vector<double>();
    for (int i = 0; i < 2; ++i) {
      EXPECT_NEAR(plain[size_t(i)], 2 * slope + 2, 1e-12) << what;
      EXPECT_NEAR(compiled[size_t(i)], 2 * slope + 2, 1e-12) << what;
    }
  };
  expect(
      "while_loop",
      [](const Tensor& h) {
        return while_loop([](const Tensor& i, const Tensor&) { return i < 3; },
                          [&](const Tensor& i, const Tensor& v) {
                            return Tensors{i + 1, v * 0.5 + h * 0.1};
                          },
                          {full({}, 0, i64), zeros({2}, f64)})[1];
      },
      0.175);
  expect(
      "scan",
      [](const Tensor& h) {
        return scan([&](const Tensor& acc, const Tensor& e) { return acc + h * e; },
                    ones({1}, f64) * 0.2, zeros({2}, f64))
            .reshape({2});
      },
      0.2);
  expect(
      "cond",
      [](const Tensor& h) {
        return cond(
            h.sum() < 0, [&] { return h * 3; }, [&] { return h; });
      },
      3);
}

/// A tensor from outside that the function writes behind the region.
TEST(RegionOperands, MayBeStateThatIsWrittenLater) {
  Tensor x = tensor({1.0, 2.0});
  x.requires_grad_();
  for (const bool compiled : {false, true}) {
    Tensor scale = tensor({2.0, 3.0});
    const auto f = [&](const Tensor& v) {
      const Tensor y = cond(
          v.sum() > 0, [&] { return v + scale; }, [&] { return v - scale; });
      scale *= 10;
      return grad((y * y).sum(), v);
    };
    const Tensor got = compiled ? compile(f)(x) : f(x);
    EXPECT_EQ(got.to_vector<double>(), (Values{6, 10}));
    EXPECT_EQ(scale.to_vector<double>(), (Values{20, 30}));
  }
}

}  // namespace
}  // namespace tandem
