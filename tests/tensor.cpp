#include "tandem/core/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <numeric>

#include "tandem/core/factory.h"
#include "tandem/io/npy.h"
#include "tandem/op/copy.h"
#include "tandem/ops/add.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/mul.h"
#include "tandem/ops/range.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/sum.h"
#include "tests/support/errors.h"

namespace tandem {
namespace {

using testing::error_of;

const std::map<std::string, Tensor>& golden() {
  static const auto arrays = load_npz(TANDEM_SOURCE_DIR "/tests/golden/core.npz");
  return arrays;
}

// --- dtypes -------------------------------------------------------------------------------------

TEST(Promotion, EqualsPyTorch) {
  const Tensor table = golden().at("promotion");
  ASSERT_EQ(table.shape(), (Shape{dtype_count, dtype_count}));
  int without = 0;
  for (int a = 0; a < dtype_count; ++a)
    for (int b = 0; b < dtype_count; ++b) {
      const int want = table.data<int8_t>()[a * dtype_count + b];
      EXPECT_EQ(promotes(DType(a), DType(b)), want >= 0);
      if (want < 0) {
        EXPECT_THROW(promote(DType(a), DType(b)), DTypeError);
        EXPECT_EQ(error_of<DTypeError>([&] { ones({2}, DType(a)) + ones({2}, DType(b)); }),
                  cat("add(): dtypes ", DType(a), " and ", DType(b),
                      " have no common one; cast one of them"));
        ++without;
        continue;
      }
      EXPECT_EQ(promote(DType(a), DType(b)), DType(want))
          << name(DType(a)) << " with " << name(DType(b));
      const Tensor sum = ones({2}, DType(a)) + ones({2}, DType(b));
      EXPECT_EQ(sum.dtype(), DType(want));
    }
  EXPECT_EQ(without, 42);
}

TEST(Promotion, ATensorWithoutAxesCountsByKindAsInPyTorch) {
  const Tensor table = golden().at("promotion_0d");
  for (int a = 0; a < dtype_count; ++a)
    for (int b = 0; b < dtype_count; ++b) {
      const Tensor x = ones({2}, DType(a)), y = ones({}, DType(b));
      const int code = table.data<int8_t>()[a * dtype_count + b];
      if (code < 0) {
        EXPECT_THROW(x + y, DTypeError);
        EXPECT_THROW(y * x, DTypeError);
        continue;
      }
      const auto want = DType(code);
      EXPECT_EQ((x + y).dtype(), want) << name(DType(a)) << " with 0-d " << name(DType(b));
      EXPECT_EQ((y * x).dtype(), want) << name(DType(a)) << " with 0-d " << name(DType(b));
    }
}

TEST(Promotion, OfNumbersIsByKindAsInPyTorch) {
  const Tensor table = golden().at("promotion_number");
  for (int a = 0; a < dtype_count; ++a) {
    const Tensor x = ones({2}, DType(a));
    const Tensor got[] = {x + 2.5, x + 2, x + true};
    for (int k = 0; k < 3; ++k)
      EXPECT_EQ(got[k].dtype(), DType(table.data<int8_t>()[a * 3 + k]))
          << name(DType(a)) << " with number " << k;
  }
}

TEST(Half, AllPatternsToFloatAsNumPy) {
  const Tensor want = golden().at("half_to_float");
  std::vector<Half> halves(65536);
  for (int i = 0; i < 65536; ++i) halves[size_t(i)].bits = uint16_t(i);
  const Tensor all = cast(wrap(halves, {65536}), f32);  // the vectorised way
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    const auto w = uint32_t(want.data<int32_t>()[i]);
    const float one = float(halves[size_t(i)]);
    const auto same = [&](float f) {
      return std::isnan(std::bit_cast<float>(w)) ? std::isnan(f) : std::bit_cast<uint32_t>(f) == w;
    };
    wrong += !same(one) || !same(all.data<float>()[i]);
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Half, RoundsToNearestEvenAsNumPyAndPyTorch) {
  const Tensor probe = golden().at("float_probe");
  const int64_t n = probe.numel();
  ASSERT_GT(n, 20000);
  const Tensor h = cast(probe, f16), b = cast(probe, bf16);
  int wrong_half = 0, wrong_bf16 = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float v = probe.data<float>()[i];
    const auto half = uint16_t(golden().at("float_to_half").data<int32_t>()[i]);
    const auto brain = uint16_t(golden().at("float_to_bf16").data<int32_t>()[i]);
    wrong_half += Half(v).bits != half || h.data<Half>()[i].bits != half;
    wrong_bf16 += BFloat16(v).bits != brain || b.data<BFloat16>()[i].bits != brain;
  }
  EXPECT_EQ(wrong_half, 0);
  EXPECT_EQ(wrong_bf16, 0);
}

TEST(Half, EveryHalfSurvivesARoundTrip) {
  for (int i = 0; i < 65536; ++i) {
    Half h;
    h.bits = uint16_t(i);
    if (std::isnan(float(h))) {
      EXPECT_TRUE(std::isnan(float(Half(float(h)))));
      continue;
    }
    ASSERT_EQ(Half(float(h)).bits, h.bits);
  }
}

// --- memory in and out --------------------------------------------------------------------------

TEST(Wrap, AVectorIsMovedIn) {
  std::vector<float> v(6);
  std::iota(v.begin(), v.end(), 0.f);
  const float* data = v.data();
  const Tensor t = wrap(std::move(v), {2, 3});
  EXPECT_EQ(t.data<float>(), data);
  EXPECT_EQ(to_string(t.spec()), "f32[2, 3]");
  EXPECT_EQ(error_of<ShapeError>([] {
              wrap(std::vector<float>(5), {2, 3});
            }),
            "wrap(): 5 values do not fill shape [2, 3]");
}

TEST(Wrap, TheOwnerLivesAsLongAsAnyView) {
  auto owner = std::make_shared<std::vector<double>>(std::vector<double>{1, 2, 3, 4});
  const std::weak_ptr<std::vector<double>> watch = owner;
  Tensor row;
  {
    const Tensor t = wrap(owner->data(), {2, 2}, f64, owner);
    owner.reset();
    row = t.select(0, 1);
  }
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(row.to_vector<double>(), (std::vector<double>{3, 4}));
  row = Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(Wrap, ForeignStridesAndWritesThrough) {
  std::vector<float> memory{0, 1, 2, 3, 4, 5};
  Tensor t = wrap(memory.data(), {3, 2}, f32, {}, {1, 3});
  EXPECT_FALSE(t.is_contiguous());
  EXPECT_EQ(t.to_vector<float>(), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  t += 10.0;
  EXPECT_EQ(memory, (std::vector<float>{10, 11, 12, 13, 14, 15}));
}

TEST(Span, ShowsTheElementsWithoutACopy) {
  Tensor t = zeros({2, 3});
  const std::span<float> s = t.span<float>();
  ASSERT_EQ(s.size(), 6u);
  s[4] = 7;
  EXPECT_EQ(t.to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 7, 0}));
  EXPECT_EQ(error_of<ShapeError>([&] { t.transpose(0, 1).span<float>(); }),
            "span(): needs a contiguous tensor, got strides [1, 3] for shape [3, 2]");
  EXPECT_NE(error_of<DTypeError>([&] { t.span<double>(); }), "no error");
}

TEST(Item, IsTheOnlyElement) {
  EXPECT_EQ(full({1, 1}, 2.5).item<double>(), 2.5);
  EXPECT_EQ(full({}, int64_t(1) << 60, i64).item<int64_t>(), int64_t(1) << 60);
  EXPECT_TRUE(bool(full({}, true, boolean)));
  EXPECT_NE(error_of<ShapeError>([] { zeros({2}).item<float>(); }), "no error");
}

TEST(Handle, UndefinedHandlesThrow) {
  const Tensor none;
  EXPECT_FALSE(none.defined());
  EXPECT_NE(error_of<Error>([&] { none.shape(); }), "no error");
  EXPECT_NE(error_of<ValueError>([&] { none + ones({1}); }), "no error");
}

TEST(Handle, CopiesShareAndCloneCopies) {
  Tensor a = zeros({2});
  const Tensor b = a, c = a.clone();
  a += 1.0;
  EXPECT_TRUE(a.is_same(b));
  EXPECT_EQ(b.to_vector<float>(), (std::vector<float>{1, 1}));
  EXPECT_EQ(c.to_vector<float>(), (std::vector<float>{0, 0}));
}

// --- shapes and views ---------------------------------------------------------------------------

TEST(Views, ShareMemory) {
  const Tensor t = cast(arange(24), f32).reshape({2, 3, 4});
  for (const Tensor& v :
       {t.transpose(0, 2), t.permute({1, 0, 2}), t.select(1, 2), t.narrow(2, 1, 2),
        t.reshape({6, 4}), t.unsqueeze(0), t.flatten(), t.expand({5, 2, 3, 4})}) {
    const char *first = static_cast<char*>(t.raw_data()), *data = static_cast<char*>(v.raw_data());
    EXPECT_GE(data, first);
    EXPECT_LT(data, first + 24 * 4);
  }
  EXPECT_NE(t.transpose(0, 2).reshape({24}).raw_data(), t.raw_data());
}

TEST(Views, AxesMovedAndTakenApart) {
  const Tensor t = cast(arange(24), f32).reshape({2, 3, 4});
  const Tensor moved = movedim(t, 0, -1);
  EXPECT_EQ(moved.shape(), (Shape{3, 4, 2}));
  EXPECT_EQ(moved.select(0, 1).select(0, 2).to_vector<float>(), (std::vector<float>{6, 18}));
  EXPECT_EQ(movedim(t, 2, 0).shape(), (Shape{4, 2, 3}));
  const Tensors rows = unbind(t, 1);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[2].to_vector<float>(), (std::vector<float>{8, 9, 10, 11, 20, 21, 22, 23}));
}

TEST(Views, VersionsAreShared) {
  const Tensor t = zeros({2, 3});
  Tensor row = t.select(0, 1);
  EXPECT_EQ(t.version(), 0u);
  row += 1.0;
  EXPECT_EQ(t.version(), 1u);
  EXPECT_EQ(row.version(), 1u);
  EXPECT_EQ(t.to_vector<float>(), (std::vector<float>{0, 0, 0, 1, 1, 1}));
}

TEST(Views, OverlappingInPlaceWritesUseTheOldValues) {
  Tensor t = cast(arange(5), f32);
  Tensor tail = t.narrow(0, 1, 4);
  tail += t.narrow(0, 0, 4);
  EXPECT_EQ(t.to_vector<float>(), (std::vector<float>{0, 1, 3, 5, 7}));
}

TEST(Shapes, UpToEightAxes) {
  EXPECT_EQ(zeros({1, 1, 1, 1, 1, 1, 1, 2}).dim(), 8);
  EXPECT_NE(error_of<ShapeError>([] { zeros({1, 1, 1, 1, 1, 1, 1, 1, 1}); }), "no error");
  EXPECT_NE(error_of<ShapeError>([] { zeros({2, -1}); }), "no error");
  EXPECT_EQ(zeros({}).numel(), 1);
  EXPECT_EQ(zeros({3, 0}).numel(), 0);
  EXPECT_EQ(zeros({3, 0}).sum().item<float>(), 0);
}

TEST(Shapes, SizesByAxis) {
  const Tensor t = zeros({2, 3});
  EXPECT_EQ(t.size(-1), 3);
  EXPECT_EQ(t.size(0), 2);
  EXPECT_NE(error_of<IndexError>([&] { t.size(2); }), "no error");
}

TEST(Shapes, Broadcasting) {
  const Tensor a = cast(arange(3), f32).reshape({3, 1}), b = cast(arange(2), f32);
  EXPECT_EQ((a * 10.0 + b).to_vector<float>(), (std::vector<float>{0, 1, 10, 11, 20, 21}));
  EXPECT_EQ(error_of<ShapeError>([&] {
              zeros({3, 2}) + zeros({3});
            }),
            "add(): shapes [3, 2] and [3] do not broadcast");
}

TEST(Shapes, TheNullDeviceHasShapesOnly) {
  const Tensor big = empty({1 << 20, 1 << 20}, f32, null_device);
  const Tensor sum = (big + big).sum(Shape{0});
  EXPECT_EQ(to_string(sum.shape()), "[1048576]");
  EXPECT_EQ(sum.device(), null_device);
}

TEST(Factories, Values) {
  EXPECT_EQ(arange(2, 11, 3).to_vector<int64_t>(), (std::vector<int64_t>{2, 5, 8}));
  EXPECT_EQ(arange(2, 11, 3).dtype(), i64);
  EXPECT_EQ(arange(0.0, 1.0, 0.25).to_vector<double>(), (std::vector<double>{0, 0.25, 0.5, 0.75}));
  EXPECT_EQ(linspace(0, 1, 5).to_vector<float>(), (std::vector<float>{0, 0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(eye(2, 3).to_vector<float>(), (std::vector<float>{1, 0, 0, 0, 1, 0}));
  EXPECT_EQ(tensor({{1, 2}, {3, 4}}).to_vector<int>(), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(tensor({true, false}).dtype(), boolean);
  EXPECT_EQ(tensor({{true, false}, {false, false}}).to_vector<int>(),
            (std::vector<int>{1, 0, 0, 0}));
  EXPECT_THROW(tensor({{1, 2}, {3}}), ShapeError);
  EXPECT_EQ(full({2}, 3, u8).to_vector<int>(), (std::vector<int>{3, 3}));
  EXPECT_EQ(ones_like(zeros({2}, f64)).dtype(), f64);
}

}  // namespace
}  // namespace tandem
