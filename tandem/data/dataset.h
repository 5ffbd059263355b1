#pragma once
#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/data/random.h"
#include "tandem/op/fields.h"

namespace tandem::data {

/// One input and its target, or a batch of them.
struct Example {
  Tensor x, y;
  static constexpr auto fields = Fields{field("x", &Example::x), field("y", &Example::y)};
};

/// Anything with `size()` and `get(i)`, or `get(i, random)` where samples are changed at random.
/// `get` is const and is called from several threads at once when a loader has threads.
template <class D>
concept Dataset = requires(const D& d, int64_t i, Random& random) {
  { d.size() } -> std::convertible_to<int64_t>;
  requires requires { d.get(i); } || requires {
    d.get(i, random);
  };
};

/// The sample `i` of any dataset.
template <Dataset D>
auto get(const D& d, int64_t i, Random& random) {
  if constexpr (requires { d.get(i, random); }) return d.get(i, random);
  else return d.get(i);
}
template <class D>
using SampleOf = decltype(get(std::declval<const D&>(), 0, std::declval<Random&>()));

/// A dataset that makes a whole batch faster than sample by sample.
template <class D>
concept BatchDataset = Dataset<D> && requires(const D& d, std::span<const int64_t> indices) {
  d.get_batch(indices);
};

namespace detail {
/// Throws an IndexError unless 0 <= i < size.
inline void check_index(const char* who, int64_t i, int64_t size) {
  require<IndexError>(i >= 0 && i < size, who, ": sample ", i, " is out of range [0, ", size - 1,
                      "]");
}
/// Rows `indices` of a contiguous tensor, copied into a new one [indices.size(), ...].
TANDEM_API Tensor gather_rows(const Tensor& t, std::span<const int64_t> indices);
/// Makes the tensors of a dataset contiguous and without history. Errors: ShapeError when the first
/// axes differ or are missing.
TANDEM_API void own_rows(std::span<Tensor> tensors);
/// Row `i`, sharing memory, without history.
TANDEM_API Tensor row(const Tensor& t, int64_t i);
/// Tensors of equal shape and dtype as one, along a new first axis. Errors: ShapeError, DTypeError
/// that name the first odd one.
TANDEM_API Tensor stack_samples(std::span<const Tensor> samples);
/// The lengths of a random split from lengths or fractions. Errors: ValueError.
TANDEM_API std::vector<int64_t> split_lengths(int64_t size, std::span<const double> parts);
/// 0..n-1 in random order.
TANDEM_API std::vector<int64_t> permutation(int64_t n, Random& random);
}  // namespace detail

/// Rows of N tensors with equal first axes: `TensorDataset(x, y)`. Sample i is the Example
/// {x[i], y[i]} of two tensors, the Tensor x[i] of one, and of more an array<Tensor, N>, in whose
/// place `auto& [a, b, c]` stands as well.
template <size_t N = 2>
class TensorDataset {
 public:
  using Sample = std::conditional_t<N == 1, Tensor,
                                    std::conditional_t<N == 2, Example, std::array<Tensor, N>>>;

  /// Errors: ShapeError when the first axes differ or are missing.
  template <std::convertible_to<Tensor>... T>
  requires(sizeof...(T) == N && N > 0) explicit(N == 1) TensorDataset(const T&... tensors)
      : tensors_{Tensor(tensors)...} {
    detail::own_rows(tensors_);
  }
  int64_t size() const { return tensors_[0].size(0); }
  Sample get(int64_t i) const {
    return make([&](const Tensor& t) { return detail::row(t, i); });
  }
  Sample get_batch(std::span<const int64_t> indices) const {
    return make([&](const Tensor& t) { return detail::gather_rows(t, indices); });
  }

 private:
  template <class F>
  Sample make(const F& f) const {
    return std::apply([&](const auto&... t) { return Sample{f(t)...}; }, tensors_);
  }

  std::array<Tensor, N> tensors_;
};
template <std::convertible_to<Tensor>... T>
TensorDataset(const T&...) -> TensorDataset<sizeof...(T)>;

/// Some samples of a dataset, in the order given.
template <Dataset D>
class Subset {
 public:
  /// Errors: IndexError.
  Subset(D dataset, std::vector<int64_t> indices)
      : dataset_(std::move(dataset)), indices_(std::move(indices)) {
    for (int64_t i : indices_) detail::check_index("Subset", i, dataset_.size());
  }
  int64_t size() const { return int64_t(indices_.size()); }
  auto get(int64_t i, Random& random) const {
    detail::check_index("Subset", i, size());
    return data::get(dataset_, indices_[size_t(i)], random);
  }
  auto get_batch(std::span<const int64_t> batch) const requires BatchDataset<D> {
    std::vector<int64_t> inner;
    for (int64_t i : batch) {
      detail::check_index("Subset", i, size());
      inner.push_back(indices_[size_t(i)]);
    }
    return dataset_.get_batch(inner);
  }
  const std::vector<int64_t>& indices() const { return indices_; }

 private:
  D dataset_;
  std::vector<int64_t> indices_;
};

/// Splits a dataset into random parts that do not overlap: of the given lengths, which must sum to
/// its size, or of the given fractions, which must sum to 1. The same seed gives the same parts;
/// without one the parts follow `manual_seed`. Errors: ValueError.
template <Dataset D>
std::vector<Subset<D>> random_split(const D& dataset, std::initializer_list<double> parts,
                                    std::optional<uint64_t> seed = {}) {
  const auto lengths = detail::split_lengths(dataset.size(), {parts.begin(), parts.size()});
  Random random(seed ? *seed : draw_seed(), 0);
  const std::vector<int64_t> order = detail::permutation(dataset.size(), random);
  std::vector<Subset<D>> out;
  auto at = order.begin();
  for (int64_t n : lengths) {
    out.emplace_back(dataset, std::vector<int64_t>(at, at + n));
    at += n;
  }
  return out;
}

/// Datasets of one type, one after the other.
template <Dataset D>
class ConcatDataset {
 public:
  explicit ConcatDataset(std::vector<D> parts) : parts_(std::move(parts)) {
    for (const D& d : parts_) ends_.push_back(size() + int64_t(d.size()));
  }
  int64_t size() const { return ends_.empty() ? 0 : ends_.back(); }
  auto get(int64_t i, Random& random) const {
    detail::check_index("ConcatDataset", i, size());
    size_t part = 0;
    while (i >= ends_[part]) ++part;
    return data::get(parts_[part], part ? i - ends_[part - 1] : i, random);
  }

 private:
  std::vector<D> parts_;
  std::vector<int64_t> ends_;
};

/// A dataset whose samples go through `f`: f takes the sample's x (of an Example) or the whole
/// sample, and may take a Random& as well, seeded for the sample.
template <Dataset D, class F>
class Transformed {
 public:
  Transformed(D dataset, F f) : dataset_(std::move(dataset)), f_(std::move(f)) {}
  int64_t size() const { return dataset_.size(); }
  auto get(int64_t i, Random& random) const {
    using Sample = SampleOf<D>;
    Sample s = data::get(dataset_, i, random);
    if constexpr (std::is_invocable_v<const F&, const Sample&, Random&>) return f_(s, random);
    else if constexpr (std::is_invocable_v<const F&, const Sample&>) return f_(s);
    else if constexpr (std::is_invocable_v<const F&, const Tensor&, Random&>)
      return Sample{f_(s.x, random), s.y};
    else return Sample{f_(s.x), s.y};
  }

 private:
  D dataset_;
  F f_;
};
template <Dataset D, class F>
Transformed<D, F> transformed(D dataset, F f) {
  return {std::move(dataset), std::move(f)};
}

}  // namespace tandem::data
