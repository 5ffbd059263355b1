// How numbers become elements, and what elements become beyond the end of their type. Literal
// values were given by PyTorch 2 on x86.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "tandem/op/registry.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"
#include "tests/support/graphs.h"
#include "tests/support/specials.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;

constexpr double inf = HUGE_VAL, nan = NAN;

// --- Fills ------------------------------------------------------------------------------------

/// Ways to write a C++ number into a tensor of one element.
struct Fill {
  const char* name;
  Tensor (*make)(DType, double);
};
Tensor one(DType d) { return zeros({1}, d); }
const Tensor yes = ones({1}, boolean), place = zeros({1}, i64);
/// These let f16 and bf16 become infinite.
const Fill fills[] = {
    {"full", [](DType d, double v) { return full({1}, v, d); }},
    {"full_like", [](DType d, double v) { return full_like(one(d), v); }},
    {"fill_", [](DType d, double v) { return one(d).fill_(v); }},
    {"x[0] = v",
     [](DType d, double v) {
       Tensor x = one(d);
       x[0] = v;
       return x;
     }},
};
/// And these do not.
const Fill strict_fills[] = {
    {"masked_fill", [](DType d, double v) { return masked_fill(one(d), yes, v); }},
    {"x[mask] = v",
     [](DType d, double v) {
       Tensor x = one(d);
       x[yes] = v;
       return x;
     }},
    {"x[index] = v",
     [](DType d, double v) {
       Tensor x = one(d);
       x[place] = v;
       return x;
     }},
    {"index_put", [](DType d, double v) { return index_put(one(d), {place}, v); }},
    {"scatter", [](DType d, double v) { return scatter(one(d), 0, place, v); }},
    {"pad",
     [](DType d, double v) {
       return narrow(pad(one(d), {1, 0}, "constant", v), 0, 0, 1);
     }},
};

/// The element, or nothing where the number is refused.
std::optional<double> filled(const Fill& f, DType d, double v) {
  try {
    return f.make(d, v).item<double>();
  } catch (const ValueError&) {
    return {};
  }
}

TEST(Numbers, FillsConvertAsPyTorch) {
  const std::optional<double> none;
  struct Case {
    DType dtype;
    double number;
    std::optional<double> want, strict;
  };
  const Case cases[] = {
      {boolean, 0.5, 1, 1},      {boolean, -0.5, 1, 1},
      {boolean, 1e-50, 1, 1},    {boolean, 300, 1, 1},
      {boolean, inf, 1, 1},      {boolean, nan, 1, 1},
      {boolean, 0, 0, 0},        {u8, 0.5, 0, 0},
      {u8, 255.0, 255, 255},     {u8, -0.5, none, none},
      {u8, 300, none, none},     {u8, inf, none, none},
      {u8, nan, none, none},     {i8, 127, 127, 127},
      {i8, -128, -128, -128},    {i8, -129, none, none},
      {i8, 200, none, none},     {i8, nan, none, none},
      {i32, 0.5, 0, 0},          {i32, -1.5, -1, -1},
      {i32, 3e9, none, none},    {i32, inf, none, none},
      {i32, nan, none, none},    {i64, 3e9, 3e9, 3e9},
      {i64, 0x1p63, none, none}, {i64, -0x1p63, -0x1p63, -0x1p63},
      {i64, -inf, none, none},   {f16, 70000, inf, none},
      {f16, inf, inf, inf},      {f16, 1e-50, 0, 0},
      {bf16, 1e39, inf, none},   {bf16, -inf, -inf, -inf},
      {f32, 1e39, none, none},   {f32, inf, inf, inf},
      {f32, 1e-50, 0, 0},        {f64, 1e39, 1e39, 1e39},
  };
  for (const Case& c : cases) {
    for (const Fill& f : fills)
      EXPECT_EQ(filled(f, c.dtype, c.number), c.want)
          << f.name << " " << c.number << " as " << name(c.dtype);
    for (const Fill& f : strict_fills)
      EXPECT_EQ(filled(f, c.dtype, c.number), c.strict)
          << f.name << " " << c.number << " as " << name(c.dtype);
  }
  // Whole numbers below zero wrap to unsigned, down to the largest.
  EXPECT_EQ(full({1}, -1, u8).item<int>(), 255);
  EXPECT_EQ(masked_fill(one(u8), yes, -255).item<int>(), 1);
  EXPECT_THROW(full({1}, -256, u8), ValueError);
  EXPECT_THROW(full({1}, int64_t(1) << 40, i32), ValueError);
  EXPECT_THROW(where(yes, 300, one(u8)), ValueError);
  EXPECT_EQ(where(yes, -1, one(u8)).item<int>(), 255);
  // A tensor is no number: its elements wrap.
  EXPECT_EQ(masked_fill(one(u8), yes, full({}, 300, i64).to(u8)).item<int>(), 44);
  EXPECT_EQ((one(u8) + 300).item<int>(), 44);
}

TEST(Numbers, WhatDoesNotFitIsNamed) {
  EXPECT_EQ(error_of<ValueError>([] { full({1}, 300, u8); }),
            "full(): the number 300 does not fit u8");
  EXPECT_EQ(error_of<ValueError>([] { one(i32).fill_(nan); }),
            "fill_(): the number nan does not fit i32");
  EXPECT_EQ(error_of<ValueError>([] { masked_fill(one(f16), yes, -1e9); }),
            "masked_fill(): the number -1e+09 does not fit f16");
  EXPECT_EQ(error_of<ValueError>([] { linspace(0, 300, 4, u8); }),
            "linspace(): the number 300 does not fit u8");
  EXPECT_EQ(error_of<ValueError>([] { full({1}, 3e9, f64).item<int>(); }),
            "item(): the number 3e+09 does not fit i32");
}

TEST(Numbers, ItemConvertsOrRefuses) {
  EXPECT_TRUE(full({1}, 0.5).item<bool>());
  EXPECT_TRUE(full({1}, nan).item<bool>());
  EXPECT_TRUE(bool(full({1}, 0.5)));
  EXPECT_FALSE(full({1}, 0.0).item<bool>());
  EXPECT_EQ(full({1}, -1.5).item<int>(), -1);
  EXPECT_THROW(full({1}, nan).item<int>(), ValueError);
  EXPECT_THROW(full({1}, 200, i64).item<int8_t>(), ValueError);
  EXPECT_THROW(full({1}, 1e39, f64).item<float>(), ValueError);
  EXPECT_EQ(full({1}, inf).item<float>(), HUGE_VALF);
  EXPECT_EQ(full({1}, 3000000000, i64).item<uint32_t>(), 3000000000u);
}

TEST(Numbers, FillsInsideCompiledFunctions) {
  auto f = compile([](const Tensor& x) {
    Tensor y = zeros({3}, boolean);
    y.fill_(0.5);
    return std::vector<Tensor>{y, masked_fill(y, x > 0, 0), full({2}, 0.5, boolean)};
  });
  const auto out = f(tensor({1.f, -1.f, 0.f}));
  EXPECT_EQ(out[0].to_vector<bool>(), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(out[1].to_vector<bool>(), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(out[2].to_vector<bool>(), (std::vector<bool>{true, true}));
}

// --- Casts ------------------------------------------------------------------------------------

TEST(Numbers, CastsOutOfRangeAreThoseOfX86) {
  constexpr int64_t low = std::numeric_limits<int64_t>::min();
  const std::vector<double> x{nan,     inf,    -inf, 1e30, -1e30, 3e9, -3e9,  0x1p31,
                              -0x1p31, 0x1p63, 300,  -1,   -129,  128, 255.9, 256};
  const std::vector<int64_t> as_i8{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, -1, 127, -128, -1, 0},
      as_u8{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 255, 127, 128, 255, 0},
      as_i32{INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN,
             INT32_MIN, INT32_MIN, 300,       -1,        -129,      128,       255,       256},
      as_i64{
          low, low, low, low,  low, 3000000000, -3000000000, int64_t(1) << 31, -(int64_t(1) << 31),
          low, 300, -1,  -129, 128, 255,        256};
  for (DType from : {f32, f64}) {
    // Longer than any vector, then element by element.
    Tensor wide = wrap(std::vector<double>(x), {1, int64_t(x.size())}).to(from);
    wide = wide.expand({37, int64_t(x.size())}).contiguous();
    for (const auto& [to, want] :
         {std::pair(i8, as_i8), {u8, as_u8}, {i32, as_i32}, {i64, as_i64}}) {
      const auto got = wide.to(to)[36].to_vector<int64_t>();
      EXPECT_EQ(got, want) << name(from) << " to " << name(to);
      for (size_t i = 0; i < x.size(); ++i)
        EXPECT_EQ(wide(0, int64_t(i)).to(to).item<int64_t>(), want[i]) << x[i];
      const Tensor apart = stack({wide, wide}, -1)(all, all, 0);
      EXPECT_EQ(apart.to(to)[5].to_vector<int64_t>(), want) << "strided " << name(to);
      const DType as = to;
      auto chain = [as](const Tensor& t) { return (t * 1).to(as) * 3 + 1; };
      EXPECT_EQ(compile(chain)(wide)[36].to_vector<int64_t>(), chain(wide)[36].to_vector<int64_t>())
          << "compiled " << name(to);
    }
    EXPECT_EQ(wide.to(boolean).to(i64).sum().item<int64_t>(), wide.numel());
  }
  EXPECT_EQ(full({1}, -0x1p31 - 1, f64).to(u8).item<int>(), 255);
  EXPECT_EQ(full({1}, -0x1p31 - 1, f64).to(i8).item<int>(), 0);
  EXPECT_EQ(full({1}, 0x1p31 - 1, f64).to(i32).item<int>(), INT32_MAX);
}

// --- Integers ---------------------------------------------------------------------------------

TEST(Numbers, IntegersWrapAround) {
  constexpr int64_t top = INT64_MAX, low = INT64_MIN;
  auto first = [](const Tensor& t) { return t.reshape({-1})[0].item<int64_t>(); };
  for (int64_t n : {1, 3, 200}) {
    const Tensor a = full({n}, top, i64), b = full({n}, low, i64);
    EXPECT_EQ(first(a + 1), low);
    EXPECT_EQ(first(b - 1), top);
    EXPECT_EQ(first(a * 2), -2);
    EXPECT_EQ(first(-b), low);
    EXPECT_EQ(first(abs(b)), low);
    EXPECT_EQ(first(square(a)), 1);
    EXPECT_EQ(first(div(b, -1, "floor")), low);
    EXPECT_EQ(first(div(b, -1, "trunc")), low);
    EXPECT_EQ(first(remainder(b, -1)), 0);
    EXPECT_EQ(first(index_add(a, 0, zeros({1}, i64), ones({1}, i64))), low);
    EXPECT_EQ(first(scatter_add(a, 0, zeros({1}, i64), ones({1}, i64))), low);
    EXPECT_EQ(first(index_put(a, {zeros({1}, i64)}, ones({1}, i64), true)), low);
    EXPECT_EQ(first(sum(a)), int64_t(uint64_t(n) * uint64_t(top)));
    EXPECT_EQ(first(matmul(a.reshape({1, n}), a.reshape({n, 1}))), n);
    const Tensor c = full({n}, INT32_MAX, i32), d = full({n}, 65536, i32);
    EXPECT_EQ(first(c + 1), INT32_MIN);
    EXPECT_EQ(first(d * d), 0);
    EXPECT_EQ(first(full({n}, 200, u8) + full({n}, 100, u8)), 44);
    EXPECT_EQ(first(full({n}, 127, i8) + full({n}, 1, i8)), -128);
  }
  const Tensor a = full({3}, top, i64);
  EXPECT_EQ(cumsum(a, 0)[1].item<int64_t>(), -2);
  EXPECT_EQ(first(prod(a)), top);
  EXPECT_EQ(arange(top - 2, top).to_vector<int64_t>(), (std::vector<int64_t>{top - 2, top - 1}));
  EXPECT_EQ(arange(low, top, top).to_vector<int64_t>(), (std::vector<int64_t>{low, -1, top - 1}));
  EXPECT_EQ(arange(250, 260, 1, u8).to_vector<int64_t>(),
            (std::vector<int64_t>{250, 251, 252, 253, 254, 255, 0, 1, 2, 3}));
  auto compiled = compile([](const Tensor& x) { return (x + 1) * x - 3; });
  EXPECT_EQ(first(compiled(a)), first((a + 1) * a - 3));
}

/// Layers without width, rows of no classes. PyTorch 2.
TEST(Numbers, OfNothing) {
  const Tensor x = ones({2, 1, 3}).requires_grad_();
  for (const char* kind : {"rnn", "gru", "lstm"}) {
    const int64_t gates = kind[0] == 'r' ? 1 : kind[0] == 'g' ? 3 : 4;
    const std::vector<Tensor> params{zeros({gates * 0, 3}), zeros({gates * 0, 0})};
    const Tensor h = zeros({1, 1, 0});
    const Tensor y = kind[0] == 'r'   ? rnn(x, h, params).output
                     : kind[0] == 'g' ? gru(x, h, params).output
                                      : lstm(x, h, h, params).output;
    EXPECT_EQ(y.shape(), Shape({2, 1, 0})) << kind;
    EXPECT_EQ(grad(y.sum(), x).to_vector<float>(), std::vector<float>(6, 0)) << kind;
  }
  const Tensor ignored = tensor({-100, -100});
  EXPECT_EQ(cross_entropy(zeros({2, 0}), ignored, {.reduction = "none"}).to_vector<float>(),
            std::vector<float>({0, 0}));
  EXPECT_EQ(cross_entropy(zeros({2, 0}), ignored, {.reduction = "sum"}).item<float>(), 0);
  EXPECT_TRUE(std::isnan(cross_entropy(zeros({2, 0}), ignored).item<float>()));
}

TEST(Numbers, PoolingOfIntegersIsExact) {
  const int64_t big = (int64_t(1) << 62) + 1;
  const Tensor x = tensor({big, big + 1, int64_t(0), int64_t(-3)}).reshape({1, 1, 2, 2});
  EXPECT_EQ(max_pool2d(x, 2).item<int64_t>(), big + 1);
  EXPECT_EQ(avg_pool2d(x.to(i64), 2).item<int64_t>(),
            int64_t(uint64_t(big) + uint64_t(big) + 1 - 3) / 4);
}

// --- 16 bits ----------------------------------------------------------------------------------

/// Sums of many elements in f16 and bf16 keep as many digits as the result has.
TEST(Numbers, SumsOfHalvesAreKeptInF32) {
  constexpr int64_t n = 1000;
  const Tensor i = zeros({n}, i64);
  for (DType d : {f16, bf16}) {
    const Tensor s = ones({n, 1}, d), z = zeros({2, 1}, d);
    auto at = [](const Tensor& t) { return t(0, 0).item<double>(); };
    EXPECT_EQ(at(index_add(z, 0, i, s)), 1000);
    EXPECT_EQ(at(index_add(z, 0, i, s, 0.5)), 500);
    EXPECT_EQ(at(scatter_add(z, 0, i.reshape({n, 1}), s)), 1000);
    EXPECT_EQ(at(index_put(z, {i}, s, true)), 1000);
    auto gradient = [&](auto f) {
      Tensor x = ones({2, 1}, d);
      x.requires_grad_();
      f(x).sum().backward();
      return x.grad()(0, 0).template item<double>();
    };
    EXPECT_EQ(gradient([&](const Tensor& x) { return index(x, {i}); }), 1000);
    EXPECT_EQ(gradient([&](const Tensor& x) { return gather(x, 0, i.reshape({n, 1})); }), 1000);
    EXPECT_EQ(gradient([&](const Tensor& x) { return index_select(x, 0, i); }), 1000);
    EXPECT_EQ(gradient([&](const Tensor& x) { return embedding(i, x); }), 1000);
    EXPECT_EQ(gradient([&](const Tensor& x) { return x.expand({500, 2, 1}); }), 500);
    EXPECT_EQ(gradient([&](const Tensor& x) { return repeat(x, {500, 1}); }), 500);
    auto windows = [&](auto f, const Shape& shape) {
      Tensor x = ones(shape, d);
      x.requires_grad_();
      f(x).sum().backward();
      return amax(x.grad()).template item<double>();
    };
    EXPECT_EQ(windows([](const Tensor& x) { return unfold(x, 0, 500, 1); }, {999}), 500);
    EXPECT_EQ(windows(
                  [](const Tensor& x) {
                    return pad(x, {600, 600}, "replicate");
                  },
                  {1, 1, 2}),
              601 - (d == bf16 ? 1 : 0));  // 601 is no bf16
    EXPECT_EQ(windows([](const Tensor& x) { return avg_pool2d(x, 25, 1) * 625; }, {1, 1, 49, 49}),
              d == bf16 ? 624 : 625);
    EXPECT_EQ(at(sum(s, {0}, true)), 1000);
    EXPECT_EQ(cumsum(s, 0)(n - 1, 0).item<double>(), 1000);
    EXPECT_EQ(at(matmul(transpose(s, 0, 1), s)), 1000);
    EXPECT_EQ(at(linear(transpose(s, 0, 1), transpose(s, 0, 1))), 1000);
  }
}

TEST(Numbers, ClippedNormsOfHalves) {
  const std::vector<std::tuple<int64_t, double, double>> cases{{100000, 1, std::sqrt(1e5)},
                                                               {2, 300, 300 * std::sqrt(2.0)},
                                                               {2, 1e-5, 1e-5 * std::sqrt(2.0)}};
  for (DType d : {f16, bf16})
    for (const auto& [n, value, norm] : cases) {
      Tensor p = zeros({n}, d);
      p.requires_grad_();
      p.set_grad(full({n}, value, d));
      const double held = p.grad()[0].item<double>();  // the value in 16 bits
      const Tensor got = optim::clip_grad_norm_(std::vector<Tensor>{p}, 1);
      EXPECT_NEAR(got.item<double>(), norm * held / value, 1e-5 * norm);
      const double want = held / std::max(1.0, norm * held / value);
      EXPECT_NEAR(p.grad()[0].item<double>(), want, want * (d == f16 ? 1e-3 : 4e-3));
    }
  // The factor itself may be too small for f16.
  Tensor p = zeros({4}, f16);
  p.requires_grad_();
  p.set_grad(full({4}, 60000, f16));
  optim::clip_grad_norm_(std::vector<Tensor>{p}, 1e-3);
  EXPECT_NEAR(p.grad()[0].item<double>(), 5e-4, 1e-6);
}

// --- Neighbours -------------------------------------------------------------------------------

/// NaN may differ in its sign.
bool same_number(const Tensor& a, const Tensor& b) {
  const double x = a.item<double>(), y = b.item<double>();
  return std::isnan(x) ? std::isnan(y) : std::bit_cast<int64_t>(x) == std::bit_cast<int64_t>(y);
}

class Elementwise : public ::testing::TestWithParam<const OpInfo*> {};

/// Alone, in a vector, at any place of it, beside infinities and NaN: an element is what it is.
TEST_P(Elementwise, DoesNotDependOnItsNeighbours) {
  const OpInfo& info = *GetParam();
  for (const auto& c : tandem::testing::specials_of(info)) {
    if (!c.what.starts_with("edges as f")) continue;
    // Ordinary numbers among the edges.
    Tensors in = c.in;
    uint64_t seed = 1;
    for (Tensor& t : in)
      if (t.defined() && is_floating(t.dtype()))
        t = cat({t, tandem::testing::make_input(InputSpec(Shape{100}), ++seed, t.dtype()) * 3,
                 tandem::testing::make_input(InputSpec(Shape{37}), ++seed, t.dtype()) * 40},
                0);
      else if (t.defined())
        t = cat({t, tandem::testing::make_input(sample::mask({137}), ++seed)}, 0);
    auto run = [&](int64_t begin, int64_t end) {
      Tensors part;
      for (const Tensor& t : in) part.push_back(t.defined() ? slice(t, 0, begin, end).clone() : t);
      return Tensor(detail::apply_all(info, c.op.get(), part.data(), int(part.size()))[0]);
    };
    const int64_t n = in[0].numel();
    const Tensor whole = run(0, n);
    if (whole.dim() == 0) break;  // a loss that is summed up
    for (int64_t shift : {1, 3, 8, 15}) {
      const Tensor part = run(shift, n);
      for (int64_t i = shift; i < n; ++i)
        ASSERT_TRUE(same_number(whole[i], part[i - shift]))
            << info.print(c.op.get()) << " " << c.what << " from " << shift << " at " << i;
    }
    for (int64_t i = 0; i<n; i += n> 300 ? 3 : 1)
      ASSERT_TRUE(same_number(whole[i], run(i, i + 1)[0]))
          << info.print(c.op.get()) << " " << c.what << " alone at " << i;
  }
}

std::vector<const OpInfo*> elementwise() {
  std::vector<const OpInfo*> all;
  for (const OpInfo* info : ops())
    if (info->broadcasts) all.push_back(info);
  return all;
}
INSTANTIATE_TEST_SUITE_P(ops, Elementwise, ::testing::ValuesIn(elementwise()),
                         [](const auto& p) { return std::string(p.param->name); });

/// Values of PyTorch in f64.
TEST(Numbers, SecondGradientOfGeluIn16Bits) {
  const std::vector<double> at{-3.5, -4, 2, -0.5}, want{-8.5495e-3, -1.4741e-3, -0.10788, 0.61551};
  for (const DType d : {f16, bf16}) {
    Tensor x = wrap(std::vector<double>(at), {4}).to(d).detach();
    x.requires_grad_();
    const Tensor g = grad(gelu(x, "tanh").sum(), x, {.create_graph = true});
    const auto second = grad(g.sum(), x).to_vector<double>();
    for (size_t i = 0; i < at.size(); ++i)
      EXPECT_NEAR(second[i], want[i], std::abs(want[i]) * (d == f16 ? 1e-3 : 8e-3)) << at[i];
  }
}

/// Values of PyTorch in f64. The largest logit takes no digits from what the others differ by.
TEST(Numbers, LossesOfLargeLogits) {
  const Tensor x = tensor({{3000.5f, 2999.25f, 3001.f}, {2997.5f, 3002.125f, 3000.75f}});
  const Tensor classes = tensor({int64_t(1), int64_t(2)});
  const Tensor shares = tensor({{0.25f, 0.5f, 0.25f}, {0.5f, 0.25f, 0.25f}});
  auto expect = [](const Tensor& got, double first, double second) {
    const auto values = got.to_vector<double>();
    EXPECT_NEAR(values.at(0), first, 2e-6);
    EXPECT_NEAR(values.at(1), second, 2e-6);
  };
  expect(cross_entropy(x, classes, {.reduction = "none"}), 2.32678448, 1.60820734);
  expect(cross_entropy(x, classes, {.label_smoothing = 0.2, .reduction = "none"}), 2.12678448,
         1.73320734);
  expect(cross_entropy(x, shares, {.reduction = "none"}), 1.57678448, 2.88945734);
}

/// As PyTorch: a target that nobody differentiates by takes no logarithm of its negative number.
TEST(Numbers, NoGradientOfKlDivIsZero) {
  const Tensor x = tensor({-0.15f, -0.2f});
  Tensor target = tensor({-0.15f, 2.f});
  target.requires_grad_();
  kl_div(x, target, "none").backward(tensor({0.f, 1.f}));
  const auto g = target.grad().to_vector<double>();
  EXPECT_EQ(g[0], 0);
  EXPECT_NEAR(g[1], 1.8931472, 1e-6);
}

/// A number of the program promotes by its kind only.
TEST(Numbers, WeightsOfALossMayBeNumbers) {
  const Tensor zero = zeros({}), two(2.0);
  EXPECT_EQ(binary_cross_entropy_with_logits(zero, zero, {.weight = two}).dtype(), f32);
  EXPECT_EQ(binary_cross_entropy_with_logits(zero, zero, {.pos_weight = two}).dtype(), f32);
  EXPECT_NEAR(binary_cross_entropy_with_logits(zero, zero, {.weight = two}).item<double>(),
              2 * std::log(2.0), 1e-6);
  EXPECT_EQ(compile([](const Tensor& x) {
              return binary_cross_entropy_with_logits(
                  x, x, {.weight = Tensor(2.0), .pos_weight = Tensor(3.0)});
            })(zero)
                .dtype(),
            f32);
  const Tensor wide = tensor({2.0}, f64).reshape({});
  EXPECT_EQ(binary_cross_entropy_with_logits(zero, zero, {.weight = wide}).dtype(), f64);
}

TEST(Numbers, AnInfinityChangesNoOtherSine) {
  const NoGrad guard;
  manual_seed(1);
  Tensor x = randn({6144});
  x[6143] = HUGE_VALF;
  auto f = [](const Tensor& t) { return relu(sin(t)) + cos(t); };
  const Tensor want = f(x), got = compile(f, {.deterministic = true})(x),
               without = f(x(range(0, 6143)).clone());
  int differ = 0;
  for (int64_t i = 0; i < 6143; ++i)
    differ += want.data<float>()[i] != got.data<float>()[i] ||
              want.data<float>()[i] != without.data<float>()[i];
  EXPECT_EQ(differ, 0);
}

}  // namespace
