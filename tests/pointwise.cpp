// What elementwise ops promise beyond their samples: operators, in-place forms, the short ways of
// pow, 0-d tensors of wider types. Literal values were given by PyTorch 2.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tandem/tandem.h"

namespace {

using namespace tandem;

template <class T>
std::vector<T> values(const Tensor& t) {
  return t.to_vector<T>();
}

template <class E, class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(Pointwise, OperatorsGiveMasks) {
  const Tensor x = tensor({-1.f, 0.f, 2.f});
  EXPECT_EQ((x < 0).dtype(), boolean);
  EXPECT_EQ(values<bool>(x < 0), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(values<bool>(x >= 0), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(values<bool>(0 != x), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(values<bool>((x > -1) & (x == 0)), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(values<bool>((x < 0) | (x > 1)), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(values<bool>((x < 0) ^ (x < 1)), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(values<bool>(~(x < 0)), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(values<bool>(!x), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(message<DTypeError>([&] { x& x; }),
            "operator&: needs booleans, got f32 and f32; use logical_and, logical_or, logical_xor");
  EXPECT_EQ(message<DTypeError>([&] { ~x; }),
            "operator~: needs booleans, got f32; use logical_not");
}

TEST(Pointwise, InPlaceFormsWriteOverAndDifferentiate) {
  Tensor leaf = tensor({-2.0, -0.5, 0.25, 3.0}, f64);
  leaf.requires_grad_();
  struct Case {
    const char* name;
    const Tensor& (*over)(const Tensor&);
    Tensor (*fresh)(const Tensor&);
    double shift = 0;  // for those that take positive numbers
  };
  const Case cases[] = {
      {"relu", relu_, relu},
      {"tanh", tanh_, tanh},
      {"sin", sin_, sin},
      {"silu", silu_, silu},
      {"square", square_, square},
      {"exp", exp_, exp},
      {"expm1", expm1_, expm1},
      {"abs", abs_, abs},
      {"ceil", ceil_, ceil},
      {"floor", floor_, floor},
      {"cos", cos_, cos},
      {"neg", neg_, neg},
      {"reciprocal", reciprocal_, reciprocal},
      {"sigmoid", sigmoid_, sigmoid},
      {"log", log_, log, 5},
      {"log1p", log1p_, log1p, 5},
      {"sqrt", sqrt_, sqrt, 5},
      {"rsqrt", rsqrt_, rsqrt, 5},
      {"clamp", [](const Tensor& x) -> const Tensor& { return clamp_(x, -1, 1); },
       [](const Tensor& x) { return clamp(x, -1, 1); }},
      {"leaky_relu", [](const Tensor& x) -> const Tensor& { return leaky_relu_(x); },
       [](const Tensor& x) { return leaky_relu(x); }},
  };
  for (const Case& c : cases) {
    const Tensor want = c.fresh(leaf * 2 + c.shift);
    const Tensor want_grad = grad(want.sum(), leaf);
    Tensor x = leaf * 2 + c.shift;
    const void* memory = x.raw_data();
    c.over(x);
    EXPECT_EQ(x.raw_data(), memory) << c.name;
    EXPECT_EQ(values<double>(x), values<double>(want)) << c.name;
    EXPECT_EQ(values<double>(grad(x.sum(), leaf)), values<double>(want_grad)) << c.name;
  }
  EXPECT_EQ(message<GradientError>([&] { relu_(leaf); }),
            "relu(): in-place write to a leaf that requires a gradient; use NoGrad, or an op that "
            "makes a copy");
}

TEST(Pointwise, PowersByNumberAreThePowersByTensor) {
  Tensor x = tensor({0.25, 0.5, 1.0, 3.0, 7.5}, f64);
  x.requires_grad_();
  for (double p : {2.0, 3.0, 0.5, -0.5, -1.0, -2.0, 0.0, 1.0, 2.5}) {
    const Tensor by_number = pow(x, p), by_tensor = pow(x, tensor({p}, f64));
    const auto a = values<double>(by_number), b = values<double>(by_tensor);
    const auto da = values<double>(grad(by_number.sum(), x));
    const auto db = values<double>(grad(by_tensor.sum(), x));
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_NEAR(a[i], b[i], 1e-14 * std::abs(b[i])) << "exponent " << p;
      EXPECT_NEAR(da[i], db[i], 1e-13 * std::abs(db[i])) << "exponent " << p;
    }
  }
  EXPECT_EQ(message<ValueError>([] {
              pow(tensor({1, 2}), -1);
            }),
            "pow(): the integer tensor has no power -1; convert it to a floating type");
}

TEST(Pointwise, GradientsOfPowersHaveTheResultsPrecision) {
  // A number beside f64, and an integer base: both would be f32 by themselves.
  Tensor x = tensor({1.7, 0.3}, f64);
  x.requires_grad_();
  EXPECT_NEAR(values<double>(grad(sum(pow(x, 3.7)), x))[0], 15.502930917759832, 1e-13);
  EXPECT_NEAR(values<double>(grad(sum(pow(x, 3.7)), x))[1], 0.14336036954322806, 1e-15);
  Tensor y = tensor({0.3, 1.1}, f64);
  y.requires_grad_();
  EXPECT_NEAR(values<double>(grad(sum(pow(tensor({3, 7}), y)), y))[0], 1.5274986285401153, 1e-14);
}

TEST(Pointwise, NothingLiesWithinBoundsThatAreNaN) {
  Tensor x = tensor({1.f, -2.f, NAN});
  x.requires_grad_();
  for (const Tensor& y : {clamp(x, NAN, 1), clamp(x, -1, NAN), clamp(x, NAN)}) {
    for (const float v : values<float>(y)) EXPECT_TRUE(std::isnan(v));
    EXPECT_EQ(values<float>(grad(sum(y), x)), (std::vector<float>{0, 0, 0}));
  }
}

TEST(Pointwise, WiderZeroDimensionalTensorsAreConvertedFirst) {
  const Tensor x = tensor({1, 100, 254, 255}).to(u8);
  const Tensor y = reshape(tensor({int64_t(-2)}), {});
  EXPECT_EQ((x - y).dtype(), u8);
  EXPECT_EQ(values<bool>(x < y), (std::vector<bool>{true, true, false, false}));
  EXPECT_EQ(values<int>(remainder(x, y)), (std::vector<int>{1, 100, 0, 1}));
  EXPECT_EQ(values<int>(maximum(x, y)), (std::vector<int>{254, 254, 254, 255}));
  EXPECT_EQ(values<int>(div(x, y, "trunc")), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(values<int>(x - y), (std::vector<int>{3, 102, 0, 1}));
  const Tensor b = tensor({1.f, 1.0078125f, 1.015625f}).to(bf16);
  EXPECT_EQ(values<bool>(b == reshape(tensor({1.01f}), {})),
            (std::vector<bool>{false, true, false}));
  EXPECT_EQ(values<bool>(tensor({1.f, 1.01f}) == reshape(tensor({1.01}, f64), {})),
            (std::vector<bool>{false, true}));
}

TEST(Pointwise, AnglesOfAnySize) {
  const Tensor x = tensor({1e10f, 3e7f, -2.5e20f, 1.5f});
  const auto s = values<double>(sin(x)), c = values<double>(cos(x));
  for (size_t i = 0; i < s.size(); ++i) {
    const double v = double(x.data<float>()[i]);
    EXPECT_NEAR(s[i], std::sin(v), 1e-7);
    EXPECT_NEAR(c[i], std::cos(v), 1e-7);
  }
}

TEST(Pointwise, WrittenOverByDivision) {
  Tensor x = tensor({1.f, -3.f});
  x /= 2;
  EXPECT_EQ(values<float>(x), (std::vector<float>{0.5f, -1.5f}));
  EXPECT_EQ(message<DTypeError>([] {
              Tensor i = tensor({1, 2});
              i /= 2;
            }),
            "div(rounding_mode=none): the result of type f32 cannot be written over i64");
}

}  // namespace
