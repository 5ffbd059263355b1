// Values, gradients and gradients of gradients where numbers end, against PyTorch: every record of
// the table with a floating input (tests/support/specials.h). tests/golden/make_specials.py writes
// tests/golden/specials/OP.npz: `checks` (checksums of the calls, 0 where PyTorch refuses),
// `leaves` (bits of the inputs that PyTorch differentiates by), `lengths` (of each call: how many
// results, then the elements of each, -1 for none) and all values behind each other in `f32`, `f64`
// and `i64` (integers and booleans).
//
// Beside the largest and the smallest numbers gradients are not compared: there they are infinite
// or not a number by the order in which a formula is written. For the same reason an infinity may
// stand for NaN in a gradient of a gradient and in records that are not elementwise, and of records
// that are gradients only values are compared.
#include "tests/support/specials.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/io/npy.h"
#include "tandem/op/registry.h"
#include "tests/support/excuses.h"

namespace tandem::testing {
namespace {

/// Outputs, gradients of all inputs, gradients of the weighted gradients; undefined: none.
Tensors results_at(const OpInfo& info, const SpecialCase& c, int64_t leaf_bits) {
  EnableGrad on;
  Tensors in = c.in, leaves, first(c.in.size()), second(c.in.size());
  std::vector<size_t> which;
  for (size_t i = 0; i < in.size(); ++i)
    if (leaf_bits >> i & 1) {
      in[i] = detail::alias(in[i]);
      in[i].requires_grad_();
      leaves.push_back(in[i]);
      which.push_back(i);
    }
  Tensors all = detail::apply_all(info, c.op.get(), in.data(), int(in.size()));
  std::vector<Tensor> roots, seeds;
  for (size_t k = 0; k < all.size(); ++k)
    if (int(k) < results_of(info) && is_floating(all[k].dtype()) && all[k].requires_grad()) {
      roots.push_back(all[k]);
      seeds.push_back(c.cotangent(info, int(k), all[k].spec()));
    }
  if (!roots.empty()) {
    const Tensors found = grad(roots, leaves, seeds, {.create_graph = true, .allow_unused = true});
    std::vector<Tensor> again, weights;
    for (size_t j = 0; j < which.size(); ++j) {
      first[which[j]] = found[j];
      if (!found[j].defined() || !found[j].requires_grad()) continue;
      again.push_back(found[j]);
      weights.push_back(c.weight(info, which[j]));
    }
    if (!again.empty()) {
      const Tensors twice = grad(again, leaves, weights, {.allow_unused = true});
      for (size_t j = 0; j < which.size(); ++j) second[which[j]] = twice[j];
    }
  }
  for (const Tensors* part : {&first, &second})
    for (size_t i = 0; i < in.size(); ++i) {
      const bool leaf = leaf_bits >> i & 1;
      all.push_back((*part)[i].defined() || !leaf ? (*part)[i] : zeros_like(c.in[i]));
    }
  return all;
}

/// Whether an input is so large or small that a gradient there says nothing; of elementwise records
/// the inputs' elements `i`.
bool beyond(const SpecialCase& c, bool elementwise, size_t i) {
  for (const Tensor& t : c.in) {
    if (!t.defined() || !is_floating(t.dtype())) continue;
    const auto x = t.to_vector<double>();
    for (size_t k = 0; k < x.size(); ++k) {
      const double size = std::abs(x[k]);
      if ((!elementwise || k == i) && std::isfinite(size) &&
          (size > 9e29 || (size > 0 && size < 1e-37)))
        return true;
    }
  }
  return false;
}

/// What is not as in PyTorch on purpose, or where PyTorch has no rule.
struct Choice {
  std::string_view op, where;                          ///< where: a part of "call: result"
  bool (*applies)(double x, double got, double want);  ///< x: the first input's element
  std::string_view reason;
};
constexpr auto always = [](double, double, double) { return true; };
constexpr auto is_nan = [](double, double, double want) { return std::isnan(want); };
constexpr auto one_is_nan = [](double, double got, double want) {
  return std::isnan(got) || std::isnan(want);
};
constexpr Choice choices[] = {
    {"gelu", "output", [](double x, double, double) { return x > 3e38; },
     "PyTorch's vector loop gives NaN at infinity, its scalar loop infinity"},
    {"hardtanh_grad", "output", [](double, double, double want) { return want == 0; },
     "PyTorch's vector loop gives NaN no gradient, its scalar loop dy: the latter"},
    {"elu", "gradient", is_nan,
     "PyTorch's vector loop gives NaN at NaN, its scalar loop dy: the latter"},
    {"elu_grad", "output", is_nan, "as elu"},
    {"prod", "gradient", is_nan,
     "PyTorch divides the product by the element; here nothing is divided"},
    {"prod_grad", "output", is_nan, "as prod"},
    {"cumprod", "gradient", is_nan, "as prod"},
    {"dft", "", one_is_nan, "another order of sums meets infinities that cancel elsewhere"},
    {"linear_recurrence", "second gradient", one_is_nan,
     "0 times NaN for factors that are not read"},
    {"weighted_select", "", is_nan,
     "the call in PyTorch multiplies by the zeros of a matrix; here a row reads its own places "
     "only"},
    {"remainder", "output", is_nan, "PyTorch's vector loop gives NaN for subnormal divisors"},
    {"binary_cross_entropy_with_logits", "", is_nan, "a target of infinity where pos_weight is 1"},
    {"cross_entropy_grad", "output", [](double, double got, double) { return got == 0; },
     "ignored rows have no gradient, not even one of 0 times NaN"},
    {"conv1d", "", is_nan, "some of PyTorch's kernels multiply the zeros around an image"},
    {"conv2d", "", is_nan, "as conv1d"},
    {"conv2d_weight_grad", "", is_nan, "as conv1d"},
    {"conv_transpose2d", "gradient", is_nan, "as conv1d"},
    {"batch_norm", "one 1e+30", always, "squares beyond the type are kept in double only in part"},
    {"batch_norm_grad", "one 1e+30", always, "as batch_norm"},
    {"layer_norm", "one 1e+30", always,
     "PyTorch loses the row to squares beyond its type; here they are summed in double"},
    {"layer_norm_grad", "one 1e+30", always, "as layer_norm"},
    {"group_norm", "one 1e+30", always, "as layer_norm"},
    {"group_norm_grad", "one 1e+30", always, "as layer_norm"},
    {"topk", "output 1", always, "the order of equal elements is open"},
    {"topk", "nothing but", always, "the order of equal elements is open"},
    {"kl_div", "output", is_nan, "PyTorch's terms overflow apart"},
    {"binary_cross_entropy_with_logits", "output",
     [](double, double got, double) { return std::abs(got) > 3e38; },
     "PyTorch's terms overflow apart"},
    {"rmsprop_step", "one 1e+30", one_is_nan,
     "the square of the mean overflows where the processor rounds it before it is subtracted"},
    {"rnn", "second gradient", is_nan, "PyTorch multiplies the closed relu's 0 by the infinity"},
    {"scaled_dot_product_attention", "is_causal=true", one_is_nan,
     "PyTorch makes rows of NaN zero; here hidden keys have no part in them, and only rows that "
     "see "
     "no key are zero"},
    {"scaled_dot_product_attention_grad", "", is_nan, "as scaled_dot_product_attention"},
};
bool is_choice(std::string_view op, const std::string& where, double x, double got, double want) {
  for (const Choice& c : choices)
    if (c.op == op && where.find(c.where) != where.npos && c.applies(x, got, want)) return true;
  return false;
}

/// Where two numbers differ by more than roundings, beside numbers as large as `largest`.
bool differs(double got, double want, double largest) {
  if (std::isnan(got) || std::isnan(want)) return !(std::isnan(got) && std::isnan(want));
  if (std::isinf(got) || std::isinf(want)) return got != want;
  return std::abs(got - want) > 1e-4 * std::abs(want) + 1e-5 * largest + 1e-6;
}

std::string named_result(size_t r, size_t outputs, size_t inputs) {
  if (r < outputs) return cat("output ", r);
  const bool first = r - outputs < inputs;
  return cat(first ? "gradient" : "second gradient", " by input ", (r - outputs) % inputs);
}

class Specials : public ::testing::TestWithParam<const OpInfo*> {};

TEST_P(Specials, AreAsInPyTorch) {
  const OpInfo& info = *GetParam();
  const std::vector<SpecialCase> cases = specials_of(info);
  if (cases.empty()) return;  // it takes no floating input
  if (const auto reason = excuse(info.name, "golden", -1); !reason.empty())
    GTEST_SKIP() << std::string(reason);
  const std::string path = cat(TANDEM_SOURCE_DIR "/tests/golden/specials/", info.name, ".npz");
  ASSERT_TRUE(std::filesystem::exists(path)) << "run tests/golden/make_specials.py";
  std::map<std::string, Tensor> golden;
  for (auto& [name, array] : load_npz(path)) golden[name] = array;
  const auto checks = golden["checks"].to_vector<int64_t>(),
             leaves = golden["leaves"].to_vector<int64_t>(),
             lengths = golden["lengths"].to_vector<int64_t>();
  ASSERT_EQ(checks.size(), cases.size()) << "run tests/golden/make_specials.py";
  const bool gradient = info.name.ends_with("_grad");
  size_t next = 0;
  std::map<DType, int64_t> read;
  for (size_t k = 0; k < cases.size(); ++k) {
    const SpecialCase& c = cases[k];
    const auto count = size_t(lengths[next++]);
    if (checks[k] == 0) continue;  // PyTorch refuses it
    ASSERT_EQ(uint64_t(checks[k]), checksum(info, c.op.get(), c.in))
        << c.what << ": run tests/golden/make_specials.py";
    const Tensors got = results_at(info, c, leaves[k]);
    const std::string call = cat(info.print(c.op.get()), ", sample ", c.sample, ", ", c.what);
    ASSERT_EQ(got.size(), count) << call;
    for (size_t r = 0; r < count; ++r) {
      const int64_t n = lengths[next++];
      if (n < 0) continue;
      ASSERT_TRUE(got[r].defined()) << call;
      ASSERT_EQ(got[r].numel(), n) << call;
      const DType d = is_floating(got[r].dtype()) ? got[r].dtype() : i64;
      const Tensor& values = golden[std::string(name(d))];
      ASSERT_TRUE(values.defined()) << call << ": " << name(d);
      const Tensor want = detail::alias(values, {n}, {1}, read[d]);
      read[d] += n;
      const Tensor a = detail::as_contiguous(got[r], d);
      const auto outputs = size_t(info.outputs);
      const std::string what = named_result(r, outputs, c.in.size());
      if (d == i64) {
        for (int64_t i = 0; i < n; ++i) {
          const int64_t x = a.data<int64_t>()[i], y = want.data<int64_t>()[i];
          if (x == y || is_choice(info.name, cat(call, ": ", what), 0, double(x), double(y)))
            continue;
          FAIL() << call << ": " << what << "[" << i << "] is " << x << ", PyTorch has " << y;
        }
        continue;
      }
      const auto x = a.to_vector<double>(), y = want.to_vector<double>();
      double largest = 0;
      for (double v : y)
        if (std::abs(v) < 1e20) largest = std::max(largest, std::abs(v));
      const bool elementwise = c.what.starts_with("edges");
      if (elementwise) largest = 0;
      int wrong = 0;
      for (size_t i = 0; i < x.size() && wrong < 6; ++i) {
        if (!differs(x[i], y[i], largest)) continue;
        if (r >= outputs && (gradient || beyond(c, elementwise, i))) continue;
        if (gradient && beyond(c, elementwise, i)) continue;
        const bool finite = std::isfinite(x[i]) || std::isfinite(y[i]);
        if ((r >= outputs + c.in.size() || !elementwise) && !finite) continue;
        const Tensor& first = c.in[0];
        const double beside = first.defined() && first.numel() == n
                                  ? detail::as_contiguous(first, f64).data<double>()[i]
                                  : 0;
        if (is_choice(info.name, cat(call, ": ", what), beside, x[i], y[i])) continue;
        std::string at;
        for (const Tensor& t : c.in)
          if (t.defined() && t.numel() == n)
            at += cat(" ", detail::as_contiguous(t, f64).data<double>()[i]);
        ADD_FAILURE() << call << ": " << what << "[" << i << "] of" << at << " is " << x[i]
                      << ", PyTorch has " << y[i];
        ++wrong;
      }
    }
  }
}

std::string op_name(const ::testing::TestParamInfo<const OpInfo*>& p) {
  return std::string(p.param->name);
}
INSTANTIATE_TEST_SUITE_P(ops, Specials, ::testing::ValuesIn(ops().begin(), ops().end()), op_name);

}  // namespace
}  // namespace tandem::testing
