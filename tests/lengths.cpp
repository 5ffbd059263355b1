// Lengths that are not known yet: expressions of them are exact, and no answer is given that some
// value would contradict. Expected values are those of plain integer arithmetic.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "tandem/core/length_table.h"
#include "tandem/graph/fit_lengths.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using detail::evaluate;
using detail::LengthTable;
using detail::LengthValues;
using testing::error_of;

/// An expression, and what it is for some values of its symbols.
struct Sample {
  Length length;
  std::vector<int64_t> values;  ///< one for each row of `points`
};

struct Names final : detail::SymbolNames, detail::SymbolValues {
  explicit Names(std::vector<Length> symbols) : symbols(std::move(symbols)) {}
  std::string name(const LengthTable&, int symbol) const override { return cat("s", symbol); }
  Length value(std::string_view text) const override {
    const size_t k = text.size() == 2 ? size_t(text[1] - '0') : symbols.size();
    if (k >= symbols.size()) throw ValueError(cat("no symbol: ", text));
    return symbols[k];
  }
  std::vector<Length> symbols;
};

class Lengths : public ::testing::Test {
 protected:
  Lengths() {
    for (int i = 0; i < 3; ++i) symbols.push_back(table->symbol());
    for (int64_t a : {0, 1, 2, 3, 7, 12})
      for (int64_t b : {0, 1, 2, 5, 9})
        for (int64_t c : {0, 1, 4, 30}) points.push_back({a, b, c});
  }

  Sample leaf(std::mt19937& random) const {
    const int k = int(random() % 5);
    Sample s{k < 3 ? symbols[size_t(k)] : Length(int64_t(random() % 9) - 3), {}};
    for (const LengthValues& p : points)
      s.values.push_back(k < 3 ? p[size_t(k)] : int64_t(s.length));
    return s;
  }

  std::optional<Sample> made(std::mt19937& random, int depth) const {
    if (depth == 0) return leaf(random);
    const auto a = made(random, depth - 1), b = made(random, int(random() % unsigned(depth)));
    if (!a || !b) return {};
    const char op = "+-*/%<>"[random() % 7];
    Sample s{0, {}};
    for (size_t i = 0; i < points.size(); ++i) {
      const int64_t x = a->values[i], y = b->values[i];
      if ((op == '/' || op == '%') && y == 0) return {};
      s.values.push_back(op == '+'   ? x + y
                         : op == '-' ? x - y
                         : op == '*' ? x * y
                         : op == '/' ? x / y
                         : op == '%' ? x % y
                         : op == '<' ? std::min(x, y)
                                     : std::max(x, y));
    }
    const Length x = a->length, y = b->length;
    s.length = op == '+'   ? x + y
               : op == '-' ? x - y
               : op == '*' ? x * y
               : op == '/' ? x / y
               : op == '%' ? x % y
               : op == '<' ? min(x, y)
                           : max(x, y);
    return s;
  }

  std::shared_ptr<LengthTable> table = LengthTable::make();
  std::vector<Length> symbols;
  std::vector<LengthValues> points;
};

TEST_F(Lengths, ExpressionsAreWhatIntegersWouldBe) {
  std::mt19937 random(1);
  const Names names(symbols);
  int tried = 0;
  for (int n = 0; n < 4000; ++n) {
    const auto s = made(random, 1 + n % 4);
    if (!s) continue;
    ++tried;
    const std::string text = to_text(s->length, names);
    for (size_t i = 0; i < points.size(); ++i)
      ASSERT_EQ(evaluate(s->length, points[i]), s->values[i]) << text;
    const Length again = detail::parse_length(text, names);
    for (size_t i = 0; i < points.size(); ++i)
      ASSERT_EQ(evaluate(again, points[i]), s->values[i]) << text;
  }
  EXPECT_GT(tried, 1500);
}

TEST_F(Lengths, AnswersHoldForEveryValue) {
  std::mt19937 random(2);
  const Names names(symbols);
  int sure = 0;
  for (int n = 0; n < 4000; ++n) {
    const auto a = made(random, 1 + n % 3), b = made(random, n % 3);
    if (!a || !b) continue;
    const bool must = detail::must_equal(a->length, b->length),
               may = detail::may_equal(a->length, b->length),
               must_less = detail::must_be_less(a->length, b->length),
               may_less = detail::may_be_less(a->length, b->length);
    sure += must || !may || must_less || !may_less;
    for (size_t i = 0; i < points.size(); ++i) {
      const int64_t x = a->values[i], y = b->values[i];
      const std::string text = cat(to_text(a->length, names), " and ", to_text(b->length, names));
      ASSERT_TRUE(!must || x == y) << text;
      ASSERT_TRUE(may || x != y) << text;
      ASSERT_TRUE(!must_less || x < y) << text;
      ASSERT_TRUE(may_less || x >= y) << text;
    }
  }
  EXPECT_GT(sure, 300);
}

TEST_F(Lengths, EqualExpressionsAreFoundEqual) {
  const Length a = symbols[0], b = symbols[1], c = symbols[2];
  EXPECT_TRUE(detail::must_equal((a + b) * c, c * b + a * c));
  EXPECT_TRUE(detail::must_equal((2 * a + 4) / 2, a + 2));
  EXPECT_TRUE(detail::must_equal(a * b * c / (c * a), b));
  EXPECT_TRUE(detail::must_equal(a - a, 0));
  EXPECT_TRUE(detail::must_equal(a % 1, 0));
  EXPECT_TRUE(detail::must_equal(min(a, a + 1), a));
  EXPECT_TRUE(detail::must_equal(max(a * 2, a), a * 2));
  EXPECT_TRUE(detail::must_equal(max(a, -1), a));
  EXPECT_TRUE(detail::must_equal((a + 1) / 2 * 0, 0));
  EXPECT_LT(a, a + 1);
  EXPECT_GE(a, 0);
}

TEST_F(Lengths, Decisions) {
  const Length n = symbols[0];
  const std::string remedy = error_of<LengthError>([&] { (void)int64_t(n); });
  EXPECT_NE(remedy.find("a plain number is made of the length ?"), std::string::npos) << remedy;
  EXPECT_NE(remedy.find("keep it a length"), std::string::npos) << remedy;
  EXPECT_THROW((void)double(sqrt(n)), LengthError);
  EXPECT_THROW((void)(n > 3), LengthError);
  EXPECT_THROW((void)(n == symbols[1]), LengthError);
  EXPECT_THROW(for (int i = 0; i < n; ++i){}, LengthError);
}

TEST_F(Lengths, NumbersThatDoNotFit) {
  const Length n = symbols[0], big = int64_t(1) << 62;
  EXPECT_THROW((void)(Length(INT64_MAX) + 1), ShapeError);
  EXPECT_THROW((void)(big * 2), ShapeError);
  EXPECT_THROW((void)(Length(1) / 0), ShapeError);
  EXPECT_THROW((void)(n / 0), ShapeError);
  EXPECT_THROW((void)evaluate(n * big, {3}), ShapeError);
  EXPECT_THROW((void)evaluate(4 / n, {0}), ShapeError);
  EXPECT_THROW((void)evaluate(n, {-1}), ValueError);
  EXPECT_THROW((void)Length(int64_t(0xA000000000000000)), ShapeError);
  EXPECT_EQ(int64_t(Length(INT64_MIN)), INT64_MIN);
}

TEST_F(Lengths, RealNumbers) {
  const Length n = symbols[0], m = symbols[1];
  const LengthValues at{7, 3, 0};
  EXPECT_EQ(evaluate(1.0 / n, at), 1.0 / 7);
  EXPECT_EQ(evaluate(sqrt(n), at), std::sqrt(7.0));
  EXPECT_EQ(evaluate(log(n) * 2 - m, at), std::log(7.0) * 2 - 3);
  EXPECT_EQ(evaluate(pow(0.5, n), at), std::pow(0.5, 7.0));
  EXPECT_EQ(evaluate(1 - 1.0 / (n - 1), at), 1 - 1.0 / 6);
  EXPECT_EQ(evaluate(exp(-(1.0 / n)), at), std::exp(-1.0 / 7));
  EXPECT_EQ(evaluate(Number(n / 2), at), 3);
}

TEST_F(Lengths, AnExpressionWhoseGraphIsGone) {
  const Length n = symbols[0];
  table.reset();
  EXPECT_THROW((void)(n + 1), ValueError);
  EXPECT_THROW((void)int64_t(n), ValueError);
  const auto other = LengthTable::make();  // may take the place of the old one
  EXPECT_THROW((void)(n + other->symbol()), ValueError);
}

TEST_F(Lengths, LengthsOfTwoGraphs) {
  const auto other = LengthTable::make();
  EXPECT_THROW((void)(symbols[0] + other->symbol()), ValueError);
}

TEST(LengthText, DamagedTexts) {
  const auto table = LengthTable::make();
  const Names names({table->symbol(), table->symbol(), table->symbol()});
  for (const char* text :
       {"", "(", "s0 +", "s0 * * 2", "min(s0)", "min(s0, 2", "99999999999999999999", "s0 / 0",
        "s0 2", "sqrt(s0)", "broadcast(s0, 3", "--", "s0)", "max(, 1)"})
    EXPECT_THROW((void)detail::parse_length(text, names), Error) << text;
  for (const char* text : {"", "sqrt()", "sqrt(s0", "foo(s0)", "1e", "log(s0) +", "pow(s0)"})
    EXPECT_THROW((void)detail::parse_number(text, names), Error) << text;
  const std::string deep(100000, '(');
  EXPECT_THROW((void)detail::parse_length(deep, names), Error);
  EXPECT_THROW((void)detail::parse_number(deep, names), Error);
}

/// Numbers of recordings at several lengths lead back to the expression.
TEST(LengthFit, FindsWhatProgramsCalculate) {
  const auto table = LengthTable::make();
  const Length a = table->symbol(), b = table->symbol();
  const std::vector<LengthValues> seen = {{5, 40}, {8, 24}, {13, 97}, {21, 9}},
                                  others = {{4, 64}, {31, 9}};
  graph::LengthFit fit(seen.size());
  auto values = [](const std::vector<LengthValues>& at, size_t k) {
    std::vector<int64_t> v;
    for (const LengthValues& p : at) v.push_back(p[k]);
    return v;
  };
  fit.add(a, values(seen, 0));
  fit.add(b, values(seen, 1));
  using Whole = int64_t (*)(int64_t, int64_t);
  const Whole wholes[] = {[](int64_t, int64_t) -> int64_t { return 12; },
                          [](int64_t x, int64_t) { return x; },
                          [](int64_t x, int64_t) { return x - 3; },
                          [](int64_t x, int64_t) { return 3 * x + 1; },
                          [](int64_t x, int64_t) { return x * x; },
                          [](int64_t x, int64_t y) { return x * y; },
                          [](int64_t x, int64_t y) { return x * y * 4; },
                          [](int64_t x, int64_t y) { return x + y; },
                          [](int64_t x, int64_t y) { return y - x + 1; },
                          [](int64_t, int64_t y) { return y / 2; },
                          [](int64_t, int64_t y) { return (y + 2 - 3) / 2 + 1; },
                          [](int64_t x, int64_t y) { return (x * y) / 8; },
                          [](int64_t x, int64_t) { return x * (x - 1) / 2; },
                          [](int64_t x, int64_t) { return std::min<int64_t>(x, 8); },
                          [](int64_t x, int64_t) { return std::max<int64_t>(x, 8); },
                          [](int64_t x, int64_t y) { return std::min(x, y); }};
  int k = 0;
  for (const Whole f : wholes) {
    std::vector<int64_t> v;
    for (const auto& p : seen) v.push_back(f(p[0], p[1]));
    const auto e = fit.find(std::span<const int64_t>(v));
    ASSERT_TRUE(e) << k;
    for (const auto& p : others) EXPECT_EQ(evaluate(*e, p), f(p[0], p[1])) << k;
    ++k;
  }
  using Real = double (*)(double, double);
  const Real reals[] = {[](double x, double) { return 1 / x; },
                        [](double x, double) { return 1 / (x - 1); },
                        [](double x, double y) { return 1 / (x * y); },
                        [](double x, double) { return std::sqrt(x); },
                        [](double x, double) { return 1 / std::sqrt(x); },
                        [](double, double y) { return std::log(y); },
                        [](double x, double) { return 1 - 1 / x; },
                        [](double x, double) { return 2 / (x + 1); },
                        [](double x, double) { return x / (x + 10); },
                        [](double x, double) { return x / (x - 1); },
                        [](double x, double) { return 49 * x / (49 * x - 1); },
                        [](double x, double) { return 50176 * x / (50176 * x - 1); },
                        [](double x, double) { return x * 1e-3; },
                        [](double, double y) { return 0.1 / y; }};
  k = 0;
  for (const Real f : reals) {
    std::vector<double> v;
    for (const auto& p : seen) v.push_back(f(double(p[0]), double(p[1])));
    const auto e = fit.find(std::span<const double>(v));
    ASSERT_TRUE(e) << k;
    for (const auto& p : others) EXPECT_EQ(evaluate(*e, p), f(double(p[0]), double(p[1]))) << k;
    ++k;
  }
}

TEST(LengthFit, GivesNothingForOtherNumbers) {
  const auto table = LengthTable::make();
  graph::LengthFit fit(3);
  fit.add(table->symbol(), {5, 8, 13});
  EXPECT_FALSE(fit.find(std::vector<int64_t>{77, 3, 1001}));
  EXPECT_FALSE(fit.find(std::vector<double>{0.123, 7.7, -2.25}));
}

/// The lengths of a graph by name, and those that have none.
TEST(NamedLengths, EqualNamesAreEqualLengths) {
  const auto g = Graph::make();
  const GraphScope scope(g);
  const Tensor x = placeholder("x", {dim("batch"), dim("time"), 8}),
               y = placeholder("y", {dim("batch"), 8}), z = placeholder("z", {-1, 8});
  EXPECT_EQ(x.size(0), y.size(0));
  EXPECT_THROW((void)(x.size(0) == x.size(1)), LengthError);
  EXPECT_THROW((void)(y.size(0) == z.size(0)), LengthError);
  const Tensor sum = x + y.unsqueeze(1), both = cat({y, z}, 0);
  Session s(g);
  const EagerScope now;
  EXPECT_EQ(s.run(sum, {{x, ones({3, 5, 8})}, {y, ones({3, 8})}}).shape(), Shape({3, 5, 8}));
  EXPECT_EQ(s.run(both, {{y, ones({3, 8})}, {z, ones({6, 8})}}).shape(), Shape({9, 8}));
  const std::string text = error_of<ShapeError>([&] {
    s.run(sum, {{x, ones({3, 5, 8})}, {y, ones({1, 8})}});
  });
  EXPECT_NE(text.find("\"batch\" is 3"), std::string::npos) << text;
}

TEST(NamedLengths, BadNames) {
  for (const char* name : {"", "1a", "a b", "a+b", "?", "-1"}) EXPECT_THROW(dim(name), ValueError);
}

// Lengths that never come again: a recording takes as long as a hundred such calls.
TEST(RecordedLengths, EndlessNewOnesAreRecordedRarely) {
  const Tensor w = full({4, 4}, 0.25);
  for (const bool every : {false, true}) {
    int recorded = 0;
    const auto f = [&recorded, &w](const Tensor& x) {
      recorded += x.is_symbolic();
      Tensor h = zeros({2, 4});
      for (int64_t t = 0; t < x.size(0); ++t) h = tanh(matmul(h, w) + x[t]);
      return h;
    };
    auto fast = compile(f, {.max_captures = 1000, .every_length = every});
    constexpr int many = 60;
    for (int n = 1; n <= many; ++n) {
      const Tensor x = full({n, 2, 4}, 0.5);
      double h = 0;  // all elements are equal, and w makes their mean
      for (int t = 0; t < n; ++t) h = std::tanh(h + 0.5);
      const Tensor y = fast(x);
      EXPECT_NEAR(y.to_vector<double>()[7], h, 1e-6) << n;
    }
    if (every) EXPECT_EQ(recorded, many);
    else EXPECT_LE(recorded, many / 8);
    EXPECT_EQ(fast.explain().find("do not pay yet") == std::string::npos, every);
  }
}

TEST(RecordedLengths, WhoWantsAnErrorGetsOneAtEveryCall) {
  const auto f = [](const Tensor& x) {
    Tensor h = x * 1;
    for (int64_t t = 0; t < x.size(0); ++t) h = h + 1;
    return h;
  };
  auto fast = compile(f, {.max_captures = 2, .throw_beyond = true});
  for (int n = 1; n <= 8; ++n) {
    if (n <= 2) {
      EXPECT_EQ(fast(zeros({n})).to_vector<float>()[0], float(n));
    } else {
      EXPECT_THROW(fast(zeros({n})), Error) << n;
    }
  }
}

}  // namespace
}  // namespace tandem
