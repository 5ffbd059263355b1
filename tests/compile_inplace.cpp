// In-place writes inside compiled functions: to views, to what views look at, to arguments and to
// tensors from outside. The plain function says what must come out.
#include <gtest/gtest.h>

#include "tandem/graph/compile.h"
#include "tandem/graph/control_flow.h"
#include "tandem/graph/ir.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using Values = std::vector<double>;
using List = std::vector<Tensor>;

Values values_of(const List& list) {
  Values all;
  for (const Tensor& t : list)
    for (double v : t.to_vector<double>()) all.push_back(v);
  return all;
}

/// f(x, y) eagerly and compiled: results, arguments afterwards, and gradients inside.
template <class F>
void expect_same(F f, const Tensor& x0, const Tensor& y0) {
  auto values = [&](auto& call) {
    Values all;
    for (double scale : {1.0, -2.0}) {
      const Tensor x = x0 * scale, y = y0 * scale;
      const List out = call(x, y);
      for (const List& list : {out, List{x, y}})
        for (double v : values_of(list)) all.push_back(v);
    }
    return all;
  };
  auto compiled = compile(f, {.deterministic = true});
  EXPECT_EQ(values(compiled), values(f));
  EXPECT_EQ(compiled.captures(), 1);
}

/// The same with the gradients of sum(results^2) by x and y; f gets copies that it may write to.
template <class F>
void expect_same_gradients(F f, const Tensor& x0, const Tensor& y0) {
  const Tensor x = x0.clone().requires_grad_(), y = y0.clone().requires_grad_();
  auto step = [&](const Tensor& a, const Tensor& b) {
    const List out = f(a * 1.0, b * 1.0);
    Tensor loss = zeros({}, a.dtype());
    for (const Tensor& t : out) loss = loss + sum(t * t);
    List all = out;
    for (const Tensor& d : grad(loss, {a, b})) all.push_back(d);
    return all;
  };
  auto inside = compile(step, {.deterministic = true});
  const Values want = values_of(step(x, y));
  EXPECT_EQ(values_of(inside(x, y)), want);
  auto outside = compile([&](const Tensor& a, const Tensor& b) { return f(a * 1.0, b * 1.0); },
                         {.deterministic = true});
  auto call = [&](const Tensor& a, const Tensor& b) {
    List all = outside(a, b);
    Tensor loss = zeros({}, a.dtype());
    for (const Tensor& t : all) loss = loss + sum(t * t);
    for (const Tensor& d : grad(loss, {a, b})) all.push_back(d);
    return all;
  };
  const Values got = values_of(call(x, y));  // sums of gradients in another order
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 1e-13 * (1 + std::abs(want[i]))) << i;
}

const Tensor x34 = arange(0, 12, 1, f64).reshape({3, 4}) / 4.0 - 1.0;
const Tensor y34 = sin(arange(0, 12, 1, f64)).reshape({3, 4});

TEST(CompiledInPlace, AWriteToAViewIsOneToItsBase) {
  auto f = [](const Tensor& x, const Tensor& y) {
    Tensor a = x * 2.0;
    a[0] += 1.0;
    a(all, 1) = y(all, 2);
    a.narrow(0, 1, 2).narrow(1, 2, 2).fill_(7);
    Tensor row = a.select(0, 2);
    row *= y.select(0, 1);
    a.transpose(0, 1)[3] = 5.0;
    a.reshape({12}).narrow(0, 4, 3).copy_(y.reshape({12}).narrow(0, 0, 3));
    return List{a, row, a * y};
  };
  expect_same(f, x34, y34);
  expect_same_gradients(f, x34, y34);
}

TEST(CompiledInPlace, ViewsSeeAWriteToTheirBaseAndToEachOther) {
  auto f = [](const Tensor& x, const Tensor& y) {
    Tensor a = x + y;
    const Tensor first = a.select(0, 0), middle = a.narrow(1, 1, 2), last = middle.select(1, 1);
    a *= 3.0;
    const Tensor sum1 = first + last.sum();
    Tensor m = middle;
    m -= y.narrow(1, 0, 2);
    const Tensor sum2 = first * 2.0 + a[1];
    Tensor l = last;
    l.fill_(0.5);
    return List{sum1, sum2, first, middle, last, a};
  };
  expect_same(f, x34, y34);
  expect_same_gradients(f, x34, y34);
}

TEST(CompiledInPlace, MasksAndIndexTensors) {
  auto f = [](const Tensor& x, const Tensor& y) {
    Tensor a = x * 1.0;
    a[x > 0.5] = -1.0;
    const int64_t rows[] = {2, 0};
    Tensor places = zeros({2}, i64);
    for (int i = 0; i < 2; ++i) places[i] = rows[i];
    a[places] = y.narrow(0, 0, 2);
    a(1, range(0, none, 2)) += y(2, range(0, none, 2));
    return List{a, a.select(0, 1)};
  };
  expect_same(f, x34, y34);
  expect_same_gradients(f, x34, y34);
}

/// What a mask picks is updated although nobody knows how many elements that are; elements that it
/// does not pick have no part in the gradient, infinities neither.
TEST(CompiledInPlace, UpdatesByMask) {
  using F = Tensor (*)(const Tensor&, const Tensor&);
  const std::pair<const char*, F> updates[] = {
      {"add a number",
       [](const Tensor& x, const Tensor&) {
         Tensor y = x.clone();
         y[x > 0] += 1;
         return y;
       }},
      {"subtract a fraction",
       [](const Tensor& x, const Tensor&) {
         Tensor y = x.clone();
         y[x > 0] -= 0.1;
         return y;
       }},
      {"multiply by a row",
       [](const Tensor& x, const Tensor& v) {
         Tensor y = x.clone();
         y[x.sum({1}) > 0] *= v;
         return y;
       }},
      {"divide by a scalar",
       [](const Tensor& x, const Tensor& v) {
         Tensor y = x.clone();
         y[x > 0] /= v.sum();
         return y;
       }},
      {"assign a row",
       [](const Tensor& x, const Tensor& v) {
         Tensor y = x.clone();
         y[x.sum({1}) > 0] = v;
         return y;
       }},
      {"behind an axis",
       [](const Tensor& x, const Tensor& v) {
         Tensor y = x.clone();
         y(all, v > 0) += 2;
         return y;
       }},
      {"assign the same part",
       [](const Tensor& x, const Tensor& v) {
         Tensor y = x.clone();
         const Tensor m = x > 0;
         y[m] = (x + v)[m];
         return y;
       }},
      {"add the same part",
       [](const Tensor& x, const Tensor& v) {
         Tensor y = x.clone();
         const Tensor m = x > 0;
         y[m] += (x + v)[m];
         return y;
       }},
  };
  const float inf = HUGE_VALF;
  for (const auto& [what, f] : updates)
    for (const auto& numbers :
         {std::vector<float>{1, -2, 3, -4, 0.5f, 6}, {-1, -2, -3, -inf, -4, -6}}) {
      auto run = [&](auto&& g) {
        Tensor x = wrap(std::vector<float>(numbers), {2, 3}), v = tensor({2.f, -1.f, 4.f});
        x.requires_grad_();
        v.requires_grad_();
        const Tensor y = g(x, v);
        (y * tensor({1.f, 2.f, 3.f})).sum().backward();
        return std::vector<Tensor>{y, x.grad(), v.grad().defined() ? v.grad() : zeros({3})};
      };
      const auto want = run(f);
      auto compiled = compile(f);
      const auto got = run(compiled);
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_EQ(got[i].to_vector<float>(), want[i].to_vector<float>()) << what << " " << i;
    }
  Tensor whole = ones({3}, i64);
  EXPECT_THROW(whole[whole > 0] += 0.5, DTypeError);
}

TEST(CompiledInPlace, ATensorThatTheFunctionMakes) {
  auto f = [](const Tensor& x, const Tensor& y) {
    Tensor table = zeros({4, 4}, f64);
    for (int i = 0; i < 3; ++i) table[i] = x[i] * y[2 - i];
    table(3, 3) = 9.0;
    Tensor twice = ones({3, 4}, f64);
    twice *= x;
    twice[1] *= y[1];
    return List{table, twice};
  };
  expect_same(f, x34, y34);
  expect_same_gradients(f, x34, y34);
}

TEST(CompiledInPlace, ArgumentsAreWrittenForTheCaller) {
  expect_same(
      [](const Tensor& x, const Tensor& y) {
        Tensor a = x, b = y;
        a += 1.0;
        b[1] = a[2] * 2.0;
        return List{a * b};
      },
      x34, y34);
}

TEST(CompiledInPlace, AnArgumentIsWrittenAndTheResultHasAGradient) {
  auto f = [](const Tensor& x, const Tensor& y) {
    {
      const NoGrad off;
      Tensor b = y;
      b += 1.0;
    }
    return sin(x) * exp(x) * y;
  };
  auto values = [&](auto& call) {
    const Tensor x = x34.clone().requires_grad_(), y = y34.clone();
    const Tensor out = call(x, y);
    return values_of({out, grad(out.sum(), x), y});
  };
  auto compiled = compile(f, {.deterministic = true});
  EXPECT_EQ(values(compiled), values(f));
}

TEST(CompiledInPlace, TensorsFromOutside) {
  auto run = [](bool compiled) {
    Tensor state = y34.clone(), other = x34.t().clone().t();
    auto f = [&](const Tensor& x) {
      state[1] += x[0];
      const Tensor before = state.select(0, 1);
      state *= 2.0;
      other(all, 0) = before.sum();
      return before + other[2];
    };
    auto fast = compile(f);
    Values all;
    for (int i = 0; i < 3; ++i)
      for (double v : values_of({compiled ? fast(x34) : f(x34), state, other})) all.push_back(v);
    return all;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(CompiledInPlace, AnotherDTypeIsCastToTheTensors) {
  expect_same(
      [](const Tensor& x, const Tensor& y) {
        Tensor a = x.to(f32);
        a += y;
        a[0] *= y[0];
        return List{a, a * 2.0};
      },
      x34, y34);
}

TEST(CompiledInPlace, InALoopBody) {
  expect_same(
      [](const Tensor& x, const Tensor& y) {
        return List{while_loop([](const Tensor& i, const Tensor&) { return i < 3; },
                               [&](const Tensor& i, const Tensor& v) {
                                 Tensor next = v * y;
                                 next[1] += 1.0;
                                 return List{i + 1, next};
                               },
                               {zeros({}, i64), x})[1]};
      },
      x34, y34);
}

using testing::error_of;

/// Ops with a gradient write to an argument: its history afterwards is the plain code's.
TEST(CompiledInPlace, AnArgumentIsWrittenWithItsHistory) {
  auto expect_gradients = [](auto f) {
    auto values = [&](auto& call) {
      Values all;
      for (double scale : {1.0, -2.0}) {
        const Tensor a = (x34 * scale).requires_grad_(), y = (y34 * scale).requires_grad_();
        const Tensor x = a * 3.0, plain = x34.clone(), whole = sin(a);  // no leaves
        const Tensor view = whole.select(0, 1);
        const List out = call(x, y, plain, view);
        Tensor loss = sum(x * x) + sum(plain * x) + sum(whole * whole * y);
        for (const Tensor& t : out) loss = loss + sum(t * t);
        List gradients;
        for (const Tensor& d : grad(loss, {a, y})) gradients.push_back(d);
        for (const List& list : {out, List{x, plain, whole, loss}, gradients})
          for (double v : values_of(list)) all.push_back(v);
      }
      return all;
    };
    auto compiled = compile(f, {.deterministic = true});
    const Values got = values(compiled), want = values(f);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 1e-12 * (1 + std::abs(want[i]))) << i;
    EXPECT_EQ(compiled.captures(), 1);
  };
  using T = const Tensor&;
  expect_gradients([](T x, T y, T, T) {
    Tensor a = x;
    a *= y;  // whose gradient reads what is overwritten
    a += 1.0;
    return List{a * 2.0};
  });
  expect_gradients([](T x, T y, T plain, T) {
    Tensor p = plain;
    p *= y * x;
    return List{};
  });
  expect_gradients([](T, T y, T plain, T view) {
    Tensor v = view, p = plain;
    v *= y.select(0, 0);
    p[0] = v * 3.0;
    return List{v};
  });
  expect_gradients([](T x, T y, T, T) {
    Tensor a = x;
    const Tensor before = a + y;
    a[1] = before.select(0, 2);
    {
      const NoGrad off;
      Tensor b = y * 1.0;
      b += 1.0;
    }
    return List{before, a};
  });
}

TEST(CompiledInPlace, ALeafArgumentIsNotWrittenWithAGradient) {
  auto f = compile([](const Tensor& x) {
    Tensor a = x;
    a *= 2.0;
    return a * 1.0;
  });
  const Tensor leaf = x34.clone().requires_grad_();
  EXPECT_NE(error_of<GradientError>([&] { f(leaf); }).find("a leaf that requires a gradient"),
            std::string::npos);
  const Tensor inner = leaf * 1.0;
  f(inner);  // a capture that allows it
  EXPECT_EQ(inner.to_vector<double>(), (x34 * 2.0).to_vector<double>());
  EXPECT_NE(error_of<GradientError>([&] { f(leaf); }).find("a leaf that requires a gradient"),
            std::string::npos);
  EXPECT_EQ(leaf.to_vector<double>(), x34.to_vector<double>());
}

// A graph reads its arguments when the call begins; plain code would see the write.
TEST(CompiledInPlace, WhatIsWrittenMustNotBeAnotherArgument) {
  auto two = compile([](Tensor a, const Tensor& b) {
    const NoGrad no_grad;
    a += 1;
    return b * 2;
  });
  const Tensor x = zeros({4});
  EXPECT_EQ(two(x, zeros({4}))[0].item<float>(), 0);
  EXPECT_EQ(two(slice(x, 0, 0, 2), slice(x, 0, 2, 4)).to_vector<float>(),
            (std::vector<float>{2, 2}));
  Tensor state = zeros({4});
  auto outside = compile([&](const Tensor& b) {
    const NoGrad no_grad;
    state += 1;
    return b * 2;
  });
  outside(x);
  auto refused = [](auto call, std::string_view what) {
    try {
      call();
      ADD_FAILURE() << what;
    } catch (const ValueError& e) {
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  refused([&] { two(x, x); }, "argument 1 shares memory with argument 0");
  refused([&] { two(x, slice(x, 0, 1, 4)); }, "argument 1 shares memory with argument 0");
  refused([&] { outside(state); }, "argument 0 shares memory with a tensor from outside, f32[4]");
}

TEST(CompiledInPlace, RowMajorCopiesOfViewsAreCopies) {
  const Tensor x = zeros({2, 4});
  using View = Tensor (*)(const Tensor&);
  for (const View copy : {View([](const Tensor& b) { return contiguous(slice(b, 1, 0, 4, 2)); }),
                          View([](const Tensor& b) { return contiguous(b.t()); }),
                          View([](const Tensor& b) { return b.t().reshape({8}); }),
                          View([](const Tensor& b) { return flatten(b.t(), 0, 1); })}) {
    auto f = compile([&](const Tensor& in) {
      const Tensor base = in * 1.0;
      Tensor y = copy(base);
      y += 1.0;
      return base;
    });
    EXPECT_EQ(f(x).to_vector<float>(), std::vector<float>(8, 0));
  }
  auto view = compile([](const Tensor& in) {
    const Tensor base = in * 1.0;
    Tensor y = contiguous(slice(base, 0, 1, 2));  // row-major as it is
    y += 1.0;
    return base;
  });
  EXPECT_EQ(view(x).to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST(CompiledInPlace, Errors) {
  // What a gradient reads was overwritten, through a view.
  auto stale = compile([](const Tensor& x) {
    const Tensor x1 = x * 1.0;
    const Tensor y = x1 * x1;
    {
      const NoGrad off;
      x1[0].fill_(0);
    }
    return grad(y.sum(), x);
  });
  EXPECT_NE(
      error_of<GradientError>([&] { stale(x34.clone().requires_grad_()); }).find("has overwritten"),
      std::string::npos);
  auto expanded = compile([](const Tensor& x) {
    Tensor wide = x.select(0, 0).expand({3, 4});
    wide += 1.0;
    return wide;
  });
  EXPECT_NE(error_of<ShapeError>([&] {
              expanded(x34);
            }).find("several elements of which are one in memory"),
            std::string::npos);
  auto branch = compile([](const Tensor& x) {
    Tensor a = x * 2.0;
    return cond(
        x.sum() > 0,
        [&] {
          a[0] += 1.0;
          return a;
        },
        [&] { return a; });
  });
  EXPECT_NE(error_of<NotImplemented>([&] { branch(x34); }).find("from outside the branch"),
            std::string::npos);
  auto leaf = compile([](const Tensor& x) {
    Tensor a = x.select(0, 0);
    a += 1.0;
    return a;
  });
  EXPECT_NE(error_of<GradientError>([&] {
              leaf(x34.clone().requires_grad_());
            }).find("a leaf that requires a gradient"),
            std::string::npos);
}

}  // namespace
}  // namespace tandem
