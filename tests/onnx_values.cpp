// Every record at the edges of what numbers can be (tests/support/specials.h), saved as an ONNX
// model and loaded: the values are those of the record, whatever operators it is written as.
#include <gtest/gtest.h>

#include <cmath>

#include "tandem/io/onnx.h"
#include "tandem/op/registry.h"
#include "tests/support/folder.h"
#include "tests/support/specials.h"

namespace tandem::testing {
namespace {

/// Units in the last place: of each element in elementwise records, else of the largest one.
double largest_gap(const Tensor& a, const Tensor& b, bool elementwise) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  const int digits = a.dtype() == f64 ? 53 : a.dtype() == f32 ? 24 : 0;
  double largest = 0, gap = 0;
  for (double v : y)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    if (!std::isfinite(x[i]) || !std::isfinite(y[i]) || digits == 0) return INFINITY;
    const double size = elementwise ? std::max(std::abs(x[i]), std::abs(y[i])) : largest;
    const double ulp =
        std::ldexp(1, std::max(std::ilogb(size), a.dtype() == f64 ? -1022 : -126) - digits + 1);
    gap = std::max(gap, std::abs(x[i] - y[i]) / ulp);
  }
  return gap;
}

class OnnxValues : public ::testing::TestWithParam<const OpInfo*> {};

TEST_P(OnnxValues, AreThoseOfTheRecord) {
  const OpInfo& info = *GetParam();
  const TemporaryFolder folder;
  const std::string path = folder / "x.onnx";
  // Products sum in an order of their own; an element may be a sum of many.
  const double most = info.broadcasts ? 4 : 16;
  // ONNX multiplies the values that a causal mask hides by weights of 0; the record does not.
  auto hides_infinities = [&](const SpecialCase& c) {
    return info.print(c.op.get()).find("is_causal=true") != std::string::npos &&
           (c.what.ends_with("in input 1") || c.what.ends_with("in input 2"));
  };
  for (const SpecialCase& c : specials_of(info)) {
    if (hides_infinities(c)) continue;
    const auto graph = Graph::make();
    Tensors symbolic(c.in.size());
    std::vector<std::pair<std::string, Tensor>> inputs;
    for (size_t i = 0; i < c.in.size(); ++i) {
      if (!c.in[i].defined()) continue;
      symbolic[i] = graph->input(cat("in", i), c.in[i].spec());
      inputs.emplace_back(cat("in", i), detail::as_contiguous(c.in[i]));
    }
    const Tensors expected = detail::apply_all(info, c.op.get(), c.in.data(), int(c.in.size()));
    const Tensors out = detail::apply_all(info, c.op.get(), symbolic.data(), int(symbolic.size()));
    // What only gradients use has no place in ONNX's operators.
    const bool first_only = info.onnx.op == "MaxPool" || info.name == "batch_norm" ||
                            info.name == "scaled_dot_product_attention";
    const size_t results = first_only ? 1 : size_t(results_of(info));
    for (size_t k = 0; k < results; ++k) graph->output(cat("out", k), out[k]);
    save(*graph, path);
    const auto loaded = load_graph(path).run(inputs);
    for (size_t k = 0; k < results; ++k) {
      ASSERT_EQ(loaded[k].spec(), expected[k].spec());
      EXPECT_LE(largest_gap(loaded[k], expected[k], info.broadcasts), most)
          << info.print(c.op.get()) << " " << c.what << ", output " << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ops, OnnxValues, ::testing::ValuesIn([] {
                           std::vector<const OpInfo*> all;
                           for (const OpInfo* i : ops()) all.push_back(i);
                           return all;
                         }()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace tandem::testing
