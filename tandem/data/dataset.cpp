#include "tandem/data/dataset.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "tandem/op/copy.h"

namespace tandem::data {

uint64_t draw_seed(Generator& generator) { return seed_of(generator.next_key()); }

uint64_t seed_of(const Tensor& key) {
  const auto* p = key.data<int64_t>();
  uint32_t block[4] = {uint32_t(p[1]), uint32_t(uint64_t(p[1]) >> 32), 0x5eed, 0};
  Philox::block(uint64_t(p[0]), block);
  return uint64_t(block[0]) << 32 | block[1];
}

namespace detail {

namespace {
Shape without_first(const Shape& s) {
  Shape out = s;
  out.erase(0);
  return out;
}
Shape with_first(int64_t n, const Shape& s) {
  Shape out = s;
  out.insert(0, n);
  return out;
}
}  // namespace

Tensor gather_rows(const Tensor& t, std::span<const int64_t> indices) {
  const Shape row = without_first(t.shape());
  Tensor out = empty(with_first(int64_t(indices.size()), row), t.dtype());
  const auto bytes = size_t(row.numel() * itemsize(t.dtype()));
  const auto* from = static_cast<const char*>(t.raw_data());
  auto* to = static_cast<char*>(out.raw_data());
  for (const int64_t i : indices) {
    check_index("TensorDataset", i, t.size(0));
    if (bytes) std::memcpy(to, from + size_t(i) * bytes, bytes);
    to += bytes;
  }
  return out;
}

Tensor row(const Tensor& t, int64_t i) {
  check_index("TensorDataset", i, t.size(0));
  const Shape shape = without_first(t.shape());
  return tandem::detail::alias(t, shape, contiguous_strides(shape), i * shape.numel());
}

Tensor stack_samples(std::span<const Tensor> samples) {
  require(!samples.empty(), "collate: there are no samples");
  const Tensor& first = samples[0];
  Tensor out = empty(with_first(int64_t(samples.size()), first.shape()), first.dtype());
  const auto bytes = size_t(first.numel() * itemsize(first.dtype()));
  auto* to = static_cast<char*>(out.raw_data());
  for (size_t i = 0; i < samples.size(); ++i, to += bytes) {
    const Tensor& s = samples[i];
    require<ShapeError>(s.shape() == first.shape(), "collate: sample ", i,
                        " of the batch has shape ", s.shape(), ", the first has ", first.shape());
    require<DTypeError>(s.dtype() == first.dtype(), "collate: sample ", i, " of the batch is ",
                        s.dtype(), ", the first is ", first.dtype());
    require<DeviceError>(s.device() == cpu_device, "collate: sample ", i, " of the batch is on ",
                         s.device(), ", not on the CPU");
    const Tensor plain = tandem::detail::as_contiguous(s);
    if (bytes) std::memcpy(to, plain.raw_data(), bytes);
  }
  return out;
}

std::vector<int64_t> split_lengths(int64_t size, std::span<const double> parts) {
  double sum = 0;
  bool whole = true;
  for (const double p : parts) {
    require(p >= 0, "random_split: a part of ", p, " is negative");
    sum += p;
    whole &= p == std::floor(p);
  }
  std::vector<int64_t> lengths;
  if (whole && sum == double(size)) {
    lengths.assign(parts.begin(), parts.end());
    return lengths;
  }
  require(std::abs(sum - 1) < 1e-9, "random_split: the parts sum to ", sum,
          "; lengths must sum to the size ", size, ", fractions to 1");
  for (const double p : parts) lengths.push_back(int64_t(std::floor(p * double(size))));
  // What rounding left over goes to the parts in turn, as in PyTorch.
  const int64_t left = size - std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  for (int64_t i = 0; i < left; ++i) ++lengths[size_t(i) % lengths.size()];
  return lengths;
}

std::vector<int64_t> permutation(int64_t n, Random& random) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i)
    std::swap(order[size_t(i)], order[size_t(random.below(i + 1))]);
  return order;
}

void own_rows(std::span<Tensor> tensors) {
  const Tensor& first = tensors[0];
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    require<DeviceError>(t.device() == cpu_device, "TensorDataset: tensor ", i, " is on ",
                         t.device(), ", not on the CPU");
    require<ShapeError>(t.dim() > 0, "TensorDataset: tensor ", i, " is 0-d and has no rows");
    require<ShapeError>(t.size(0) == first.size(0),
                        "TensorDataset: the first axes must be equal, got shapes ", first.shape(),
                        " and ", t.shape(), " of tensors 0 and ", i);
  }
  for (Tensor& t : tensors) t = tandem::detail::as_contiguous(t.detach());
}

}  // namespace detail

}  // namespace tandem::data
