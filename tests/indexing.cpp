// Reading and writing by index, with gradients, against PyTorch (tests/golden/make_indexing.py).
#include <gtest/gtest.h>

#include <map>

#include "tandem/autograd/autograd.h"
#include "tandem/core/factory.h"
#include "tandem/core/print.h"
#include "tandem/graph/compile.h"
#include "tandem/io/npy.h"
#include "tandem/ops/compare.h"
#include "tandem/ops/div.h"
#include "tandem/ops/index.h"
#include "tandem/ops/index_put.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
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

/// The random mixes of make_indexing.py.
class RandomMixes {
 public:
  RandomMixes() : rows_(values_of<int64_t>("random")), results_(values_of<int>("random_values")) {}
  bool more() const { return at_ < rows_.size(); }
  int64_t number() { return rows_.at(at_++); }
  Shape shape() { return shape_of(number()); }
  Shape shape_of(int64_t n) {
    Shape s;
    for (int64_t i = 0; i < n; ++i) s.push_back(number());
    return s;
  }
  Tensor tensor() {
    const Shape s = shape();
    std::vector<int64_t> v;
    for (int64_t i = 0; i < s.numel(); ++i) v.push_back(number());
    return wrap(std::move(v), s);
  }
  Index entry() {
    auto bound = [&] {
      const int64_t v = number();
      return v == 99 ? Bound(none) : Bound(v);
    };
    switch (number()) {
      case 0: return number();
      case 1: {
        const Bound from = bound(), to = bound();
        return range(from, to, number());
      }
      case 2: return none;
      case 3: return ellipsis;
      case 4: return tensor();
      case 5: return tensor().to(boolean);
      default: return number() != 0;
    }
  }
  Tensor result() {
    Shape s;
    for (int64_t n = results_.at(next_++); n > 0; --n) s.push_back(results_.at(next_++));
    std::vector<float> v;
    for (int64_t i = 0; i < s.numel(); ++i) v.push_back(float(results_.at(next_++)));
    return wrap(std::move(v), s);
  }

 private:
  template <class T>
  static std::vector<T> values_of(const char* name) {
    return golden(name).to_vector<T>();
  }
  std::vector<int64_t> rows_;
  std::vector<int> results_;
  size_t at_ = 0, next_ = 0;
};

void expect_same(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  ASSERT_EQ(got.to_vector<float>(), want.to_vector<float>()) << what;
}

/// What is read and its gradient; then what a write leaves, and the gradients of x and the value.
Tensors read_and_write(const Tensor& x, const Tensor& value, std::span<const Index> list) {
  const Tensor y = Indexed(x, list);
  Tensors out{y.detach(), grad((y * weights(y.shape())).sum(), x)};
  if (!value.defined()) return out;
  Tensor z = x * 1;
  Indexed(z, list) = value;
  const Tensors g = grad((z * weights(z.shape())).sum(), {x, value});
  out.push_back(z.detach());
  out.push_back(g[0]);
  out.push_back(g[1]);
  return out;
}

TEST(Index, RandomMixesAsPyTorch) {
  RandomMixes all;
  size_t count = 0, integers = 0;
  for (; all.more(); ++count) {
    Tensor x = weights(all.shape());
    std::vector<Index> list;
    std::string what = "case " + std::to_string(count) + ", x of shape " + to_string(x.shape());
    bool recorded = false, masked = false;
    for (int64_t n = all.number(); n > 0; --n) {
      list.push_back(all.entry());
      const Index& i = list.back();
      masked |= i.kind() == Index::Kind::boolean;
      if (i.kind() != Index::Kind::tensor) continue;
      recorded |= i.tensor().dim() == 0;
      masked |= i.tensor().dtype() == boolean;
      what += ", index " + to_string(i.tensor());
    }
    Tensor value;
    if (const int64_t n = all.number(); n >= 0) {
      const Shape s = all.shape_of(n);
      value = weights(s) * -1.f;
      value.requires_grad_();
    }
    x.requires_grad_();
    const Tensors got = read_and_write(x, value, list);
    Tensors again;
    // Index tensors without axes are integers at once, or values of the graph. A mask says how many
    // elements there are, which a graph cannot ask.
    recorded &= !masked;
    if (recorded) {
      ++integers;
      auto f = compile([&] {
        const Tensors t = read_and_write(x, value, list);
        return std::vector<Tensor>(t.begin(), t.end());
      });
      for (const Tensor& t : f()) again.push_back(t);
    }
    for (size_t i = 0; i < got.size(); ++i) {
      const Tensor want = all.result();
      ASSERT_NO_FATAL_FAILURE(expect_same(got[i], want, what + ", result " + std::to_string(i)));
      if (recorded) {
        ASSERT_NO_FATAL_FAILURE(
            expect_same(again[i], want, what + ", recorded result " + std::to_string(i)));
      }
    }
  }
  EXPECT_GE(count, 300u);
  EXPECT_GE(integers, 50u);
}

TEST(Index, ATensorWithoutAxesIsAnInteger) {
  Tensor x = weights({2, 3});
  const Tensor i = tensor<int64_t>({1}).reshape({});
  Tensor row = x[i];
  row[0] = 50;  // a view, as x[1]
  x[i][1] = 60;
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1, 2, 3, 50, 60, 6}));
  // A recorded function reads it anew in each run.
  auto f = compile([](const Tensor& t, const Tensor& at) { return Tensor(t(all, at)); });
  EXPECT_EQ(f(x, i).to_vector<float>(), (std::vector<float>{2, 60}));
  EXPECT_EQ(f(x, tensor<int64_t>({0}).reshape({})).to_vector<float>(), (std::vector<float>{1, 50}));
  EXPECT_EQ(f.captures(), 1);
}

TEST(Index, ALostWriteIsAnError) {
  Tensor x = weights({2, 3});
  EXPECT_EQ(error_of<IndexError>([&] { x[rows()][0] = 1; }),
            "index: a write to a part of what an index tensor or a mask picked is lost; give all "
            "indices at once, x(rows, 0) = 1");
  EXPECT_THROW(x[mask()][0] += 1, IndexError);
  EXPECT_EQ(x[rows()](all, 1).to_vector<float>(), (std::vector<float>{5, 2, 5}));
}

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
