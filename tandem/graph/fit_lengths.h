#pragma once
#include <optional>
#include <span>
#include <vector>

#include "tandem/core/dtype.h"
#include "tandem/core/length.h"

namespace tandem::graph {

/// Finds expressions of lengths that give numbers seen in several recordings of one function. Each
/// recording is a sample; an expression is taken only if it gives every sample's number exactly.
class LengthFit {
 public:
  explicit LengthFit(size_t samples) : samples_(samples) {}

  /// A length that expressions may be made of, and what it was in each sample.
  void add(Length expression, std::vector<int64_t> values);
  /// Forgets all but the first `n`.
  void keep(size_t n);
  size_t size() const { return bases_.size(); }

  /// An expression for these numbers; none when none of the usual ones gives them: sums, multiples,
  /// products, rounded quotients, smaller and larger ones.
  std::optional<Length> find(std::span<const int64_t> values) const;
  /// The same for numbers of a dtype: also quotients, roots and logarithms.
  std::optional<Number> find(std::span<const double> values, DType dtype = DType::f64) const;

 private:
  struct Base {
    Length expression;
    std::vector<int64_t> values;
  };
  template <class F>
  bool holds(const F& at) const;
  std::optional<Length> of_one(const Base& b, std::span<const int64_t> v) const;
  std::optional<Length> of_two(const Base& a, const Base& b, std::span<const int64_t> v) const;
  std::optional<Length> quotient(const Base& b, std::span<const int64_t> v) const;
  std::optional<Number> real_of(const Base& b, std::span<const double> v, DType dtype) const;
  std::vector<Base> with_products() const;

  size_t samples_;
  std::vector<Base> bases_;
};

}  // namespace tandem::graph
