// Printed tensors against NumPy's text (tests/golden/make_print.py).
#include "tandem/core/print.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tandem/core/factory.h"
#include "tandem/io/npy.h"
#include "tandem/ops/reshape.h"

namespace {

using namespace tandem;

TEST(Print, AsNumpy) {
  const auto file = load_npz(TANDEM_SOURCE_DIR "/tests/golden/print.npz");
  int cases = 0;
  for (const auto& [name, array] : file) {
    if (!name.ends_with("_array")) continue;
    const std::string stem = name.substr(0, name.size() - 5);
    const Tensor bytes = file.at(stem + "text");
    std::string want(static_cast<const char*>(bytes.raw_data()), size_t(bytes.numel()));
    const DType d = array.dtype();
    if (d != f32 && d != i64 && d != boolean) want += cat(", dtype=", d);
    const auto o = file.at(stem + "options").to_vector<int64_t>();
    const PrintOptions options{
        .precision = int(o[0]), .threshold = o[1], .edgeitems = o[2], .linewidth = int(o[3])};
    EXPECT_EQ(to_string(array, options), want) << name;
    ++cases;
  }
  EXPECT_EQ(cases, 40);
}

TEST(Print, StreamsStridesAndWhatHasNoData) {
  std::ostringstream stream;
  stream << transpose(tensor({{1.f, 2.f}, {3.f, 4.5f}}), 0, 1) << '\n';
  EXPECT_EQ(stream.str(), "[[1.  3. ]\n [2.  4.5]]\n");
  stream.str("");
  stream << zeros({2, 3}, i64).shape() << bf16 << zeros({2}).spec();
  EXPECT_EQ(stream.str(), "[2, 3]bf16f32[2]");
  EXPECT_EQ(to_string(zeros({0, 3})), "[], shape=[0, 3]");
  EXPECT_EQ(to_string(zeros({0}, i64)), "[], dtype=i64");
  EXPECT_EQ(to_string(Tensor()), "undefined");
  EXPECT_EQ(to_string(empty({2, 3}, f32, null_device)), "f32[2, 3] on null");
}

}  // namespace
