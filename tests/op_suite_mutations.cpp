// The op suite's checks must find what is wrong: records with one fault each, and one without.
#include <gtest/gtest.h>

#include <cmath>

#include "tandem/core/factory.h"
#include "tandem/op/kernel.h"
#include "tandem/ops/mul.h"
#include "tests/support/op_checks.h"

namespace tandem {

enum class Fault {
  none,
  gradient,    ///< the factor 2 is missing
  second,      ///< the gradient is cut off its input
  unsaved,     ///< vjp reads what `saves` does not list
  reads_data,  ///< vjp looks at a value, which a graph does not have
  strides,     ///< the kernel takes every input for row-major
  half,        ///< f16 is a percent off
  nan          ///< NaN becomes 0
};

/// x^2, right or with a fault.
template <Fault fault>
struct Squared {
  static constexpr std::string_view name = "squared";
  static constexpr std::string_view inputs = "x";
  static constexpr Saves saves{.in = fault == Fault::unsaved ? IndexSet{} : IndexSet{0}, .out = {}};
  int64_t limit = 4;
  static constexpr auto fields = Fields{field("limit", &Squared::limit)};

  Spec infer(Specs in) const {
    check<ShapeError>(in[0].shape.size() <= limit, *this, "at most ", limit, " axes, got ",
                      in[0].shape);
    return in[0];
  }
  void cpu(Inputs in, Outputs out) const {
    const Tensor x = fault == Fault::strides && in[0].dtype() == f64
                         ? detail::alias(in[0], {in[0].numel()}, {1}, 0)
                         : detail::as_contiguous(in[0], f64);
    const Tensor y = empty({in[0].numel()}, f64);
    for (int64_t i = 0; i < y.numel(); ++i) {
      double v = x.data<double>()[i];
      v *= v;
      if (fault == Fault::half && in[0].dtype() == f16) v *= 1.01;
      if (fault == Fault::nan && std::isnan(v)) v = 0;
      y.data<double>()[i] = v;
    }
    detail::copy_data(detail::alias(out[0], {out[0].numel()}, {1}, 0), y);
  }
  Tensors vjp(const Saved& s, const Tensor& dy) const {
    const Tensor x = s.in(0);
    if (fault == Fault::gradient) return {dy * x};
    if (fault == Fault::second) return {dy * x.detach() * 2.0};
    if (fault == Fault::reads_data && x.numel() == 1) return {dy * (2 * x.item<double>())};
    return {dy * x * 2.0};
  }
  static Samples<Squared> samples() {
    return {.ok = {{{}, {{{3, 4}}}}, {{}, {{{}}}}},
            .errors = {{{.limit = 1}, {{{3, 4}}}, "squared(limit=1): at most 1 axes, got [3, 4]"}}};
  }
};

using Right = Squared<Fault::none>;
using WrongGradient = Squared<Fault::gradient>;
using WrongSecond = Squared<Fault::second>;
using Unsaved = Squared<Fault::unsaved>;
using ReadsData = Squared<Fault::reads_data>;
using WrongStrides = Squared<Fault::strides>;
using WrongHalf = Squared<Fault::half>;
using NoNan = Squared<Fault::nan>;
TANDEM_OP(Right)
TANDEM_OP(WrongGradient)
TANDEM_OP(WrongSecond)
TANDEM_OP(Unsaved)
TANDEM_OP(ReadsData)
TANDEM_OP(WrongStrides)
TANDEM_OP(WrongHalf)
TANDEM_OP(NoNan)

/// A view that is not what `infer` says: the first element instead of the first row.
struct WrongView {
  static constexpr std::string_view name = "wrong_view";
  static constexpr std::string_view inputs = "x";
  static constexpr std::string_view not_differentiable = "made for a test";
  static constexpr Fields<> fields{};
  Spec infer(Specs in) const { return {{in[0].shape[1]}, in[0].dtype, in[0].device}; }
  bool view(const Tensor&, View& out) const {
    out.shape = {1};
    out.strides = {1};
    return true;
  }
  static Samples<WrongView> samples() { return {.ok = {{{}, {{{3, 4}}}}}, .errors = {}}; }
};
TANDEM_OP(WrongView)

namespace testing {
namespace {

std::vector<Case> cases(const OpInfo& info) {
  SampleSet set;
  info.samples(set);
  std::vector<Case> out;
  for (Sample& s : set.samples) out.push_back({&info, std::move(s), int(out.size())});
  return out;
}

/// What the check says, an exception's text included.
std::string verdict(std::string (*check)(const Case&), const Case& c) {
  try {
    return check(c);
  } catch (const std::exception& e) {
    return e.what();
  }
}
std::string dtypes(const Case& c) { return check_dtypes(c, nullptr); }

template <class O>
Case first(int n = 0) {
  return cases(op_info<O>())[size_t(n)];
}

TEST(Mutation, TheRightRecordPassesEveryCheck) {
  for (const Case& c : cases(op_info<Right>())) {
    EXPECT_EQ(check_attributes(c), "");
    if (!c.sample.error.empty()) {
      EXPECT_EQ(check_error(c), "");
      continue;
    }
    for (auto check : {check_infer, check_gradient, check_second_gradient, check_graph,
                       check_compiled, check_strided, dtypes})
      EXPECT_EQ(verdict(check, c), "") << c.text();
  }
}

TEST(Mutation, AWrongGradientIsFound) {
  EXPECT_NE(verdict(check_gradient, first<WrongGradient>()), "");
  EXPECT_NE(verdict(check_gradient, first<WrongGradient>(1)), "");
}

TEST(Mutation, AGradientCutOffIsFoundByTheSecondOnly) {
  EXPECT_EQ(verdict(check_gradient, first<WrongSecond>()), "");
  EXPECT_NE(verdict(check_second_gradient, first<WrongSecond>()), "");
}

TEST(Mutation, VjpSeesOnlyWhatIsSaved) {
  EXPECT_EQ(verdict(check_gradient, first<Unsaved>()),
            "squared: input 0 was not saved for the gradient; list it in `saves`");
}

TEST(Mutation, AGradientThatReadsDataIsFoundInTheGraph) {
  EXPECT_EQ(verdict(check_gradient, first<ReadsData>(1)), "");
  EXPECT_NE(verdict(check_graph, first<ReadsData>(1)), "");
  EXPECT_NE(verdict(check_compiled, first<ReadsData>(1)), "");
}

TEST(Mutation, AKernelThatCountsItsCallsIsFound) {
  Case c = first<Right>();
  OpInfo wrong = op_info<Right>();
  c.info = &wrong;
  wrong.cpu = [](const void* op, Inputs in, Outputs out) {
    static int64_t calls = 0;
    op_info<Right>().cpu(op, in, out);
    detail::copy_data(out[0], full(out[0].shape(), double(++calls), f64));
  };
  const std::string found = verdict(check_compiled, c);
  // A build that checks plans finds it there.
  EXPECT_TRUE(found.find("first call, output 0") != std::string::npos ||
              found.starts_with("plan: "))
      << found;
}

TEST(Mutation, AGradientThatTakesAnotherWayInAGraphIsFound) {
  Case c = first<Right>();
  OpInfo wrong = op_info<Right>();
  c.info = &wrong;
  wrong.vjp = [](const void* op, const Saved& s, const Tensors& dy, Tensors& dx) {
    op_info<Right>().vjp(op, s, dy, dx);
    if (dx[0].is_symbolic()) dx[0] = dx[0] * (1 + 1e-14);
  };
  const std::string found = verdict(check_compiled, c);
  EXPECT_NE(found.find("first call, gradient inside 0"), std::string::npos) << found;
  EXPECT_NE(found.find("second call, gradient from outside 0"), std::string::npos) << found;
}

TEST(Mutation, AKernelThatIgnoresStridesIsFound) {
  EXPECT_EQ(verdict(check_infer, first<WrongStrides>()), "");
  EXPECT_NE(verdict(check_strided, first<WrongStrides>()), "");
}

TEST(Mutation, AHalfPrecisionErrorIsFound) { EXPECT_NE(verdict(dtypes, first<WrongHalf>()), ""); }

TEST(Mutation, AViewUnlikeItsShapeRuleIsFound) {
  EXPECT_NE(verdict(check_infer, first<WrongView>()), "");
}

TEST(Mutation, AMissingNanIsFound) {
  const Case c = first<NoNan>(1);
  Case with_nan = c;
  with_nan.sample.in[0] = sample::listed({3}, {1, NAN, 2});
  const Tensors in = with_nan.inputs();
  const auto golden = [&](std::vector<double> out) {
    std::vector<int64_t> checks(2);
    checks[1] = int64_t(checksum(*with_nan.info, with_nan.op(), in));
    return Golden({{"checks", wrap(checks, {2})}, {"1.out0", wrap(std::move(out), {3})}});
  };
  EXPECT_NE(check_golden(with_nan, golden({1, NAN, 4})), "");
  EXPECT_EQ(check_golden(with_nan, golden({1, 0, 4})), "");
  EXPECT_NE(check_golden(with_nan, golden({1, 0, 4 + 1e-9})), "");
}

TEST(Mutation, AStaleGoldenIsFound) {
  const Case c = first<Right>();
  const Golden other(
      {{"checks", wrap(std::vector<int64_t>{1, 2}, {2})}, {"0.out0", zeros({3, 4}, f64)}});
  EXPECT_NE(check_golden(c, other), "");
  EXPECT_NE(check_golden(c, Golden({})), "");
}

TEST(Mutation, AWrongErrorTextIsFound) {
  Case c = first<Right>(2);
  EXPECT_EQ(check_error(c), "");
  c.sample.error += "!";
  EXPECT_NE(check_error(c), "");
  c = first<Right>();
  c.sample.error = "anything";
  EXPECT_NE(check_error(c), "");
}

TEST(Mutation, AttributesThatAreNotComparedOrHashedAreFound) {
  Case c = first<Right>();
  OpInfo wrong = op_info<Right>();
  c.info = &wrong;
  wrong.equal = [](const void*, const void*) { return true; };
  EXPECT_NE(check_attributes(c), "");
  wrong = op_info<Right>();
  wrong.hash = [](const void*) { return uint64_t(1); };
  EXPECT_NE(check_attributes(c), "");
  wrong = op_info<Right>();
  wrong.print = [](const void*) { return std::string("squared(limit=4)"); };
  EXPECT_NE(check_attributes(c), "");
}

TEST(Compare, SeesNanInfinityShapeDtypeAndSize) {
  const auto t = [](std::vector<double> v) {
    const int64_t n = int64_t(v.size());
    return wrap(std::move(v), {n});
  };
  EXPECT_EQ(difference(t({1, NAN, INFINITY}), t({1, NAN, INFINITY})), "");
  EXPECT_NE(difference(t({1, NAN}), t({1, 2})), "");
  EXPECT_NE(difference(t({1, 2}), t({1, NAN})), "");
  EXPECT_NE(difference(t({INFINITY}), t({-INFINITY})), "");
  EXPECT_NE(difference(t({1e300}), t({INFINITY})), "");
  EXPECT_NE(difference(t({1, 1}), t({1})), "");
  EXPECT_NE(difference(t({1}), t({1 + 1e-9})), "");
  EXPECT_EQ(difference(t({1}), t({1 + 1e-13})), "");
  EXPECT_NE(difference(t({1e-13}), t({2e-13})), "");
  EXPECT_NE(difference(zeros({2}, f32), zeros({2}, f64)), "");
  EXPECT_NE(difference(Tensor(), zeros({2}, f64)), "");
  EXPECT_NE(difference(wrap(std::vector<int64_t>{(int64_t(1) << 60) + 1}, {1}),
                       wrap(std::vector<int64_t>{int64_t(1) << 60}, {1})),
            "");
}

TEST(Samples, InputsDoNotDependOnAnythingButTheirNumbers) {
  const InputSpec spec(Shape{3});
  const Tensor a = make_input(spec, seed_of("op", 1, 0)), b = make_input(spec, seed_of("op", 1, 0)),
               c = make_input(spec, seed_of("op", 1, 1)), d = make_input(spec, seed_of("op", 2, 0));
  EXPECT_EQ(difference(a, b, {}), "");
  EXPECT_NE(difference(a, c, {}), "");
  EXPECT_NE(difference(a, d, {}), "");
}

}  // namespace
}  // namespace testing
}  // namespace tandem
