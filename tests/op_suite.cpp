// Every check of tests/support/op_checks.h for every sample of every op of the table. Nobody lists
// ops here: a new record brings its own tests.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "tandem/op/registry.h"
#include "tests/support/excuses.h"
#include "tests/support/op_checks.h"

namespace tandem::testing {

// GoogleTest prints the parameter of a failed test.
void PrintTo(const Case& c, std::ostream* os) {
  *os << (c.info ? cat(c.text(), " sample ", c.number) : "no samples");
}

namespace {

std::vector<Case> select(bool (*wanted)(const Case&)) {
  std::vector<Case> out;
  for (const OpInfo* info : ops()) {
    SampleSet set;
    info->samples(set);
    int number = 0;
    for (Sample& s : set.samples) {
      Case c{info, std::move(s), number++};
      if (wanted(c)) out.push_back(std::move(c));
    }
  }
  return out;
}

std::string case_name(const ::testing::TestParamInfo<Case>& p) {
  return cat(p.param.info->name, "_", p.param.number);
}

void expect(const Case& c, std::string_view check, std::string (*f)(const Case&)) {
  if (const auto reason = excuse(c.info->name, check, c.number); !reason.empty()) {
    std::printf("excused %.*s of %s: %.*s\n", int(check.size()), check.data(), c.text().c_str(),
                int(reason.size()), reason.data());
    return;
  }
  std::string wrong;
  try {
    wrong = f(c);
  } catch (const std::exception& e) {
    wrong = cat("throws: ", e.what());
  }
  EXPECT_EQ(wrong, "") << c.text();
}

#define TANDEM_OP_CHECK(Suite, name, wanted, function)         \
  class Suite : public ::testing::TestWithParam<Case> {};      \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Suite);        \
  TEST_P(Suite, name) { expect(GetParam(), #name, function); } \
  INSTANTIATE_TEST_SUITE_P(ops, Suite, ::testing::ValuesIn(select(wanted)), case_name);

bool good(const Case& c) { return c.sample.error.empty(); }
bool bad(const Case& c) { return !good(c); }
bool any(const Case&) { return true; }
bool good_floating(const Case& c) { return good(c) && c.has_floating_input(); }
bool good_gradient(const Case& c) { return good(c) && c.checks_gradient(); }
bool first_elementwise(const Case& c) { return good(c) && c.info->broadcasts && c.number == 0; }

std::string check_against_file(const Case& c) {
  const Golden* golden = Golden::of(c.info->name);
  if (!golden) return "has no file in tests/golden/ops; run tests/golden/make_goldens.py\n";
  return check_golden(c, *golden);
}
std::string check_all_dtypes(const Case& c) {
  const Golden* golden = Golden::of(c.info->name);
  if (const auto reason = excuse(c.info->name, "integers", c.number); !reason.empty()) {
    std::printf("excused integers of %s: %.*s\n", c.text().c_str(), int(reason.size()),
                reason.data());
    golden = nullptr;
  }
  return check_dtypes(c, golden);
}

TANDEM_OP_CHECK(Infer, infer, good, check_infer)
TANDEM_OP_CHECK(Values, golden, good, check_against_file)
TANDEM_OP_CHECK(DTypes, dtypes, good_floating, check_all_dtypes)
TANDEM_OP_CHECK(Gradient, gradient, good_gradient, check_gradient)
TANDEM_OP_CHECK(SecondGradient, second_gradient, good_gradient, check_second_gradient)
TANDEM_OP_CHECK(Graph, graph, good, check_graph)
TANDEM_OP_CHECK(Compile, compiled, good, check_compiled)
TANDEM_OP_CHECK(Lengths, lengths, good, check_lengths)
TANDEM_OP_CHECK(Strided, strided, good, check_strided)
TANDEM_OP_CHECK(ScalarAndEmpty, scalar_and_empty, first_elementwise, check_scalar_and_empty)
TANDEM_OP_CHECK(ErrorText, error, bad, check_error)
TANDEM_OP_CHECK(Attributes, attributes, any, check_attributes)
TANDEM_OP_CHECK(Misplaced, misplaced, good, check_misplaced)

TEST(OpTable, IsSortedUniqueAndComplete) {
  std::set<std::string_view> names;
  for (const OpInfo* info : ops()) {
    EXPECT_TRUE(names.insert(info->name).second) << info->name << " appears twice";
    EXPECT_EQ(find_op(info->name), info);
    EXPECT_TRUE(info->cpu || info->view) << info->name << " has no kernel";
    EXPECT_TRUE(info->differentiable || !info->not_differentiable.empty()) << info->name;
  }
  EXPECT_FALSE(names.empty());
  EXPECT_EQ(find_op("no such op"), nullptr);
}

TEST(OpTable, EveryOpHasSamples) {
  for (const OpInfo* info : ops()) {
    SampleSet set;
    info->samples(set);
    int good = 0;
    for (const Sample& s : set.samples) good += s.error.empty();
    EXPECT_GT(good, 0) << info->name << " has no good sample";
  }
}

}  // namespace
}  // namespace tandem::testing
