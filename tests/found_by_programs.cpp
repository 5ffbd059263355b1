// Kinds of faults that random programs (tests/five_ways) found and that fit no other file. Literal
// values were given by PyTorch 2.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tandem/graph/compile.h"
#include "tandem/graph/session.h"
#include "tandem/tandem.h"
#include "tests/support/errors.h"
#include "tests/support/folder.h"

namespace tandem {
namespace {

/// A product's last bits depend on how its factors lie: a deterministic function takes them so.
TEST(FoundByPrograms, DeterministicProductsOfStridedArguments) {
  manual_seed(1);
  const auto f = [](const Tensor& x, const Tensor& w) { return linear(x, w) + matmul(x, w.t()); };
  auto c = compile(f, {.deterministic = true});
  for (const int64_t n : {1, 2, 7, 33}) {
    const Tensor rows = randn({n, 37}), columns = randn({37, n}).t(), w = randn({37, 5}).t();
    const Tensor wide = randn({n, 50}).narrow(1, 3, 37), one = randn({1, 37}).expand({n, 37});
    for (const Tensor& x : {rows, columns, wide, one}) {
      const auto want = f(x, w).to_vector<float>(), got = c(x, w).to_vector<float>();
      EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * sizeof(float)), 0)
          << to_string(x.strides());
    }
  }
}

/// An axis of length 1 that is put in is a look, whatever the lengths are.
TEST(FoundByPrograms, WritesBehindAnAxisThatIsPutIn) {
  auto graph = Graph::make();
  Tensor x, y;
  {
    const GraphScope scope(graph);
    x = placeholder("x", {-1, -1});
    y = x * 2;
    y.t()(none, range(1, y.size(1), 1), range(none, none, 1)) /= Tensor(2.0);
  }
  Session session(graph);
  EXPECT_EQ(session.run(y, {{x, tensor({{1.f, 2.f}, {3.f, 4.f}})}}).to_vector<float>(),
            (std::vector<float>{2, 2, 6, 4}));
}

/// One value fits however many elements a mask picks.
TEST(FoundByPrograms, MaskedUpdatesByOneElement) {
  auto c = compile([](const Tensor& x, const Tensor& mask, const Tensor& value) {
    Tensor y = x * 1;
    y(mask) *= value;
    return y;
  });
  const Tensor x = tensor({1.f, 2.f, 3.f}), three = tensor({3.f});
  EXPECT_EQ(c(x, tensor({true, false, true}), three).to_vector<float>(),
            (std::vector<float>{3, 2, 9}));
  EXPECT_EQ(c(x, tensor({false, false, false}), three).to_vector<float>(),
            (std::vector<float>{1, 2, 3}));
}

/// The gradient of the value that a mask puts in is a sum over the mask alone.
TEST(FoundByPrograms, GradientOfWhatAMaskPutsIn) {
  const Tensor value = tensor(2.f).requires_grad_();
  const Tensor y = masked_fill(zeros({3}), tensor({true, false, false}), value);
  const Tensor loss = (y * tensor({0.5f, NAN, INFINITY})).sum();
  EXPECT_EQ(grad(loss, value).item<float>(), 0.5f);
}

TEST(FoundByPrograms, SizesThatAreNone) {
  using testing::error_of;
  EXPECT_NE(error_of<ValueError>([] { eye(4, -1); }).find("eye(n=4, m=-1"), std::string::npos);
  auto c = compile([](const Tensor& x) { return rand({x.size(0) - 3}).sum(); });
  EXPECT_NE(error_of<ShapeError>([&] { c(ones({1})); }).find("negative"), std::string::npos);
}

TEST(FoundByPrograms, AScalarTakesOneIndex) {
  const Tensor x = tensor(1.f), two = tensor({0, 0});
  EXPECT_THROW(index_add(x, 0, two, tensor(1.f)), ShapeError);
  EXPECT_EQ(index_add(x, 0, tensor({0}), tensor(1.f)).item<float>(), 2);
}

/// Scores of 16 bits overflow; the record keeps them in f32, and so does a file.
TEST(FoundByPrograms, SavedAttentionOfHalves) {
  const testing::TemporaryFolder folder;
  auto graph = Graph::make();
  Tensor q, k, v, y;
  {
    const GraphScope scope(graph);
    q = placeholder("q", {-1, 1}, f16);
    k = placeholder("k", {-1, 1}, f16);
    v = placeholder("v", {-1, 1}, f16);
    y = scaled_dot_product_attention(q, k, v);
  }
  save(*graph, folder / "attention.onnx", {.outputs = {{"y", y}}});
  const Tensor large = tensor({-8096.f, -8104.f}).reshape({2, 1}).to(f16);
  const Tensor values = tensor({0.5f, 2.f}).reshape({2, 1}).to(f16);
  const Tensor got = load_graph(folder / "attention.onnx").run({large, large, values}).at(0);
  EXPECT_EQ(got.to_vector<float>(), (std::vector<float>{2, 2}));  // PyTorch's in f32
}

/// What a fold carries stays what it is, in plain code as in a graph.
TEST(FoundByPrograms, AFoldKeepsItsAccumulator) {
  const auto f = [](const Tensor& x) {
    return foldl([](const Tensor&, const Tensor& row) { return row; }, x, x);
  };
  EXPECT_THROW(f(ones({1, 1})), ShapeError);
  auto c = compile(f);
  EXPECT_THROW(c(ones({1, 1})), ShapeError);
}

}  // namespace
}  // namespace tandem
