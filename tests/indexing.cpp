// Reading and writing by index, with gradients, against PyTorch (tests/golden/make_indexing.py).
#include <gtest/gtest.h>

#include <map>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/io/npy.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/index.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/reshape.h"
#include "tests/support/errors.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;

const Tensor& golden(const std::string& name) {
  static const auto file = load_npz(TANDEM_SOURCE_DIR "/tests/golden/indexing.npz");
  return file.at(name);
}

void expect_same(const Tensor& got, const std::string& name) {
  const Tensor& want = golden(name);
  EXPECT_EQ(got.shape(), want.shape()) << name;
  if (got.shape() == want.shape()) {
    EXPECT_EQ(got.to_vector<float>(), want.to_vector<float>()) << name;
  }
}

Tensor weights(const Shape& shape) {
  return reshape(arange(1.0, double(shape.numel()) + 1), shape);
}

Tensor rows() { return tensor<int64_t>({1, 0, -1}); }
Tensor mask() { return tensor<int>({{1, 0, 1}, {0, 0, 1}}).to(boolean); }

struct Read {
  const char* name;
  Tensor (*f)(const Tensor& x);
};
class Reads : public ::testing::TestWithParam<Read> {};

TEST_P(Reads, AsPyTorch) {
  const std::string name = GetParam().name;
  Tensor x = golden("x").clone();
  x.requires_grad_();
  const Tensor y = GetParam().f(x);
  expect_same(y.detach(), "read_" + name);
  (y * weights(y.shape())).sum().backward();
  expect_same(x.grad(), "read_grad_" + name);
}

INSTANTIATE_TEST_SUITE_P(
    index, Reads,
    ::testing::ValuesIn(std::vector<Read>{
        {"integer", [](const Tensor& x) -> Tensor { return x[1]; }},
        {"negative", [](const Tensor& x) -> Tensor { return x(-1, 2); }},
        {"element", [](const Tensor& x) -> Tensor { return x(1, 2, -3); }},
        {"ranges", [](const Tensor& x) -> Tensor { return x(all, range(0, 3, 2)); }},
        {"open", [](const Tensor& x) -> Tensor { return x(all, range(1, none), range(none, -1)); }},
        {"ellipsis", [](const Tensor& x) -> Tensor { return x(ellipsis, 2); }},
        {"new_axis", [](const Tensor& x) -> Tensor { return x(all, none, 1, ellipsis, none); }},
        {"rows", [](const Tensor& x) -> Tensor { return x(all, rows()); }},
        {"grid",
         [](const Tensor& x) -> Tensor {
           return x(all, all, tensor<int64_t>({{0, 3}, {-2, 1}}));
         }},
        {"pair",
         [](const Tensor& x) -> Tensor {
           return x(tensor<int64_t>({0, 1, 1}), rows());
         }},
        {"apart",
         [](const Tensor& x) -> Tensor {
           return x(tensor<int64_t>({0, 1, 1}), all, rows());
         }},
        {"broadcast",
         [](const Tensor& x) -> Tensor {
           return x(tensor<int64_t>({{0}, {1}}), rows());
         }},
        {"integer_and_rows", [](const Tensor& x) -> Tensor { return x(0, all, rows()); }},
        {"range_and_rows",
         [](const Tensor& x) -> Tensor { return x(all, range(1, none), rows()); }},
        {"mask", [](const Tensor& x) -> Tensor { return x[mask()]; }},
        {"mask_last", [](const Tensor& x) -> Tensor { return x(all, Tensor(mask()[0])); }},
        {"mask_and_range", [](const Tensor& x) -> Tensor { return x(mask(), range(1, 3)); }},
        {"mask_full", [](const Tensor& x) -> Tensor { return x[x > 0]; }},
        {"true", [](const Tensor& x) -> Tensor { return x[true]; }},
        {"false", [](const Tensor& x) -> Tensor { return x[false]; }},
    }),
    [](const auto& p) { return std::string(p.param.name); });

struct Write {
  const char* name;
  void (*f)(Tensor& x, const Tensor& y);
};
class Writes : public ::testing::TestWithParam<Write> {};

TEST_P(Writes, AsPyTorch) {
  const std::string name = GetParam().name;
  Tensor x = golden("x").clone(), y = golden("y").clone();
  x.requires_grad_();
  y.requires_grad_();
  Tensor z = x * 1;
  GetParam().f(z, y);
  expect_same(z.detach(), "write_" + name);
  (z * weights(z.shape())).sum().backward();
  expect_same(x.grad(), "write_dx_" + name);
  expect_same(y.grad().defined() ? y.grad() : zeros({4}), "write_dy_" + name);
}

INSTANTIATE_TEST_SUITE_P(
    index, Writes,
    ::testing::ValuesIn(std::vector<Write>{
        {"integer", [](Tensor& x, const Tensor&) { x[1] = 5; }},
        {"row", [](Tensor& x, const Tensor& y) { x(0, 1) = y; }},
        {"range", [](Tensor& x, const Tensor& y) { x(all, range(0, 3, 2)) = y; }},
        {"add", [](Tensor& x, const Tensor& y) { x(all, range(0, 3, 2)) += y; }},
        {"mul", [](Tensor& x, const Tensor&) { x(ellipsis, 1) *= 2; }},
        {"div", [](Tensor& x, const Tensor& y) { x[1] /= y; }},
        {"mask", [](Tensor& x, const Tensor& y) { x[mask()] = y; }},
        {"mask_number", [](Tensor& x, const Tensor&) { x[x < 0] = 0; }},
        {"rows", [](Tensor& x, const Tensor& y) { x(all, tensor<int64_t>({2, 0})) = y; }},
        {"rows_add", [](Tensor& x, const Tensor& y) { x(all, tensor<int64_t>({2, 0})) += y; }},
        {"pair",
         [](Tensor& x, const Tensor& y) {
           x(tensor<int64_t>({0, 1}), tensor<int64_t>({2, 0})) = y;
         }},
        {"leading", [](Tensor& x, const Tensor& y) { x[0] = reshape(y, {1, 1, 4}); }},
        {"view_mask",
         [](Tensor& x, const Tensor&) {
           Tensor v = x(all, 1);
           v[v > 0] = -1;
         }},
    }),
    [](const auto& p) { return std::string(p.param.name); });

TEST(Index, ErrorsSayWhatIsWrong) {
  const Tensor x = zeros({2, 3});
  EXPECT_EQ(error_of<IndexError>([&] { Tensor y = x[2]; }),
            "select(axis=0, index=2): index 2 is out of range [-2, 1] for axis 0 of shape [2, 3]");
  EXPECT_EQ(error_of<IndexError>([&] { Tensor y = x(0, 1, 2); }),
            "index: 3 indices for the 2 axes of shape [2, 3]");
  EXPECT_EQ(error_of<IndexError>([&] { Tensor y = x(ellipsis, ellipsis); }),
            "index: only one ellipsis can be given");
  EXPECT_EQ(error_of<IndexError>([&] {
              Tensor y = x[tensor<int64_t>({0, 5})];
            }),
            "index(axes=[0]): index 5 is out of range [-2, 1] for axis 0 of shape [2, 3]");
  EXPECT_EQ(error_of<IndexError>([&] { Tensor y = x[full({3}, true, boolean)]; }),
            "index(): a mask of shape [3] does not fit axes from 0 on of shape [2, 3]");
  EXPECT_EQ(error_of<ShapeError>([&] { x[0] = zeros({4}); }),
            "copy_into(): shape [4] does not broadcast to [3]");
}

TEST(Index, LeavesThatRequireAGradientAreNotOverwritten) {
  Tensor w = zeros({3});
  w.requires_grad_();
  EXPECT_THROW(w[0] = 1, GradientError);
  NoGrad off;
  w[0] = 1;
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{1, 0, 0}));
}

TEST(Index, NonzeroAndMaskedSelect) {
  EXPECT_EQ(nonzero(mask()).to_vector<int64_t>(), (std::vector<int64_t>{0, 0, 0, 2, 1, 2}));
  const Tensor x = tensor({{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}});
  EXPECT_EQ(masked_select(x, mask()).to_vector<float>(), (std::vector<float>{1, 3, 6}));
  EXPECT_EQ(nonzero(zeros({0, 2})).shape(), (Shape{0, 2}));
}

}  // namespace
