// Gradients of attention by a float mask, against PyTorch (tests/golden/make_attention_mask.py).
#include <gtest/gtest.h>

#include <string>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/graph/compile.h"
#include "tandem/io/npy.h"
#include "tandem/ops/add.h"
#include "tandem/ops/any.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/isnan.h"
#include "tandem/ops/mul.h"

namespace {

using namespace tandem;

const Tensor& golden(const std::string& name) {
  static const auto file = load_npz(TANDEM_SOURCE_DIR "/tests/golden/attention_mask.npz");
  return file.at(name);
}

struct Case {
  DType dtype;
  const char* torch_name;
  double tolerance;  ///< of values around 1: rounding to the type, once in PyTorch's steps too
};
class MaskGradient : public ::testing::TestWithParam<Case> {};

void expect_near(const Tensor& got, const std::string& name, double tolerance) {
  const Tensor& want = golden(name);
  ASSERT_EQ(got.shape(), want.shape()) << name;
  const std::vector<double> a = got.to(f64).to_vector<double>(), b = want.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << name << " at " << i;
}

/// y, then the gradients by q, k, v and the mask.
Tensors attend(const Tensors& in, const Tensor& dy) {
  const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], {.attn_mask = in[3]});
  const Tensor leaves[] = {in[0], in[1], in[2], in[3]};
  Tensors out{y.detach()};
  for (const Tensor& g : grad({&y, 1}, leaves, {&dy, 1})) out.push_back(g);
  return out;
}

TEST_P(MaskGradient, AsPyTorchWhereKeysAreHidden) {
  const Case& c = GetParam();
  for (const char* which : {"mask", "wide"}) {
    Tensors in;
    for (const char* name : {"q", "k", "v", which}) {
      in.push_back(golden(name).to(c.dtype).clone());
      in.back().requires_grad_();
    }
    const Tensor dy = golden("dy").to(c.dtype);
    const Tensors eager = attend(in, dy);
    auto compiled = compile([&] {
      const Tensors all = attend(in, dy);
      return std::vector<Tensor>(all.begin(), all.end());
    });
    const auto recorded = compiled();
    size_t i = 0;
    for (const char* name : {"y", "dq", "dk", "dv", "dm"}) {
      const std::string label = std::string(c.torch_name) + "_" + which + "_" + name;
      expect_near(eager[i], label, c.tolerance);
      expect_near(recorded[i++], label, c.tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(types, MaskGradient,
                         ::testing::Values(Case{f64, "float64", 1e-14}, Case{f32, "float32", 2e-6},
                                           Case{f16, "float16", 4e-3},
                                           Case{bf16, "bfloat16", 3e-2}),
                         [](const auto& p) { return std::string(p.param.torch_name); });

/// The paths through single ops, for dropped weights and for further derivatives, have the hidden
/// rows as well.
TEST(HiddenRows, NoPathGivesNaN) {
  Tensors in;
  for (const char* name : {"q", "k", "v", "mask"}) {
    in.push_back(golden(name).to(f64).clone());
    in.back().requires_grad_();
  }
  const Tensor leaves[] = {in[0], in[1], in[2], in[3]};
  const Tensor dropped =
      scaled_dot_product_attention(in[0], in[1], in[2], {.attn_mask = in[3], .dropout_p = 0.5})
          .sum();
  for (const Tensor& g : grad({&dropped, 1}, leaves)) EXPECT_FALSE(any(isnan(g)).item<bool>());
  const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], {.attn_mask = in[3]}).sum();
  const Tensors first = grad({&y, 1}, leaves, {}, {.create_graph = true});
  const Tensor total = (first[0] * first[0]).sum() + (first[3] * first[3]).sum();
  for (const Tensor& g : grad({&total, 1}, leaves)) EXPECT_FALSE(any(isnan(g)).item<bool>());
}

}  // namespace
