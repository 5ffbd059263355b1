#include "tandem/op/iterate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace tandem::detail {
namespace {

/// Operands by the stride of each axis; axes are renumbered by `order`.
LoopNest nest_of(const std::vector<std::vector<int64_t>>& strides, const Shape& sizes,
                 const std::vector<int>& order) {
  static std::vector<float> memory(4096);
  Shape shape;
  for (int a : order) shape.push_back(sizes[a]);
  std::vector<Tensor> operands;
  for (const auto& s : strides) {
    Strides steps;
    for (int a : order) steps.push_back(s[size_t(a)]);
    operands.push_back(wrap(memory.data(), shape, f32, {}, steps));
  }
  std::vector<const Tensor*> pointers;
  for (const Tensor& t : operands) pointers.push_back(&t);
  return LoopNest(shape, pointers);
}

/// Every element's offsets, whatever the order of the walk.
std::map<std::vector<int64_t>, int> visited(const LoopNest& nest) {
  std::map<std::vector<int64_t>, int> count;
  std::vector<int64_t> at(size_t(nest.operands));
  for (int64_t row = 0; row < nest.outer(); ++row) {
    nest.offsets(row, at.data());
    for (int64_t i = 0; i < nest.inner(); ++i) {
      std::vector<int64_t> one = at;
      for (int k = 0; k < nest.operands; ++k) one[size_t(k)] += i * nest.inner_stride(k);
      ++count[one];
    }
  }
  return count;
}

void expect_one_order(const std::vector<std::vector<int64_t>>& strides, const Shape& sizes) {
  std::vector<int> order(size_t(sizes.size()));
  for (size_t i = 0; i < order.size(); ++i) order[i] = int(i);
  const LoopNest first = nest_of(strides, sizes, order);
  do {
    const LoopNest nest = nest_of(strides, sizes, order);
    EXPECT_EQ(nest.sizes, first.sizes);
    for (int k = 0; k < nest.operands; ++k)
      EXPECT_EQ(nest.strides[size_t(k)], first.strides[size_t(k)]);
    EXPECT_EQ(visited(nest), visited(first));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(LoopNest, TheOrderOfAxesDoesNotDependOnTheirNumbers) {
  expect_one_order({{12, 4, 1}}, {2, 3, 4});
  expect_one_order({{12, 4, 1}, {0, 4, 1}, {3, 1, 0}}, {2, 3, 4});
  // Two operands contradict each other, and a third has no opinion on some axes.
  expect_one_order({{5, 0, 3}, {2, 7, 0}, {0, 4, 9}}, {2, 3, 4});
  expect_one_order({{0, 0, 3, 1}, {7, 1, 0, 0}, {0, 2, 5, 0}}, {2, 3, 4, 5});
}

TEST(LoopNest, TheInnermostAxisIsTheFirstOperandsFastest) {
  const LoopNest nest = nest_of({{1, 2, 0}, {6, 3, 1}}, {2, 3, 4}, {0, 1, 2});
  EXPECT_EQ(nest.inner_stride(0), 1);
  EXPECT_EQ(nest.inner(), 2);
}

}  // namespace
}  // namespace tandem::detail
